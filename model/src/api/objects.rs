//! The objects of the current version, as the fleet runs them: with every default filled in.

use serde::{Deserialize, Serialize};

use crate::snapshot::Version;

/// `GET /api/v1/objects/{kind}`: every object of a kind, by name. Secrets are never part of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ObjectList {
    /// `routes`.
    Routes {
        /// The version they are of; 0 before the first.
        version: Version,
        /// In the order in which they are tried.
        objects: Vec<RouteView>,
    },
    /// `services`.
    Services {
        /// The version they are of; 0 before the first.
        version: Version,
        /// By name.
        objects: Vec<ServiceView>,
    },
    /// `entry_points`.
    EntryPoints {
        /// The version they are of; 0 before the first.
        version: Version,
        /// By name.
        objects: Vec<EntryPointView>,
    },
    /// `certificates`.
    Certificates {
        /// The version they are of; 0 before the first.
        version: Version,
        /// By name.
        objects: Vec<CertificateView>,
    },
}

/// Which requests go to which service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RouteView {
    /// Its name.
    pub name: String,
    /// Which requests it takes.
    pub rule: String,
    /// Higher is tried first.
    pub priority: i64,
    /// Who answers.
    pub service: String,
    /// Where requests must come in.
    pub entry_points: Vec<String>,
}

/// A pool of backends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServiceView {
    /// Its name.
    pub name: String,
    /// How the next backend is chosen.
    pub strategy: String,
    /// Ids of its backends, in written order.
    pub backends: Vec<String>,
    /// The path that is asked for to see whether a backend is well; absent without a check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<String>,
    /// Names of the routes that lead here.
    pub routes: Vec<String>,
}

/// Where clients connect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EntryPointView {
    /// Its name.
    pub name: String,
    /// The address as it is configured; port 0 lets each proxy pick one.
    pub address: String,
    /// Whether TLS is spoken there.
    pub tls: bool,
    /// Labels of the proxies that run it, any of them; empty when every proxy does.
    pub labels: Vec<String>,
    /// How many routes take requests there.
    pub routes: usize,
}

/// What TLS entry points show to clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CertificateView {
    /// Its name in the configuration.
    pub name: String,
    /// Names and addresses it is good for.
    pub names: Vec<String>,
    /// From when on it is good.
    pub not_before: String,
    /// Until when it is good.
    pub not_after: String,
    /// Whether clients see it that ask for a name that no certificate has.
    pub default: bool,
    /// Names of the entry points that show it.
    pub entry_points: Vec<String>,
}
