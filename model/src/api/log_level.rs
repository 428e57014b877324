//! How much a server logs.

use serde::{Deserialize, Serialize};

/// `PUT /api/v1/log-level` and `PUT /api/v1/proxies/{id}/log-level`: what to log for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct LogLevelRequest {
    /// `error`, `warn`, `info`, `debug` or `trace`.
    #[cfg_attr(feature = "openapi", schema(pattern = "^(error|warn|info|debug|trace)$"))]
    pub level: String,
    /// For how many seconds, at most a day; 300 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 86400))]
    pub for_seconds: Option<u32>,
}

/// The answer, and that of `GET`: what is logged now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogLevelView {
    /// A level, or the filter that the server was started with.
    pub level: String,
    /// When it goes back to that filter; absent when it is that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}
