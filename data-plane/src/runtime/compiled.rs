//! A configuration in the form that serves requests.
//!
//! Immutable and shared by all workers. Everything that can be decided once for a configuration
//! is decided here: time-outs are merged, services found, tables sorted. What outlives a
//! configuration (counters, open connections) hangs on by reference counts.

use std::{sync::Arc, time::Duration};

use lb_model::{
    config::{Config, EntryPoint, Overload, Route, Service},
    resource::HashKey,
};
use lb_routing::RouteTable;
use lb_upstream::{Cluster, PerWorker, SendLimits};
use rustls::ServerConfig;

use crate::{
    proxy::{forward::Again, in_flight::Gate, mirror::Mirror},
    stats::{EntryPointState, RouteCounters},
    tls::resolver::CertificateSet,
};

/// A configuration ready to serve.
#[derive(Debug)]
pub struct CompiledSnapshot {
    pub(crate) version: u64,
    pub(crate) entry_points: Vec<CompiledEntryPoint>,
    /// By slot, the number by which tables name them.
    pub(crate) routes: Vec<Arc<RouteTarget>>,
    /// The slots, in the order of the routes' names.
    pub(crate) slots: Arc<Vec<usize>>,
    pub(crate) clusters: Arc<[Arc<Cluster>]>,
    /// Where each cluster leads on; empty where none does.
    pub(crate) links: Arc<[Links]>,
    /// What copies of requests go where; routes name theirs by its place.
    pub(crate) mirrors: Vec<Arc<Mirror>>,
    pub(crate) certificates: Arc<CertificateSet>,
    /// When requests are refused to protect the proxy.
    pub(crate) overload: Option<Overload>,
    /// What it was compiled from, so that the next one compiles what differs.
    pub(crate) config: Config,
    /// The key of its lineage.
    pub(crate) secret: HashKey,
}

/// An entry point with the routes that listen there.
#[derive(Debug)]
pub struct CompiledEntryPoint {
    pub(crate) name: Arc<str>,
    pub(crate) spec: Arc<EntryPoint>,
    pub(crate) table: Arc<RouteTable<usize>>,
    pub(crate) state: Arc<EntryPointState>,
    /// How TLS is spoken here, where it differs from the rest.
    pub(crate) tls: Option<Arc<ServerConfig>>,
}

/// Other clusters in the place of one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Links {
    /// In place of backends, in the order of the service's parts.
    pub(crate) weighted: Vec<usize>,
    /// When it has nobody to choose, or answers in certain ways.
    pub(crate) failover: Option<usize>,
}

/// What a route leads to.
#[derive(Debug)]
pub struct RouteTarget {
    pub(crate) name: Arc<str>,
    /// An index into the snapshot's clusters.
    pub(crate) cluster: usize,
    pub(crate) limits: RouteLimits,
    pub(crate) pass_host_header: bool,
    /// When its requests are tried again.
    pub(crate) retry: Option<Again>,
    /// How many of its requests may be on their way at once.
    pub(crate) in_flight: Vec<Arc<Gate>>,
    /// An index into the snapshot's mirrors.
    pub(crate) mirror: Option<usize>,
    pub(crate) counters: Arc<PerWorker<RouteCounters>>,
    /// What it was made of.
    pub(crate) route: Arc<Route>,
    pub(crate) service: Arc<Service>,
}

/// Time limits of a route, those of its service with its own in their place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RouteLimits {
    /// Until the response head.
    pub send: SendLimits,
    /// The longest pause in a response body.
    pub idle: Option<Duration>,
    /// The whole exchange.
    pub total: Option<Duration>,
}

impl CompiledSnapshot {
    /// What runs before the first configuration arrives: nothing.
    pub fn empty(certificates: Arc<CertificateSet>) -> Self {
        Self {
            version: 0,
            entry_points: Vec::new(),
            routes: Vec::new(),
            slots: Arc::default(),
            clusters: Arc::default(),
            links: Arc::default(),
            mirrors: Vec::new(),
            certificates,
            overload: None,
            config: Config::default(),
            secret: HashKey([0; 32]),
        }
    }

    /// The version of the configuration.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// The services as they run.
    pub fn clusters(&self) -> &[Arc<Cluster>] {
        &self.clusters
    }

    /// The slot of a route.
    pub(crate) fn slot(&self, route: &str) -> Option<usize> {
        let found = self.slots.binary_search_by(|slot| (*self.routes[*slot].name).cmp(route));
        found.ok().map(|place| self.slots[place])
    }

    /// What a route leads to.
    pub(crate) fn target(&self, route: &str) -> Option<&Arc<RouteTarget>> {
        self.slot(route).map(|slot| &self.routes[slot])
    }

    pub(crate) fn entry_point(&self, name: &str) -> Option<usize> {
        self.entry_points.iter().position(|entry_point| *entry_point.name == *name)
    }
}
