//! The record of what operators did.

use serde::{Deserialize, Serialize};

use super::Role;
use crate::snapshot::Version;

/// `GET /api/v1/audit`: newest first.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditList {
    /// A page of entries.
    pub entries: Vec<AuditView>,
    /// What to ask for as `before` to get the next page. Absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// One request that changed something, or tried to.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditView {
    /// Its number; they have no gaps.
    pub number: u64,
    /// The hash of the entry, which covers all entries before it.
    pub hash: String,
    #[serde(flatten)]
    /// What happened.
    pub entry: AuditEntry,
}

/// What happened. It holds nothing secret: no header, no body, no query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditEntry {
    /// When it was answered.
    pub time: String,
    /// Who asked: the name of a token, or `loopback` where no token is needed.
    pub who: String,
    /// Which token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// What the token allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// The address that asked.
    pub from: String,
    /// The method.
    pub method: String,
    /// The path.
    pub path: String,
    /// The name of what was changed, where there is one: a backend, a token, a version, ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// The status of the answer.
    pub status: u16,
    /// Why not: the `code` of the problem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The version that was current after it, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
}
