//! Named, hashed pieces of a configuration, and the difference between two sets of them.
//!
//! A resource is one configured object in its wire form. Its hash is taken over the bytes as
//! they travel, never over a second encoding. The root of a set is a hash over the sorted hashes
//! of its resources: two sets with the same root are the same set. All hashes are keyed with the
//! lineage's key, so that the hash of a guessable secret cannot be looked up in a table.

mod set;

use std::{fmt, sync::Arc};

use bytes::Bytes;

pub use self::set::{Delta, Inventory, ResourceSet};

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
    /// All 64 hexadecimal digits.
    pub fn to_hex(self) -> String {
        use fmt::Write;
        self.0.iter().fold(String::with_capacity(64), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }

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
        for part in [key.kind.as_str(), &key.name] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ResourceKey {
        ResourceKey { kind: ResourceKind::Route, name: name.into() }
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
}
