//! Messages as objects of a configuration.

use std::sync::Arc;

use ipnet::IpNet;
use lb_proto::v1;
use prost::Message;

use super::{
    health_check,
    read::{Decoded, backend_names, duration, names, positive, share, small, text},
    resilience, traffic_management,
};
use crate::{
    config::{
        AdminState, Backend, Certificate, Config, EntryPoint, EntryPointTimeouts, KeepAlive,
        Limits, Objects, Pool, Route, RouteTimeouts, Service, ServiceTimeouts, Strategy, Tls,
        TrafficManagement,
    },
    resource::{Delta, Resource, ResourceKey, ResourceKind, ResourceSet},
    rule::Rule,
    value::{
        BackendName, BackendUrl, ByteSize, CertificateName, EntryPointName, HashSource,
        InvalidValue, Label, ListenAddress, Percentage, RouteName, Scheme, ServiceName, Weight,
    },
};

/// A resource that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct InvalidResource {
    /// Which.
    pub key: ResourceKey,
    /// Why.
    pub message: String,
}

/// Changes a configuration step by step into the one that is meant.
pub(super) struct Decoder {
    delta: Delta,
    config: Config,
    found: Vec<InvalidResource>,
}

impl Decoder {
    /// Begins with what is known already, or with nothing.
    pub(super) fn new(set: &ResourceSet, previous: Option<(&ResourceSet, &Config)>) -> Self {
        let previous = previous.filter(|(known, _)| known.hash_key() == set.hash_key());
        let (delta, config) = match previous {
            Some((known, config)) => (set.delta_from_set(known), config.clone()),
            None => (set.delta_from_set(&ResourceSet::empty(*set.hash_key())), Config::default()),
        };
        Self { delta, config, found: Vec::new() }
    }

    pub(super) fn config(mut self) -> Result<Config, Vec<InvalidResource>> {
        self.remove();
        self.read();
        self.references();
        if self.found.is_empty() { Ok(self.config) } else { Err(self.found) }
    }

    fn remove(&mut self) {
        let config = &mut self.config;
        for ResourceKey { kind, name } in &self.delta.remove {
            match kind {
                ResourceKind::Certificate => drop(config.certificates.remove(&**name)),
                ResourceKind::EntryPoint => drop(config.entry_points.remove(&**name)),
                ResourceKind::Backend => drop(config.backends.remove(&**name)),
                ResourceKind::Service => drop(config.services.remove(&**name)),
                ResourceKind::Route => drop(config.routes.remove(&**name)),
            }
        }
    }

    /// Reads what is new and what changed.
    fn read(&mut self) {
        let config = &mut self.config;
        for (key, resource) in &self.delta.upsert {
            let made = (key, resource);
            let outcome = match key.kind {
                ResourceKind::Certificate => {
                    object(made, &mut config.certificates, CertificateName::parse, certificate)
                }
                ResourceKind::EntryPoint => {
                    object(made, &mut config.entry_points, EntryPointName::parse, entry_point)
                }
                ResourceKind::Backend => {
                    object(made, &mut config.backends, BackendName::parse, backend)
                }
                ResourceKind::Service => {
                    object(made, &mut config.services, ServiceName::parse, service)
                }
                ResourceKind::Route => object(made, &mut config.routes, RouteName::parse, route),
            };
            if let Err(message) = outcome {
                self.found.push(InvalidResource { key: key.clone(), message });
            }
        }
    }

    /// Checks that every name leads somewhere: of what is new when nothing went away, of
    /// everything otherwise.
    fn references(&mut self) {
        let config = &self.config;
        let mut dangling = Dangling { config, found: Vec::new() };
        if self.delta.remove.is_empty() {
            for (key, _) in &self.delta.upsert {
                dangling.at(key);
            }
            // How deep a service leads depends on all behind it.
            if self.delta.upsert.iter().any(|(key, _)| key.kind == ResourceKind::Service) {
                config.services.keys().for_each(|name| dangling.endless(name));
            }
        } else {
            for (name, service) in &config.services {
                dangling.service(name, service);
                dangling.endless(name);
            }
            for (name, entry_point) in &config.entry_points {
                dangling.entry_point(name, entry_point);
            }
            for (name, route) in &config.routes {
                dangling.route(name, route);
            }
        }
        self.found.extend(dangling.found);
    }
}

/// Names that lead nowhere.
struct Dangling<'c> {
    config: &'c Config,
    found: Vec<InvalidResource>,
}

