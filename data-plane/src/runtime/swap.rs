//! Makes a compiled snapshot the one that runs.
//!
//! The order is what makes it safe: first every new listener is bound, and a port that is taken
//! ends it there with nothing changed; then the snapshot is swapped; then new listeners open;
//! last, removed ones stop accepting and their connections finish what they are doing.

use std::{
    collections::{BTreeMap, HashMap, HashSet, hash_map::Entry},
    io,
    net::SocketAddr,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use lb_http::Reason;
use lb_model::{config::Config, resource::HashKey, value::Label};
use lb_upstream::{ArmsCounts, Cluster, HealthChange, PolicyCounts};
use tokio::{runtime::Handle, sync::mpsc, time::Instant};

use super::{
    compile::{CompileContext, CompileError, compile, route_of},
    compiled::CompiledSnapshot,
    diff::{ListenerKey, diff, wanted},
    health::HealthChecks,
    sweep,
};
use crate::{
    drain::Stage,
    listener,
    stats::{
        BackendStats, EntryPointState, ListenerStats, MirrorStats, RouteStats, RuntimeStats,
        ServiceStats, reasons,
    },
    tls::{
        resolver::{CertificateResolver, CertificateSet, InvalidKey, self_signed},
        server_config,
    },
    workers::{Command, Shared, WorkerHandle},
};

/// How a runtime works.
#[derive(Debug)]
pub struct RuntimeOptions {
    /// Worker threads.
    pub workers: usize,
    /// Where the proxy stands; backends of the same zone come first.
    pub zone: Option<Label>,
    /// How long the connections of a removed listener may take to finish.
    pub drain_timeout: Duration,
    /// Where to tell that a backend went up or down.
    pub health_changes: Option<mpsc::Sender<HealthChange>>,
}

impl Default for RuntimeOptions {
    fn default() -> Self {
        Self {
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            zone: None,
            drain_timeout: Duration::from_secs(30),
            health_changes: None,
        }
    }
}

/// A runtime that could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A worker's thread or event loop could not be made.
    #[error("could not start worker {0}")]
    Worker(usize, #[source] io::Error),
    /// TLS could not be set up.
    #[error("could not set up TLS")]
    Tls(#[from] rustls::Error),
    /// The certificate of last resort could not be made.
    #[error("could not make the certificate of last resort")]
    Certificate(#[from] InvalidKey),
}

/// A snapshot that could not be installed; nothing changed.
#[derive(Debug, thiserror::Error)]
#[error("could not listen on {address} for entry point `{entry_point}`")]
pub struct InstallError {
    /// The entry point.
    pub entry_point: Arc<str>,
    /// Its address.
    pub address: SocketAddr,
    /// Why not.
    #[source]
    pub source: io::Error,
}

#[derive(Debug)]
struct OpenListener {
    id: u64,
    bound: SocketAddr,
    state: Arc<EntryPointState>,
}

/// The address that was bound, and a socket for each worker.
type Sockets = (SocketAddr, Vec<std::net::TcpListener>);

type Bound = Arc<RwLock<Vec<(Arc<str>, SocketAddr)>>>;

/// The workers, and what they serve. There is one owner, which installs snapshots one after the
/// other; others read through a [`RuntimeHandle`].
#[derive(Debug)]
pub struct Runtime {
    context: CompileContext,
    shared: Arc<Shared>,
    resolver: Arc<CertificateResolver>,
    workers: Arc<[WorkerHandle]>,
    open: BTreeMap<ListenerKey, OpenListener>,
    closing: Vec<Arc<EntryPointState>>,
    bound: Bound,
    next_id: u64,
    health: HealthChecks,
    drain_timeout: Duration,
}

/// Reads what a runtime does.
#[derive(Debug, Clone)]
pub struct RuntimeHandle {
    shared: Arc<Shared>,
    bound: Bound,
}

impl Runtime {
    /// Starts the workers with nothing to serve. Health checks, comparing backends, and waiting for
    /// old connections to end run on the tokio runtime this is called on.
    pub fn start(options: RuntimeOptions) -> Result<Self, StartError> {
        let workers = options.workers.max(1);
        let fallback = self_signed()?;
        let certificates = Arc::new(CertificateSet::empty(&fallback));
        let resolver = Arc::new(CertificateResolver::new(Arc::clone(&certificates)));
        let tls = Arc::new(server_config(Arc::clone(&resolver))?);
        let (zone, secret, copies) = (options.zone, random_key(), Arc::default());
        let context =
            CompileContext { workers, fallback, tls: Arc::clone(&tls), zone, secret, copies };
        let empty = CompiledSnapshot::empty(certificates);
        let shared = Arc::new(Shared::new(empty, tls, workers));
        let workers = (0..workers)
            .map(|index| {
                WorkerHandle::start(index, Arc::clone(&shared))
                    .map_err(|error| StartError::Worker(index, error))
            })
            .collect::<Result<_, _>>()?;
        tokio::spawn(sweep::run(Arc::downgrade(&shared)));
        Ok(Self {
            context,
            shared,
            resolver,
            workers,
            open: BTreeMap::new(),
            closing: Vec::new(),
            bound: Bound::default(),
            next_id: 1,
            health: HealthChecks::new(Handle::current(), options.health_changes),
            drain_timeout: options.drain_timeout,
        })
    }

    /// Compiles `config` against what runs now. The result is meant for the next
    /// [`Runtime::install`].
    pub fn compile(
        &self,
        config: &Config,
        version: u64,
    ) -> Result<CompiledSnapshot, Vec<CompileError>> {
        compile(config, version, Some(&self.shared.snapshot()), &self.context)
    }

    /// What compiling needs, for whoever compiles on another thread.
    pub const fn context(&self) -> &CompileContext {
        &self.context
    }

    /// Learns how the new backends of `snapshot` are before it is installed, within `limit`.
    pub async fn warm(&mut self, snapshot: &CompiledSnapshot, limit: Duration) {
        self.health.warm(snapshot, limit).await;
    }

    /// A reader for others.
    pub fn handle(&self) -> RuntimeHandle {
        RuntimeHandle { shared: Arc::clone(&self.shared), bound: Arc::clone(&self.bound) }
    }

    /// Where each entry point listens.
    pub fn listeners(&self) -> Vec<(Arc<str>, SocketAddr)> {
        self.handle().listeners()
    }

    /// Makes `snapshot` what runs, or changes nothing.
    pub async fn install(&mut self, snapshot: CompiledSnapshot) -> Result<(), InstallError> {
        let snapshot = Arc::new(snapshot);
        let open: Vec<_> = self.open.keys().cloned().collect();
        let change = diff(&open, &wanted(&snapshot));
        let mut opened = Vec::with_capacity(change.open.len());
        for key in change.open {
            match self.bind(&key, &change.close, &opened) {
                Ok(sockets) => opened.push((key, sockets)),
                Err(source) => {
                    // Checks that were started for the snapshot go with it.
                    self.health.follow(&self.shared.snapshot());
                    let ListenerKey { entry_point, address, .. } = key;
                    return Err(InstallError { entry_point, address, source });
                }
            }
        }
        // Nothing fails from here on.
        self.resolver.install(Arc::clone(&snapshot.certificates));
        self.health.follow(&snapshot);
        self.shared.install(Arc::clone(&snapshot));
        for worker in &*self.workers {
            worker.tell(Command::Refresh).await;
        }
        for (key, (bound, sockets)) in opened {
            self.open_listener(&snapshot, key, bound, sockets).await;
        }
        for key in change.close {
            if let Some(listener) = self.open.remove(&key) {
                self.close_listener(listener).await;
            }
        }
        let bound = self.open.iter();
        let bound = bound.map(|(key, open)| (Arc::clone(&key.entry_point), open.bound));
        *self.bound.write().unwrap_or_else(PoisonError::into_inner) = bound.collect();
        Ok(())
    }

    fn bind(
        &self,
        key: &ListenerKey,
        close: &[ListenerKey],
        opened: &[(ListenerKey, Sockets)],
    ) -> io::Result<Sockets> {
        // Sockets of this process may share a port; two entry points must not.
        let staying = self.open.iter().filter(|(open, _)| !close.contains(open));
        let staying = staying.map(|(_, open)| open.bound);
        let mut taken = staying.chain(opened.iter().map(|(_, (bound, _))| *bound));
        if taken.any(|taken| taken == key.address) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let sockets = listener::bind(key.address, self.workers.len())?;
        let bound = sockets.first().map_or(Ok(key.address), std::net::TcpListener::local_addr)?;
        Ok((bound, sockets))
    }

    async fn open_listener(
        &mut self,
        snapshot: &CompiledSnapshot,
        key: ListenerKey,
        bound: SocketAddr,
        sockets: Vec<std::net::TcpListener>,
    ) {
        let id = self.next_id;
        self.next_id += 1;
        for (worker, listener) in self.workers.iter().zip(sockets) {
            let command = Command::Open {
                id,
                entry_point: Arc::clone(&key.entry_point),
                listener,
                tls: key.tls,
            };
            worker.tell(command).await;
        }
        tracing::info!(entry_point = %key.entry_point, address = %bound, "listening");
        if let Some(index) = snapshot.entry_point(&key.entry_point) {
            let state = Arc::clone(&snapshot.entry_points[index].state);
            self.open.insert(key, OpenListener { id, bound, state });
        }
    }

    async fn close_listener(&mut self, listener: OpenListener) {
        let id = Some(listener.id);
        for worker in &*self.workers {
            worker.tell(Command::StopAccepting(id)).await;
            worker.tell(Command::Advance(id, Stage::Draining)).await;
        }
        tracing::info!(address = %listener.bound, "no longer listening");
        self.closing.push(listener.state);
        let (workers, timeout) = (Arc::clone(&self.workers), self.drain_timeout);
        tokio::spawn(async move {
            tokio::time::sleep(timeout).await;
            for worker in &*workers {
                worker.tell(Command::Advance(id, Stage::Killed)).await;
            }
        });
    }

    /// Stops: goes on as before for `accept_grace`, so that whoever balances over proxies can
    /// notice; then takes no more connections and finishes what is in flight, for at most
    /// `timeout`; then closes what is left. Returns how many connections that were.
    pub async fn drain(&mut self, accept_grace: Duration, timeout: Duration) -> u64 {
        const LOOK: Duration = Duration::from_millis(10);
        tokio::time::sleep(accept_grace).await;
        for worker in &*self.workers {
            worker.tell(Command::StopAccepting(None)).await;
            worker.tell(Command::Advance(None, Stage::Draining)).await;
        }
        let deadline = Instant::now() + timeout;
        let mut states: Vec<_> = self.open.values().map(|open| &open.state).collect();
        states.extend(&self.closing);
        // An entry point that moved is there twice, with one state.
        states.sort_by_key(|state| Arc::as_ptr(state));
        states.dedup_by(|a, b| Arc::ptr_eq(a, b));
        let open = || states.iter().map(|state| state.open()).sum::<u64>();
        while open() > 0 && Instant::now() < deadline {
            tokio::time::sleep(LOOK).await;
        }
        let left = open();
        for worker in &*self.workers {
            worker.tell(Command::Advance(None, Stage::Killed)).await;
        }
        left
    }
}

/// Every backend once for each service, with what the clusters of routes made of it. Those that
/// only the cluster of a route has come last.
fn backends(clusters: &[Arc<Cluster>], now: Instant) -> Vec<BackendStats> {
    let mut places: HashMap<_, usize> = HashMap::new();
    let mut all: Vec<BackendStats> = Vec::new();
    for member in clusters.iter().flat_map(|cluster| cluster.members()) {
        match places.entry(Arc::as_ptr(&member.endpoint)) {
            Entry::Occupied(place) => all[*place.get()].join(&member.standing, now),
            Entry::Vacant(place) => {
                place.insert(all.len());
                all.push(member.endpoint.stats(member, now));
            }
        }
    }
    all
}

/// What was decided, by service and route.
fn services(clusters: &[Arc<Cluster>]) -> Vec<ServiceStats> {
    let decided = clusters.iter().filter_map(|cluster| Some((cluster, cluster.counters()?)));
    let each = decided.map(|(cluster, counters)| ServiceStats {
        service: Arc::clone(cluster.name()),
        route: route_of(cluster.key()).map(Into::into),
        counts: PolicyCounts::sum(counters),
        arms: cluster.arms().map(|arms| ArmsCounts::sum(arms)),
        sessions: cluster.policy().map_or(0, |policy| policy.sessions() as u64),
    });
    each.collect()
}

/// What stands in for the key of a lineage until a version of one arrives.
fn random_key() -> HashKey {
    let halves = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()];
    let mut key = [0; 32];
    key[..16].copy_from_slice(halves[0].as_bytes());
    key[16..].copy_from_slice(halves[1].as_bytes());
    HashKey(key)
}

impl RuntimeHandle {
    /// What runs now.
    pub fn snapshot(&self) -> Arc<CompiledSnapshot> {
        self.shared.snapshot()
    }

    /// Where each entry point listens.
    pub fn listeners(&self) -> Vec<(Arc<str>, SocketAddr)> {
        self.bound.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Answers of the proxy itself since its start.
    pub fn reasons(&self) -> Vec<(Reason, u64)> {
        reasons(&self.shared.reasons, |counters| counters)
    }

    /// Closes the circuit breakers of a backend in whatever services it is. Says how many there
    /// are, and how many of them were not closed.
    pub fn reset_breakers(&self, backend: &str) -> (u32, u32) {
        let (snapshot, now) = (self.shared.snapshot(), Instant::now());
        let mut seen = HashSet::new();
        let (mut found, mut closed) = (0, 0);
        for member in snapshot.clusters.iter().flat_map(|cluster| cluster.members()) {
            let Some(breaker) = &member.standing.breaker else { continue };
            if **member.endpoint.name() == *backend && seen.insert(Arc::as_ptr(breaker)) {
                found += 1;
                closed += u32::from(member.reset_breaker(now));
            }
        }
        (found, closed)
    }

    /// Everything that was counted, and the health of every backend.
    pub fn stats(&self) -> RuntimeStats {
        let snapshot = self.shared.snapshot();
        let bound = self.listeners();
        let routes = snapshot.routes.iter().map(|route| {
            let service = snapshot.clusters[route.cluster].name();
            RouteStats::sum(Arc::clone(&route.name), Arc::clone(service), &route.counters)
        });
        let now = Instant::now();
        let listeners = snapshot.entry_points.iter().map(|entry_point| {
            let address = bound.iter().find(|(name, _)| *name == entry_point.name);
            ListenerStats::sum(
                Arc::clone(&entry_point.name),
                address.map(|(_, address)| *address),
                &entry_point.state,
            )
        });
        let targets = snapshot.mirrors.iter().flat_map(|mirror| mirror.targets());
        RuntimeStats {
            version: snapshot.version,
            routes: routes.collect(),
            backends: backends(&snapshot.clusters, now),
            services: services(&snapshot.clusters),
            listeners: listeners.collect(),
            mirrors: targets.map(|target| MirrorStats::of(target)).collect(),
            copies: snapshot.mirrors.first().map_or(0, |mirror| mirror.budget().copies()),
            reasons: self.reasons(),
        }
    }
}
