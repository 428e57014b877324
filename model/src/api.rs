//! The documents of the REST API, shared by those who answer and those who ask.
//!
//! Additive only: a key, once here, keeps its name and meaning. Times are RFC 3339 texts.

use serde::{Deserialize, Serialize};

use crate::{diagnostic::Diagnostics, snapshot::Version};

/// The media type of a [`crate::Bundle`] in JSON.
pub const BUNDLE_TYPE: &str = "application/vnd.lb.bundle+json";
/// The media type of a document.
pub const YAML_TYPE: &str = "application/yaml";
/// The media type of a [`Problem`] (RFC 9457).
pub const PROBLEM_TYPE: &str = "application/problem+json";

/// An answer that says why not (RFC 9457).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Problem {
    /// Always `about:blank`: `code` tells problems apart.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The status.
    pub status: u16,
    /// A stable word for programs: `version_conflict`, `held_by_file`, `invalid_config`, ...
    pub code: String,
    /// What happened and what to do.
    pub detail: String,
    /// The faults of a configuration.
    #[serde(default, skip_serializing_if = "Diagnostics::is_empty")]
    pub diagnostics: Diagnostics,
    /// The version that is current, where the problem is about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<Version>,
}

/// `GET /api/v1/config`: what the current version says. Secrets are `[redacted]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ConfigView {
    /// The version; 0 before the first commit.
    pub version: Version,
    /// The file that holds the configuration, if a file does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_by: Option<String>,
    /// The documents.
    pub documents: Vec<crate::bundle::Source>,
    /// The files that they name.
    pub files: Vec<FileView>,
}

/// A file of a configuration, without its content.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FileView {
    /// The document that names it.
    pub document: String,
    /// The path as written.
    pub path: String,
    /// How many bytes it has.
    pub size: u64,
}

/// `PUT /api/v1/config` and `POST /api/v1/versions/{n}/restore`: what was committed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Committed {
    /// The version that is current now.
    pub version: Version,
    /// Whether this request made it. The same content again makes no version.
    pub changed: bool,
    /// What deserves a second look.
    #[serde(default)]
    pub warnings: Diagnostics,
    /// How many proxies are connected now.
    pub connected_proxies: usize,
}

/// `GET /api/v1/versions`: newest first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VersionList {
    /// The current version.
    pub current: Version,
    /// A page of versions.
    pub versions: Vec<VersionView>,
}

/// One commit.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VersionView {
    /// Its number.
    pub version: Version,
    /// Who made it.
    pub author: String,
    /// Why.
    pub reason: String,
    /// When.
    pub time: String,
    /// The hash of the commit, which covers all commits before it.
    pub hash: String,
}

/// `GET /api/v1/proxies`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProxyList {
    /// The current version, which every proxy should run.
    pub version: Version,
    /// Every proxy seen since the control plane started, by id.
    pub proxies: Vec<ProxyView>,
}

/// How a proxy stands to the current version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
}

const fn yes() -> bool {
    true
}

/// Why a proxy refused a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
pub struct ListenerView {
    /// The entry point.
    pub entry_point: String,
    /// The address with the port it really has.
    pub address: String,
}

/// `GET /admin/health`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HealthView {
    /// `healthy`, `degraded` or `unhealthy`.
    pub status: String,
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
pub struct BackendList {
    /// Every backend of every service, by service and id.
    pub backends: Vec<BackendView>,
}

/// One backend of one service, seen from the whole fleet.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BackendView {
    /// Its id.
    pub id: String,
    /// Where it is.
    pub url: String,
    /// The service it serves.
    pub service: String,
    /// Its share.
    pub weight: u16,
    /// `enabled`.
    pub admin_state: String,
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
    /// Requests on their way.
    pub in_flight: u64,
    /// Requests since the proxies started.
    pub requests: u64,
    /// Of these, ended without a response of the backend.
    pub failures: u64,
    /// Requests a second over the last reports.
    pub requests_per_second: f64,
    /// Where it comes from: `config`.
    pub source: String,
}

/// `POST /api/v1/tokens`: what to make.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenRequest {
    /// What the proxy will be called; as it likes when absent.
    pub name: Option<String>,
    /// Which labels it will hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// For how long a proxy may join with it, in seconds; an hour when absent.
    pub ttl_seconds: Option<u32>,
}

/// The answer: the only time that the token is shown.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TokenCreated {
    /// By which operators know it.
    pub id: String,
    /// What the proxy is given.
    pub token: String,
    /// Until when.
    pub expires: String,
}

/// `GET /api/v1/tokens`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TokenList {
    /// All that are remembered, by id.
    pub tokens: Vec<TokenView>,
}

/// A token, without its secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TokenView {
    /// By which operators know it.
    pub id: String,
    /// `open`, `used`, `ended` or `revoked`.
    pub state: String,
    /// What the proxy will be called, if that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Which labels the proxy will hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Which proxy joined with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_by: Option<String>,
    /// Who made it.
    pub author: String,
    /// Until when.
    pub expires: String,
}

/// `GET /api/v1/authority`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AuthorityView {
    /// The SHA-256 fingerprints of the keys that proxies trust, oldest first.
    pub trusted: Vec<String>,
    /// Which of them signs.
    pub signing: String,
    /// `steady`, `announced` or `signing`.
    pub state: String,
}
