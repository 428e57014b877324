//! What the proxies report: health, requests in flight and counts, merged over the fleet.
//!
//! Proxies send running totals, so a lost or repeated batch counts nothing twice. Health stays
//! each proxy's own decision; here it is only shown.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use lb_model::{
    Config,
    api::{BackendCounts, BackendView},
    config::AdminState,
};
use lb_proto::v1::{BackendHealth, BackendReport, ReportBatch};

use crate::sync::session::clip;

/// How often a proxy reports, in milliseconds.
pub const INTERVAL_MS: u64 = 1_000;
/// A proxy that reported nothing for this long is not counted.
const STALE_SECONDS: f64 = 15.0;
/// The most proxies, and entries of one batch, that are kept.
const MOST_PROXIES: usize = 20_000;
const MOST_ENTRIES: usize = 100_000;

#[derive(Debug)]
struct Latest {
    instance: String,
    sequence: u64,
    at: Timestamp,
    open_connections: u64,
    backends: BTreeMap<(String, String), Measured>,
}

#[derive(Debug)]
struct Measured {
    report: BackendReport,
    requests_per_second: f64,
}

/// The latest report of every proxy.
#[derive(Debug, Default)]
pub struct Reports {
    proxies: Mutex<BTreeMap<String, Latest>>,
}

impl Reports {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Latest>> {
        self.proxies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in a batch. One that is not newer than the last of the same instance is dropped.
    pub fn take(&self, batch: ReportBatch, now: Timestamp) {
        let mut proxies = self.lock();
        if proxies.len() >= MOST_PROXIES && !proxies.contains_key(&batch.proxy) {
            return;
        }
        let before = proxies.remove(&batch.proxy);
        let before = match before {
            Some(known) if known.instance == batch.instance => {
                if known.sequence >= batch.sequence {
                    proxies.insert(batch.proxy, known);
                    return;
                }
                Some(known)
            }
            _ => None,
        };
        let elapsed = before.as_ref().map(|before| now.duration_since(before.at).as_secs_f64());
        let backends = batch.backends.into_iter().take(MOST_ENTRIES).map(|mut report| {
            report.last_error = clip(report.last_error);
            let key = (report.service.clone(), report.backend.clone());
            let known = before.as_ref().and_then(|before| before.backends.get(&key));
            let requests_per_second = match (known, elapsed) {
                (Some(known), Some(elapsed)) if elapsed > 0.0 => {
                    report.requests.saturating_sub(known.report.requests) as f64 / elapsed
                }
                _ => 0.0,
            };
            (key, Measured { report, requests_per_second })
        });
        let latest = Latest {
            instance: batch.instance,
            sequence: batch.sequence,
            at: now,
            open_connections: batch.open_connections,
            backends: backends.collect(),
        };
        proxies.insert(batch.proxy, latest);
    }

    /// Every backend of every service, as the fleet sees it, by service and id.
    pub fn backends(&self, config: &Config, now: Timestamp) -> Vec<BackendView> {
        let proxies = self.lock();
        let fresh: Vec<_> = proxies.values().filter(|latest| latest.is_fresh(now)).collect();
        let mut views = Vec::new();
        for (service, spec) in &config.services {
            let ids: BTreeSet<_> = spec.backends.iter().collect();
            for id in ids {
                let Some(backend) = config.backends.get(id) else { continue };
                let key = (service.to_string(), id.to_string());
                let seen: Vec<_> =
                    fresh.iter().filter_map(|latest| latest.backends.get(&key)).collect();
                let mut view = BackendView {
                    id: id.to_string(),
                    url: backend.url.to_string(),
                    service: service.to_string(),
                    weight: backend.weight.get(),
                    admin_state: backend.admin_state,
                    admin_state_on: 0,
                    overridden: None,
                    health: String::new(),
                    up_on: 0,
                    reported_by: seen.len(),
                    last_error: None,
                    last_check: None,
                    in_flight: 0,
                    requests: 0,
                    failures: 0,
                    requests_per_second: 0.0,
                    source: "config".to_owned(),
                };
                fill(&mut view, &seen);
                views.push(view);
            }
        }
        views
    }

    /// Backends by health.
    pub fn counts(&self, config: &Config, now: Timestamp) -> BackendCounts {
        let mut counts = BackendCounts::default();
        for view in self.backends(config, now) {
            match (view.admin_state, view.health.as_str()) {
                // Whether it is well matters when it is wanted again.
                (AdminState::Disabled, _) => counts.disabled += 1,
                (AdminState::Draining, _) => counts.draining += 1,
                (AdminState::Enabled, "up" | "unchecked" | "unknown") => counts.healthy += 1,
                (AdminState::Enabled, _) => counts.unhealthy += 1,
            }
        }
        counts
    }

