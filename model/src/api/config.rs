//! The configuration itself.

use serde::{Deserialize, Serialize};

use crate::{bundle::Source, diagnostic::Diagnostics, snapshot::Version};

/// `GET /api/v1/config`: what the current version says. Secrets are `[redacted]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ConfigView {
    /// The version; 0 before the first commit.
    pub version: Version,
    /// The file that holds the configuration, if a file does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_by: Option<String>,
    /// The documents.
    pub documents: Vec<Source>,
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
