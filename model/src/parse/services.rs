//! Backends and services.

use std::sync::Arc;

use super::{Faults, Names, or};
use crate::{
    config::{Backend, Failover, HealthCheck, Objects, Pool, Service, ServiceTimeouts, Strategy},
    diagnostic::code,
    document::{self, Document, Spanned},
    value::{BackendName, Duration, Percentage, Scheme, ServiceName, Weight},
};

/// Services in place of backends, and in place of the service.
type Others = (Vec<(ServiceName, Weight)>, Option<Failover>);

impl Faults<'_> {
    pub(super) fn backends(&mut self, document: &Document) -> Objects<BackendName, Backend> {
        let mut backends = Objects::new();
        for (name, written) in document.backends.iter().flatten() {
            let Some(url) = &written.url else { continue };
            let keeps_path = or(written.preserve_path.as_ref(), false);
            if !url.value.path().is_empty() && !keeps_path {
                self.path = vec!["backends".to_owned(), name.value.to_string(), "url".to_owned()];
                let message = format!(
                    "a backend takes the path of the request, so `{}` would never be asked for",
                    url.value.path()
                );
                let help = "leave it out, or write `preserve_path: true` to put it before theirs";
                self.error(url.at, code::INVALID_VALUE, message, help);
            }
            let backend = Backend {
                weight: or(written.weight.as_ref(), Weight::ONE),
                zone: written.zone.as_ref().map(|zone| zone.value.clone()),
                priority: or(written.priority.as_ref(), 0),
                ..Backend::at(url.value.clone())
            };
            backends.insert(name.value.clone(), Arc::new(backend));
        }
        self.path.clear();
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
        let known = Names::of("backend", "backends", document.backends.as_ref());
        let names = Names::of("service", "services", document.services.as_ref());
        let mut services = Objects::new();
        for (name, service) in written {
            self.path = vec!["services".to_owned(), name.value.to_string()];
            let others = self.alternatives(name, service, &names);
            let made = self.service(name, service, (&known, others), shared.as_ref());
            if let Some(made) = &made {
                self.one_protocol(service, made, backends);
            }
            services.extend(made.map(|made| (name.value.clone(), Arc::new(made))));
        }
        self.endless_services(document, &services);
        self.path.clear();
        services
    }

    fn service(
        &mut self,
        name: &Spanned<ServiceName>,
        written: &document::Service,
        (known, (weighted, failover)): (&Names<'_>, Others),
        shared: Option<&HealthCheck>,
    ) -> Option<Service> {
        // Looked at first: all faults are wanted, also beside backends that are missing.
        let health_check = match &written.health_check {
            Some(check) => Some(self.within("health_check", |faults| faults.health_check(check))),
            None => shared.cloned(),
        };
        let timeouts = service_timeouts(written.timeouts.as_deref());
        let pool = pool(written.pool.as_deref());
        let strategy = self.strategy(written);
        let outlier_detection = written.passive_health_check.as_ref().and_then(|written| {
            self.within("passive_health_check", |faults| faults.outlier_detection(written))
        });
        let retry = written
            .retry
            .as_ref()
            .and_then(|written| self.within("retry", |faults| faults.retry(written)));
        let backends = match &written.backends {
            Some(listed) => {
                let twice = "remove it; a larger share is what `weight` on the backend is for";
                let names = self.references("backends", listed, known, twice);
                if listed.is_empty() {
                    self.within("backends", |faults| {
                        let help = "name at least one backend";
                        faults.error(name.at, code::EMPTY, "the pool is empty", help);
                    });
                }
                names
            }
            None if written.faulty.contains(&"backends") => return None,
            None if written.weighted.is_some() => Vec::new(),
            None => {
                let help = "write backends: [ID, ...] with ids of the backends map";
                self.error(name.at, code::MISSING, "a service needs backends", help);
                return None;
            }
        };
        Some(Service {
            weighted,
            failover,
            strategy,
            slow_start: or(written.slow_start.as_ref(), Duration::ZERO),
            panic_threshold: or(written.panic_threshold.as_ref(), Percentage::ZERO),
            outlier_detection,
            retry,
            health_check,
            timeouts,
            pool,
            pass_host_header: or(written.pass_host_header.as_ref(), true),
            ..Service::of(backends)
        })
    }

    /// The strategy, and whether what it looks at is said where it looks at something.
    fn strategy(&mut self, written: &document::Service) -> Strategy {
        let strategy = written.strategy.as_ref();
        let hashes = strategy.is_some_and(|s| s.value == document::Strategy::Hash);
        match (hashes, &written.hash_on, strategy) {
            (true, None, Some(strategy)) if !written.faulty.contains(&"hash_on") => {
                let help = "write hash_on: client_ip, path, header:NAME or cookie:NAME";
                self.error(strategy.at, code::MISSING, "`hash_on` is missing", help);
            }
            (false, Some(hash_on), _) => self.within("hash_on", |faults| {
                let message = "only the strategy `hash` looks at it";
                faults.error(hash_on.at, code::CONFLICT, message, "write strategy: hash");
            }),
            _ => {}
        }
        match (strategy.map(|strategy| strategy.value), &written.hash_on) {
            (Some(document::Strategy::P2c), _) => Strategy::P2c,
            (Some(document::Strategy::PeakEwma), _) => Strategy::PeakEwma,
            (Some(document::Strategy::LeastRequests), _) => Strategy::LeastRequests,
            (Some(document::Strategy::Hash), Some(source)) => Strategy::Hash(source.value.clone()),
            _ => Strategy::RoundRobin,
        }
    }

    /// A pool speaks one kind of protocol: requests, bytes or datagrams.
    fn one_protocol(
        &mut self,
        written: &document::Service,
        service: &Service,
        backends: &Objects<BackendName, Backend>,
    ) {
        let kind = |scheme: Scheme| match scheme {
            Scheme::Tcp => "tcp",
            Scheme::Udp => "udp",
            _ => "http",
        };
        let mut first: Option<(&BackendName, &str)> = None;
        for name in &service.backends {
            let Some(backend) = backends.get(name) else { continue };
            let kind = kind(backend.url.scheme());
            match first {
                None => first = Some((name, kind)),
                Some((other, theirs)) if theirs != kind => {
                    let message = format!("`{other}` speaks {theirs} and `{name}` speaks {kind}");
                    let at = written
                        .backends
                        .iter()
                        .flatten()
                        .find(|listed| listed.value == *name)
                        .map_or(written.at, |listed| listed.at);
                    self.within("backends", |faults| {
                        let help = "make two services of them";
                        faults.error(at, code::CONFLICT, message, help);
                    });
                    return;
                }
                Some(_) => {}
            }
        }
    }
}

