//! Backends and services.

use std::{collections::BTreeMap, sync::Arc};

use super::Faults;
use crate::{
    config::{AdminState, Backend, HealthCheck, Objects, Pool, Service, ServiceTimeouts},
    diagnostic::code,
    document::{self, Document, Spanned, nearest},
    value::{BackendName, Duration, ServiceName, Weight},
};

impl Faults<'_> {
    pub(super) fn backends(&mut self, document: &Document) -> Objects<BackendName, Backend> {
        let mut backends = BTreeMap::new();
        for (name, written) in document.backends.iter().flatten() {
            let url = match &written.url {
                Some(url) => url.value.clone(),
                None if written.faulty.contains(&"url") => continue,
                None => {
                    self.missing("backends", name, "url", "url: \"http://HOST:PORT\"");
                    continue;
                }
            };
            let weight = written.weight.as_ref().map_or(Weight::ONE, |weight| weight.value);
            backends.insert(
                name.value.clone(),
                Arc::new(Backend { url, weight, admin_state: AdminState::Enabled }),
            );
        }
        backends
    }

    pub(super) fn services(
        &mut self,
        document: &Document,
        backends: &Objects<BackendName, Backend>,
    ) -> Objects<ServiceName, Service> {
        let shared = document.health_check.as_ref();
        let shared =
            shared.map(|check| self.within("health_check", |faults| faults.health_check(check)));
        let written = document.services.as_deref().unwrap_or_default();
        if written.is_empty() {
            return self.default_service(backends, shared);
        }
        // Names that exist but whose backend is faulty are not unknown as well.
        let known: Vec<&str> =
            document.backends.iter().flatten().map(|(name, _)| name.value.as_str()).collect();
        let mut services = BTreeMap::new();
        for (name, service) in written {
            self.path = vec!["services".to_owned(), name.value.to_string()];
            let made = self.service(name, service, &known, shared.as_ref());
            services.extend(made.map(|made| (name.value.clone(), Arc::new(made))));
        }
        self.path.clear();
        services
    }

    fn service(
        &mut self,
        name: &Spanned<ServiceName>,
        written: &document::Service,
        known: &[&str],
        shared: Option<&HealthCheck>,
    ) -> Option<Service> {
        // Looked at first: all faults are wanted, also beside backends that are missing.
        let health_check = match &written.health_check {
            Some(check) => Some(self.within("health_check", |faults| faults.health_check(check))),
            None => shared.cloned(),
        };
        let timeouts = written.timeouts.as_ref();
        let timeouts = self.within("timeouts", |faults| faults.service_timeouts(timeouts));
        let pool = self.within("pool", |faults| faults.pool(written.pool.as_ref()));
        let Some(listed) = &written.backends else {
            if written.faulty.contains(&"backends") {
                return None;
            }
            let help = "write backends: [ID, ...] with ids of the backends map";
            self.error(name.at, code::MISSING, "a service needs backends".to_owned(), help);
            return None;
        };
        let mut backends: Vec<BackendName> = Vec::with_capacity(listed.len());
        self.within("backends", |faults| {
            for backend in listed {
                let id = backend.value.as_str();
                if !known.contains(&id) {
                    let help = match nearest(id, known.iter().copied()) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => "add it to the backends map".to_owned(),
                    };
                    let message = format!("there is no backend `{id}`");
                    faults.error(backend.at, code::UNKNOWN_REFERENCE, message, help);
                } else if backends.contains(&backend.value) {
                    let message = format!("`{id}` is in this pool already");
                    let help = "remove it; a larger share is what `weight` on the backend is for";
                    faults.error(backend.at, code::DUPLICATE_REFERENCE, message, help);
                } else {
                    backends.push(backend.value.clone());
                }
            }
            if listed.is_empty() {
                let message = "the pool is empty".to_owned();
                faults.error(name.at, code::EMPTY, message, "name at least one backend");
            }
        });
        Some(Service {
            backends,
            strategy: written.strategy.as_ref().map(|s| s.value).unwrap_or_default(),
            health_check,
            timeouts,
            pool,
            pass_host_header: written.pass_host_header.as_ref().is_none_or(|p| p.value),
        })
    }

    fn service_timeouts(&mut self, written: Option<&document::ServiceTimeouts>) -> ServiceTimeouts {
        let default = ServiceTimeouts::default();
        let Some(written) = written else {
            return default;
        };
        let response = written.response_header.as_ref();
        ServiceTimeouts {
            connect: self.positive("connect", written.connect.as_ref(), default.connect),
            response_header: response.map_or(default.response_header, |d| d.value),
            idle: written.idle.as_ref().map_or(default.idle, |d| d.value),
            total: written.total.as_ref().map_or(default.total, |d| d.value),
        }
    }

    fn pool(&mut self, written: Option<&document::Pool>) -> Pool {
        let default = Pool::default();
        let Some(written) = written else {
            return default;
        };
        Pool {
            max_idle: written.max_idle.as_ref().map_or(default.max_idle, |n| n.value),
            idle_timeout: self.positive(
                "idle_timeout",
                written.idle_timeout.as_ref(),
                default.idle_timeout,
            ),
        }
    }

    fn health_check(&mut self, written: &document::HealthCheck) -> HealthCheck {
        let path = match &written.path {
            Some(path) => path.value.clone(),
            None => "/".to_owned(),
        };
        if let Some(at) = written.path.as_ref().map(|path| path.at)
            && !is_path(&path)
        {
            self.within("path", |faults| {
                let message = format!("`{path}` is not the path of a request");
                let help = "write a path that starts with `/` and has no spaces";
                faults.error(at, code::INVALID_VALUE, message, help);
            });
        }
        let interval = self.positive("interval", written.interval.as_ref(), Duration::from_secs(5));
        // A short interval without a time-out of its own still makes sense.
        let usual = Duration::from_secs(1);
        let default = if usual < interval {
            usual
        } else {
            Duration::from_millis((interval.as_millis() / 2).max(1))
        };
        let timeout = self.positive("timeout", written.timeout.as_ref(), default);
        if let Some(written) = &written.timeout
            && timeout >= interval
        {
            self.within("timeout", |faults| {
                let message = format!(
                    "the time-out ({timeout}) is not shorter than the interval ({interval})"
                );
                let help = "checks of one backend do not overlap: shorten the time-out";
                faults.error(written.at, code::CONFLICT, message, help);
            });
        }
        let healthy_threshold =
            self.threshold("healthy_threshold", written.healthy_threshold.as_ref(), 2);
        let unhealthy_threshold =
            self.threshold("unhealthy_threshold", written.unhealthy_threshold.as_ref(), 3);
        HealthCheck { path, interval, timeout, healthy_threshold, unhealthy_threshold }
    }

    fn threshold(&mut self, key: &str, written: Option<&Spanned<u16>>, default: u16) -> u16 {
        let Some(written) = written else {
            return default;
        };
        if written.value == 0 {
            self.within(key, |faults| {
                let message = "zero checks in a row decide nothing".to_owned();
                faults.error(written.at, code::INVALID_VALUE, message, format!("write {default}"));
            });
        }
        written.value
    }

    pub(super) fn missing<N: std::fmt::Display>(
        &mut self,
        map: &str,
        name: &Spanned<N>,
        key: &str,
        example: &str,
    ) {
        self.path = vec![map.to_owned(), name.value.to_string()];
        let message = format!("`{key}` is missing");
        self.error(name.at, code::MISSING, message, format!("write {example}"));
        self.path.clear();
    }
}

/// Whether a text can stand as the target of a request.
fn is_path(path: &str) -> bool {
    path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic())
}
