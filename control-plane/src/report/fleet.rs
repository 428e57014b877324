//! The backends and circuit breakers of a configuration, as all proxies together see them.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use lb_model::{
    Config,
    api::{BackendCounts, BackendView, BreakerView, CircuitState, ProxyBreaker},
    config::{AdminState, Backend, TrafficManagement},
    value::{BackendName, ServiceName},
};
use lb_proto::v1::{BackendHealth, BackendReport, BreakerReport, BreakerState};

use super::{Measured, Reports, totals::Totals};

impl Reports {
    /// Every backend of every service, as the fleet sees it, by service and id.
    pub fn backends(&self, config: &Config, now: Timestamp) -> Vec<BackendView> {
        let known = self.lock();
        let fresh: Vec<_> = known.proxies.values().filter(|latest| latest.is_fresh(now)).collect();
        let mut views = Vec::new();
        let services = Services::of(config);
        for (service, id, backend) in services.places() {
            let key = (service.to_string(), id.to_string());
            let seen: Vec<_> = fresh
                .iter()
                .filter_map(|latest| Some((latest.at, latest.backends.get(&key)?)))
                .collect();
            let mut view = blank(service, id, backend);
            let traffic = services.traffic(service);
            view.canary = traffic.iter().any(|each| each.canaries().any(|name| name == id));
            view.slot = traffic.iter().find_map(|each| slot(each, id)).map(ToOwned::to_owned);
            view.reported_by = seen.len();
            fill(&mut view, &seen, now);
            views.push(view);
        }
        views
    }