impl Dangling<'_> {
    /// Looks at one object, if it could be read.
    fn at(&mut self, key: &ResourceKey) {
        let (config, name) = (self.config, &*key.name);
        match key.kind {
            ResourceKind::EntryPoint => {
                if let Some((name, object)) = config.entry_points.get_key_value(name) {
                    self.entry_point(name, object);
                }
            }
            ResourceKind::Service => {
                if let Some((name, object)) = config.services.get_key_value(name) {
                    self.service(name, object);
                }
            }
            ResourceKind::Route => {
                if let Some((name, object)) = config.routes.get_key_value(name) {
                    self.route(name, object);
                }
            }
            ResourceKind::Certificate | ResourceKind::Backend => {}
        }
    }

    fn service(&mut self, name: &ServiceName, service: &Service) {
        for backend in service.members().chain(slots(&service.traffic_management)) {
            if !self.config.backends.contains_key(backend) {
                self.missing(ResourceKind::Service, name.to_arc(), "backend", backend);
            }
        }
        for other in service.others() {
            if !self.config.services.contains_key(other) {
                self.missing(ResourceKind::Service, name.to_arc(), "service", other);
            }
        }
    }

    fn endless(&mut self, name: &ServiceName) {
        if let Some(fault) = crate::parse::endless(&self.config.services, name) {
            let key = ResourceKey { kind: ResourceKind::Service, name: name.to_arc() };
            self.found.push(InvalidResource { key, message: fault });
        }
    }

    fn entry_point(&mut self, name: &EntryPointName, entry_point: &EntryPoint) {
        let tls = entry_point.tls.as_ref();
        for certificate in tls.and_then(|tls| tls.certificates.as_ref()).into_iter().flatten() {
            if !self.config.certificates.contains_key(certificate) {
                self.missing(ResourceKind::EntryPoint, name.to_arc(), "certificate", certificate);
            }
        }
    }

    fn route(&mut self, name: &RouteName, route: &Route) {
        let kind = ResourceKind::Route;
        if !self.config.services.contains_key(&route.service) {
            self.missing(kind, name.to_arc(), "service", &route.service);
        }
        let traffic = route.traffic_management.as_deref();
        let named =
            traffic.into_iter().flat_map(|traffic| traffic.canaries().chain(slots(traffic)));
        for backend in named.filter(|backend| !self.config.backends.contains_key(*backend)) {
            self.missing(kind, name.to_arc(), "backend", backend);
        }
        for entry_point in &route.entry_points {
            if !self.config.entry_points.contains_key(entry_point) {
                self.missing(kind, name.to_arc(), "entry point", entry_point);
            }
        }
    }

    fn missing(
        &mut self,
        kind: ResourceKind,
        name: Arc<str>,
        what: &str,
        which: impl std::fmt::Display,
    ) {
        let message = format!("there is no {what} `{which}`");
        self.found.push(InvalidResource { key: ResourceKey { kind, name }, message });
    }
}

fn object<N: Ord + Clone, M: Message + Default, T>(
    (key, resource): (&ResourceKey, &Resource),
    objects: &mut Objects<N, T>,
    name: impl Fn(&str) -> Result<N, InvalidValue>,
    read: impl Fn(M) -> Decoded<T>,
) -> Decoded<()> {
    let name = name(&key.name).map_err(text)?;
    let message = M::decode(resource.body().clone())
        .map_err(|_| "its body is not a message of its kind".to_owned())?;
    objects.insert(name, Arc::new(read(message)?));
    Ok(())
}

/// The backends of both slots.
fn slots(traffic: &TrafficManagement) -> impl Iterator<Item = &BackendName> {
    traffic.blue_green.iter().flat_map(|made| made.blue.iter().chain(&made.green))
}

fn entry_point(message: v1::EntryPoint) -> Decoded<EntryPoint> {
    let ranges = message.trusted_ips.iter();
    let trusted: Result<Vec<IpNet>, _> = ranges.map(|range| range.parse()).collect();
    let head = |field: &str, bytes: u64| match bytes {
        256..=0x10_0000 => Ok(ByteSize(bytes)),
        _ => Err(format!("{field}: {bytes} bytes is out of range")),
    };
    let certificates = match message.certificates.as_slice() {
        [] => None,
        listed => Some(names(listed, CertificateName::parse, "certificates")?),
    };
    Ok(EntryPoint {
        address: ListenAddress::parse(&message.address).map_err(text)?,
        tls: message.tls.then_some(Tls { certificates }),
        timeouts: EntryPointTimeouts {
            header: positive("header time-out", message.header_timeout_ms)?,
            idle: positive("idle time-out", message.idle_timeout_ms)?,
            body: duration("body time-out", message.body_timeout_ms)?,
        },
        limits: Limits {
            connections: message.max_connections,
            request_line: head("request line", message.max_request_line)?,
            header_bytes: head("header bytes", message.max_header_bytes)?,
            header_count: small("header count", message.max_header_count)?,
            body: ByteSize(message.max_body),
        },
        keep_alive: KeepAlive {
            max_requests: message.max_requests,
            max_time: duration("connection time", message.max_connection_time_ms)?,
        },
        trusted_ips: trusted.map_err(text)?,
        overload: message.overload.map(resilience::overload).transpose()?,
    })
}

