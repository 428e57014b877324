//! What would become of a request, and why.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{config::AdminState, snapshot::Version};

/// `POST /api/v1/explain`: a request as a client would send it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ExplainRequest {
    /// The method; `GET` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The URL. Its scheme and port choose entry points unless `entry_point` names one.
    pub url: String,
    /// Header fields.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<[String; 2]>))]
    pub headers: Vec<(String, String)>,
    /// Whom it comes from; `127.0.0.1` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = "ip"))]
    pub client: Option<IpAddr>,
    /// Where it comes in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry_point: Option<String>,
    /// In which version; the current one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
}

/// What would become of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Explanation {
    /// In which version; absent for a configuration that is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// Whether health and overrides of the running fleet were considered.
    pub live: bool,
    /// The request as rules see it.
    pub request: SeenRequest,
    /// One answer for each entry point where it may come in.
    pub entry_points: Vec<EntryPointExplanation>,
}

/// A request as rules see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SeenRequest {
    /// The method.
    pub method: String,
    /// The host without its port.
    pub host: String,
    /// The path with its dot segments resolved.
    pub path: String,
    /// The query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// Whom it comes from.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "ip"))]
    pub client: IpAddr,
}

/// What becomes of a request at one entry point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EntryPointExplanation {
    /// The entry point.
    pub name: String,
    /// Its address, as configured.
    pub address: String,
    /// Why the proxy would answer by itself, by the reason it would count; absent when a backend
    /// is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Its routes in the order they are asked, at most 1,000 of them.
    pub routes: Vec<RouteVerdict>,
    /// How many routes there are.
    pub routes_in_all: usize,
    /// What the route that takes it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
}

/// What one route says to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RouteVerdict {
    /// The route.
    pub name: String,
    /// Its priority.
    pub priority: i64,
    /// Its rule.
    pub rule: String,
    /// Whether its rule holds.
    pub holds: bool,
    /// Whether it takes the request: the first whose rule holds.
    pub takes: bool,
    /// The first part of its rule that fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// What a route does with a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Decision {
    /// The route.
    pub route: String,
    /// What happens before a backend is chosen, in this order.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// The service.
    pub service: String,
    /// How a backend is chosen.
    pub strategy: String,
    /// How long it may take, in the words of the configuration.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<[String; 2]>))]
    pub timeouts: Vec<(String, String)>,
    /// The pool.
    pub backends: Vec<Candidate>,
    /// Who of it gets the request, as far as that follows from it: one entry for all proxies, or
    /// one for each part of them where they see backends differently.
    #[serde(default)]
    pub choices: Vec<Choice>,
}

/// Which backend gets a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Choice {
    /// What decides. With a backend: `hash`, `session_header`, `split_header`, or `only` where no
    /// other may be chosen. Without one: `session_cookie`, `split`, `levels`, `services`, or the
    /// strategy, where that is decided at run time; `nobody` where none may be chosen.
    pub by: String,
    /// The backend; absent where it does not follow from the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// The service that it is of, where that is another one that stands in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Why, in words.
    pub detail: String,
    /// The proxies that choose so, by id; none where it is the same for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proxies: Vec<String>,
}

/// Something that happens to a request on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Step {
    /// What: `jwt`, `waf`, `middleware strip-cart`, ...
    pub name: String,
    /// What it decides; `None` where that is decided at run time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
    /// What follows from configuration and request head alone, in words.
    pub detail: String,
}

/// A backend that may answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Candidate {
    /// Its id.
    pub id: String,
    /// Where it is.
    pub url: String,
    /// Its share.
    pub weight: u16,
    /// Whether it may be chosen.
    pub eligible: bool,
    /// Why not, or what limits it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What an operator decided about it.
    pub admin_state: AdminState,
    /// The service that it is of, where that is another one that stands in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}
