//! What the proxies should run: of the newest version, for each audience its share.
//!
//! Proxies that run the same entry points are one audience; they get the same resources, with one
//! root, and share the differences that lead there. A [`Release`] is a version whole, from which
//! shares are cut; a [`Target`] is the share of one audience, and all that its proxies ever see.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use lb_model::{
    Config, ResourceSet, Snapshot, Version,
    resource::{Delta, Digest, HashKey, Inventory},
    value::Labels,
    wire,
};
use tokio::sync::watch;

use crate::{
    checked::CheckedBundles,
    decisions::Decisions,
    deployments::{Configured, Deployments, Scope},
    overrides::Overrides,
};

/// How many older sets are kept, so that a proxy that runs one of them gets a difference without
/// sending its inventory first. With many audiences it is two for each of them.
const KEPT: usize = 64;
/// How many differences to one target are kept. A fleet runs one or two versions at a time.
const DIFFERENCES: usize = 8;

/// One version, for every audience.
#[derive(Debug)]
pub struct Release {
    /// Whose version this is.
    pub lineage: Arc<str>,
    /// Which version.
    pub version: Version,
    /// What it says, with what operators decided put in.
    pub config: Arc<Config>,
    /// What operators decided about single backends.
    pub overrides: Arc<Overrides>,
    /// What was decided about slots and canaries.
    pub deployments: Arc<Deployments>,
    /// What the configuration says of these itself.
    pub configured: Arc<BTreeMap<Scope, Configured>>,
    /// When it was committed.
    pub committed_at: Timestamp,
    /// Counts the times an operator asked to try the same content again.
    attempt: u64,
    /// All resources, whose bodies the shares have in common.
    whole: Arc<ResourceSet>,
    /// The labels that decide who is in which audience.
    placing: Labels,
    /// What was cut, by those of an audience's labels that decide.
    targets: Mutex<BTreeMap<Labels, Arc<Target>>>,
}

impl Release {
    /// A version of which nothing is cut yet. Encodes all of it.
    pub fn new(
        lineage: Arc<str>,
        version: Version,
        config: Arc<Config>,
        hash_key: HashKey,
        committed_at: Timestamp,
    ) -> Self {
        let whole = wire::encode(&config, hash_key);
        Self::of(lineage, version, config, whole, committed_at)
    }

    /// The version after `before`, of the same lineage. Encodes what differs between the two.
    pub fn following(
        before: &Self,
        version: Version,
        mut config: Config,
        committed_at: Timestamp,
    ) -> Self {
        config.share(&before.config);
        let whole = wire::encode_from(&config, (&before.config, &before.whole));
        let lineage = Arc::clone(&before.lineage);
        Self::of(lineage, version, Arc::new(config), whole, committed_at)
    }

    fn of(
        lineage: Arc<str>,
        version: Version,
        config: Arc<Config>,
        whole: ResourceSet,
        committed_at: Timestamp,
    ) -> Self {
        let whole = Arc::new(whole);
        let placing = config.placing();
        Self {
            lineage,
            version,
            config,
            overrides: Arc::default(),
            deployments: Arc::default(),
            configured: Arc::default(),
            committed_at,
            attempt: 0,
            whole,
            placing,
            targets: Mutex::default(),
        }
    }

    /// The same, with what was decided, which `config` says already, and with what the
    /// configuration said before.
    #[must_use]
    pub fn with_decisions(
        self,
        Decisions { overrides, deployments }: Decisions,
        configured: BTreeMap<Scope, Configured>,
    ) -> Self {
        let (overrides, deployments) = (Arc::new(overrides), Arc::new(deployments));
        Self { overrides, deployments, configured: Arc::new(configured), ..self }
    }

    /// The same, to be tried again by whoever refused it.
    fn again(&self) -> Self {
        let attempt = self.attempt + 1;
        let again = |target: &Arc<Target>| Arc::new(Target { attempt, ..Target::clone(target) });
        let targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        let targets = targets.iter().map(|(labels, target)| (labels.clone(), again(target)));
        Self {
            lineage: Arc::clone(&self.lineage),
            version: self.version,
            config: Arc::clone(&self.config),
            overrides: Arc::clone(&self.overrides),
            deployments: Arc::clone(&self.deployments),
            configured: Arc::clone(&self.configured),
            committed_at: self.committed_at,
            attempt,
            whole: Arc::clone(&self.whole),
            placing: self.placing.clone(),
            targets: Mutex::new(targets.collect()),
        }
    }

