//! What is decided about a request beside its route: the blocks of the language that apply to
//! many objects, already laid on each of them.
//!
//! What a proxy runs of this stands in the objects that travel; the rest is here, and `lbctl`
//! explains it.

use std::{collections::BTreeMap, sync::Arc};

use super::{Jwt, Middleware, Objects, RateLimit, Waf};
pub use crate::document::Fail;
use crate::{
    rule::MethodName,
    value::{
        ByteSize, Duration, EntryPointName, MiddlewareName, PathPattern, RouteName, ServiceName,
    },
};

/// Everything beyond where requests go.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Policies {
    /// What is done to requests on their way, by name.
    pub middlewares: Objects<MiddlewareName, Middleware>,
    /// Middlewares of every route of an entry point, before the route's own.
    pub entry_points: BTreeMap<EntryPointName, Vec<MiddlewareName>>,
    /// What holds for each service; only for those for which something does.
    pub services: BTreeMap<ServiceName, ServicePolicy>,
    /// What holds for each route; only for those for which something does.
    pub routes: BTreeMap<RouteName, RoutePolicy>,
    /// Plugins in the order in which they see requests.
    pub plugins: Vec<Plugin>,
}

/// What holds for the requests of a service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServicePolicy {
    /// Middlewares of every route to it, after the route's own.
    pub middlewares: Vec<MiddlewareName>,
    /// gRPC to it.
    pub grpc: Option<Arc<Grpc>>,
}

/// What holds for the requests of a route.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RoutePolicy {
    /// Middlewares in the order in which requests pass them.
    pub middlewares: Vec<MiddlewareName>,
    /// Who may ask.
    pub jwt: Option<Arc<Jwt>>,
    /// What may be asked.
    pub waf: Option<Arc<Waf>>,
    /// How often one client may ask.
    pub rate_limit: Option<Arc<RateLimit>>,
    /// gRPC on it.
    pub grpc: Option<Arc<Grpc>>,
}

/// gRPC.
#[derive(Debug, Clone, PartialEq)]
pub struct Grpc {
    /// For a call without streams; for streams until the first answer, and the longest pause.
    pub timeout: Duration,
    /// Whether clients may speak HTTP/2 without TLS.
    pub enable_h2c: bool,
    /// The largest message from a client.
    pub max_receive_size: ByteSize,
    /// The largest message from a backend.
    pub max_send_size: ByteSize,
    /// Whether messages are compressed for those who take it.
    pub enable_compression: bool,
    /// Whether browsers may speak gRPC-Web.
    pub enable_web: bool,
}

/// Code of others that sees requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Plugin {
    /// What it is called; no two share one.
    pub name: String,
    /// Higher goes first.
    pub priority: i64,
    /// The paths that it sees; all when empty.
    pub paths: Vec<PathPattern>,
    /// The methods that it sees; all when empty.
    pub methods: Vec<MethodName>,
    /// What happens to a request when it fails.
    pub fail: Fail,
}

impl Plugin {
    /// Whether it sees a request.
    pub fn sees(&self, method: &str, path: &str) -> bool {
        (self.methods.is_empty() || self.methods.iter().any(|named| named.as_str() == method))
            && (self.paths.is_empty() || self.paths.iter().any(|pattern| pattern.matches(path)))
    }
}