    /// Open client connections of a proxy, as last reported.
    pub fn open_connections(&self, proxy: &str) -> u64 {
        self.lock().get(proxy).map_or(0, |latest| latest.open_connections)
    }
}

impl Latest {
    fn is_fresh(&self, now: Timestamp) -> bool {
        now.duration_since(self.at).as_secs_f64() < STALE_SECONDS
    }
}

fn fill(view: &mut BackendView, seen: &[&Measured]) {
    let mut unchecked = 0;
    let decided = lb_model::wire::admin_state(view.admin_state);
    let (mut checked_at, mut failed_at) = (0, 0);
    for Measured { report, requests_per_second } in seen.iter().copied() {
        match report.health() {
            BackendHealth::Up => view.up_on += 1,
            BackendHealth::Unchecked | BackendHealth::Unspecified => {
                unchecked += 1;
                view.up_on += 1;
            }
            BackendHealth::Down => {}
        }
        view.admin_state_on += usize::from(report.admin_state() == decided);
        if !report.last_error.is_empty() && report.checked_at_ms >= failed_at {
            failed_at = report.checked_at_ms;
            view.last_error = Some(report.last_error.clone());
        }
        checked_at = checked_at.max(report.checked_at_ms);
        view.in_flight = view.in_flight.saturating_add(report.in_flight);
        view.requests = view.requests.saturating_add(report.requests);
        view.failures = view.failures.saturating_add(report.failures);
        view.requests_per_second += requests_per_second;
    }
    view.last_check = (checked_at > 0)
        .then(|| Timestamp::from_millisecond(checked_at).ok())
        .flatten()
        .map(|time| time.to_string());
    let health = match (view.reported_by, view.up_on) {
        (0, _) => "unknown",
        (all, _) if unchecked == all => "unchecked",
        (all, up) if up == all => "up",
        (_, 0) => "down",
        _ => "mixed",
    };
    health.clone_into(&mut view.health);
}

#[cfg(test)]
mod tests {
    use lb_model::Bundle;

    use super::*;

    fn config() -> Config {
        let text = "backends: { a: { url: \"http://127.0.0.1:1\" } }";
        Config::parse(&Bundle::of_text("lb.yaml", text), 0).unwrap().config
    }

    fn batch(proxy: &str, sequence: u64, health: BackendHealth, requests: u64) -> ReportBatch {
        ReportBatch {
            proxy: proxy.into(),
            instance: "1".into(),
            sequence,
            backends: vec![BackendReport {
                service: "default".into(),
                backend: "a".into(),
                health: health.into(),
                requests,
                ..BackendReport::default()
            }],
            ..ReportBatch::default()
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn health_is_merged_over_the_fleet() {
        let (reports, config) = (Reports::default(), config());
        let health = |reports: &Reports| reports.backends(&config, at(0))[0].health.clone();
        assert_eq!(health(&reports), "unknown");
        reports.take(batch("p", 1, BackendHealth::Up, 0), at(0));
        assert_eq!(health(&reports), "up");
        reports.take(batch("q", 1, BackendHealth::Down, 0), at(0));
        assert_eq!(health(&reports), "mixed");
        assert_eq!(reports.counts(&config, at(0)).unhealthy, 1);
    }

    #[test]
    fn totals_are_not_counted_twice_and_give_a_rate() {
        let (reports, config) = (Reports::default(), config());
        reports.take(batch("p", 1, BackendHealth::Up, 100), at(0));
        reports.take(batch("p", 2, BackendHealth::Up, 300), at(2));
        reports.take(batch("p", 2, BackendHealth::Up, 999), at(3));
        let view = &reports.backends(&config, at(3))[0];
        assert_eq!((view.requests, view.requests_per_second), (300, 100.0));
    }

    #[test]
    fn a_proxy_that_fell_silent_is_not_counted() {
        let (reports, config) = (Reports::default(), config());
        reports.take(batch("p", 1, BackendHealth::Up, 0), at(0));
        assert_eq!(reports.backends(&config, at(60))[0].health, "unknown");
    }

    #[test]
    fn absurd_numbers_and_texts_do_no_harm() {
        let (reports, now) = (Reports::default(), Timestamp::UNIX_EPOCH);
        for proxy in ["p", "q"] {
            let mut batch = batch(proxy, 1, BackendHealth::Down, u64::MAX);
            batch.backends[0].in_flight = u64::MAX;
            batch.backends[0].failures = u64::MAX;
            batch.backends[0].last_error = "x".repeat(1 << 20);
            reports.take(batch, now);
        }
        let view = &reports.backends(&config(), now)[0];
        assert_eq!((view.requests, view.in_flight, view.failures), (u64::MAX, u64::MAX, u64::MAX));
        assert!(view.last_error.as_ref().is_none_or(|error| error.len() <= 2_000));
    }
}
