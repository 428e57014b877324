//! The history of the configuration.

use serde::{Deserialize, Serialize};

use crate::snapshot::Version;

/// `GET /api/v1/versions`: newest first.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VersionList {
    /// The current version.
    pub current: Version,
    /// A page of versions.
    pub versions: Vec<VersionView>,
}

/// One commit.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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
