//! Circuit breakers, as the fleet has them.

use serde::{Deserialize, Serialize};

/// Whether a circuit breaker lets requests pass; a later one is worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum CircuitState {
    /// It does.
    Closed,
    /// It lets a few try.
    HalfOpen,
    /// It does not.
    Open,
}

impl CircuitState {
    /// The word in answers and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

/// `GET /admin/circuit-breakers`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BreakerList {
    /// The breaker of every backend of every service that has some, by service and id.
    pub breakers: Vec<BreakerView>,
    /// Where the next page begins: the `cursor` to ask with. Absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// The circuit breaker of one backend of one service. Each proxy has its own.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BreakerView {
    /// The backend.
    pub id: String,
    /// The service it serves.
    pub service: String,
    /// The worst over the proxies; absent when no proxy reports it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<CircuitState>,
    /// Requests within the windows of all proxies.
    pub requests: u64,
    /// Of these, those that failed.
    pub failures: u64,
    /// How often it opened since the proxies started.
    pub opened: u64,
    /// When the last of those that are not closed opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened_at: Option<String>,
    /// When the first of those that are open lets a request try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt: Option<String>,
    /// What each proxy says, by id.
    pub proxies: Vec<ProxyBreaker>,
}

/// The circuit breaker of one backend on one proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProxyBreaker {
    /// The proxy.
    pub proxy: String,
    /// Whether requests pass.
    pub state: CircuitState,
    /// Requests within its window.
    pub requests: u64,
    /// Of these, those that failed.
    pub failures: u64,
    /// How often it opened since the proxy started.
    pub opened: u64,
    /// When it opened, unless it is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened_at: Option<String>,
    /// When it lets a request try, while it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt: Option<String>,
}

/// `POST /admin/circuit-breakers/{id}/reset`: what became of the breakers of a backend.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BreakersClosed {
    /// The backend.
    pub id: String,
    /// How many breakers of it the proxies that answered have.
    pub found: u64,
    /// How many of these were not closed, and are now.
    pub closed: u64,
    /// How many proxies answered.
    pub acked: usize,
    /// How many proxies are connected.
    pub total: usize,
    /// The connected proxies, by id.
    pub proxies: Vec<ProxyReset>,
}

/// What became of the breakers of a backend on one proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProxyReset {
    /// The proxy.
    pub proxy: String,
    /// How many breakers of the backend it has; absent when it did not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<u32>,
    /// How many of them were not closed, and are now; absent when it did not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<u32>,
    /// Why there is no answer: `no_answer` in time, or `unsupported` by its software.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}
