//! What was written: every key optional, every value with its place.
//!
//! The language itself is declared here, one struct a map: its keys, what each takes, and the
//! keys that the language has but this version does not run yet. Reading checks shapes, keys and
//! single values; [`crate::Config::parse`] checks what they mean together.

mod reader;
mod record;

use ipnet::IpNet;
pub(crate) use reader::nearest;
pub use reader::{At, Reader, Spanned};
use record::record;

use crate::{
    bundle::{Bundle, FileReference},
    config::Strategy,
    diagnostic::Diagnostics,
    layers,
    rule::Rule,
    value::{
        BackendName, BackendUrl, ByteSize, CertificateName, Duration, EntryPointName, Label,
        ListenAddress, RouteName, ServiceName, Weight,
    },
    yaml::Node,
};

/// A map keyed by name, in written order.
pub type Named<N, T> = Vec<(Spanned<N>, T)>;

record! {
    /// A whole configuration as written, from one document or several.
    pub struct Document {
        /// Where clients connect.
        entry_points: Named<EntryPointName, EntryPoint>,
        /// Single servers by id.
        backends: Named<BackendName, Backend>,
        /// Pools of backends with their policy.
        services: Named<ServiceName, Service>,
        /// Which requests go to which service.
        routes: Named<RouteName, Route>,
        /// What TLS entry points show to clients.
        certificates: Named<CertificateName, Certificate>,
        /// The health check of every service that has none of its own.
        health_check: HealthCheck,
    }
    later: middlewares, traffic_management, jwt, waf, http3, grpc, observability,
        service_discovery, lets_encrypt, plugins, rate_limit, tls_options
}

record! {
    /// An address, what is spoken there and within which limits.
    pub struct EntryPoint {
        /// `ADDRESS:PORT` to listen on; port 0 lets each proxy pick one.
        address: Spanned<ListenAddress>,
        /// `http`, the default.
        protocol: Spanned<Protocol>,
        /// TLS with the certificate picked by server name; `{}` turns it on.
        tls: Tls,
        /// How long clients may take.
        timeouts: EntryPointTimeouts,
        /// How much clients may send.
        limits: Limits,
        /// How long a connection may be reused.
        keep_alive: KeepAlive,
        /// Peers whose `X-Forwarded-*` fields are believed.
        trusted_ips: Vec<Spanned<IpNet>>,
        /// Labels of the proxies that run it; every proxy by default.
        proxies: Vec<Spanned<Label>>,
    }
    later: middlewares, proxy_protocol, redirect_to
}

record! {
    /// TLS on an entry point.
    pub struct Tls {
        /// Which certificates clients may see, the first also without a matching server name;
        /// every one by default.
        certificates: Vec<Spanned<CertificateName>>,
    }
    later: options, min_version, max_version, cipher_suites, client_auth
}

record! {
    /// How long clients of an entry point may take.
    pub struct EntryPointTimeouts {
        /// Until the request head is whole.
        header: Spanned<Duration>,
        /// Until the next request.
        idle: Spanned<Duration>,
        /// The longest pause in a body.
        body: Spanned<Duration>,
    }
}

record! {
    /// How much clients of an entry point may send.
    pub struct Limits {
        /// Open connections of one proxy.
        connections: Spanned<u64>,
        /// Bytes of the request line.
        request_line: Spanned<ByteSize>,
        /// Bytes of all header fields.
        header_bytes: Spanned<ByteSize>,
        /// Number of header fields.
        header_count: Spanned<u16>,
        /// Bytes of the request body.
        body: Spanned<ByteSize>,
    }
    later: connections_per_client
}

record! {
    /// How long a connection may be reused.
    pub struct KeepAlive {
        /// Requests on one connection.
        max_requests: Spanned<u64>,
        /// Age of a connection.
        max_time: Spanned<Duration>,
    }
}

record! {
    /// One server.
    pub struct Backend {
        /// `http://HOST:PORT`.
        url: Spanned<BackendUrl>,
        /// Its share among the others, 1 by default.
        weight: Spanned<Weight>,
    }
    later: zone, preserve_path
}