    /// The circuit breakers of every backend of every service that has some, by service and id.
    pub fn breakers(&self, config: &Config, now: Timestamp) -> Vec<BreakerView> {
        let known = self.lock();
        let fresh: Vec<_> =
            known.proxies.iter().filter(|(_, latest)| latest.is_fresh(now)).collect();
        let mut views = Vec::new();
        let services = Services::of(config);
        for (service, id, _) in services.places() {
            let mut traffic = services.traffic(service).iter();
            let has_one = traffic.any(|each| each.circuit_breaker.is_some());
            let key = (service.to_string(), id.to_string());
            let said: Vec<_> = fresh
                .iter()
                .filter_map(|(proxy, latest)| {
                    let report = &latest.backends.get(&key)?.report;
                    Some((proxy.as_str(), report.breaker.as_ref()?))
                })
                .collect();
            // What the proxies say of a version that is not current is still so.
            if has_one || !said.is_empty() {
                views.push(breaker(service.to_string(), id.to_string(), &said));
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
}

/// How backends of each service share requests: as it says, and as routes say in its place.
struct Services<'c> {
    config: &'c Config,
    traffic: BTreeMap<&'c ServiceName, Vec<&'c TrafficManagement>>,
}

impl<'c> Services<'c> {
    fn of(config: &'c Config) -> Self {
        let own = config.services.iter();
        let mut traffic: BTreeMap<_, _> =
            own.map(|(name, service)| (name, vec![&*service.traffic_management])).collect();
        for route in config.routes.values() {
            let said = route.traffic_management.as_deref();
            if let (Some(all), Some(said)) = (traffic.get_mut(&route.service), said) {
                all.push(said);
            }
        }
        Self { config, traffic }
    }

    /// Every backend in its service, canaries that only a route brings along included.
    fn places(&self) -> impl Iterator<Item = (&'c ServiceName, &'c BackendName, &'c Backend)> {
        let config = self.config;
        config.services.iter().flat_map(move |(name, service)| {
            let canaries = self.traffic(name).iter().flat_map(|traffic| traffic.canaries());
            let ids: BTreeSet<_> = service.backends.iter().chain(canaries).collect();
            let found = ids.into_iter().filter_map(|id| Some((id, config.backends.get(id)?)));
            found.map(move |(id, backend)| (name, id, &**backend))
        })
    }

    fn traffic(&self, service: &ServiceName) -> &[&'c TrafficManagement] {
        self.traffic.get(service).map(Vec::as_slice).unwrap_or_default()
    }
}

fn slot(traffic: &TrafficManagement, id: &BackendName) -> Option<&'static str> {
    let slots = traffic.blue_green.as_ref()?;
    let is_in = |listed: &[BackendName]| listed.contains(id);
    if is_in(&slots.blue) { Some("blue") } else { is_in(&slots.green).then_some("green") }
}

fn blank(service: &ServiceName, id: &BackendName, backend: &Backend) -> BackendView {
    BackendView {
        id: id.to_string(),
        url: backend.url.to_string(),
        service: service.to_string(),
        weight: backend.weight.get(),
        admin_state: backend.admin_state,
        admin_state_on: 0,
        overridden: None,
        health: String::new(),
        up_on: 0,
        reported_by: 0,
        last_error: None,
        last_check: None,
        circuit: None,
        ejected_on: 0,
        in_flight: 0,
        waiting: 0,
        requests: 0,
        failures: 0,
        server_errors: 0,
        requests_per_second: 0.0,
        error_percent: 0.0,
        latency: None,
        canary: false,
        slot: None,
        source: "config".to_owned(),
    }
}

fn fill(view: &mut BackendView, seen: &[(Timestamp, &Measured)], now: Timestamp) {
    let mut unchecked = 0;
    let decided = lb_model::wire::admin_state(view.admin_state);
    let (mut checked_at, mut failed_at) = (0, 0);
    let mut came = Totals::default();
    for (at, measured) in seen.iter().copied() {
        let report: &BackendReport = &measured.report;
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
        view.circuit = view.circuit.max(report.breaker.as_ref().map(state));
        view.ejected_on += usize::from(report.ejected_until_ms > now.as_millisecond());
        view.in_flight = view.in_flight.saturating_add(report.in_flight);
        view.waiting = view.waiting.saturating_add(report.waiting.into());
        view.requests = view.requests.saturating_add(report.requests);
        view.failures = view.failures.saturating_add(report.failures);
        view.server_errors = view.server_errors.saturating_add(report.server_errors);
        let (seconds, window) = measured.running.window(at, Totals::since);
        if seconds > 0.0 {
            view.requests_per_second += window.requests as f64 / seconds;
        }
        came = came.and(&window);
    }
    view.error_percent = (came.error_percent() * 100.0).round() / 100.0;
    view.latency = came.latencies();
    view.last_check = time(checked_at);
    let health = match (view.reported_by, view.up_on) {
        (0, _) => "unknown",
        (all, _) if unchecked == all => "unchecked",
        (all, up) if up == all => "up",
        (_, 0) => "down",
        _ => "mixed",
    };
    health.clone_into(&mut view.health);
}

fn breaker(service: String, id: String, said: &[(&str, &BreakerReport)]) -> BreakerView {
    let mut view = BreakerView {
        id,
        service,
        state: None,
        requests: 0,
        failures: 0,
        opened: 0,
        opened_at: None,
        next_attempt: None,
        proxies: Vec::with_capacity(said.len()),
    };
    let (mut opened_at, mut next) = (0, i64::MAX);
    for (proxy, report) in said {
        view.state = view.state.max(Some(state(report)));
        view.requests = view.requests.saturating_add(report.requests);
        view.failures = view.failures.saturating_add(report.failures);
        view.opened = view.opened.saturating_add(report.opened);
        opened_at = opened_at.max(report.opened_at_ms);
        if report.next_attempt_ms > 0 {
            next = next.min(report.next_attempt_ms);
        }
        view.proxies.push(ProxyBreaker {
            proxy: (*proxy).to_owned(),
            state: state(report),
            requests: report.requests,
            failures: report.failures,
            opened: report.opened,
            opened_at: time(report.opened_at_ms),
            next_attempt: time(report.next_attempt_ms),
        });
    }
    view.opened_at = time(opened_at);
    view.next_attempt = Some(next).filter(|next| *next < i64::MAX).and_then(time);
    view
}

/// What a breaker is; one in a state of a later release lets requests pass as far as is known.
fn state(report: &BreakerReport) -> CircuitState {
    match report.state() {
        BreakerState::Open => CircuitState::Open,
        BreakerState::HalfOpen => CircuitState::HalfOpen,
        BreakerState::Closed | BreakerState::Unspecified => CircuitState::Closed,
    }
}

/// A moment in milliseconds since 1970; 0 is none.
fn time(millis: i64) -> Option<String> {
    let time = (millis > 0).then(|| Timestamp::from_millisecond(millis).ok()).flatten();
    time.map(|time| time.to_string())
}

#[cfg(test)]
mod tests {
    use lb_model::Bundle;

    use super::{
        super::tests::{at, batch, report},
        *,
    };

