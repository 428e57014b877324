//! Proxies and backends, and how they are.

use serde::{Deserialize, Serialize};

use super::{CircuitState, OverrideView};
use crate::{config::AdminState, snapshot::Version};

/// `GET /api/v1/proxies`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProxyList {
    /// The current version, which every proxy should run.
    pub version: Version,
    /// Every proxy seen since the control plane started, by id.
    pub proxies: Vec<ProxyView>,
}

/// How a proxy stands to the current version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum SyncState {
    /// It runs the current version.
    Synced,
    /// It is connected and on its way.
    Applying,
    /// It refused the current version and runs an older one.
    Rejected,
    /// It declined this control plane, or was refused by it.
    Declined,
    /// It is not connected; it may serve all the same.
    Disconnected,
}

impl SyncState {
    /// The word in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Synced => "synced",
            Self::Applying => "applying",
            Self::Rejected => "rejected",
            Self::Declined => "declined",
            Self::Disconnected => "disconnected",
        }
    }
}

/// One proxy.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProxyView {
    /// Its id, the same over restarts.
    pub id: String,
    /// Which labels it holds, by its certificate.
    #[serde(default)]
    pub labels: Vec<String>,
    /// How it stands to the current version.
    pub state: SyncState,
    /// What it runs; 0 when nothing.
    pub version: Version,
    /// The version it refused last, when the state is `rejected`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected_version: Option<Version>,
    /// Why it refused, one entry a resource; or why it declined.
    #[serde(default)]
    pub errors: Vec<ResourceFault>,
    /// Where its entry points listen.
    #[serde(default)]
    pub listeners: Vec<ListenerView>,
    /// Where its admin endpoint answers.
    #[serde(default)]
    pub admin_address: String,
    /// The version of its software.
    pub software_version: String,
    /// When it connected, or when it was last seen if it is not connected.
    pub since: String,
    /// From the commit of its version to its acknowledgement, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub propagation_ms: Option<f64>,
    /// Whether it would serve its version after a restart without a control plane. False means
    /// that its disk refused it; its log says why.
    #[serde(default = "yes")]
    pub persisted: bool,
    /// Open client connections, as last reported.
    #[serde(default)]
    pub open_connections: u64,
    /// When it last reported requests that it refused because it was overloaded; absent when it
    /// did not since the control plane started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shed_at: Option<String>,
}

const fn yes() -> bool {
    true
}

/// Why a proxy refused a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ResourceFault {
    /// What it is: `entry_point`, `route`, ...
    pub kind: String,
    /// Its name.
    pub name: String,
    /// `invalid`, `bind_failed`, ...
    pub code: String,
    /// What happened.
    pub message: String,
}

/// An entry point on one proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ListenerView {
    /// The entry point.
    pub entry_point: String,
    /// The address with the port it really has.
    pub address: String,
}

/// `GET /health`, `/livez` and `/readyz`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Alive {
    /// `ok`.
    pub status: String,
}

/// `GET /admin/health`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HealthView {
    /// `healthy`, `degraded` or `unhealthy`.
    pub status: String,
    /// The version of the control plane's software, under its short name.
    #[serde(default)]
    pub version: String,
    /// The version of the control plane's software.
    pub software_version: String,
    /// The current version of the configuration.
    pub snapshot: Version,
    /// How long the control plane runs.
    pub uptime_seconds: u64,
    /// Proxies by state.
    pub proxies: ProxyCounts,
    /// Backends by health.
    pub backends: BackendCounts,
    /// Parts of the control plane: `ok`, or what is wrong.
    pub components: std::collections::BTreeMap<String, String>,
}

/// Proxies by state.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProxyCounts {
    /// Connected now.
    pub connected: usize,
    /// Of these, running the current version.
    pub in_sync: usize,
    /// Of these, running another one.
    pub stale: usize,
    /// Of these, having refused the current one.
    pub rejected: usize,
}

/// Backends by health.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BackendCounts {
    /// Up, or without a check, on every proxy that reports.
    pub healthy: usize,
    /// Down on at least one proxy.
    pub unhealthy: usize,
    /// Switched off by an operator.
    pub disabled: usize,
    /// Letting requests end before they are switched off.
    pub draining: usize,
}

/// `GET /admin/backends`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BackendList {
    /// Every backend of every service that was asked for, by service and id.
    pub backends: Vec<BackendView>,
    /// Where the next page begins: the `cursor` to ask with. Absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One backend of one service, seen from the whole fleet.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BackendView {
    /// Its id.
    pub id: String,
    /// Where it is.
    pub url: String,
    /// The service it serves.
    pub service: String,
    /// Its share.
    pub weight: u16,
    /// `enabled`, `draining` or `disabled`: what operators decided.
    pub admin_state: AdminState,
    /// How many proxies report that they go by that.
    #[serde(default)]
    pub admin_state_on: usize,
    /// The override behind a state that is not `enabled`.
    #[serde(rename = "override", default, skip_serializing_if = "Option::is_none")]
    pub overridden: Option<OverrideView>,
    /// `up`, `down`, `mixed`, `unchecked`, or `unknown` when no proxy reports.
    pub health: String,
    /// How many proxies see it up.
    pub up_on: usize,
    /// How many proxies report it.
    pub reported_by: usize,
    /// Why the last failed check failed, from any proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When a proxy checked it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_check: Option<String>,
    /// Its circuit breaker, the worst over the proxies: `closed`, `half_open` or `open`; absent
    /// where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit: Option<CircuitState>,
    /// On how many proxies it is out because it answers worse than others.
    #[serde(default)]
    pub ejected_on: usize,
    /// Requests on their way.
    pub in_flight: u64,
    /// Requests that wait for a place.
    #[serde(default)]
    pub waiting: u64,
    /// Requests since the proxies started.
    pub requests: u64,
    /// Of these, ended without a response of the backend.
    pub failures: u64,
    /// Of these, answered with a status of 500 or more.
    #[serde(default)]
    pub server_errors: u64,
    /// Requests a second over the last ten seconds.
    pub requests_per_second: f64,
    /// The share of these without a good response, in percent.
    #[serde(default)]
    pub error_percent: f64,
    /// How long these took; absent when none was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<LatencyView>,
    /// Whether it is of the new version of a canary.
    #[serde(default)]
    pub canary: bool,
    /// The slot it is in: `blue` or `green`; absent where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<String>,
    /// Where it comes from: `config`.
    pub source: String,
}

/// How long requests took over the last ten seconds, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LatencyView {
    /// Half of them at most this long.
    pub p50_ms: f64,
    /// 95 of 100.
    pub p95_ms: f64,
    /// 99 of 100.
    pub p99_ms: f64,
}