fn backend(message: v1::Backend) -> Decoded<Backend> {
    let weight = Weight::new(message.weight.into());
    let url = BackendUrl::parse(&message.url).map_err(text)?;
    if url.scheme() != Scheme::Http || !url.path().is_empty() {
        return Err(format!("this version does not speak to `{url}`"));
    }
    let zone = (!message.zone.is_empty()).then(|| Label::parse(&message.zone).map_err(text));
    let priority = u8::try_from(message.priority)
        .map_err(|_| format!("priority: {} is out of range", message.priority))?;
    Ok(Backend {
        zone: zone.transpose()?,
        priority,
        url,
        weight: weight.ok_or_else(|| format!("weight: {} is out of range", message.weight))?,
        admin_state: match v1::AdminState::try_from(message.admin_state) {
            Ok(v1::AdminState::Enabled) => AdminState::Enabled,
            Ok(v1::AdminState::Draining) => AdminState::Draining,
            Ok(v1::AdminState::Disabled) => AdminState::Disabled,
            Err(_) => return Err(format!("admin state: {} is not one", message.admin_state)),
        },
    })
}

fn service(message: v1::Service) -> Decoded<Service> {
    let strategy = match message.strategy.as_str() {
        "round_robin" => Strategy::RoundRobin,
        "p2c" => Strategy::P2c,
        "peak_ewma" => Strategy::PeakEwma,
        "least_requests" => Strategy::LeastRequests,
        "hash" => Strategy::Hash(HashSource::parse(&message.hash_on).map_err(text)?),
        other => return Err(format!("this version does not run the strategy `{other}`")),
    };
    let weighted = message.weighted.into_iter().map(resilience::weighted);
    let weighted = weighted.collect::<Decoded<Vec<_>>>()?;
    let backends = match (message.backends.as_slice(), weighted.is_empty()) {
        ([], false) => Vec::new(),
        (listed, _) => backend_names(listed, "backends")?,
    };
    let traffic_management =
        message.traffic_management.map(traffic_management::decode).transpose()?;
    let panic = message.panic_threshold;
    Ok(Service {
        backends,
        weighted,
        failover: message.failover.map(resilience::failover).transpose()?,
        slow_start: duration("slow start", message.slow_start_ms)?,
        panic_threshold: share("panic threshold", panic, Percentage::of_millionths)?,
        outlier_detection: message.outlier_detection.map(resilience::outliers).transpose()?,
        retry: message.retry.map(resilience::retry).transpose()?,
        traffic_management: traffic_management.map(Arc::new).unwrap_or_default(),
        strategy,
        health_check: message.health_check.map(health_check::decode).transpose()?,
        timeouts: ServiceTimeouts {
            connect: positive("connect time-out", message.connect_timeout_ms)?,
            response_header: duration(
                "response header time-out",
                message.response_header_timeout_ms,
            )?,
            idle: duration("idle time-out", message.idle_timeout_ms)?,
            total: duration("total time-out", message.total_timeout_ms)?,
        },
        pool: Pool {
            max_idle: message.pool_max_idle,
            idle_timeout: positive("pool idle time-out", message.pool_idle_timeout_ms)?,
            max_connections: message.pool_max_connections,
            max_pending_requests: message.pool_max_pending_requests,
            queue_timeout: positive("queue time-out", message.pool_queue_timeout_ms)?,
            max_lifetime: duration("connection age", message.pool_max_lifetime_ms)?,
        },
        pass_host_header: message.pass_host_header,
    })
}

fn route(message: v1::Route) -> Decoded<Route> {
    let rule = Rule::parse(&message.rule).map_err(|faults| {
        faults.into_iter().map(|fault| fault.message).collect::<Vec<_>>().join("; ")
    })?;
    let timeout =
        |field: &str, millis: Option<u64>| millis.map(|millis| duration(field, millis)).transpose();
    let in_flight = message.in_flight.into_iter().map(resilience::in_flight);
    let traffic_management =
        message.traffic_management.map(traffic_management::decode).transpose()?;
    Ok(Route {
        rule: Arc::new(rule),
        entry_points: names(&message.entry_points, EntryPointName::parse, "entry points")?,
        priority: message.priority,
        service: ServiceName::parse(&message.service).map_err(text)?,
        timeouts: RouteTimeouts {
            connect: timeout("connect time-out", message.connect_timeout_ms)?,
            response_header: timeout(
                "response header time-out",
                message.response_header_timeout_ms,
            )?,
            idle: timeout("idle time-out", message.idle_timeout_ms)?,
            total: timeout("total time-out", message.total_timeout_ms)?,
        },
        in_flight: in_flight.collect::<Decoded<_>>()?,
        retry: message.retry.map(resilience::retry).transpose()?,
        traffic_management: traffic_management.map(Arc::new),
    })
}

fn certificate(message: v1::Certificate) -> Decoded<Certificate> {
    let chain = message.chain.iter().map(|der| der.to_vec().into()).collect();
    Certificate::from_der(chain, message.key.to_vec(), message.is_default).map_err(text)
}