record! {
    /// A pool of backends with its policy.
    pub struct Service {
        /// Ids of backends.
        backends: Vec<Spanned<BackendName>>,
        /// `round_robin` (the default) or `p2c`.
        strategy: Spanned<Strategy>,
        /// How to find out whether a backend is well.
        health_check: HealthCheck,
        /// How long backends may take.
        timeouts: ServiceTimeouts,
        /// Connections kept for reuse.
        pool: Pool,
        /// Whether backends see the client's `Host`; true by default.
        pass_host_header: Spanned<bool>,
    }
    later: hash_on, traffic_management, flush_interval, middlewares, passive_health_check, retry,
        weighted, failover
}

record! {
    /// An active HTTP health check.
    pub struct HealthCheck {
        /// The path asked for.
        path: Spanned<String>,
        /// From one check to the next, 5s by default.
        interval: Spanned<Duration>,
        /// For the whole check, 1s by default.
        timeout: Spanned<Duration>,
        /// Passes in a row that make a backend well, 2 by default.
        healthy_threshold: Spanned<u16>,
        /// Failures in a row that make a backend ill, 3 by default.
        unhealthy_threshold: Spanned<u16>,
    }
    later: port, host, method, headers, status, body, tls, unhealthy_interval
}

record! {
    /// How long backends may take.
    pub struct ServiceTimeouts {
        /// Until a connection stands.
        connect: Spanned<Duration>,
        /// Until the response head arrives.
        response_header: Spanned<Duration>,
        /// The longest pause in a response body.
        idle: Spanned<Duration>,
        /// The whole exchange; 0 means no limit.
        total: Spanned<Duration>,
    }
}

record! {
    /// Idle connections kept for reuse.
    pub struct Pool {
        /// How many, for each backend and worker.
        max_idle: Spanned<u32>,
        /// How long.
        idle_timeout: Spanned<Duration>,
    }
    later: max_connections, max_lifetime
}

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
        timeouts: ServiceTimeouts,
    }
    later: middlewares, traffic_management, tls, jwt, waf
}

record! {
    /// A certificate chain and its key, from files or inline.
    pub struct Certificate {
        /// A file with the PEM chain, leaf first.
        cert_file: Spanned<String>,
        /// A file with the PEM key.
        key_file: Spanned<String>,
        /// The PEM chain itself.
        cert: Spanned<String>,
        /// The PEM key itself.
        key: Spanned<crate::value::Secret<String>>,
    }
}

/// What an entry point speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 and HTTP/2.
    Http,
}

impl Document {
    /// The keys that may stand at the top.
    pub fn keys() -> impl Iterator<Item = &'static str> {
        Self::KEYS.iter().chain(Self::LATER).copied()
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

    /// Where secrets are written.
    pub fn secrets(&self) -> Vec<At> {
        let certificates = self.certificates.iter().flatten();
        certificates.filter_map(|(_, certificate)| Some(certificate.key.as_ref()?.at)).collect()
    }

    /// The files that the documents name, in written order.
    pub fn file_references(&self, bundle: &Bundle) -> Vec<FileReference> {
        let mut files = Vec::new();
        for (_, certificate) in self.certificates.iter().flatten() {
            for path in [&certificate.cert_file, &certificate.key_file].into_iter().flatten() {
                let place = path.at.position.in_file(bundle.source_name(path.at.source));
                let document = bundle.base_of(path.at.source).to_owned();
                files.push(FileReference { document, path: path.value.clone(), place });
            }
        }
        files
    }

    /// Takes in another document: maps are joined by name, anything else may stand once.
    fn join(&mut self, other: Self, reader: &mut Reader<'_>) {
        reader.join("entry_points", &mut self.entry_points, other.entry_points);
        reader.join("backends", &mut self.backends, other.backends);
        reader.join("services", &mut self.services, other.services);
        reader.join("routes", &mut self.routes, other.routes);
        reader.join("certificates", &mut self.certificates, other.certificates);
        match (&self.health_check, other.health_check) {
            (Some(first), Some(second)) => {
                reader.twice("health_check", first.at, second.at);
            }
            (None, second) => self.health_check = second,
            (Some(_), None) => {}
        }
    }
}

#[cfg(test)]
mod tests;