    /// How many audiences there are so far.
    fn audiences(&self) -> usize {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The share of proxies with these labels.
    pub fn target(&self, labels: &Labels) -> Arc<Target> {
        let deciding = self.placing.common(labels);
        // Locked while it is cut: whoever waits wants the same, and each is cut once.
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        let target = targets.entry(deciding).or_insert_with_key(|deciding| {
            let share = self.config.for_proxies(deciding);
            let share = wire::encode_from(&share, (&self.config, &self.whole));
            let is_whole = share == *self.whole;
            let resources = if is_whole { Arc::clone(&self.whole) } else { Arc::new(share) };
            let (lineage, version) = (Arc::clone(&self.lineage), self.version);
            Arc::new(Target {
                snapshot: Arc::new(Snapshot { lineage, version, resources }),
                committed_at: self.committed_at,
                attempt: self.attempt,
                differences: Differences::default(),
            })
        });
        Arc::clone(target)
    }
}

/// What one audience should run.
#[derive(Debug, Clone)]
pub struct Target {
    /// What to run.
    pub snapshot: Arc<Snapshot>,
    /// When its version was committed.
    pub committed_at: Timestamp,
    /// Counts the times an operator asked to try the same content again.
    pub attempt: u64,
    /// What leads to it.
    pub differences: Differences,
}

/// What leads to a target, from each base that proxies run: the roots of both, and the way.
///
/// Comparing two sets takes time in proportion to both, and an audience that runs the same needs
/// the same difference: the first proxy pays, and a thousand others take what it found.
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
        let delta = Arc::new(match base {
            Some(base) => resources.delta_from_set(base),
            None => resources.delta_from(&Inventory::new()),
        });
        if known.len() == DIFFERENCES {
            known.remove(0);
        }
        known.push((ends, Arc::clone(&delta)));
        delta
    }
}

/// A set that was the share of an audience.
#[derive(Debug)]
struct Known {
    /// The labels that decided in its version.
    placing: Labels,
    /// Those of them that the audience held.
    deciding: Labels,
    set: Arc<ResourceSet>,
}

/// Holds the newest release and wakes whoever waits for it.
#[derive(Debug)]
pub struct SnapshotCache {
    newest: watch::Sender<Option<Arc<Release>>>,
    /// The bundles that releases are made of.
    pub checked: CheckedBundles,
    known: Mutex<VecDeque<Known>>,
}

impl Default for SnapshotCache {
    fn default() -> Self {
        Self {
            newest: watch::Sender::new(None),
            checked: CheckedBundles::default(),
            known: Mutex::new(VecDeque::new()),
        }
    }
}

impl SnapshotCache {
    /// Makes a release the one to run. A version that is not newer changes nothing.
    pub fn set(&self, release: Release) {
        self.newest.send_if_modified(|newest| {
            let known = newest.as_ref().map(|newest| newest.version);
            let newer = known.is_none_or(|known| release.version > known);
            if newer {
                *newest = Some(Arc::new(release));
            }
            newer
        });
    }

    /// Asks every proxy that refused the newest release to try it again.
    pub fn retry(&self) {
        self.newest.send_modify(|newest| {
            if let Some(release) = newest {
                *newest = Some(Arc::new(release.again()));
            }
        });
    }

    /// The newest release.
    pub fn newest(&self) -> Option<Arc<Release>> {
        self.newest.borrow().clone()
    }

    /// Follows the newest release.
    pub fn watch(&self) -> watch::Receiver<Option<Arc<Release>>> {
        self.newest.subscribe()
    }

    /// What proxies with these labels should run of a release. It is remembered, so that they
    /// get a difference later.
    pub fn target(&self, release: &Release, labels: &Labels) -> Arc<Target> {
        let target = release.target(labels);
        let set = &target.snapshot.resources;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.iter().any(|known| known.root() == set.root() && known.is_share_of(labels)) {
            known.push_front(Known {
                placing: release.placing.clone(),
                deciding: release.placing.common(labels),
                set: Arc::clone(set),
            });
            known.truncate(KEPT.max(2 * release.audiences()));
        }
        target
    }

