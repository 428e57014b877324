//! What the proxy counts, in the text format of Prometheus.
//!
//! Workers count without locks; a scrape adds them up. So the families are made anew for each
//! scrape, and a scrape pays for itself.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use jiff::Timestamp;
use lb_telemetry::{SOFTWARE_VERSION, metric};
use lb_upstream::breaker;
use prometheus::{
    Encoder, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder, core::Collector,
};

use crate::{apply::State, stats::RuntimeStats};

/// What became of versions.
#[derive(Debug, Default)]
pub struct ApplyMetrics {
    invalid: AtomicU64,
    bind_failed: AtomicU64,
    internal: AtomicU64,
    limit_exceeded: AtomicU64,
    other: AtomicU64,
    not_persisted: AtomicU64,
    last_success: AtomicI64,
    connected: AtomicI64,
}

impl ApplyMetrics {
    pub(crate) fn succeeded(&self) {
        self.last_success.store(Timestamp::now().as_second(), Ordering::Relaxed);
    }

    pub(crate) fn failed(&self, reason: &str) {
        let counter = match reason {
            "invalid" => &self.invalid,
            "bind_failed" => &self.bind_failed,
            "internal" => &self.internal,
            "limit_exceeded" => &self.limit_exceeded,
            _ => &self.other,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn not_persisted(&self) {
        self.not_persisted.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn connected(&self, connected: bool) {
        self.connected.store(connected.into(), Ordering::Relaxed);
    }

    /// Whether the control plane is connected.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed) == 1
    }
}

/// Writes everything that was counted.
pub fn render(stats: &RuntimeStats, state: &State, apply: &ApplyMetrics) -> String {
    let mut text = Vec::new();
    if let Err(error) = families(stats, state, apply)
        .and_then(|registry| TextEncoder::new().encode(&registry.gather(), &mut text))
    {
        tracing::error!(%error, "could not write metrics");
    }
    String::from_utf8(text).unwrap_or_default()
}

/// A registry that takes counters and gauges as they come.
struct Families(Registry);

impl Families {
    fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<IntCounterVec> {
        self.add(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    fn gauge(&self, name: &str, help: &str, value: i64) -> prometheus::Result<()> {
        self.gauges(name, help, &[])?.with_label_values::<&str>(&[]).set(value);
        Ok(())
    }

    fn add<C: Collector + Clone + 'static>(&self, collector: C) -> prometheus::Result<C> {
        self.0.register(Box::new(collector.clone()))?;
        Ok(collector)
    }
}

fn families(
    stats: &RuntimeStats,
    state: &State,
    apply: &ApplyMetrics,
) -> prometheus::Result<Registry> {
    let families = Families(Registry::new());
    requests(&families, stats)?;
    backends(&families, stats)?;
    protection(&families, stats)?;
    decisions(&families, stats)?;
    connections(&families, stats)?;
    mirrors(&families, stats)?;
    configuration(&families, state, apply)?;
    Ok(families.0)
}

fn requests(families: &Families, stats: &RuntimeStats) -> prometheus::Result<()> {
    let total = families.counters(
        metric::REQUESTS_TOTAL,
        "Requests answered",
        &["route", "service", "class"],
    )?;
    for route in &stats.routes {
        for (class, count) in (1..).zip(route.classes) {
            total
                .with_label_values(&[&*route.route, &*route.service, &format!("{class}xx")])
                .inc_by(count);
        }
    }
    let local = families.counters(
        metric::LOCAL_RESPONSES_TOTAL,
        "Answers that the proxy made itself",
        &["reason"],
    )?;
    for (reason, count) in &stats.reasons {
        local.with_label_values(&[reason.as_str()]).inc_by(*count);
    }
    Ok(())
}

fn backends(families: &Families, stats: &RuntimeStats) -> prometheus::Result<()> {
    const LABELS: &[&str] = &["service", "backend"];
    let up = families.gauges(metric::BACKEND_UP, "Whether a backend is up", LABELS)?;
    let admin_state = families.gauges(
        metric::BACKEND_ADMIN_STATE,
        "What an operator decided about a backend",
        &["service", "backend", "state"],
    )?;
    let in_flight = families.gauges(
        metric::UPSTREAM_IN_FLIGHT,
        "Requests on their way to a backend",
        LABELS,
    )?;
    let total =
        families.counters(metric::UPSTREAM_REQUESTS_TOTAL, "Requests sent to a backend", LABELS)?;
    let failures = families.counters(
        metric::UPSTREAM_FAILURES_TOTAL,
        "Requests without a response of the backend",
        &["service", "backend", "kind"],
    )?;
    for backend in &stats.backends {
        let labels = [&*backend.service, &*backend.backend];
        let counts = &backend.counts;
        up.with_label_values(&labels).set(backend.health.up.into());
        let state = backend.admin_state.as_str();
        admin_state.with_label_values(&[labels[0], labels[1], state]).set(1);
        in_flight
            .with_label_values(&labels)
            .set(i64::try_from(counts.in_flight).unwrap_or(i64::MAX));
        total.with_label_values(&labels).inc_by(counts.requests);
        for (kind, count) in [
            ("connect", counts.connect_errors),
            ("timeout", counts.timeouts),
            ("reset", counts.resets),
            ("invalid", counts.invalid),
        ] {
            failures.with_label_values(&[labels[0], labels[1], kind]).inc_by(count);
        }
    }
    Ok(())
}

/// What keeps requests away from backends.
fn protection(families: &Families, stats: &RuntimeStats) -> prometheus::Result<()> {
    const LABELS: &[&str] = &["service", "backend"];
    let state =
        families.gauges(metric::CIRCUIT_BREAKER_STATE, "0 closed, 1 half-open, 2 open", LABELS)?;
    let transitions = families.counters(
        metric::CIRCUIT_BREAKER_TRANSITIONS_TOTAL,
        "Times that a circuit breaker changed its state",
        LABELS,
    )?;
    let ejected =
        families.gauges(metric::BACKEND_EJECTED, "Whether a backend is ejected", LABELS)?;
    let waiting = families.gauges(
        metric::UPSTREAM_WAITING,
        "Requests that wait for a place at a backend",
        LABELS,
    )?;
    for backend in &stats.backends {
        let labels = [&*backend.service, &*backend.backend];
        if let Some(breaker) = &backend.breaker {
            state.with_label_values(&labels).set(match breaker.state {
                breaker::State::Closed => 0,
                breaker::State::HalfOpen => 1,
                breaker::State::Open => 2,
            });
            transitions.with_label_values(&labels).inc_by(backend.counts.breaker_transitions);
        }
        if backend.ejected_until.is_some() {
            ejected.with_label_values(&labels).set(1);
        }
        if backend.waiting > 0 {
            waiting.with_label_values(&labels).set(backend.waiting.into());
        }
    }
    Ok(())
}

/// What was decided about requests, beside their backend.
fn decisions(families: &Families, stats: &RuntimeStats) -> prometheus::Result<()> {
    let by = |name, help, label| families.counters(name, help, &["service", label]);
    let arms = families.counters(
        metric::CANARY_REQUESTS_TOTAL,
        "Requests where there is a canary",
        &["service", "route", "arm"],
    )?;
    let slots = families.counters(
        metric::BLUE_GREEN_REQUESTS_TOTAL,
        "Requests where there are slots",
        &["service", "route", "slot"],
    )?;
    let sessions = by(metric::STICKY_SESSIONS_TOTAL, "What became of sessions", "outcome")?;
    let retries = by(metric::RETRIES_TOTAL, "Tries beyond the first", "outcome")?;
    let fallbacks = by(metric::FALLBACKS_TOTAL, "Requests that went elsewhere", "reason")?;
    let queued = by(metric::QUEUED_REQUESTS_TOTAL, "Requests that found no place", "outcome")?;
    let active = families.gauges(
        metric::STICKY_SESSIONS_ACTIVE,
        "Sessions that are remembered by header",
        &["service"],
    )?;
    for service in &stats.services {
        let (name, counts) = (&*service.service, &service.counts);
        let route = service.route.as_deref().unwrap_or_default();
        active.with_label_values(&[name]).add(i64::try_from(service.sessions).unwrap_or(i64::MAX));
        for (family, label, count) in [
            (&arms, "stable", counts.stable),
            (&arms, "canary", counts.canary),
            (&slots, "blue", counts.blue),
            (&slots, "green", counts.green),
        ] {
            if count > 0 {
                family.with_label_values(&[name, route, label]).inc_by(count);
            }
        }
        for (family, label, count) in [
            (&sessions, "begun", counts.sessions_begun),
            (&sessions, "kept", counts.sessions_kept),
            (&sessions, "moved", counts.sessions_moved),
            (&retries, "sent", counts.retries),
            (&retries, "denied", counts.retries_denied),
            (&fallbacks, "canary_down", counts.canary_fallbacks),
            (&fallbacks, "slot_down", counts.slot_fallbacks),
            (&fallbacks, "failover", counts.failovers),
            (&fallbacks, "panic", counts.panics),
            (&fallbacks, "header_ignored", counts.headers_ignored),
            (&queued, "waited", counts.queued),
            (&queued, "refused", counts.queue_overflows),
        ] {
            if count > 0 {
                family.with_label_values(&[name, label]).inc_by(count);
            }
        }
    }
    Ok(())
}

fn mirrors(families: &Families, stats: &RuntimeStats) -> prometheus::Result<()> {
    let total = families.counters(
        metric::MIRROR_REQUESTS_TOTAL,
        "Copies of requests",
        &["target", "outcome"],
    )?;
    for mirror in &stats.mirrors {
        for (outcome, count) in &mirror.outcomes {
            total.with_label_values(&[&*mirror.target, *outcome]).inc_by(*count);
        }
    }
    families.gauge(
        metric::MIRROR_IN_FLIGHT,
        "Copies of requests on their way",
        i64::try_from(stats.copies).unwrap_or(i64::MAX),
    )
}

fn connections(families: &Families, stats: &RuntimeStats) -> prometheus::Result<()> {
    const LABELS: &[&str] = &["entry_point"];
    let open = families.gauges(metric::OPEN_CONNECTIONS, "Open client connections", LABELS)?;
    let total =
        families.counters(metric::CONNECTIONS_TOTAL, "Client connections accepted", LABELS)?;
    let refused = families.counters(
        metric::REFUSED_CONNECTIONS_TOTAL,
        "Client connections that ended before a request",
        &["entry_point", "reason"],
    )?;
    for listener in &stats.listeners {
        let name = &*listener.entry_point;
        open.with_label_values(&[name]).set(i64::try_from(listener.open).unwrap_or(i64::MAX));
        total.with_label_values(&[name]).inc_by(listener.accepted);
        for (reason, count) in [
            ("over_limit", listener.over_limit),
            ("accept_error", listener.accept_errors),
            ("handshake_error", listener.handshake_errors),
        ] {
            refused.with_label_values(&[name, reason]).inc_by(count);
        }
    }
    Ok(())
}

fn configuration(
    families: &Families,
    state: &State,
    apply: &ApplyMetrics,
) -> prometheus::Result<()> {
    let version = state.running.as_ref().map_or(0, |running| running.version.0);
    families.gauge(
        metric::CONFIG_VERSION,
        "The version that serves",
        i64::try_from(version).unwrap_or(i64::MAX),
    )?;
    families.gauge(
        metric::CONFIG_LAST_APPLY,
        "When a version was applied last",
        apply.last_success.load(Ordering::Relaxed),
    )?;
    families.gauge(
        metric::CONTROL_PLANE_CONNECTED,
        "Whether the control plane is connected",
        apply.connected.load(Ordering::Relaxed),
    )?;
    let failures = families.counters(
        metric::CONFIG_APPLY_FAILURES_TOTAL,
        "Versions that could not be applied",
        &["reason"],
    )?;
    for (reason, counter) in [
        ("invalid", &apply.invalid),
        ("bind_failed", &apply.bind_failed),
        ("internal", &apply.internal),
        ("limit_exceeded", &apply.limit_exceeded),
        ("other", &apply.other),
        ("not_persisted", &apply.not_persisted),
    ] {
        failures.with_label_values(&[reason]).inc_by(counter.load(Ordering::Relaxed));
    }
    let not_after =
        families.gauges(metric::CERT_NOT_AFTER, "When a certificate ends", &["certificate"])?;
    for (name, certificate) in state.config.iter().flat_map(|config| &config.certificates) {
        not_after.with_label_values(&[name.as_str()]).set(certificate.not_after());
    }
    let build = families.gauges(metric::BUILD_INFO, "The software", &["version"])?;
    build.with_label_values(&[SOFTWARE_VERSION]).set(1);
    Ok(())
}
