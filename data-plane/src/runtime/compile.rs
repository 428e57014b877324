//! Builds a snapshot from a configuration, reusing what the previous one already has.
//!
//! Pure but for one thing: private keys are loaded into the TLS library, which can fail where a
//! parsed configuration cannot. All faults are gathered. Nothing is bound or started here.

mod routes;

use std::{fmt, sync::Arc};

use lb_model::config::{Config, EntryPoint};
use lb_routing::RouteTable;
use lb_upstream::Cluster;
use rustls::{ServerConfig, sign::CertifiedKey};

use self::routes::Routes;
use super::compiled::{CompiledEntryPoint, CompiledSnapshot};
use crate::{
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
    let clusters = clusters(config, previous, context, &mut faults);
    let from = routes::From { config, clusters: &clusters, previous, context };
    let Routes { targets, slots, mut tables } = from.routes(&mut faults);
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
                table: tables
                    .remove(name.as_str())
                    .unwrap_or_else(|| Arc::new(RouteTable::build([]))),
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
        routes: targets,
        slots,
        clusters,
        certificates: Arc::new(certificates),
        config: config.clone(),
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

fn clusters(
    config: &Config,
    previous: Option<&CompiledSnapshot>,
    context: &CompileContext,
    faults: &mut Vec<CompileError>,
) -> Arc<[Arc<Cluster>]> {
    if let Some(previous) = previous
        && config.services.is_same(&previous.config.services)
        && config.backends.is_same(&previous.config.backends)
    {
        return Arc::clone(&previous.clusters);
    }
    let mut clusters = Vec::with_capacity(config.services.len());
    for (name, service) in &config.services {
        let previous = previous.and_then(|previous| {
            position(&previous.clusters, |cluster| cluster.name(), name.as_str())
                .map(|at| &previous.clusters[at])
        });
        let built =
            Cluster::build(name.to_arc(), service, &config.backends, context.workers, previous);
        match built {
            Ok(cluster) => clusters.push(cluster),
            Err(error) => faults.push(CompileError {
                kind: ObjectKind::Service,
                name: name.to_string(),
                message: error.to_string(),
            }),
        }
    }
    match previous {
        // Whoever follows clusters looks at their list first.
        Some(previous) if is_same(&previous.clusters, &clusters) => Arc::clone(&previous.clusters),
        _ => clusters.into(),
    }
}

fn is_same(one: &[Arc<Cluster>], two: &[Arc<Cluster>]) -> bool {
    one.len() == two.len() && one.iter().zip(two).all(|(one, two)| Arc::ptr_eq(one, two))
}

/// Where the object of this name stands among those that were built: they keep the order of the
/// configuration's maps, which is that of their names.
fn position<T>(built: &[T], name_of: impl Fn(&T) -> &Arc<str>, name: &str) -> Option<usize> {
    built.binary_search_by(|object| (**name_of(object)).cmp(name)).ok()
}

#[cfg(test)]
mod tests;
