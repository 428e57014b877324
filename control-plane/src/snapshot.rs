//! The snapshot that every proxy should run, and the ones before it.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use lb_model::{
    Config, ResourceSet, Snapshot,
    resource::{Delta, Digest, Inventory},
};
use tokio::sync::watch;

/// How many older sets are kept, so that a proxy that runs one of them gets a difference without
/// sending its inventory first.
const KEPT: usize = 64;
/// How many differences to one target are kept. A fleet runs one or two versions at a time.
const DIFFERENCES: usize = 8;

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
    /// What leads to it.
    pub differences: Differences,
}

/// What leads to a target, from each base that proxies run: the roots of both, and the way.
///
/// Comparing two sets takes time in proportion to both, and a fleet that runs the same needs the
/// same difference: the first proxy pays, and a thousand others take what it found.
#[derive(Debug, Clone, Default)]
pub struct Differences(Arc<Mutex<Vec<Difference>>>);

type Difference = ((Option<Digest>, Digest), Arc<Delta>);

impl Target {
    /// What leads from `base` to this target; from nothing when there is none.
    pub fn difference(&self, base: Option<&ResourceSet>) -> Arc<Delta> {
        let resources = &self.snapshot.resources;
        let ends = (base.map(ResourceSet::root), resources.root());
        // Locked while it is computed: whoever waits wants the same.
        let mut known = self.differences.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, delta)) = known.iter().find(|(known, _)| *known == ends) {
            return Arc::clone(delta);
        }
        let inventory = base.map_or_else(Inventory::new, ResourceSet::inventory);
        let delta = Arc::new(resources.delta_from(&inventory));
        if known.len() == DIFFERENCES {
            known.remove(0);
        }
        known.push((ends, Arc::clone(&delta)));
        delta
    }
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use lb_model::{Resource, ResourceKey, ResourceKind, Version, resource::HashKey};

    use super::*;

    const KEY: HashKey = HashKey([5; 32]);

    fn set(names: &[&str]) -> ResourceSet {
        let resources = names.iter().map(|name| {
            let key = ResourceKey { kind: ResourceKind::Route, name: (*name).into() };
            let resource = Resource::new(&key, Bytes::from_static(b"body"), &KEY);
            (key, resource)
        });
        ResourceSet::new(KEY, resources.collect())
    }

    fn target(names: &[&str]) -> Target {
        let resources = Arc::new(set(names));
        Target {
            snapshot: Arc::new(Snapshot { lineage: "L".into(), version: Version(1), resources }),
            config: Arc::default(),
            committed_at: Timestamp::UNIX_EPOCH,
            attempt: 0,
            differences: Differences::default(),
        }
    }

    #[test]
    fn proxies_with_the_same_base_share_one_difference() {
        let (target, base) = (target(&["a", "b"]), set(&["b", "c"]));
        let first = target.difference(Some(&base));
        assert_eq!((first.upsert.len(), first.remove.len()), (1, 1));
        assert!(Arc::ptr_eq(&first, &target.clone().difference(Some(&set(&["b", "c"])))));
        let full = target.difference(None);
        assert_eq!((full.upsert.len(), full.remove.len()), (2, 0));
        assert!(Arc::ptr_eq(&full, &target.difference(None)));
    }

    #[test]
    fn differences_to_many_bases_are_right_and_few_are_kept() {
        let target = target(&["a"]);
        for name in (0..3 * DIFFERENCES).map(|base| base.to_string()) {
            let base = set(&[&name]);
            let delta = target.difference(Some(&base));
            assert_eq!(base.with(Delta::clone(&delta)), *target.snapshot.resources);
        }
        assert_eq!(target.differences.0.lock().unwrap().len(), DIFFERENCES);
    }
}
