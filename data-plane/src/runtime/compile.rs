//! Builds a snapshot from a configuration, reusing what the previous one already has.
//!
//! Pure but for one thing: private keys are loaded into the TLS library, which can fail where a
//! parsed configuration cannot. All faults are gathered. Nothing is bound or started here.

mod clusters;

use std::{collections::BTreeMap, fmt, sync::Arc};

use lb_model::{
    config::{Config, EntryPoint, InFlightLimit, Route, RouteTimeouts, Service},
    resource::HashKey,
    value::{Label, RouteName},
};
use lb_routing::{RouteEntry, RouteTable};
use lb_upstream::{Cluster, PerWorker, SendLimits};
use rustls::{ServerConfig, sign::CertifiedKey};

use super::{
    compiled::{CompiledEntryPoint, CompiledSnapshot, RouteLimits, RouteTarget},
    mirrors::Mirrors,
};
use crate::{
    proxy::{forward::Again, in_flight::Gate, mirror::Budget},
    stats::EntryPointState,
    tls::{resolver::CertificateSet, showing},
};

/// What compiling needs beside the configuration; made once a process.
#[derive(Debug, Clone)]
pub struct CompileContext {
    pub(crate) workers: usize,
    pub(crate) fallback: Arc<CertifiedKey>,
    /// How TLS is spoken where nothing else is said.
    pub(crate) tls: Arc<ServerConfig>,
    /// Where the proxy stands.
    pub(crate) zone: Option<Label>,
    /// What the proxies of the fleet have in common: the key of the lineage.
    pub(crate) secret: HashKey,
    /// What copies of requests may take.
    pub(crate) copies: Arc<Budget>,
}

/// The kind of object that a fault is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectKind {
    /// An entry point.
    EntryPoint,
    /// A service.
    Service,
    /// A route.
    Route,
    /// A certificate.
    Certificate,
}

/// An object of a configuration that this proxy cannot run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} `{name}`: {message}")]
pub struct CompileError {
    /// What kind of object.
    pub kind: ObjectKind,
    /// Its name.
    pub name: String,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EntryPoint => "entry point",
            Self::Service => "service",
            Self::Route => "route",
            Self::Certificate => "certificate",
        })
    }
}

/// Builds the running form of `config`; what equals its counterpart in `previous` is reused with
/// all that hangs on it.
pub fn compile(
    config: &Config,
    version: u64,
    previous: Option<&CompiledSnapshot>,
    context: &CompileContext,
) -> Result<CompiledSnapshot, Vec<CompileError>> {
    let mut faults = Vec::new();
    let clusters = clusters::clusters(config, previous, context, &mut faults);
    let mut mirrors = Mirrors::new(previous, context);
    let (routes, mut entries) =
        routes(config, (&clusters, &mut mirrors), previous, context, &mut faults);
    let certificates = certificates(config, previous, context, &mut faults);
    let entry_points = config
        .entry_points
        .iter()
        .map(|(name, spec)| {
            let kept = previous
                .and_then(|previous| Some((previous, previous.entry_point(name.as_str())?)))
                .map(|(previous, index)| Arc::clone(&previous.entry_points[index].state));
            CompiledEntryPoint {
                name: name.to_arc(),
                spec: Arc::clone(spec),
                table: RouteTable::build(entries.remove(name.as_str()).unwrap_or_default()),
                state: kept.unwrap_or_else(|| Arc::new(EntryPointState::new(context.workers))),
                tls: own_tls(config, spec, &certificates, context),
            }
        })
        .collect();
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(CompiledSnapshot {
        version,
        entry_points,
        routes,
        links: clusters::links(&clusters),
        clusters,
        mirrors: mirrors.built,
        certificates: Arc::new(certificates),
        overload: config.entry_points.values().find_map(|entry_point| entry_point.overload),
    })
}

fn certificates(
    config: &Config,
    previous: Option<&CompiledSnapshot>,
    context: &CompileContext,
    faults: &mut Vec<CompileError>,
) -> CertificateSet {
    let previous = previous.map(|previous| &*previous.certificates);
    let built = CertificateSet::build(&config.certificates, previous, &context.fallback);
    built.unwrap_or_else(|errors| {
        faults.extend(errors.into_iter().map(|(name, error)| CompileError {
            kind: ObjectKind::Certificate,
            name,
            message: error.to_string(),
        }));
        CertificateSet::empty(&context.fallback)
    })
}

