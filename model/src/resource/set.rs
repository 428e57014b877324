//! All resources of one version.
//!
//! Resources of one kind stand together, and sets that have them in common share them, with their
//! digest: a change of one route copies and hashes the routes, and a comparison looks at nothing
//! else.

use std::{cmp::Ordering, collections::BTreeMap, fmt, iter::Peekable, sync::Arc};

use super::{Digest, HashKey, Resource, ResourceKey, ResourceKind};

const KINDS: usize = ResourceKind::ALL.len();

/// All resources of one version.
#[derive(Clone)]
pub struct ResourceSet {
    hash_key: HashKey,
    /// In the order of [`ResourceKind::ALL`].
    kinds: [Arc<OneKind>; KINDS],
    root: Digest,
}

/// The resources of one kind.
#[derive(Clone, Default)]
struct OneKind {
    resources: BTreeMap<ResourceKey, Resource>,
    digest: [u8; 32],
    /// Of names and bodies.
    bytes: usize,
}

impl fmt::Debug for ResourceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResourceSet({}, {} resources)", self.root, self.len())
    }
}

impl PartialEq for ResourceSet {
    fn eq(&self, other: &Self) -> bool {
        self.root == other.root && self.hash_key == other.hash_key
    }
}

/// What leads from one set to another.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Delta {
    /// New and changed resources.
    pub upsert: Vec<(ResourceKey, Resource)>,
    /// What is gone.
    pub remove: Vec<ResourceKey>,
}

/// The hash of each resource of a set.
pub type Inventory = BTreeMap<ResourceKey, Digest>;

impl OneKind {
    fn new(hash_key: &HashKey, resources: BTreeMap<ResourceKey, Resource>) -> Self {
        let mut one = Self { resources, ..Self::default() };
        one.count(hash_key);
        one
    }

    /// Hashes and counts what is there.
    fn count(&mut self, hash_key: &HashKey) {
        // Each of these hashes covers its key as well.
        let mut digests = Vec::with_capacity(32 * self.resources.len());
        self.bytes = 0;
        for (key, resource) in &self.resources {
            digests.extend_from_slice(&resource.hash.0);
            self.bytes += key.name.len() + resource.body.len();
        }
        self.digest = blake3::keyed_hash(&hash_key.0, &digests).into();
    }
}

impl ResourceSet {
    /// A set of resources, each hashed with `hash_key`.
    pub fn new(hash_key: HashKey, resources: BTreeMap<ResourceKey, Resource>) -> Self {
        let upsert = resources.into_iter().collect();
        Self::empty(hash_key).with(Delta { upsert, remove: Vec::new() })
    }

    /// No resource at all.
    pub fn empty(hash_key: HashKey) -> Self {
        let nothing = Arc::new(OneKind::new(&hash_key, BTreeMap::new()));
        Self::of_kinds(hash_key, std::array::from_fn(|_| Arc::clone(&nothing)))
    }

    fn of_kinds(hash_key: HashKey, kinds: [Arc<OneKind>; KINDS]) -> Self {
        let digests: Vec<_> = kinds.iter().flat_map(|kind| kind.digest).collect();
        let root = Digest(blake3::keyed_hash(&hash_key.0, &digests).into());
        Self { hash_key, kinds, root }
    }

    /// The hash over all resources.
    pub const fn root(&self) -> Digest {
        self.root
    }

    /// The key of all hashes.
    pub const fn hash_key(&self) -> &HashKey {
        &self.hash_key
    }

    /// One resource.
    pub fn get(&self, key: &ResourceKey) -> Option<&Resource> {
        self.kinds[key.kind as usize].resources.get(key)
    }

    /// All resources in order.
    pub fn iter(&self) -> impl Iterator<Item = (&ResourceKey, &Resource)> {
        self.kinds.iter().flat_map(|kind| &kind.resources)
    }

