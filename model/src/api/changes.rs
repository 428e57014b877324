//! What a change would do, or did.

use serde::{Deserialize, Serialize};

use super::{DeploymentOverride, OverrideView};
use crate::{diagnostic::Diagnostics, snapshot::Version};

/// What was done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ChangeAction {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// Some of its values differ.
    Changed,
}

/// One object that differs between two configurations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Change {
    /// `route`, `service`, ...; `setting` for what belongs to no object.
    pub kind: String,
    /// Its name; for a setting the key at the top.
    pub name: String,
    /// What was done to it.
    pub action: ChangeAction,
    /// Its values that differ.
    pub fields: Vec<FieldChange>,
}

/// One value that differs. Secrets are `[redacted]`; what stands for a variable is shown as it was
/// written; of a file, a hash of its content is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FieldChange {
    /// Its path below the object.
    pub path: String,
    /// What it was; absent when it is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// What it is; absent when it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// `GET /api/v1/versions/{n}/diff`: what leads from one version to another.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Diff {
    /// The older one; 0 stands for nothing at all.
    pub from: Version,
    /// The newer one.
    pub to: Version,
    /// The objects that differ, by kind and name.
    pub changes: Vec<Change>,
}

/// `POST /api/v1/plan`: what a configuration would change. Nothing is changed by asking.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Plan {
    /// The version that it is compared with.
    pub base: Version,
    /// The version that is current.
    pub current: Version,
    /// The objects that differ, by kind and name.
    pub changes: Vec<Change>,
    /// Whether applying it would make a version: also a comment is new content.
    pub changed: bool,
    /// What deserves a second look.
    #[serde(default)]
    pub warnings: Diagnostics,
    /// What operators decided about single backends. It stays, whatever is applied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<OverrideView>,
    /// What was decided about slots and canaries, and would not end by it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deployments: Vec<DeploymentOverride>,
    /// How many proxies are connected now.
    pub connected_proxies: usize,
}

/// `GET /api/v1/config/sources`: where each value comes from.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OriginList {
    /// The version.
    pub version: Version,
    /// Its values by path.
    pub values: Vec<Origin>,
}

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Origin {
    /// Its path, such as `services.shop.strategy`.
    pub path: String,
    /// What it says, or `[redacted]`.
    pub value: String,
    /// `FILE:LINE:COLUMN`, a variable of the environment, or a flag.
    pub origin: String,
}
