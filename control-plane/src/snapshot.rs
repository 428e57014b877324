//! The snapshot that every proxy should run, and the ones before it.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use lb_model::{Config, ResourceSet, Snapshot, resource::Digest};
use tokio::sync::watch;

/// How many older sets are kept, so that a proxy that runs one of them gets a difference without
/// sending its inventory first.
const KEPT: usize = 64;

/// A snapshot on its way to the proxies.
#[derive(Debug, Clone)]
pub struct Target {
    /// What to run.
    pub snapshot: Arc<Snapshot>,
    /// The same, as objects.
    pub config: Arc<Config>,
    /// When its version was committed.
    pub committed_at: Timestamp,
    /// Counts the times an operator asked to try the same content again.
    pub attempt: u64,
}

/// Holds the newest snapshot and wakes whoever waits for it.
#[derive(Debug)]
pub struct SnapshotCache {
    newest: watch::Sender<Option<Arc<Target>>>,
    sets: Mutex<VecDeque<Arc<ResourceSet>>>,
}

impl Default for SnapshotCache {
    fn default() -> Self {
        Self { newest: watch::Sender::new(None), sets: Mutex::new(VecDeque::new()) }
    }
}

impl SnapshotCache {
    /// Makes a snapshot the one to run. A version that is not newer changes nothing.
    pub fn set(&self, target: Target) {
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        let set = &target.snapshot.resources;
        if !sets.iter().any(|known| known.root() == set.root()) {
            sets.push_front(Arc::clone(set));
            sets.truncate(KEPT);
        }
        drop(sets);
        self.newest.send_if_modified(|newest| {
            let known = newest.as_ref().map(|newest| newest.snapshot.version);
            let newer = known.is_none_or(|known| target.snapshot.version > known);
            if newer {
                *newest = Some(Arc::new(target));
            }
            newer
        });
    }

    /// Asks every proxy that refused the newest snapshot to try it again.
    pub fn retry(&self) {
        self.newest.send_modify(|newest| {
            if let Some(target) = newest {
                let attempt = target.attempt + 1;
                *newest = Some(Arc::new(Target { attempt, ..Target::clone(target) }));
            }
        });
    }

    /// The newest snapshot.
    pub fn newest(&self) -> Option<Arc<Target>> {
        self.newest.borrow().clone()
    }

    /// Follows the newest snapshot.
    pub fn watch(&self) -> watch::Receiver<Option<Arc<Target>>> {
        self.newest.subscribe()
    }

    /// A recent set with this root.
    pub fn by_root(&self, root: Digest) -> Option<Arc<ResourceSet>> {
        let sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        sets.iter().find(|set| set.root() == root).cloned()
    }
}