    const DOCUMENT: &str = "
backends:
  a: { url: \"http://127.0.0.1:1\" }
  b: { url: \"http://127.0.0.1:2\" }
services:
  default:
    backends: [a, b]
    traffic_management:
      circuit_breaker: { enabled: true }
      blue_green: { enabled: true, blue_backends: [a], green_backends: [b] }
      canary:
        enabled: true
        traffic_split: 10
        canary_backends: [{ backend_id: c, url: \"http://127.0.0.1:3\" }]
";

    fn config(text: &str) -> Config {
        Config::parse(&Bundle::of_text("lb.yaml", text), 0).unwrap().config
    }

    fn one() -> Config {
        config("backends: { a: { url: \"http://127.0.0.1:1\" } }")
    }

    fn health(health: BackendHealth) -> Vec<BackendReport> {
        vec![BackendReport { health: health.into(), ..report("a", 0) }]
    }

    fn broken(state: BreakerState, opened_at_ms: i64) -> BackendReport {
        let next_attempt_ms =
            if opened_at_ms > 0 { opened_at_ms.saturating_add(30_000) } else { 0 };
        let opened = u64::from(opened_at_ms > 0);
        let breaker = BreakerReport {
            state: state.into(),
            requests: 20,
            failures: 9,
            opened_at_ms,
            next_attempt_ms,
            opened,
        };
        BackendReport { breaker: Some(breaker), ..report("a", 0) }
    }

    #[test]
    fn health_is_merged_over_the_fleet() {
        let (reports, config) = (Reports::default(), one());
        let seen = |reports: &Reports| reports.backends(&config, at(0))[0].health.clone();
        assert_eq!(seen(&reports), "unknown");
        reports.take(batch(("p", "1"), 1, health(BackendHealth::Up)), at(0));
        assert_eq!(seen(&reports), "up");
        reports.take(batch(("q", "1"), 1, health(BackendHealth::Down)), at(0));
        assert_eq!(seen(&reports), "mixed");
        assert_eq!(reports.counts(&config, at(0)).unhealthy, 1);
    }

    #[test]
    fn totals_are_not_counted_twice_and_give_rates_and_shares() {
        let (reports, config) = (Reports::default(), one());
        let say = |sequence, requests, second| {
            let mut report = report("a", requests);
            (report.server_errors, report.failures) = (requests / 10, requests / 20);
            report.latency = vec![0, 0, requests];
            reports.take(batch(("p", "1"), sequence, vec![report]), at(second));
        };
        say(1, 100, 0);
        say(2, 300, 2);
        say(2, 999, 3);
        let view = &reports.backends(&config, at(3))[0];
        assert_eq!((view.requests, view.requests_per_second), (300, 100.0));
        assert_eq!((view.failures, view.server_errors, view.error_percent), (15, 30, 15.0));
        let latency = view.latency.unwrap();
        assert!(latency.p50_ms > 1.0 && latency.p99_ms <= 2.5, "{latency:?}");
    }

    #[test]
    fn a_proxy_that_fell_silent_is_not_counted() {
        let (reports, config) = (Reports::default(), one());
        reports.take(batch(("p", "1"), 1, health(BackendHealth::Up)), at(0));
        assert_eq!(reports.backends(&config, at(60))[0].health, "unknown");
    }

    #[test]
    fn a_backend_says_its_slot_and_whether_it_is_a_canary() {
        let views = Reports::default().backends(&config(DOCUMENT), at(0));
        let said: Vec<_> =
            views.iter().map(|v| (v.id.as_str(), v.slot.as_deref(), v.canary)).collect();
        assert_eq!(
            said,
            [("a", Some("blue"), false), ("b", Some("green"), false), ("c", None, true)]
        );
    }

    #[test]
    fn the_worst_circuit_of_all_proxies_is_that_of_the_fleet() {
        let (reports, config) = (Reports::default(), config(DOCUMENT));
        let breakers = |now| reports.breakers(&config, now);
        assert_eq!(breakers(at(0))[0].state, None, "nobody has said anything");
        for (proxy, state, opened_at) in [
            ("p", BreakerState::Closed, 0),
            ("q", BreakerState::Open, 7_000),
            ("r", BreakerState::HalfOpen, 5_000),
        ] {
            reports.take(batch((proxy, "1"), 1, vec![broken(state, opened_at)]), at(8));
        }
        let view = &breakers(at(8))[0];
        assert_eq!((view.id.as_str(), view.state), ("a", Some(CircuitState::Open)));
        assert_eq!((view.requests, view.failures, view.opened), (60, 27, 2));
        assert_eq!(view.opened_at.as_deref(), Some("1970-01-01T00:00:07Z"));
        assert_eq!(view.next_attempt.as_deref(), Some("1970-01-01T00:00:35Z"));
        assert_eq!(view.proxies.len(), 3);
        assert_eq!(reports.backends(&config, at(8))[0].circuit, Some(CircuitState::Open));
        assert!(reports.breakers(&one(), at(60)).is_empty());
    }

    #[test]
    fn absurd_numbers_and_texts_do_no_harm() {
        let (reports, now) = (Reports::default(), at(0));
        for proxy in ["p", "q"] {
            let mut report = broken(BreakerState::Open, i64::MAX);
            report.breaker = report.breaker.map(|breaker| BreakerReport {
                state: 99,
                requests: u64::MAX,
                next_attempt_ms: i64::MIN,
                ..breaker
            });
            (report.in_flight, report.failures, report.requests) = (u64::MAX, u64::MAX, u64::MAX);
            report.latency = vec![u64::MAX; 99];
            report.last_error = "x".repeat(1 << 20);
            report.checked_at_ms = i64::MAX;
            reports.take(batch((proxy, "1"), 1, vec![report]), now);
        }
        let view = &reports.backends(&one(), now)[0];
        assert_eq!((view.requests, view.in_flight, view.failures), (u64::MAX, u64::MAX, u64::MAX));
        assert!(view.last_error.as_ref().is_none_or(|error| error.len() <= 2_000));
        let breaker = &reports.breakers(&one(), now)[0];
        assert_eq!(
            (breaker.state, breaker.next_attempt.as_ref()),
            (Some(CircuitState::Closed), None)
        );
    }
}