fn service_timeouts(written: Option<&document::ServiceTimeouts>) -> ServiceTimeouts {
    let default = ServiceTimeouts::default();
    let Some(written) = written else {
        return default;
    };
    ServiceTimeouts {
        connect: written.connect.as_ref().map_or(default.connect, |d| d.value.get()),
        response_header: or(written.response_header.as_ref(), default.response_header),
        idle: or(written.idle.as_ref(), default.idle),
        total: or(written.total.as_ref(), default.total),
    }
}

fn pool(written: Option<&document::Pool>) -> Pool {
    let default = Pool::default();
    let Some(written) = written else {
        return default;
    };
    Pool {
        max_idle: or(written.max_idle.as_ref(), default.max_idle),
        idle_timeout: written.idle_timeout.as_ref().map_or(default.idle_timeout, |d| d.value.get()),
        max_connections: or(written.max_connections.as_ref(), default.max_connections),
        max_pending_requests: or(
            written.max_pending_requests.as_ref(),
            default.max_pending_requests,
        ),
        queue_timeout: written.queue_timeout.map_or(default.queue_timeout, |d| d.value.get()),
        max_lifetime: or(written.max_lifetime.as_ref(), default.max_lifetime),
    }
}

/// Whether a text can stand as the target of a request.
pub(crate) fn is_path(path: &str) -> bool {
    path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic())
}
