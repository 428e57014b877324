//! What a service does about backends that fail, when a request is tried again, and services in
//! the place of others.

use std::collections::BTreeSet;

use super::{Faults, Names, list, number, or};
use crate::{
    config::{Failover, Objects, OutlierDetection, Overload, Retry, RetryOn, Service, SuccessRate},
    diagnostic::code,
    document::{self, Document, Spanned},
    value::{ByteSize, Duration, Factor, Percentage, ServiceName, Weight},
};

/// How deep services may stand in the place of others.
const MOST_LEVELS: usize = 8;

impl Faults<'_> {
    pub(super) fn retry(&mut self, written: &document::Retry) -> Option<Retry> {
        let attempts = written.attempts?;
        if attempts.value.get() == 1 {
            let message = "one try in all means that nothing is tried again";
            self.warn(attempts.at, code::UNUSED, message, "write 2 or more, or remove the block");
        }
        let budget = Percentage::parse("20").ok()?;
        let status =
            written.status.as_ref().map(|listed| list(Some(&listed.0))).unwrap_or_default();
        let usual = [RetryOn::ConnectFailure, RetryOn::RefusedStream];
        Some(Retry {
            attempts: attempts.value.get(),
            initial_interval: or(written.initial_interval.as_ref(), Duration::from_millis(100)),
            per_try_timeout: written.per_try_timeout.map(|d| d.value.get()),
            on: match &written.on {
                Some(_) => list(written.on.as_ref()),
                None => usual.to_vec(),
            },
            status,
            non_idempotent: or(written.non_idempotent.as_ref(), false),
            max_body_bytes: or(written.max_body_bytes.as_ref(), ByteSize(64 << 10)),
            budget: or(written.budget.as_ref(), budget),
        })
    }

    pub(super) fn outlier_detection(
        &mut self,
        written: &document::PassiveHealthCheck,
    ) -> Option<OutlierDetection> {
        let seconds = |written: Option<Spanned<crate::value::PositiveDuration>>, usual| {
            written.map_or(Duration::from_secs(usual), |d| d.value.get())
        };
        let ejection_time = seconds(written.ejection_time, 30);
        let usual = Duration::from_secs(300).max(ejection_time);
        let max_ejection_time = written.max_ejection_time.map_or(usual, |d| d.value.get());
        if let Some(most) = written.max_ejection_time.filter(|_| max_ejection_time < ejection_time)
        {
            self.within("max_ejection_time", |faults| {
                let message = format!(
                    "{max_ejection_time} is shorter than `ejection_time` ({ejection_time})"
                );
                faults.error(most.at, code::CONFLICT, message, "write a longer one");
            });
        }
        let success_rate = match &written.success_rate {
            Some(written) => Some(SuccessRate {
                interval: seconds(written.interval, 10),
                minimum_hosts: number(written.minimum_hosts, 5),
                request_volume: number(written.request_volume, 100),
                stdev_factor: or(written.stdev_factor.as_ref(), Factor::parse("1.9").ok()?),
            }),
            None => None,
        };
        Some(OutlierDetection {
            max_failed_attempts: number(written.max_failed_attempts, 5),
            failure_window: seconds(written.failure_window, 10),
            ejection_time,
            max_ejection_time,
            max_ejection_percent: or(
                written.max_ejection_percent.as_ref(),
                Percentage::parse("50").ok()?,
            ),
            success_rate,
        })
    }

    /// Other services in place of backends, or of this one.
    pub(super) fn alternatives(
        &mut self,
        name: &Spanned<ServiceName>,
        written: &document::Service,
        names: &Names<'_>,
    ) -> (Vec<(ServiceName, Weight)>, Option<Failover>) {
        let status = written.failover_status.as_ref().map(|s| list(Some(&s.0))).unwrap_or_default();
        if let (Some(listed), None) = (&written.failover_status, &written.failover)
            && let Some(first) = listed.0.first()
        {
            self.within("failover_status", |faults| {
                let message = "there is no service that would answer in place of these codes";
                faults.error(first.at, code::CONFLICT, message, "add failover: NAME");
            });
        }
        let failover = written.failover.as_ref().and_then(|other| {
            self.within("failover", |faults| {
                if other.value == name.value {
                    let message = "a service cannot stand in for itself";
                    faults.error(other.at, code::LOOP, message, "name another service");
                    return None;
                }
                let service = other.value.clone();
                faults.refers(other, names).then_some(Failover { service, status })
            })
        });
        let Some(weighted) = &written.weighted else { return (Vec::new(), failover) };
        if let Some(backends) = written.backends.as_ref().and_then(|listed| listed.first()) {
            let message = "a service has backends or other services, not both";
            let help = "make a service of the backends and name it in `weighted`";
            self.error(backends.at, code::CONFLICT, message, help);
        }
        if weighted.is_empty() && written.backends.is_none() {
            let help = "write weighted: [{ service: NAME, weight: 1 }]";
            self.error(name.at, code::EMPTY, "there is no service to choose from", help);
        }
        let parts = self.each("weighted", weighted, |faults, part| {
            let other = part.service.as_ref()?;
            if other.value == name.value {
                let message = "a service cannot be a part of itself";
                faults.error(other.at, code::LOOP, message, "name another service");
                return None;
            }
            let weight = or(part.weight.as_ref(), Weight::ONE);
            faults.refers(other, names).then(|| (other.value.clone(), weight))
        });
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        if !parts.is_empty() && parts.iter().all(|(_, weight)| weight.get() == 0) {
            let message = "every part has weight 0, so none could take a request";
            self.error(written.at, code::CONFLICT, message, "give one of them a weight");
        }
        (parts, failover)
    }

    /// Services that stand in for each other must come to an end, and soon: a request follows
    /// them one by one.
    pub(super) fn endless_services(
        &mut self,
        document: &Document,
        services: &Objects<ServiceName, Service>,
    ) {
        for (name, _) in document.services.iter().flatten() {
            if let Some(fault) = endless(services, &name.value) {
                self.path = vec!["services".to_owned(), name.value.to_string()];
                let help = "take one of them out of `weighted` or `failover`";
                self.error(name.at, code::LOOP, fault, help);
            }
        }
        self.path.clear();
    }

    /// When a proxy refuses requests to protect itself.
    pub(super) fn overload(&mut self, document: &Document) -> Option<Overload> {
        let written = super::traffic_management::on(document.overload.as_ref())?;
        let max_memory = written.max_memory.as_ref();
        if let Some(memory) = max_memory.filter(|memory| memory.value.0 < 64 << 20) {
            self.path = vec!["overload".to_owned(), "max_memory".to_owned()];
            let message = format!("a proxy needs more than {} to run at all", memory.value);
            self.error(memory.at, code::INVALID_VALUE, message, "write 64MiB or more");
            self.path.clear();
        }
        Some(Overload {
            max_memory: max_memory.map(|memory| memory.value),
            max_delay: written.max_delay.map_or(Duration::from_millis(100), |d| d.value.get()),
        })
    }
}

/// Why a request would not come to an end, or too late, among the services that stand in for this
/// one and for each other.
pub(crate) fn endless(
    services: &Objects<ServiceName, Service>,
    name: &ServiceName,
) -> Option<String> {
    let service = services.get(name)?;
    // Level by level: each is as large as there are services at most.
    let mut level: BTreeSet<&ServiceName> = service.others().collect();
    for _ in 0..MOST_LEVELS {
        if level.is_empty() {
            return None;
        }
        if level.contains(name) {
            let message = "its services lead back to itself, so it would never answer";
            return Some(message.to_owned());
        }
        let next = level.iter().filter_map(|name| services.get(*name));
        level = next.flat_map(|service| service.others()).collect();
    }
    (!level.is_empty())
        .then(|| format!("services stand in for others more than {MOST_LEVELS} levels deep"))
}
