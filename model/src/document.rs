//! What was written: every key optional, every value with its place.
//!
//! The language itself is declared here, one struct a map and one file a block: its keys, what
//! each takes and what it means when left out. Reading checks shapes, keys and single values;
//! [`crate::Config::parse`] checks what they mean together. What of it this version does not run
//! is listed in `not_yet`.

mod acme;
mod discovery;
mod entry_point;
mod jwt;
mod leaves;
mod middleware;
mod not_yet;
mod observability;
mod overload;
mod plugins;
mod protocols;
mod reader;
mod record;
mod route;
mod service;
mod tls_version;
mod traffic_management;
mod waf;

pub use acme::{Challenge, DnsProvider, DnsProviderName, ExternalAccount, KeyType, LetsEncrypt};
pub use discovery::{
    BasicCredentials, ClientTls, DiscoveryFilter, FilterKey, Operator, Provider, ServiceDiscovery,
};
pub use entry_point::{
    Alpn, Certificate, CipherSuite, ClientAuth, ClientAuthType, Curve, EntryPoint,
    EntryPointTimeouts, KeepAlive, Limits, Protocol, ProxyProtocol, Redirect, RedirectScheme, Tls,
    TlsOptions,
};
pub use jwt::{Algorithm, DefaultPolicy, Jwt, PathRule, TokenSource};
pub use leaves::{Anything, HeaderValue, OneOrMany};
pub use middleware::{
    AddPrefix, BasicAuth, Buffering, Chain, Compress, Encoding, Errors, ForwardAuth, Headers,
    InFlight, IpAllowList, Middleware, PluginUse, RateLimitMiddleware, RedirectRegex,
    RedirectToScheme, ReplacePath, ReplacePathRegex, StripPrefix, StripPrefixRegex,
};
#[cfg(test)]
pub(crate) use not_yet::is_listed as is_not_yet;
pub use observability::{
    Bound, LogFilters, LogLevel, Logging, MetricEndpoint, MetricExporter, MetricExporterType,
    MetricPrefix, Metrics, Observability, OtlpProtocol, Propagation, TraceExporter,
    TraceExporterType, Tracing, Verbosity,
};
pub use overload::Overload;
pub use plugins::{Abi, Fail, HttpPlugin, Plugins, WasmPlugin};
pub use protocols::{Grpc, Http3};
pub use reader::{At, Reader, Spanned, Switch, Visitor};
pub(crate) use reader::{Item, Leaf, nearest};
use record::{record, words};
pub use route::{Route, RouteTls};
pub use service::{
    Backend, CheckType, HealthCheck, PassiveHealthCheck, Pool, Retry, RetryOn, Service,
    ServiceTimeouts, Strategy, SuccessRate, WeightedService,
};
pub use tls_version::TlsVersion;
pub use traffic_management::{
    BlueGreen, Canary, CanaryBackend, CanaryStep, CanarySticky, CircuitBreaker, LargeBody,
    MirrorTarget, SameSite, SessionStickiness, Slot, TrafficManagement, TrafficMirroring,
};
pub use waf::{
    BotDetection, Detection, Detectors, RateLimit, SecurityHeaders, Waf, WafAction, WafMode,
    WafRule, WafSeverity, WafTarget,
};

use crate::{
    bundle::{Bundle, FileReference},
    diagnostic::Diagnostics,
    layers,
    value::{
        BackendName, CertificateName, EntryPointName, FilePath, MiddlewareName, RouteName, Secret,
        ServiceName, TlsOptionsName,
    },
    yaml::Node,
};

/// A map keyed by name, in written order.
pub type Named<N, T> = Vec<(Spanned<N>, T)>;

record! {
    /// A whole configuration as written, from one document or several.
    pub struct Document {
        /// Where clients connect; one on port 8000 by default.
        entry_points: Named<EntryPointName, EntryPoint>,
        /// Single servers by id.
        backends: Named<BackendName, Backend>,
        /// Pools of backends with their policy; one with every backend by default.
        services: Named<ServiceName, Service>,
        /// Which requests go to which service; all to the only one by default.
        routes: Named<RouteName, Route>,
        /// What is done to requests on their way, by name.
        middlewares: Named<MiddlewareName, Middleware>,
        /// What TLS entry points show to clients.
        certificates: Named<CertificateName, Certificate>,
        /// Sets of TLS options by name.
        tls_options: Named<TlsOptionsName, TlsOptions>,
        /// The health check of every service that has none of its own.
        health_check: HealthCheck,
        /// Stickiness, deployments, mirroring and circuit breaking of every service.
        traffic_management: TrafficManagement,
        /// Who may ask.
        jwt: Jwt,
        /// What may be asked.
        waf: Waf,
        /// How often one client may ask.
        rate_limit: RateLimit,
        /// When a proxy refuses requests to protect itself.
        overload: Overload,
        /// HTTP/3.
        http3: Http3,
        /// gRPC.
        grpc: Grpc,
        /// What is told of requests.
        observability: Observability,
        /// Backends that a registry knows.
        service_discovery: ServiceDiscovery,
        /// Certificates by ACME.
        lets_encrypt: LetsEncrypt,
        /// Code of others that sees requests.
        plugins: Plugins,
    }
}

