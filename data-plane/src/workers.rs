//! The threads that serve traffic.
//!
//! Each is a plain thread with a single-threaded runtime, so that what belongs to a worker can
//! be shared among its tasks without locks. Others talk to it in commands over a bounded queue,
//! and through one number: when the generation changes, a worker takes the new snapshot with the
//! next request.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    io,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use arc_swap::ArcSwap;
use lb_http::Reason;
use lb_upstream::{Cluster, LocalCluster, PerWorker};
use rustls::ServerConfig;
use tokio::{
    runtime::{Builder, LocalOptions},
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use crate::{
    drain::{Lifecycle, Stage},
    listener::tcp::Acceptor,
    overload::{LOOK, Shedding},
    proxy::mirror::{LocalMirror, Mirror},
    runtime::compiled::CompiledSnapshot,
    stats::ReasonCounters,
};

/// Commands that may wait for a worker.
const QUEUE: usize = 64;

/// How often idle connections to backends are looked through.
const SWEEP: Duration = Duration::from_secs(1);

/// What all workers share.
#[derive(Debug)]
pub struct Shared {
    snapshot: ArcSwap<CompiledSnapshot>,
    generation: AtomicU64,
    pub(crate) reasons: PerWorker<ReasonCounters>,
    tls: Arc<ServerConfig>,
}

impl Shared {
    /// Starts with `snapshot`.
    pub fn new(snapshot: CompiledSnapshot, tls: Arc<ServerConfig>, workers: usize) -> Self {
        Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            generation: AtomicU64::new(1),
            reasons: PerWorker::new(workers),
            tls,
        }
    }

    /// What runs now.
    pub fn snapshot(&self) -> Arc<CompiledSnapshot> {
        self.snapshot.load_full()
    }

    /// Makes `snapshot` what runs.
    pub fn install(&self, snapshot: Arc<CompiledSnapshot>) {
        self.snapshot.store(snapshot);
        self.generation.fetch_add(1, Ordering::Release);
    }
}

/// What a worker can be told.
#[derive(Debug)]
pub enum Command {
    /// Take connections on a socket.
    Open {
        /// The listener's number, the same on all workers.
        id: u64,
        /// The entry point it is for.
        entry_point: Arc<str>,
        /// The socket.
        listener: std::net::TcpListener,
        /// Whether clients speak TLS.
        tls: bool,
    },
    /// Stop taking connections on one socket, or on all.
    StopAccepting(Option<u64>),
    /// Move the connections of one listener on to a stage, or those of all.
    Advance(Option<u64>, Stage),
    /// Take the new snapshot now, so that nothing of the old one is kept for want of requests.
    Refresh,
}

/// A running worker.
#[derive(Debug)]
pub struct WorkerHandle {
    commands: mpsc::Sender<Command>,
    _thread: JoinHandle<()>,
}

impl WorkerHandle {
    /// Starts worker number `index`.
    pub fn start(index: usize, shared: Arc<Shared>) -> io::Result<Self> {
        let (commands, inbox) = mpsc::channel(QUEUE);
        let (started, start) = std::sync::mpsc::sync_channel(1);
        let thread =
            std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
                // It cannot leave the thread that makes it, nor can the news of a failure wait.
                let runtime =
                    Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
                match runtime {
                    Ok(runtime) => {
                        drop(started.send(Ok(())));
                        runtime.block_on(run(index, shared, inbox));
                    }
                    Err(error) => drop(started.send(Err(error))),
                }
            })?;
        start.recv().unwrap_or_else(|_| Err(io::Error::other("the thread ended")))?;
        Ok(Self { commands, _thread: thread })
    }

    /// Hands a command over. A worker that is gone takes none, which is logged.
    pub async fn tell(&self, command: Command) {
        if self.commands.send(command).await.is_err() {
            tracing::error!("a worker has ended and takes no commands");
        }
    }
}

/// What one worker's tasks share.
#[derive(Debug)]
pub struct Worker {
    index: usize,
    shared: Arc<Shared>,
    generation: Cell<u64>,
    view: RefCell<Rc<View>>,
    shedding: Shedding,
}

/// How one worker looks at a snapshot.
#[derive(Debug)]
pub struct View {
    snapshot: Arc<CompiledSnapshot>,
    clusters: Rc<[Rc<LocalCluster>]>,
    mirrors: Vec<Rc<LocalMirror>>,
}

impl View {
    fn new(snapshot: Arc<CompiledSnapshot>, worker: usize, previous: Option<&Self>) -> Self {
        let clusters = local_clusters(&snapshot, worker, previous);
        let mirrors = local_mirrors(&snapshot, worker, previous);
        Self { snapshot, clusters, mirrors }
    }

    /// The snapshot.
    pub fn snapshot(&self) -> &CompiledSnapshot {
        &self.snapshot
    }

    /// The services, in the snapshot's order.
    pub fn clusters(&self) -> &[Rc<LocalCluster>] {
        &self.clusters
    }

    /// Who gets copies, in the snapshot's order.
    pub fn mirrors(&self) -> &[Rc<LocalMirror>] {
        &self.mirrors
    }
}

/// Clusters as one worker sees them, with what did not change of the view before.
fn local_clusters(
    snapshot: &CompiledSnapshot,
    worker: usize,
    previous: Option<&View>,
) -> Rc<[Rc<LocalCluster>]> {
    if let Some(View { snapshot: before, clusters, .. }) = previous
        && Arc::ptr_eq(&before.clusters, &snapshot.clusters)
    {
        return Rc::clone(clusters);
    }
    let local = |cluster: &Arc<Cluster>| {
        // Clusters stand in the order of their keys, in every snapshot.
        let before = previous.and_then(|View { clusters, .. }| {
            let at =
                clusters.binary_search_by(|local| (**local.cluster().key()).cmp(cluster.key()));
            at.ok().map(|at| &clusters[at])
        });
        match before {
            Some(local) if Arc::ptr_eq(local.cluster(), cluster) => Rc::clone(local),
            before => Rc::new(LocalCluster::new(
                Arc::clone(cluster),
                worker,
                before.map(|local| &**local),
            )),
        }
    };
    snapshot.clusters.iter().map(local).collect()
}

