//! The configuration itself.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Change, VersionView};
use crate::{bundle::Source, diagnostic::Diagnostics, snapshot::Version};

/// `GET /api/v1/config`: what the current version says. Secrets are `[redacted]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConfigView {
    /// The version; 0 before the first commit.
    pub version: Version,
    /// Who made it when and why; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<VersionView>,
    /// A hash of all it says, files and layers included, keyed with the lineage: equal hashes of
    /// one control plane mean equal content.
    #[serde(default)]
    pub content_hash: String,
    /// The file that holds the configuration, if a file does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_by: Option<String>,
    /// How reading that file went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reload: Option<ReloadView>,
    /// The documents.
    pub documents: Vec<Source>,
    /// The files that they name.
    pub files: Vec<FileView>,
    /// Values set over the documents, without what they say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<SettingView>,
}

/// A value that was set over the documents. `GET /api/v1/config/sources` tells what it says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SettingView {
    /// Its path.
    pub path: String,
    /// Where it was set.
    pub origin: String,
}

/// A file of a configuration, without its content.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Committed {
    /// The version that is current now.
    pub version: Version,
    /// Whether this request made it. The same content again makes no version.
    pub changed: bool,
    /// What deserves a second look.
    #[serde(default)]
    pub warnings: Diagnostics,
    /// The objects that differ from the version before, by kind and name.
    #[serde(default)]
    pub changes: Vec<Change>,
    /// How many proxies are connected now.
    pub connected_proxies: usize,
}

/// How reading the file went that holds the configuration.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReloadView {
    /// When its content was valid last and became the current version, or was it already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success: Option<String>,
    /// Why what it says now is not the current version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<ReloadFailure>,
}

/// Why a file that holds the configuration was not taken. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReloadFailure {
    /// Since when.
    pub since: String,
    /// What is wrong.
    pub detail: String,
    /// Its faults, if it could be read.
    #[serde(default, skip_serializing_if = "Diagnostics::is_empty")]
    pub diagnostics: Diagnostics,
}

impl fmt::Display for ReloadFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)?;
        self.diagnostics.iter().try_for_each(|finding| write!(f, "\n{finding}"))
    }
}
