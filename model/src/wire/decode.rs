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
    resource::{Resource, ResourceKey, ResourceKind, ResourceSet},
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

pub(super) struct Decoder<'a> {
    pub(super) set: &'a ResourceSet,
    pub(super) previous: Option<(&'a ResourceSet, &'a Config)>,
    pub(super) config: Config,
    pub(super) found: Vec<InvalidResource>,
}

impl Decoder<'_> {
    /// Reads every resource, or takes it over where nothing changed.
    pub(super) fn objects(&mut self) {
        let mut config = Config::default();
        for (key, resource) in self.set.iter() {
            let known = self
                .previous
                .filter(|(set, _)| set.get(key).map(Resource::hash) == Some(resource.hash()))
                .map(|(_, config)| config);
            let outcome = match key.kind {
                ResourceKind::Certificate => object(
                    (key, resource),
                    (&mut config.certificates, known.map(|c| &c.certificates)),
                    CertificateName::parse,
                    certificate,
                ),
                ResourceKind::EntryPoint => object(
                    (key, resource),
                    (&mut config.entry_points, known.map(|c| &c.entry_points)),
                    EntryPointName::parse,
                    entry_point,
                ),
                ResourceKind::Backend => object(
                    (key, resource),
                    (&mut config.backends, known.map(|c| &c.backends)),
                    BackendName::parse,
                    backend,
                ),
                ResourceKind::Service => object(
                    (key, resource),
                    (&mut config.services, known.map(|c| &c.services)),
                    ServiceName::parse,
                    service,
                ),
                ResourceKind::Route => object(
                    (key, resource),
                    (&mut config.routes, known.map(|c| &c.routes)),
                    RouteName::parse,
                    route,
                ),
            };
            if let Err(message) = outcome {
                self.fault(key.clone(), message);
            }
        }
        self.config = config;
    }

    /// Checks that every name leads somewhere.
    pub(super) fn references(&mut self) {
        let mut dangling = Vec::new();
        let config = &self.config;
        for (name, service) in &config.services {
            let key = || ResourceKey { kind: ResourceKind::Service, name: name.to_arc() };
            for backend in service.members().chain(slots(&service.traffic_management)) {
                if !config.backends.contains_key(backend) {
                    dangling.push((key(), format!("there is no backend `{backend}`")));
                }
            }
            for other in service.others() {
                if !config.services.contains_key(other) {
                    dangling.push((key(), format!("there is no service `{other}`")));
                }
            }
            if let Some(fault) = crate::parse::endless(&config.services, name) {
                dangling.push((key(), fault));
            }
        }
        for (name, entry_point) in &config.entry_points {
            let tls = entry_point.tls.as_ref();
            for certificate in tls.and_then(|tls| tls.certificates.as_ref()).into_iter().flatten() {
                if !config.certificates.contains_key(certificate) {
                    let key = ResourceKey { kind: ResourceKind::EntryPoint, name: name.to_arc() };
                    dangling.push((key, format!("there is no certificate `{certificate}`")));
                }
            }
        }
        for (name, route) in &config.routes {
            let key = || ResourceKey { kind: ResourceKind::Route, name: name.to_arc() };
            if !config.services.contains_key(&route.service) {
                dangling.push((key(), format!("there is no service `{}`", route.service)));
            }
            let traffic = route.traffic_management.as_deref();
            let named =
                traffic.into_iter().flat_map(|traffic| traffic.canaries().chain(slots(traffic)));
            for backend in named.filter(|backend| !config.backends.contains_key(*backend)) {
                dangling.push((key(), format!("there is no backend `{backend}`")));
            }
            for entry_point in &route.entry_points {
                if !config.entry_points.contains_key(entry_point) {
                    dangling.push((key(), format!("there is no entry point `{entry_point}`")));
                }
            }
        }
        for (key, message) in dangling {
            self.fault(key, message);
        }
    }

    fn fault(&mut self, key: ResourceKey, message: String) {
        self.found.push(InvalidResource { key, message });
    }
}

fn object<N: Ord, M: Message + Default, T>(
    (key, resource): (&ResourceKey, &Resource),
    (objects, known): (&mut Objects<N, T>, Option<&Objects<N, T>>),
    name: impl Fn(&str) -> Result<N, InvalidValue>,
    read: impl Fn(M) -> Decoded<T>,
) -> Decoded<()> {
    let name = name(&key.name).map_err(text)?;
    if let Some(object) = known.and_then(|objects| objects.get(&name)) {
        objects.insert(name, Arc::clone(object));
        return Ok(());
    }
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
