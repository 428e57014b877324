//! Who belongs to the fleet.

use serde::{Deserialize, Serialize};

use super::Role;

/// `POST /api/v1/tokens`: what to make.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct TokenRequest {
    /// What an operator may do with it. Absent for a token that lets a proxy join.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// What the proxy will be called; as it likes when absent. An operator needs one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Which labels the proxy will hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// For how long it is good, in seconds. When absent: an hour for a proxy, for ever for an
    /// operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u32>,
}

/// The answer: the only time that the token is shown.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenCreated {
    /// By which operators know it.
    pub id: String,
    /// What the proxy or the operator is given.
    pub token: String,
    /// Until when; for ever when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

/// `GET /api/v1/tokens`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenList {
    /// All that are remembered, by id.
    pub tokens: Vec<TokenView>,
}

/// A token, without its secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenView {
    /// By which operators know it.
    pub id: String,
    /// `open`, `used`, `ended` or `revoked`.
    pub state: String,
    /// What it allows an operator. Absent for a token that lets a proxy join.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// What the proxy will be called, if that was said; or who the operator is.
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
    /// Until when; for ever when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

/// `DELETE /api/v1/tokens/{id}` and `POST /api/v1/proxies/{id}/revoke`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Revoked {
    /// The token or the proxy.
    pub id: String,
    /// `revoked`.
    pub state: String,
}

impl Revoked {
    /// What was revoked.
    pub fn new(id: String) -> Self {
        Self { id, state: "revoked".to_owned() }
    }
}

/// `GET /api/v1/authority`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuthorityView {
    /// The SHA-256 fingerprints of the keys that proxies trust, oldest first.
    pub trusted: Vec<String>,
    /// Which of them signs.
    pub signing: String,
    /// `steady`, `announced` or `signing`.
    pub state: String,
    /// The certificates of the trusted authorities, in PEM: by them a client knows the control
    /// plane over TLS.
    #[serde(default)]
    pub certificates: String,
}
