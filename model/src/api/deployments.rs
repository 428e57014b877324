//! Blue-green and canary: what serves, what operators decided beside the configuration, and how
//! a new version grows by itself.

use serde::{Deserialize, Serialize};

use super::LatencyView;
use crate::snapshot::Version;

/// What was decided about a service or route beside the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeploymentOverride {
    /// The service; of a route, the one that it leads to, and empty while there is no such route.
    pub service: String,
    /// The route, if it is about its own slots or canary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// `slot`, of a blue-green deployment, or `split`, of a canary.
    pub kind: String,
    /// `blue` or `green`, or the percentage of requests for the canary.
    pub value: String,
    /// Who decided; `canary` when the schedule did.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: String,
    /// Whether the configuration has no such deployment now. It waits until there is one again.
    #[serde(default)]
    pub dormant: bool,
    /// How far the schedule has come, where the canary has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleView>,
}

/// `GET /api/v1/blue-green`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BlueGreenList {
    /// The version they are of; 0 before the first.
    pub version: Version,
    /// Every service with slots, by name, and every route with slots of its own after its service.
    pub services: Vec<BlueGreenView>,
}

/// The slots of a service or route.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BlueGreenView {
    /// The service; of a route, the one that it leads to.
    pub service: String,
    /// The route, if the slots are its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The slot that serves: `blue` or `green`.
    pub active: String,
    /// What the configuration says of it.
    pub configured: String,
    /// The decision behind a slot that the configuration does not name.
    #[serde(rename = "override", default, skip_serializing_if = "Option::is_none")]
    pub decided: Option<DeploymentOverride>,
    /// Whether the other slot serves while the active one has no backend that is well.
    pub fallback: bool,
    /// The first set.
    pub blue: SlotView,
    /// The second set.
    pub green: SlotView,
}

/// One of two sets of backends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SlotView {
    /// Ids of its backends.
    pub backends: Vec<String>,
    /// How many of them could take requests: they are enabled, and up on a proxy.
    pub healthy: usize,
    /// Requests a second over the last ten seconds.
    pub requests_per_second: f64,
}

/// `POST /api/v1/blue-green/{service}/switch`, or `/routes/{route}/switch`: which slot serves from
/// now on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SwitchRequest {
    /// `blue` or `green`.
    #[cfg_attr(feature = "openapi", schema(pattern = "^(blue|green)$"))]
    pub slot: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// Even if no backend of the slot is well.
    #[serde(default)]
    pub force: bool,
}

/// `POST /api/v1/blue-green/{service}/rollback`, or `/routes/{route}/rollback`: the other slot
/// serves again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SwitchBackRequest {
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// Even if no backend of the slot is well.
    #[serde(default)]
    pub force: bool,
}

/// `POST /api/v1/canary/{service}/set`, or `/routes/{route}/set`: how many requests the new version
/// gets.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SplitRequest {
    /// The percentage of requests, with at most four places.
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 100))]
    pub split: f64,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// `POST /api/v1/canary/{service}/promote` and `/abort`, and the same of `/routes/{route}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ReasonRequest {
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// What became of a service or route that was deployed otherwise.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeploymentChanged {
    /// The service; of a route, the one that it leads to.
    pub service: String,
    /// The route, if it is about its own slots or canary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// `slot` or `split`.
    pub kind: String,
    /// What it was before.
    pub before: String,
    /// What it is now.
    pub value: String,
    /// The version that says so.
    pub version: Version,
    /// Whether this request made that version. Asking for what is so already makes none.
    pub changed: bool,
    /// How many of the connected proxies serve that version, or a newer one, by now.
    pub acked: usize,
    /// How many proxies are connected.
    pub total: usize,
}

/// `GET /api/v1/canary`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CanaryList {
    /// The version they are of; 0 before the first.
    pub version: Version,
    /// Every service with a canary, by name, and every route with one of its own after its service.
    pub services: Vec<CanaryView>,
}

/// The canary of a service or route, beside its stable version.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CanaryView {
    /// The service; of a route, the one that it leads to.
    pub service: String,
    /// The route, if the canary is its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The percentage of requests that the canary gets.
    pub split: f64,
    /// What the configuration says of it.
    pub configured: f64,
    /// The decision behind a split that the configuration does not name, or behind a schedule.
    #[serde(rename = "override", default, skip_serializing_if = "Option::is_none")]
    pub decided: Option<DeploymentOverride>,
    /// Ids of its backends.
    pub backends: Vec<String>,
    /// How many of them could take requests: they are enabled, and up on a proxy.
    pub healthy: usize,
    /// How its share grows by itself, as configured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<CanaryStepView>,
    /// The version that most get.
    pub stable: ArmView,
    /// The new version.
    pub canary: ArmView,
}

/// How one version answered over the last ten seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ArmView {
    /// Requests a second.
    pub requests_per_second: f64,
    /// The share of them without a good response, in percent.
    pub error_percent: f64,
    /// How long they took; absent when none was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<LatencyView>,
}

/// A share, and for how long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CanaryStepView {
    /// The percentage of requests.
    pub split: f64,
    /// For how long, such as `10m`.
    pub r#for: String,
}

/// How far the share of a canary has grown by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ScheduleView {
    /// `running`; `holding` when the time of the step is over and there is too little traffic to
    /// judge by; `finished`; `aborted` because the canary was worse; or `stopped` by an operator.
    pub state: String,
    /// Which step it is on, from 1.
    pub step: usize,
    /// How many there are.
    pub steps: usize,
    /// Since when.
    pub since: String,
    /// When the time of the step is over, while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Why it ended.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}
