//! Builds a snapshot from a configuration, reusing what the previous one already has.
//!
//! Pure but for one thing: private keys are loaded into the TLS library, which can fail where a
//! parsed configuration cannot. All faults are gathered. Nothing is bound or started here.

mod clusters;
mod routes;

use std::{fmt, sync::Arc};

use lb_model::{
    config::{Config, EntryPoint},
    resource::HashKey,
    value::Label,
};
use lb_routing::RouteTable;
use rustls::{ServerConfig, sign::CertifiedKey};

pub(super) use self::clusters::route_of;
use self::routes::Routes;
use super::{
    compiled::{CompiledEntryPoint, CompiledSnapshot},
    mirrors::Mirrors,
};
use crate::{
    proxy::mirror::Budget,
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
    let mirrors = Mirrors::build(config, previous, context, &mut faults);
    let from = routes::From { config, clusters: &clusters, mirrors: &mirrors, previous, context };
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
        links: match previous {
            Some(previous) if Arc::ptr_eq(&previous.clusters, &clusters) => {
                Arc::clone(&previous.links)
            }
            _ => clusters::links(&clusters),
        },
        clusters,
        mirrors: mirrors.built,
        certificates: Arc::new(certificates),
        overload: config.entry_points.values().find_map(|entry_point| entry_point.overload),
        config: config.clone(),
        secret: context.secret,
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

#[cfg(test)]
mod tests;