/// How an entry point speaks TLS that shows some certificates only, the first of them to clients
/// without a matching server name.
fn own_tls(
    config: &Config,
    spec: &EntryPoint,
    all: &CertificateSet,
    context: &CompileContext,
) -> Option<Arc<ServerConfig>> {
    let tls = spec.tls.as_ref()?;
    let first = config.certificates.get(tls.certificates.as_ref()?.first()?)?;
    let shown = config.certificates.iter().filter(|(name, _)| tls.shows(name));
    let shown = shown.map(|(name, certificate)| (name.clone(), Arc::clone(certificate))).collect();
    // What is in `all` is loaded; what is not was reported there.
    let shown = CertificateSet::build(&shown, Some(all), &context.fallback).ok()?;
    Some(showing(&context.tls, shown.with_default(first)))
}

/// Where the object of this name stands among those that were built: they keep the order of the
/// configuration's maps, which is that of their names.
fn position<T>(built: &[T], name_of: impl Fn(&T) -> &Arc<str>, name: &str) -> Option<usize> {
    built.binary_search_by(|object| (**name_of(object)).cmp(name)).ok()
}

type Entries = BTreeMap<Arc<str>, Vec<RouteEntry<usize>>>;

fn routes(
    config: &Config,
    (clusters, mirrors): (&[Arc<Cluster>], &mut Mirrors<'_>),
    previous: Option<&CompiledSnapshot>,
    context: &CompileContext,
    faults: &mut Vec<CompileError>,
) -> (Vec<RouteTarget>, Entries) {
    let mut targets = Vec::with_capacity(config.routes.len());
    let mut entries = Entries::new();
    for (name, route) in &config.routes {
        let mut fault = |message| {
            faults.push(CompileError { kind: ObjectKind::Route, name: name.to_string(), message });
        };
        let at = clusters::find(clusters, &clusters::key(name.as_str(), route));
        let (Some(cluster), Some(service)) = (at, config.services.get(&route.service)) else {
            fault(format!("service `{}` cannot be used", route.service));
            continue;
        };
        let counters = previous
            .and_then(|previous| {
                position(&previous.routes, |target| &target.name, name.as_str())
                    .map(|at| &previous.routes[at])
            })
            .map_or_else(
                || Arc::new(PerWorker::new(context.workers)),
                |target| Arc::clone(&target.counters),
            );
        let mirror = mirrors.of(name, route, service).unwrap_or_else(|error| {
            fault(error.to_string());
            None
        });
        for entry_point in &route.entry_points {
            if !config.entry_points.contains_key(entry_point) {
                fault(format!("entry point `{entry_point}` is not configured"));
                continue;
            }
            entries.entry(entry_point.to_arc()).or_default().push(RouteEntry {
                name: name.to_arc(),
                rule: Arc::clone(&route.rule),
                priority: route.priority,
                target: targets.len(),
            });
        }
        targets.push(RouteTarget {
            name: name.to_arc(),
            cluster,
            limits: limits(service, route),
            pass_host_header: service.pass_host_header,
            retry: route.retry.as_ref().or(service.retry.as_ref()).map(Again::new),
            in_flight: gates(name, route, previous),
            mirror,
            counters,
        });
    }
    (targets, entries)
}

/// The gates of a route, with those who are inside them already.
fn gates(name: &RouteName, route: &Route, previous: Option<&CompiledSnapshot>) -> Vec<Arc<Gate>> {
    if route.in_flight.is_empty() {
        return Vec::new();
    }
    let before = previous.and_then(|previous| {
        let at = position(&previous.routes, |target| &target.name, name.as_str())?;
        Some(&previous.routes[at].in_flight)
    });
    let gate = |limit: &InFlightLimit| {
        let known = before.into_iter().flatten();
        let mut known = known.filter(|gate| gate.limit() == limit);
        known.next().map_or_else(|| Arc::new(Gate::new(limit.clone())), Arc::clone)
    };
    route.in_flight.iter().map(gate).collect()
}

fn limits(service: &Service, route: &Route) -> RouteLimits {
    let RouteTimeouts { connect, response_header, idle, total } = route.timeouts;
    let defaults = service.timeouts;
    RouteLimits {
        send: SendLimits {
            connect: connect.unwrap_or(defaults.connect).limit(),
            response_header: response_header.unwrap_or(defaults.response_header).limit(),
        },
        idle: idle.unwrap_or(defaults.idle).limit(),
        total: total.unwrap_or(defaults.total).limit(),
    }
}
