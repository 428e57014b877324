//! Sees when the documents, or files that they name, change.
//!
//! What is watched are directories, not files: editors and Kubernetes replace files by renaming
//! others over them, and a watch would stay with the old one. Where the system reports nothing,
//! as on network file systems, looking again finds the change. SIGHUP reads at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use lb_store::Store;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::Notify,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{ConfigFile, Outcome};
use crate::{metrics::Metrics, snapshot::SnapshotCache};

/// How long it must be quiet before files are read: editors and tools write in several steps.
const QUIET: Duration = Duration::from_millis(200);
/// How long noise may put reading off.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a reload needs.
#[derive(Clone)]
pub struct Reloading {
    /// The documents.
    pub file: Arc<ConfigFile>,
    /// Where they are committed.
    pub store: Arc<dyn Store>,
    /// What proxies are led to.
    pub cache: Arc<SnapshotCache>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// How often files are looked at where the system reports nothing.
    pub poll: Duration,
}

/// Why it is time to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    Change,
    Signal,
}

/// Reads the documents whenever they change, until told to stop.
///
/// # Errors
///
/// When the process may not handle SIGHUP.
pub async fn run(reloading: Reloading, stop: CancellationToken) -> io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    let changed = Arc::new(Notify::new());
    let mut watched = Watched::new(Arc::clone(&changed));
    watched.follow(&directories(&reloading.file.looked_at()));
    let mut seen = fingerprint(&reloading.file.looked_at());
    // Since the first reading nobody has watched.
    reloading.catch_up().await;
    loop {
        watched.follow(&directories(&reloading.file.looked_at()));
        let cause = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = hangup.recv() => Cause::Signal,
            () = changed.notified() => {
                settle(&changed).await;
                Cause::Change
            }
            () = tokio::time::sleep(reloading.poll) => {
                let now = fingerprint(&reloading.file.looked_at());
                if now == seen {
                    continue;
                }
                settle(&changed).await;
                Cause::Change
            }
        };
        // Taken before reading: what changes meanwhile is found the next time.
        seen = fingerprint(&reloading.file.looked_at());
        reloading.reload(cause).await;
    }
}

impl Reloading {
    /// Reads once more what may have changed unseen; that it has not is not worth a word.
    async fn catch_up(&self) {
        let outcome = self.file.reload(&*self.store, false).await;
        if outcome != Outcome::Same {
            self.metrics.reloaded(outcome);
        }
    }

    async fn reload(&self, cause: Cause) {
        let force = cause == Cause::Signal;
        let outcome = self.file.reload(&*self.store, force).await;
        if force {
            tracing::info!(outcome = outcome.as_str(), "SIGHUP: the configuration file was read");
            // Reading the same again by hand is how an operator asks those who refused to try.
            self.cache.retry();
        }
        self.metrics.reloaded(outcome);
    }
}

/// Waits until nothing has changed for a while, or for too long.
async fn settle(changed: &Notify) {
    let latest = Instant::now() + PATIENCE;
    loop {
        let quiet = (Instant::now() + QUIET).min(latest);
        tokio::select! {
            () = changed.notified() => {}
            () = sleep_until(quiet) => return,
        }
    }
}

/// Where something must happen for a file to change: its own directory, and that of the file it
/// leads to if it is a link.
fn directories(paths: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    let mut directories = BTreeSet::new();
    for path in paths {
        if path.is_dir() {
            directories.insert(path.clone());
        }
        let parent = path.parent().unwrap_or(Path::new(""));
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        directories.insert(parent.to_owned());
        if let Ok(real) = path.canonicalize()
            && let Some(parent) = real.parent()
        {
            directories.insert(parent.to_owned());
        }
    }
    directories
}

/// What tells one state of a file from another without reading it.
type Fingerprint = BTreeMap<PathBuf, Option<(u64, u64, u64, i64, i64)>>;

fn fingerprint(paths: &BTreeSet<PathBuf>) -> Fingerprint {
    let of = |path: &PathBuf| {
        let data = std::fs::metadata(path).ok()?;
        Some((data.dev(), data.ino(), data.len(), data.mtime(), data.mtime_nsec()))
    };
    paths.iter().map(|path| (path.clone(), of(path))).collect()
}

/// The directories that the system watches for us.
struct Watched {
    watcher: Option<RecommendedWatcher>,
    directories: BTreeSet<PathBuf>,
}

impl Watched {
    fn new(changed: Arc<Notify>) -> Self {
        let tell = move |event: notify::Result<notify::Event>| {
            // Our own reading of a file is no change to it.
            if !event.is_ok_and(|event| event.kind.is_access()) {
                changed.notify_one();
            }
        };
        let watcher = match notify::recommended_watcher(tell) {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                tracing::warn!(%error, "the system does not report changes; looking for them");
                None
            }
        };
        Self { watcher, directories: BTreeSet::new() }
    }

    /// Watches these directories and no others. One that cannot be watched is tried again the
    /// next time; until then looking finds what changes there.
    fn follow(&mut self, wanted: &BTreeSet<PathBuf>) {
        let Some(watcher) = &mut self.watcher else { return };
        self.directories.retain(|directory| {
            // A directory that was replaced has lost its watch with it, so each is renewed.
            let keep = wanted.contains(directory) && directory.exists();
            if !keep && let Err(error) = watcher.unwatch(directory) {
                tracing::debug!(directory = %directory.display(), %error, "watch ended before");
            }
            keep
        });
        for directory in wanted {
            if self.directories.contains(directory) {
                continue;
            }
            match watcher.watch(directory, RecursiveMode::NonRecursive) {
                Ok(()) => drop(self.directories.insert(directory.clone())),
                Err(error) => {
                    tracing::debug!(directory = %directory.display(), %error, "not watched");
                }
            }
        }
    }
}
