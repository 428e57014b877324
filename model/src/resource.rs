//! Named, hashed pieces of a configuration, and the difference between two sets of them.
//!
//! A resource is one configured object in its wire form. Its hash is taken over the bytes as
//! they travel, never over a second encoding. The root of a set is a hash over the sorted hashes
//! of its resources: two sets with the same root are the same set. All hashes are keyed with the
//! lineage's key, so that the hash of a guessable secret cannot be looked up in a table.

use std::{collections::BTreeMap, fmt, sync::Arc};

use bytes::Bytes;

/// A keyed BLAKE3 hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The first twelve hexadecimal digits, enough to tell two apart by eye.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..6].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Digest {
    /// Takes a digest from the wire.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

/// The key of a lineage's hashes. It does not print itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HashKey(pub [u8; 32]);

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// What a resource is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceKind {
    /// A certificate with its key.
    Certificate,
    /// An entry point.
    EntryPoint,
    /// A backend.
    Backend,
    /// A service.
    Service,
    /// A route.
    Route,
}

impl ResourceKind {
    /// Every kind, in the order in which resources are sorted.
    pub const ALL: [Self; 5] =
        [Self::Certificate, Self::EntryPoint, Self::Backend, Self::Service, Self::Route];

    /// The word on the wire and in messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::EntryPoint => "entry_point",
            Self::Backend => "backend",
            Self::Service => "service",
            Self::Route => "route",
        }
    }

    /// The kind a word names.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// Whether its body must stay out of logs, dumps and answers.
    pub const fn is_secret(self) -> bool {
        matches!(self, Self::Certificate)
    }
}

/// Names one resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceKey {
    /// What it is.
    pub kind: ResourceKind,
    /// What it is called.
    pub name: Arc<str>,
}

impl fmt::Display for ResourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.kind.as_str(), self.name)
    }
}

/// The wire form of one object.
#[derive(Clone, PartialEq, Eq)]
pub struct Resource {
    hash: Digest,
    body: Bytes,
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Resource({}, {} bytes)", self.hash, self.body.len())
    }
}

impl Resource {
    /// Hashes a body. The hash covers the key as well, so that two objects cannot be swapped.
    pub fn new(key: &ResourceKey, body: Bytes, hash_key: &HashKey) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(&hash_key.0);
        hash_key_of(&mut hasher, key);
        hasher.update(&body);
        Self { hash: Digest(hasher.finalize().into()), body }
    }

    /// The hash of key and body.
    pub const fn hash(&self) -> Digest {
        self.hash
    }

    /// The body as it travels.
    pub const fn body(&self) -> &Bytes {
        &self.body
    }
}

fn hash_key_of(hasher: &mut blake3::Hasher, key: &ResourceKey) {
    for part in [key.kind.as_str(), &key.name] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
}

/// All resources of one version.
#[derive(Clone)]
pub struct ResourceSet {
    hash_key: HashKey,
    resources: BTreeMap<ResourceKey, Resource>,
    root: Digest,
}

impl fmt::Debug for ResourceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResourceSet({}, {} resources)", self.root, self.resources.len())
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

impl ResourceSet {
    /// A set of resources, each hashed with `hash_key`.
    pub fn new(hash_key: HashKey, resources: BTreeMap<ResourceKey, Resource>) -> Self {
        let root = root(&hash_key, resources.iter().map(|(key, r)| (key, r.hash)));
        Self { hash_key, resources, root }
    }

    /// No resource at all.
    pub fn empty(hash_key: HashKey) -> Self {
        Self::new(hash_key, BTreeMap::new())
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
        self.resources.get(key)
    }

    /// All resources in order.
    pub fn iter(&self) -> impl Iterator<Item = (&ResourceKey, &Resource)> {
        self.resources.iter()
    }

    /// How many resources there are.
    pub fn len(&self) -> usize {
        self.resources.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.resources.is_empty()
    }

    /// The keys and hashes, which is all that is needed to compute a difference.
    pub fn inventory(&self) -> Inventory {
        self.resources.iter().map(|(key, resource)| (key.clone(), resource.hash)).collect()
    }

    /// What leads from a set with `inventory` to this one.
    pub fn delta_from(&self, inventory: &Inventory) -> Delta {
        let upsert = self
            .resources
            .iter()
            .filter(|(key, resource)| inventory.get(*key) != Some(&resource.hash))
            .map(|(key, resource)| (key.clone(), resource.clone()))
            .collect();
        let remove =
            inventory.keys().filter(|key| !self.resources.contains_key(*key)).cloned().collect();
        Delta { upsert, remove }
    }

    /// The set that a delta leads to.
    #[must_use]
    pub fn with(&self, delta: Delta) -> Self {
        let mut resources = self.resources.clone();
        for key in &delta.remove {
            resources.remove(key);
        }
        resources.extend(delta.upsert);
        Self::new(self.hash_key, resources)
    }
}

/// The hash of each resource of a set.
pub type Inventory = BTreeMap<ResourceKey, Digest>;

/// The root of a set with these hashes.
pub fn root<'r>(
    hash_key: &HashKey,
    hashes: impl Iterator<Item = (&'r ResourceKey, Digest)>,
) -> Digest {
    let mut hasher = blake3::Hasher::new_keyed(&hash_key.0);
    for (key, hash) in hashes {
        hash_key_of(&mut hasher, key);
        hasher.update(&hash.0);
    }
    Digest(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: HashKey = HashKey([7; 32]);

    fn key(name: &str) -> ResourceKey {
        ResourceKey { kind: ResourceKind::Route, name: name.into() }
    }

    fn set(names: &[(String, u8)]) -> ResourceSet {
        let resources = names.iter().map(|(name, body)| {
            let key = key(name);
            let resource = Resource::new(&key, Bytes::from(vec![*body]), &KEY);
            (key, resource)
        });
        ResourceSet::new(KEY, resources.collect())
    }

    #[test]
    fn the_hash_depends_on_name_body_and_key() {
        let hash = |name, body: &'static [u8], hash_key| {
            Resource::new(&key(name), Bytes::from_static(body), &HashKey([hash_key; 32])).hash()
        };
        let one = hash("a", b"x", 1);
        assert_eq!(one, hash("a", b"x", 1));
        for other in [hash("b", b"x", 1), hash("a", b"y", 1), hash("a", b"x", 2)] {
            assert_ne!(one, other);
        }
    }

    proptest! {
        #[test]
        fn a_delta_leads_to_its_target(
            from in proptest::collection::vec(("[a-e]", 0u8..3), 0..6),
            to in proptest::collection::vec(("[a-e]", 0u8..3), 0..6),
        ) {
            let (from, to) = (set(&from), set(&to));
            let delta = to.delta_from(&from.inventory());
            prop_assert_eq!(from.with(delta.clone()), to.clone());
            let nothing = delta == Delta::default();
            prop_assert_eq!(nothing, from == to);
        }
    }
}