    /// How many resources there are.
    pub fn len(&self) -> usize {
        self.kinds.iter().map(|kind| kind.resources.len()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes all names and bodies have.
    pub fn bytes(&self) -> usize {
        self.kinds.iter().map(|kind| kind.bytes).sum()
    }

    /// The keys and hashes, which is all that is needed to compute a difference.
    pub fn inventory(&self) -> Inventory {
        self.iter().map(|(key, resource)| (key.clone(), resource.hash)).collect()
    }

    /// What leads from a set with `inventory` to this one.
    pub fn delta_from(&self, inventory: &Inventory) -> Delta {
        let differs = |(key, resource): &(&ResourceKey, &Resource)| {
            inventory.get(*key) != Some(&resource.hash)
        };
        let upsert = self.iter().filter(differs);
        let upsert = upsert.map(|(key, resource)| (key.clone(), resource.clone())).collect();
        let remove = inventory.keys().filter(|key| self.get(key).is_none()).cloned().collect();
        Delta { upsert, remove }
    }

    /// What leads from another set, hashed with the same key, to this one. What both share is not
    /// looked at.
    pub fn delta_from_set(&self, base: &Self) -> Delta {
        let mut delta = Delta::default();
        for (before, after) in base.kinds.iter().zip(&self.kinds) {
            if !Arc::ptr_eq(before, after) {
                compare(&before.resources, &after.resources, &mut delta);
            }
        }
        delta
    }

    /// The set that a delta leads to.
    #[must_use]
    pub fn with(&self, delta: Delta) -> Self {
        let mut kinds = self.kinds.clone();
        let mut touched = [false; KINDS];
        for key in &delta.remove {
            let index = key.kind as usize;
            touched[index] |= Arc::make_mut(&mut kinds[index]).resources.remove(key).is_some();
        }
        for (key, resource) in delta.upsert {
            let index = key.kind as usize;
            Arc::make_mut(&mut kinds[index]).resources.insert(key, resource);
            touched[index] = true;
        }
        for (kind, _) in kinds.iter_mut().zip(touched).filter(|(_, touched)| *touched) {
            Arc::make_mut(kind).count(&self.hash_key);
        }
        Self::of_kinds(self.hash_key, kinds)
    }
}

type Resources<'s> = Peekable<std::collections::btree_map::Iter<'s, ResourceKey, Resource>>;

/// Adds what leads from one map to the other.
fn compare(
    before: &BTreeMap<ResourceKey, Resource>,
    after: &BTreeMap<ResourceKey, Resource>,
    delta: &mut Delta,
) {
    let (mut before, mut after): (Resources<'_>, Resources<'_>) =
        (before.iter().peekable(), after.iter().peekable());
    loop {
        let order = match (before.peek(), after.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            // A map that was copied has the names of the other.
            (Some((old, _)), Some((new, _))) if Arc::ptr_eq(&old.name, &new.name) => {
                Ordering::Equal
            }
            (Some((old, _)), Some((new, _))) => old.cmp(new),
        };
        let old = if order.is_le() { before.next() } else { None };
        let new = if order.is_ge() { after.next() } else { None };
        match (old, new) {
            (Some((key, _)), None) => delta.remove.push(key.clone()),
            (old, Some((key, resource))) => {
                if old.is_none_or(|(_, old)| old.hash != resource.hash) {
                    delta.upsert.push((key.clone(), resource.clone()));
                }
            }
            (None, None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    const KEY: HashKey = HashKey([7; 32]);

    fn set(names: &[(bool, String, u8)]) -> ResourceSet {
        let resources = names.iter().map(|(is_route, name, body)| {
            let kind = if *is_route { ResourceKind::Route } else { ResourceKind::Backend };
            let key = ResourceKey { kind, name: name.as_str().into() };
            let resource = Resource::new(&key, Bytes::from(vec![*body]), &KEY);
            (key, resource)
        });
        ResourceSet::new(KEY, resources.collect())
    }

    fn names() -> impl Strategy<Value = Vec<(bool, String, u8)>> {
        proptest::collection::vec((any::<bool>(), "[a-e]", 0u8..3), 0..8)
    }

    proptest! {
        #[test]
        fn a_delta_leads_to_its_target(from in names(), to in names()) {
            let (from, to) = (set(&from), set(&to));
            let delta = to.delta_from(&from.inventory());
            prop_assert_eq!(&to.delta_from_set(&from), &delta);
            let led = from.with(delta.clone());
            prop_assert_eq!(&led, &to);
            prop_assert_eq!(led.bytes(), to.bytes());
            prop_assert!(led.iter().eq(to.iter()) && led.len() == to.len());
            prop_assert_eq!(to.delta_from_set(&led), Delta::default());
            let nothing = delta == Delta::default();
            prop_assert_eq!(nothing, from == to);
        }
    }

    #[test]
    fn the_root_tells_kinds_apart_and_what_did_not_change_is_shared() {
        let one = set(&[(true, "a".into(), 1), (false, "b".into(), 1)]);
        assert_ne!(one, set(&[(false, "a".into(), 1), (false, "b".into(), 1)]));
        let two = set(&[(true, "a".into(), 2), (false, "b".into(), 1)]);
        let led = one.with(two.delta_from_set(&one));
        assert_eq!(led, two);
        let shared =
            |kind: ResourceKind| Arc::ptr_eq(&one.kinds[kind as usize], &led.kinds[kind as usize]);
        assert!(shared(ResourceKind::Backend) && !shared(ResourceKind::Route));
    }

    #[test]
    fn kinds_stand_in_their_order() {
        for (index, kind) in ResourceKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
        }
    }
}
