//! Who belongs to the fleet.

use serde::{Deserialize, Serialize};

/// `POST /api/v1/tokens`: what to make.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenRequest {
    /// What the proxy will be called; as it likes when absent.
    pub name: Option<String>,
    /// Which labels it will hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// For how long a proxy may join with it, in seconds; an hour when absent.
    pub ttl_seconds: Option<u32>,
}

/// The answer: the only time that the token is shown.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TokenCreated {
    /// By which operators know it.
    pub id: String,
    /// What the proxy is given.
    pub token: String,
    /// Until when.
    pub expires: String,
}

/// `GET /api/v1/tokens`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TokenList {
    /// All that are remembered, by id.
    pub tokens: Vec<TokenView>,
}

/// A token, without its secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TokenView {
    /// By which operators know it.
    pub id: String,
    /// `open`, `used`, `ended` or `revoked`.
    pub state: String,
    /// What the proxy will be called, if that was said.
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
    /// Until when.
    pub expires: String,
}

/// `GET /api/v1/authority`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AuthorityView {
    /// The SHA-256 fingerprints of the keys that proxies trust, oldest first.
    pub trusted: Vec<String>,
    /// Which of them signs.
    pub signing: String,
    /// `steady`, `announced` or `signing`.
    pub state: String,
}