    /// A recent set with this root, if it was the share of proxies with these labels. What others
    /// had is not told, not even what it was called.
    pub fn by_root(&self, root: Digest, labels: &Labels) -> Option<Arc<ResourceSet>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = known.iter();
        let found = known.find(|known| known.root() == root && known.is_share_of(labels));
        found.map(|known| Arc::clone(&known.set))
    }
}

impl Known {
    fn root(&self) -> Digest {
        self.set.root()
    }

    fn is_share_of(&self, labels: &Labels) -> bool {
        self.placing.common(labels) == self.deciding
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use lb_model::{Bundle, Resource, ResourceKey, ResourceKind};

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
            committed_at: Timestamp::UNIX_EPOCH,
            attempt: 0,
            differences: Differences::default(),
        }
    }

    fn labels(texts: &[&str]) -> Labels {
        Labels::grant(texts).unwrap()
    }

    /// A release with an entry point for everybody and one for each label.
    fn release(version: u64, placing: &[&str]) -> Release {
        let placed = |label| format!("  {label}: {{ address: \":0\", proxies: [{label}] }}\n");
        let placed = placing.iter().map(placed).collect::<Vec<_>>().concat();
        let text = format!(
            "entry_points:\n  web: {{ address: \":0\" }}\n{placed}\
             backends: {{ a: {{ url: \"http://a:1\" }} }}\n"
        );
        let config = Config::parse(&Bundle::of_text("lb.yaml", &text), 0).unwrap().config;
        Release::new("L".into(), Version(version), Arc::new(config), KEY, Timestamp::UNIX_EPOCH)
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

    #[test]
    fn proxies_that_run_the_same_are_one_audience_whatever_else_they_hold() {
        let release = release(1, &["edge", "inner"]);
        let edge = release.target(&labels(&["edge"]));
        assert!(Arc::ptr_eq(&edge, &release.target(&labels(&["edge", "eu"]))));
        assert!(!Arc::ptr_eq(&edge, &release.target(&labels(&["edge", "inner"]))));
        let none = release.target(&Labels::default());
        assert!(Arc::ptr_eq(&none, &release.target(&labels(&["eu"]))));
        assert_eq!(release.targets.lock().unwrap().len(), 3);
        let plain = self::release(1, &[]);
        let one = plain.target(&Labels::default());
        assert!(Arc::ptr_eq(&one, &plain.target(&labels(&["edge"]))));
        assert!(Arc::ptr_eq(&one.snapshot.resources, &plain.whole), "nothing is there twice");
    }

    #[test]
    fn a_root_is_known_to_those_who_had_it_and_to_nobody_else() {
        let cache = SnapshotCache::default();
        let (plain, placed) = (release(1, &[]), release(2, &["edge", "inner"]));
        let (edge, inner) = (labels(&["edge"]), labels(&["inner"]));
        let before = cache.target(&plain, &edge).snapshot.resources.root();
        let root = |labels| cache.target(&placed, labels).snapshot.resources.root();
        let (own, other) = (root(&edge), root(&inner));
        assert!(cache.by_root(own, &edge).is_some() && cache.by_root(other, &inner).is_some());
        assert!(cache.by_root(other, &edge).is_none() && cache.by_root(own, &inner).is_none());
        assert!(cache.by_root(own, &labels(&["edge", "eu"])).is_some());
        // Before there were audiences, everybody had the same.
        assert!(cache.by_root(before, &edge).is_some() && cache.by_root(before, &inner).is_some());
    }

    #[test]
    fn trying_again_cuts_nothing_anew() {
        let cache = SnapshotCache::default();
        cache.set(release(1, &["edge"]));
        let newest = || cache.newest().unwrap();
        let first = cache.target(&newest(), &labels(&["edge"]));
        cache.retry();
        let again = cache.target(&newest(), &labels(&["edge"]));
        assert_eq!((first.attempt, again.attempt), (0, 1));
        assert!(Arc::ptr_eq(&first.snapshot, &again.snapshot));
        let late = cache.target(&newest(), &Labels::default());
        assert_eq!(late.attempt, 1);
    }
}
