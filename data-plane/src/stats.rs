//! What the proxy has counted, as plain numbers.
//!
//! Workers write their own counters; reading adds them up and disturbs nobody. Names and units
//! of metrics are not decided here.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use http::StatusCode;
use lb_http::Reason;
use lb_upstream::{
    ArmsCounts, Counter, EndpointStats, PerWorker, PolicyCounts,
    latency::{Histogram, Latency, Took},
};

use crate::proxy::mirror::{Target, TargetCounters};

/// What is known of a backend of a service.
pub type BackendStats = EndpointStats;

/// What one worker counts for one route.
#[derive(Debug, Default)]
pub struct RouteCounters {
    classes: [Counter; 5],
    reasons: ReasonCounters,
    latency: Histogram,
    pub(crate) bytes_received: Counter,
    pub(crate) bytes_sent: Counter,
}

impl RouteCounters {
    /// Counts a response head.
    pub fn respond(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        self.classes[class].bump();
    }

    /// Counts an answer the proxy gave of its own.
    pub fn refuse(&self, reason: Reason) {
        self.reasons.bump(reason);
    }

    /// Counts how long a whole exchange took.
    pub fn took(&self, took: Took) {
        self.latency.took(took);
    }
}

/// A counter for each reason.
#[derive(Debug)]
pub struct ReasonCounters([Counter; Reason::ALL.len()]);

impl Default for ReasonCounters {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl ReasonCounters {
    /// Counts one.
    pub fn bump(&self, reason: Reason) {
        self.0[reason.index()].bump();
    }
}

/// What all workers share about an entry point. It belongs to the name: a configuration that
/// moves the entry point carries it over.
#[derive(Debug)]
pub struct EntryPointState {
    open: AtomicU64,
    counters: PerWorker<EntryPointCounters>,
}

/// What one worker counts for one entry point.
#[derive(Debug, Default)]
pub struct EntryPointCounters {
    pub(crate) accepted: Counter,
    pub(crate) over_limit: Counter,
    pub(crate) accept_errors: Counter,
    pub(crate) handshake_errors: Counter,
    pub(crate) requests: Counter,
}

impl EntryPointState {
    /// Nothing counted yet.
    pub fn new(workers: usize) -> Self {
        Self { open: AtomicU64::new(0), counters: PerWorker::new(workers) }
    }

    /// The part of one worker.
    pub fn of(&self, worker: usize) -> &EntryPointCounters {
        self.counters.of(worker)
    }

    /// Counts a connection in, unless there are `limit` already; 0 is no limit.
    pub fn admit(&self, limit: u64) -> bool {
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        let admitted = limit == 0 || before < limit;
        if !admitted {
            self.leave();
        }
        admitted
    }

    /// Counts a connection out.
    pub fn leave(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Connections now open, over all workers.
    pub fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }
}

/// What all workers counted for a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteStats {
    /// Its name.
    pub route: Arc<str>,
    /// The service behind it.
    pub service: Arc<str>,
    /// Responses by the first digit of their status, from 1xx to 5xx.
    pub classes: [u64; 5],
    /// Answers of the proxy itself.
    pub reasons: Vec<(Reason, u64)>,
    /// How long exchanges took.
    pub latency: Latency,
    /// Request body bytes.
    pub bytes_received: u64,
    /// Response body bytes.
    pub bytes_sent: u64,
}

/// What all workers counted for an entry point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerStats {
    /// Its name.
    pub entry_point: Arc<str>,
    /// Where it listens, if it does.
    pub address: Option<SocketAddr>,
    /// Connections now open.
    pub open: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections closed at once because there were too many.
    pub over_limit: u64,
    /// Times that accepting failed.
    pub accept_errors: u64,
    /// TLS handshakes that failed.
    pub handshake_errors: u64,
    /// Requests.
    pub requests: u64,
}

/// What was decided about the requests of a service that is more than a pool of backends, or of a
/// route that decides in a way of its own.
#[derive(Debug, Clone)]
pub struct ServiceStats {
    /// The service's name.
    pub service: Arc<str>,
    /// The route, if these are its requests only; else they are those of all others.
    pub route: Option<Box<str>>,
    /// What was decided.
    pub counts: PolicyCounts,
    /// How the versions answered, where there are two.
    pub arms: Option<ArmsCounts>,
    /// Clients that are remembered by header.
    pub sessions: u64,
}

/// What became of the copies for a target, over all workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorStats {
    /// Its name. Mirrors of several services may have targets of one name.
    pub target: Arc<str>,
    /// How many ended in which way.
    pub outcomes: Vec<(&'static str, u64)>,
}

impl MirrorStats {
    /// Adds up what workers counted.
    pub fn of(target: &Target) -> Self {
        let outcomes = TargetCounters::sum(target.counters());
        Self { target: Arc::clone(target.name()), outcomes }
    }
}

/// Everything at one moment.
#[derive(Debug, Clone)]
pub struct RuntimeStats {
    /// The version of the configuration.
    pub version: u64,
    /// Its routes.
    pub routes: Vec<RouteStats>,
    /// Its backends, once for each service.
    pub backends: Vec<BackendStats>,
    /// Its services about which something is decided, and routes that decide for themselves.
    pub services: Vec<ServiceStats>,
    /// Its entry points.
    pub listeners: Vec<ListenerStats>,
    /// Who gets copies of requests.
    pub mirrors: Vec<MirrorStats>,
    /// Copies now on their way.
    pub copies: u64,
    /// Answers of the proxy itself since its start, those without a route included.
    pub reasons: Vec<(Reason, u64)>,
}

/// Adds up the reasons that were ever counted.
pub fn reasons<T>(
    parts: &PerWorker<T>,
    counters: impl Fn(&T) -> &ReasonCounters,
) -> Vec<(Reason, u64)> {
    Reason::ALL
        .iter()
        .map(|reason| {
            let index = reason.index();
            (*reason, parts.sum(|part| &counters(part).0[index]))
        })
        .filter(|(_, count)| *count > 0)
        .collect()
}

impl RouteStats {
    /// Adds up what workers counted.
    pub fn sum(route: Arc<str>, service: Arc<str>, parts: &PerWorker<RouteCounters>) -> Self {
        Self {
            route,
            service,
            classes: std::array::from_fn(|class| parts.sum(|part| &part.classes[class])),
            reasons: reasons(parts, |part| &part.reasons),
            latency: Latency::sum(parts, |part| &part.latency),
            bytes_received: parts.sum(|part| &part.bytes_received),
            bytes_sent: parts.sum(|part| &part.bytes_sent),
        }
    }
}

impl ListenerStats {
    /// Adds up what workers counted.
    pub fn sum(
        entry_point: Arc<str>,
        address: Option<SocketAddr>,
        state: &EntryPointState,
    ) -> Self {
        Self {
            entry_point,
            address,
            open: state.open(),
            accepted: state.counters.sum(|part| &part.accepted),
            over_limit: state.counters.sum(|part| &part.over_limit),
            accept_errors: state.counters.sum(|part| &part.accept_errors),
            handshake_errors: state.counters.sum(|part| &part.handshake_errors),
            requests: state.counters.sum(|part| &part.requests),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_over_the_limit_is_not_counted_in() {
        let state = EntryPointState::new(1);
        assert!(state.admit(1));
        assert!(!state.admit(1));
        state.leave();
        assert!(state.admit(1));
        assert_eq!(state.open(), 1);
    }
}
