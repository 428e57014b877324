//! Pools of backends and how to use them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Failover, HealthCheck, OutlierDetection, Retry, TrafficManagement};
use crate::value::{
    BackendName, BackendUrl, Duration, HashSource, Label, Percentage, ServiceName, Weight,
};

/// One server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Where it is and what it speaks.
    pub url: BackendUrl,
    /// Its share among the others of its service.
    pub weight: Weight,
    /// What an operator decided about it. No document says this: an override does.
    pub admin_state: AdminState,
    /// Where it stands; proxies of the same zone prefer it.
    pub zone: Option<Label>,
    /// Its level: 0 takes requests first.
    pub priority: u8,
}

impl Backend {
    /// A backend with nothing said of it but its address.
    pub const fn at(url: BackendUrl) -> Self {
        Self { url, weight: Weight::ONE, admin_state: AdminState::Enabled, zone: None, priority: 0 }
    }
}

/// What an operator decided about a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum AdminState {
    /// It takes requests if it is well.
    #[default]
    Enabled,
    /// It takes no new request, and will be disabled at a time that is set.
    Draining,
    /// It takes no new request.
    Disabled,
}

impl AdminState {
    /// The word in answers and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Draining => "draining",
            Self::Disabled => "disabled",
        }
    }
}

/// A pool of backends with its policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// The pool, in written order, no backend twice; empty only where there are other services in
    /// its place.
    pub backends: Vec<BackendName>,
    /// Other services in place of backends, with their shares.
    pub weighted: Vec<(ServiceName, Weight)>,
    /// Another service that answers while this one cannot.
    pub failover: Option<Failover>,
    /// Who takes the next request.
    pub strategy: Strategy,
    /// For how long the share of a backend that came up grows; zero gives it all at once.
    pub slow_start: Duration,
    /// The share of backends that are well below which all are used, well or not.
    pub panic_threshold: Percentage,
    /// What a backend's answers say of it.
    pub outlier_detection: Option<OutlierDetection>,
    /// When a request is tried again.
    pub retry: Option<Retry>,
    /// How its backends share the requests.
    pub traffic_management: Arc<TrafficManagement>,
    /// How to find out whether a backend is well; without one every backend counts as well.
    pub health_check: Option<HealthCheck>,
    /// How long backends may take.
    pub timeouts: ServiceTimeouts,
    /// Connections kept for reuse.
    pub pool: Pool,
    /// Whether backends see the `Host` the client sent, or their own.
    pub pass_host_header: bool,
}

impl Service {
    /// A service of these backends, with every default.
    pub fn of(backends: Vec<BackendName>) -> Self {
        Self {
            backends,
            weighted: Vec::new(),
            failover: None,
            strategy: Strategy::default(),
            slow_start: Duration::ZERO,
            panic_threshold: Percentage::ZERO,
            outlier_detection: None,
            retry: None,
            traffic_management: Arc::default(),
            health_check: None,
            timeouts: ServiceTimeouts::default(),
            pool: Pool::default(),
            pass_host_header: true,
        }
    }

    /// All of its backends: the pool, and what canaries it has beside the pool.
    pub fn members(&self) -> impl Iterator<Item = &BackendName> {
        self.traffic_management.members(&self.backends)
    }

    /// The services that may answer in its place.
    pub fn others(&self) -> impl Iterator<Item = &ServiceName> {
        let failover = self.failover.iter().map(|failover| &failover.service);
        self.weighted.iter().map(|(name, _)| name).chain(failover)
    }
}

/// Who takes the next request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Strategy {
    /// In turn, by weight, smoothly interleaved.
    #[default]
    RoundRobin,
    /// The less busy of two backends drawn at random by weight (power of two choices,
    /// Mitzenmacher 2001).
    P2c,
    /// Of two drawn the same way, the one that costs less: the peak of its response times, decayed,
    /// times what is on its way there (as in Finagle).
    PeakEwma,
    /// The least busy, in proportion to weight.
    LeastRequests,
    /// The same one for the same part of the request (rendezvous hashing, Thaler and Ravishankar
    /// 1998).
    Hash(HashSource),
}

impl Strategy {
    /// The word in the configuration.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::P2c => "p2c",
            Self::PeakEwma => "peak_ewma",
            Self::LeastRequests => "least_requests",
            Self::Hash(_) => "hash",
        }
    }
}

/// How long the backends of a service may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceTimeouts {
    /// Until a connection stands.
    pub connect: Duration,
    /// From the end of the request to the response head.
    pub response_header: Duration,
    /// The longest pause in a response body.
    pub idle: Duration,
    /// The whole exchange; zero means no limit.
    pub total: Duration,
}

impl Default for ServiceTimeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            response_header: Duration::from_secs(30),
            idle: Duration::from_secs(60),
            total: Duration::ZERO,
        }
    }
}

/// Connections to one backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// How many idle ones each worker keeps.
    pub max_idle: u32,
    /// How long.
    pub idle_timeout: Duration,
    /// How many there are at most from one proxy, busy ones included; 0 is no limit.
    pub max_connections: u32,
    /// How many requests may wait for one of them.
    pub max_pending_requests: u32,
    /// How long a request may wait.
    pub queue_timeout: Duration,
    /// How old one gets; zero is no limit.
    pub max_lifetime: Duration,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            max_idle: 256,
            idle_timeout: Duration::from_secs(60),
            max_connections: 0,
            max_pending_requests: 1024,
            queue_timeout: Duration::from_secs(1),
            max_lifetime: Duration::ZERO,
        }
    }
}
