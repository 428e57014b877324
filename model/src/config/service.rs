//! Pools of backends and how to use them.

use serde::{Deserialize, Serialize};

use super::HealthCheck;
use crate::value::{BackendName, BackendUrl, Duration, Weight};

/// One server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Where it is and what it speaks.
    pub url: BackendUrl,
    /// Its share among the others of its service.
    pub weight: Weight,
    /// What an operator decided about it. No document says this: an override does.
    pub admin_state: AdminState,
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
    /// The pool, in written order; never empty, no backend twice.
    pub backends: Vec<BackendName>,
    /// Who takes the next request.
    pub strategy: Strategy,
    /// How to find out whether a backend is well; without one every backend counts as well.
    pub health_check: Option<HealthCheck>,
    /// How long backends may take.
    pub timeouts: ServiceTimeouts,
    /// Connections kept for reuse.
    pub pool: Pool,
    /// Whether backends see the `Host` the client sent, or their own.
    pub pass_host_header: bool,
}

/// Who takes the next request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Strategy {
    /// In turn, by weight, smoothly interleaved.
    #[default]
    RoundRobin,
    /// The less busy of two backends drawn at random by weight (power of two choices,
    /// Mitzenmacher 2001).
    P2c,
}

impl Strategy {
    /// The word in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::P2c => "p2c",
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

/// Idle connections kept for reuse, for each backend and worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// How many.
    pub max_idle: u32,
    /// How long.
    pub idle_timeout: Duration,
}

impl Default for Pool {
    fn default() -> Self {
        Self { max_idle: 256, idle_timeout: Duration::from_secs(60) }
    }
}
