//! The identity of one unbroken history of commits.
//!
//! A restored or forked store starts a new lineage that names its parent, because its version
//! numbers would otherwise be bound to two contents.

use std::fmt;

use uuid::Uuid;

use crate::Hash;

/// Identifies one unbroken history of commits and carries the key its hashes are made with.
#[derive(Clone, PartialEq, Eq)]
pub struct Lineage {
    /// Names this history.
    pub id: Uuid,
    /// Names the history this one was restored or forked from.
    pub parent: Option<Uuid>,
    /// Keys every hash, so that a hash shown to somebody lets nobody guess the content.
    ///
    /// Secret: `Debug` leaves it out.
    pub hash_key: [u8; 32],
}

impl Lineage {
    /// Starts a new history with a random id and hash key.
    pub fn new(parent: Option<Uuid>) -> Self {
        let mut seed = blake3::Hasher::new_derive_key("lb-store 2026 lineage hash key");
        // Each holds 122 bits from the operating system; four are well above the 256 of the key.
        for _ in 0..4 {
            seed.update(Uuid::new_v4().as_bytes());
        }
        Self { id: Uuid::new_v4(), parent, hash_key: seed.finalize().into() }
    }

    /// Hashes bytes with the key of this lineage.
    pub(crate) fn hash(&self, bytes: &[u8]) -> Hash {
        blake3::keyed_hash(&self.hash_key, bytes).into()
    }

    /// Starts a hash of bytes that arrive in pieces.
    pub(crate) fn hasher(&self) -> blake3::Hasher {
        blake3::Hasher::new_keyed(&self.hash_key)
    }

    /// Returns what the first commit names as the hash of its parent.
    pub(crate) fn root(&self) -> Hash {
        let parent = self.parent.unwrap_or_default();
        self.hash(&[self.id.as_bytes().as_slice(), parent.as_bytes()].concat())
    }
}

impl fmt::Debug for Lineage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lineage")
            .field("id", &self.id)
            .field("parent", &self.parent)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_leaves_the_hash_key_out() {
        let lineage = Lineage { hash_key: [0xab; 32], ..Lineage::new(None) };
        let text = format!("{lineage:?} {lineage:#?}");
        assert!(!text.contains("171") && !text.contains("hash_key"), "{text}");
    }

    #[test]
    fn two_lineages_share_nothing() {
        let (one, two) = (Lineage::new(None), Lineage::new(None));
        assert_ne!(one.id, two.id);
        assert_ne!(one.hash_key, two.hash_key);
        assert_ne!(one.root(), two.root());
    }
}
