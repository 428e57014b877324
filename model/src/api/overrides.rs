//! Overrides: what operators decided about single backends, beside the configuration.

use serde::{Deserialize, Serialize};

use super::DeploymentOverride;
use crate::{config::AdminState, snapshot::Version};

/// `GET /api/v1/overrides`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OverrideList {
    /// The current version.
    pub version: Version,
    /// Every override, by backend.
    pub overrides: Vec<OverrideView>,
    /// What was decided about services, by name.
    #[serde(default)]
    pub deployments: Vec<DeploymentOverride>,
}

/// What an operator decided about one backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OverrideView {
    /// The backend.
    pub backend: String,
    /// `draining` or `disabled`.
    pub state: AdminState,
    /// Who decided.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: String,
    /// When a draining backend becomes a disabled one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_until: Option<String>,
    /// When the override ends by itself; never when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// Whether the configuration has no such backend now. The override waits until it has one
    /// again, or until somebody enables it.
    #[serde(default)]
    pub dormant: bool,
}

/// `POST /admin/backends/{id}/enable` and `/disable`: what became of the backend.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BackendChanged {
    /// The backend.
    pub id: String,
    /// What it is now.
    pub admin_state: AdminState,
    /// The version that says so.
    pub version: Version,
    /// Whether this request made that version. Asking for what is so already makes none.
    pub changed: bool,
    /// How many of the connected proxies serve that version, or a newer one, by now.
    pub acked: usize,
    /// How many proxies are connected.
    pub total: usize,
}
