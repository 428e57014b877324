//! What is true: a configuration in which every reference resolves and every value is in range.
//!
//! Nothing here is optional that is not meant to be, and nothing is a string that has a type.
//! [`Config::parse`] is the only constructor that takes what people write; the wire form has its
//! own, equally strict one.

mod certificate;
mod entry_point;
mod health_check;
mod jwt;
mod middleware;
mod objects;
mod policies;
mod resilience;
mod route;
mod service;
mod traffic_management;
mod waf;

use std::collections::BTreeMap;

pub use certificate::{Certificate, InvalidCertificate, PublicNames};
pub use entry_point::{EntryPoint, EntryPointTimeouts, KeepAlive, Limits, Tls};
pub use health_check::{GrpcProbe, HealthCheck, HttpProbe, Probe};
pub use jwt::{Algorithm, DefaultPolicy, Jwt, Need, PathRule, TokenKey, TokenSource};
pub use middleware::{Cors, Encoding, Headers, Middleware, RedirectScheme, RetryOn};
pub use objects::{Changes, Objects};
pub use policies::{Fail, Grpc, Plugin, Policies, RoutePolicy, ServicePolicy};
pub use resilience::{Failover, InFlightLimit, OutlierDetection, Overload, Retry, SuccessRate};
pub use route::{Route, RouteTimeouts};
pub use service::{AdminState, Backend, Pool, Service, ServiceTimeouts, Strategy};
pub use traffic_management::{
    BlueGreen, Canary, CanaryChoice, CanaryStep, CanarySticky, CircuitBreaker, LargeBody,
    MirrorTarget, OwnDeployments, SameSite, SessionStickiness, Slot, TrafficManagement,
    TrafficMirroring,
};
pub use waf::{
    BotDetection, Detection, Detectors, RateLimit, SecurityHeaders, Waf, WafAction, WafMode,
    WafRule, WafSeverity, WafTarget,
};

use crate::{
    Diagnostics,
    value::{BackendName, CertificateName, EntryPointName, Labels, RouteName, ServiceName},
};

/// A whole, valid configuration.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Config {
    /// Where clients connect.
    pub entry_points: Objects<EntryPointName, EntryPoint>,
    /// Single servers.
    pub backends: Objects<BackendName, Backend>,
    /// Pools of backends and how to use them.
    pub services: Objects<ServiceName, Service>,
    /// Which requests go to which service.
    pub routes: Objects<RouteName, Route>,
    /// What TLS entry points show to clients.
    pub certificates: Objects<CertificateName, Certificate>,
    /// Which proxies run an entry point: those that hold one of these labels. Every proxy runs
    /// one that is not here. This does not travel: it decides what does.
    pub placement: BTreeMap<EntryPointName, Labels>,
    /// Routes that have slots or a canary of their own, rather than those of their service; only
    /// these. This does not travel: it decides what a decision of an operator is about.
    pub own_deployments: BTreeMap<RouteName, OwnDeployments>,
    /// What is decided about requests beside their route and does not travel yet.
    pub policies: Policies,
}

impl Config {
    /// Takes over from `before` every object that is equal to its own, so that whoever compares
    /// the two later looks at what differs only.
    pub fn share(&mut self, before: &Self) {
        self.entry_points.share(&before.entry_points);
        self.backends.share(&before.backends);
        self.services.share(&before.services);
        self.routes.share(&before.routes);
        self.certificates.share(&before.certificates);
    }
}

/// A configuration and what deserves a second look in it.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// The configuration.
    pub config: Config,
    /// Warnings only: a configuration with an error does not exist.
    pub warnings: Diagnostics,
}