/// The keys of a chain and its key, whatever map they stand in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CertificateFiles<'a> {
    pub(crate) cert_file: Option<&'a Spanned<FilePath>>,
    pub(crate) key_file: Option<&'a Spanned<FilePath>>,
    pub(crate) cert: Option<&'a Spanned<String>>,
    pub(crate) key: Option<&'a Spanned<Secret<String>>>,
    pub(crate) faulty: &'a [&'static str],
}

impl Document {
    /// The keys that may stand at the top.
    pub fn keys() -> impl Iterator<Item = &'static str> {
        Self::KEYS.iter().copied()
    }

    /// Reads every document of a bundle and joins their maps by name.
    pub fn read(bundle: &Bundle) -> (Self, Diagnostics) {
        let (layered, mut found) = layers::layered(bundle);
        let (whole, faults) = Self::of_trees(&layered.trees, bundle);
        found.extend(faults);
        (whole, found)
    }

    /// Reads the trees of a bundle's documents and joins their maps by name.
    pub(crate) fn of_trees(trees: &[Node], bundle: &Bundle) -> (Self, Diagnostics) {
        let (mut whole, mut found) = (Self::default(), Diagnostics::default());
        for tree in trees {
            let mut reader = Reader::new(bundle);
            if let Some(part) = reader.document(tree) {
                whole.join(part, &mut reader);
            }
            found.extend(reader.into_found());
        }
        (whole, found)
    }

    /// The files that the documents name, in written order.
    pub fn file_references(&self, bundle: &Bundle) -> Vec<FileReference> {
        let mut visitor = Visitor::default();
        self.visit(&mut visitor);
        visitor.files.sort_by_key(|file| file.at);
        let references = visitor.files.into_iter().map(|Spanned { value: path, at }| {
            let place = at.position.in_file(bundle.source_name(at.source));
            let document = bundle.base_of(at.source).to_owned();
            FileReference { document, path, place }
        });
        references.collect()
    }

    /// Where secrets stand, in written order: keys of certificates, shared secrets, passwords,
    /// tokens, and values of free maps whose key speaks of one. Whoever shows a document leaves
    /// these out.
    pub fn secrets(&self) -> Vec<At> {
        let mut visitor = Visitor::default();
        self.visit(&mut visitor);
        visitor.secrets.sort_unstable();
        visitor.secrets
    }

    /// Takes in another document: maps are joined by name, anything else may stand once.
    fn join(&mut self, other: Self, reader: &mut Reader<'_>) {
        // Every field by its name, so that a new block cannot be forgotten here.
        let Self {
            at: _,
            switch: _,
            faulty,
            entry_points,
            backends,
            services,
            routes,
            middlewares,
            certificates,
            tls_options,
            health_check,
            traffic_management,
            jwt,
            waf,
            rate_limit,
            overload,
            http3,
            grpc,
            observability,
            service_discovery,
            lets_encrypt,
            plugins,
        } = other;
        macro_rules! maps {
            ($($map:ident),*) => {
                $( reader.join(stringify!($map), &mut self.$map, $map); )*
            };
        }
        macro_rules! blocks {
            ($($block:ident),*) => {$(
                match (&self.$block, $block) {
                    (Some(first), Some(second)) => {
                        reader.twice(stringify!($block), first.at, second.at);
                    }
                    (None, second) => self.$block = second,
                    (Some(_), None) => {}
                }
            )*};
        }
        maps!(entry_points, backends, services, routes, middlewares, certificates, tls_options);
        blocks!(
            health_check,
            traffic_management,
            jwt,
            waf,
            rate_limit,
            overload,
            http3,
            grpc,
            observability,
            service_discovery,
            lets_encrypt,
            plugins
        );
        self.faulty.extend(faulty);
    }
}

#[cfg(test)]
mod tests;
