//! Which requests go where, as written.

use super::{Grpc, Jwt, RateLimit, ServiceTimeouts, Spanned, TrafficManagement, Waf, record};
use crate::{
    rule::Rule,
    value::{EntryPointName, MiddlewareName, ServiceName, TlsOptionsName},
};

record! {
    /// Which requests go to which service.
    pub struct Route {
        /// Which requests, in the rule language.
        rule: Spanned<Rule>,
        /// Where they come in; everywhere by default.
        entry_points: Vec<Spanned<EntryPointName>>,
        /// Higher is tried first; the length of the rule by default.
        priority: Spanned<i64>,
        /// Who answers; may be left out when there is one service.
        service: Spanned<ServiceName>,
        /// Time-outs that differ from the service's.
        timeouts: Box<ServiceTimeouts>,
        /// Middlewares in the order in which requests pass them.
        middlewares: Vec<Spanned<MiddlewareName>>,
        /// TLS that differs from the entry point's.
        tls: RouteTls,
        /// Stickiness, deployments, mirroring and circuit breaking of this route.
        traffic_management: Box<TrafficManagement>,
        /// Who may ask, in place of the block for all routes.
        jwt: Box<Jwt>,
        /// What may be asked, in place of the block for all routes.
        waf: Box<Waf>,
        /// How often it may be asked, in place of the block for all routes.
        rate_limit: Box<RateLimit>,
        /// gRPC on this route, in place of the block for all routes.
        grpc: Box<Grpc>,
    }
    required: rule = "rule: Host(`shop.example.com`)"
}

record! {
    /// TLS of one route.
    pub struct RouteTls {
        /// A named set from `tls_options`.
        options: Spanned<TlsOptionsName>,
    }
}
