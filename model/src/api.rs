//! The documents of the REST API, shared by those who answer and those who ask.
//!
//! Additive only: a key, once here, keeps its name and meaning. Times are RFC 3339 texts.

mod audit;
mod breakers;
mod changes;
mod config;
mod deployments;
mod explain;
mod fleet;
mod identity;
mod log_level;
mod objects;
mod operators;
mod overrides;
mod versions;

use serde::{Deserialize, Serialize};

pub use self::{
    audit::*, breakers::*, changes::*, config::*, deployments::*, explain::*, fleet::*,
    identity::*, log_level::*, objects::*, operators::*, overrides::*, versions::*,
};
use crate::{diagnostic::Diagnostics, snapshot::Version};

/// The media type of a [`crate::Bundle`] in JSON.
pub const BUNDLE_TYPE: &str = "application/vnd.lb.bundle+json";
/// The media type of a document.
pub const YAML_TYPE: &str = "application/yaml";
/// The media type of a [`Problem`] (RFC 9457).
pub const PROBLEM_TYPE: &str = "application/problem+json";

/// An answer that says why not (RFC 9457).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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