/// Mirrors as one worker sees them, with what did not change of the view before.
fn local_mirrors(
    snapshot: &CompiledSnapshot,
    worker: usize,
    previous: Option<&View>,
) -> Vec<Rc<LocalMirror>> {
    let before: HashMap<_, _> = previous
        .into_iter()
        .flat_map(|view| &view.mirrors)
        .map(|local| (local.mirror().owner(), local))
        .collect();
    let local = |mirror: &Arc<Mirror>| match before.get(mirror.owner()) {
        Some(local) if Arc::ptr_eq(local.mirror(), mirror) => Rc::clone(local),
        before => {
            let before = before.map(|local| &***local);
            Rc::new(LocalMirror::new(Arc::clone(mirror), worker, before))
        }
    };
    snapshot.mirrors.iter().map(local).collect()
}

impl Worker {
    fn new(index: usize, shared: Arc<Shared>) -> Self {
        let generation = shared.generation.load(Ordering::Acquire);
        let view = View::new(shared.snapshot(), index, None);
        Self {
            index,
            shared,
            generation: Cell::new(generation),
            view: RefCell::new(Rc::new(view)),
            shedding: Shedding::default(),
        }
    }

    /// Its number.
    pub const fn index(&self) -> usize {
        self.index
    }

    /// How TLS is spoken.
    pub fn tls(&self) -> &Arc<ServerConfig> {
        &self.shared.tls
    }

    /// The view of the newest snapshot.
    pub fn view(&self) -> Rc<View> {
        let generation = self.shared.generation.load(Ordering::Acquire);
        if generation != self.generation.get() {
            self.generation.set(generation);
            let before = Rc::clone(&self.view.borrow());
            let view = View::new(self.shared.snapshot(), self.index, Some(&before));
            self.view.replace(Rc::new(view));
        }
        Rc::clone(&self.view.borrow())
    }

    /// Whether the next request is refused because there is too much to do.
    pub fn sheds(&self) -> bool {
        self.shedding.refuses()
    }

    /// Counts an answer of the proxy itself.
    pub fn count(&self, reason: Reason) {
        self.shared.reasons.of(self.index).bump(reason);
    }

    fn sweep(&self) {
        let now = Instant::now();
        let view = self.view();
        let backends = view.clusters().iter().flat_map(|cluster| cluster.members());
        let mirrors = view.mirrors().iter().flat_map(|mirror| mirror.endpoints());
        for endpoint in backends.chain(mirrors) {
            endpoint.sweep(now);
        }
    }
}

#[derive(Debug)]
struct Open {
    accepting: Rc<Lifecycle>,
    connections: Rc<Lifecycle>,
}

async fn run(index: usize, shared: Arc<Shared>, mut inbox: mpsc::Receiver<Command>) {
    let worker = Rc::new(Worker::new(index, shared));
    let mut listeners: HashMap<u64, Open> = HashMap::new();
    let mut sweep = interval(SWEEP);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let limits = worker.view.borrow().snapshot.overload;
        let look = Instant::now() + LOOK;
        let command = tokio::select! {
            command = inbox.recv() => command,
            _ = sweep.tick() => {
                worker.sweep();
                continue;
            }
            () = sleep_until(look), if limits.is_some() => {
                if let Some(limits) = limits {
                    let now = std::time::Instant::now();
                    worker.shedding.look(limits, look.into_std(), now);
                }
                continue;
            }
        };
        if limits.is_none() {
            worker.shedding.end();
        }
        // Nobody is left to command: the process is about to end.
        let Some(command) = command else {
            break;
        };
        obey(&worker, &mut listeners, command);
    }
    for open in listeners.values() {
        open.accepting.advance(Stage::Killed);
        open.connections.advance(Stage::Killed);
    }
}

fn obey(worker: &Rc<Worker>, listeners: &mut HashMap<u64, Open>, command: Command) {
    match command {
        Command::Open { id, entry_point, listener, tls } => {
            let open = Open { accepting: Rc::default(), connections: Rc::default() };
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => {
                    let acceptor = Acceptor {
                        listener,
                        entry_point,
                        tls,
                        accepting: Rc::clone(&open.accepting),
                        connections: Rc::clone(&open.connections),
                    };
                    tokio::task::spawn_local(acceptor.run(Rc::clone(worker)));
                    listeners.insert(id, open);
                }
                Err(error) => {
                    tracing::error!(%entry_point, %error, "could not take connections");
                }
            }
        }
        Command::StopAccepting(id) => {
            for open in chosen(listeners, id) {
                open.accepting.advance(Stage::Draining);
            }
        }
        Command::Advance(id, stage) => {
            for open in chosen(listeners, id) {
                open.connections.advance(stage);
            }
            if stage == Stage::Killed
                && let Some(id) = id
            {
                listeners.remove(&id);
            }
        }
        Command::Refresh => drop(worker.view()),
    }
}

fn chosen(listeners: &HashMap<u64, Open>, id: Option<u64>) -> impl Iterator<Item = &Open> {
    listeners.iter().filter(move |(each, _)| id.is_none_or(|id| id == **each)).map(|(_, open)| open)
}
