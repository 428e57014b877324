//! Where the control plane keeps its documents, and the history of every change to them.
//!
//! A [`Store`] is a small versioned map. A change is a [`Commit`]: it applies as a whole or not at
//! all, only on top of the version its author saw, and it is durable when it is answered. Every
//! version stays readable until it is old enough to be forgotten, and the chained
//! [`CommitRecord`]s are the audit log.
//!
//! [`EmbeddedStore`] keeps a single server's data on its own disk, [`MemoryStore`] is for tests.
//! The suite in `conformance` (feature of the same name) says what both must do.
//!
//! This crate does not know what the documents mean and looks into no value.

#![warn(missing_docs)]

mod checkpoint;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod cursor;
pub mod embedded;
mod error;
pub mod filesystem;
mod index;
mod key;
mod lineage;
mod log;
mod memory;
mod record;
mod stream;

use std::collections::HashSet;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::watch;

pub use lb_model::Version;

pub use crate::{
    embedded::EmbeddedStore,
    error::StoreError,
    key::{InvalidKey, Key},
    lineage::Lineage,
    memory::MemoryStore,
};

/// A keyed BLAKE3 hash.
pub type Hash = [u8; 32];

/// How many bytes a commit may take with its keys, values and texts.
pub const MAX_COMMIT_SIZE: u64 = 64 * 1024 * 1024;

/// Keeps values under keys, in numbered versions.
///
/// Versions of one lineage start at 1 and increase by one. A version becomes visible only as a
/// whole, and no number is ever bound to two contents.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Identifies the history the versions belong to.
    fn lineage(&self) -> &Lineage;

    /// Returns the newest version, 0 if nothing was committed yet.
    async fn head(&self) -> Result<Version, StoreError>;

    /// Applies a commit on top of `expected` and returns its record once it is durable.
    ///
    /// Dropping the returned future does not take the commit back: it may still be applied.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] if the head is not `expected`; [`StoreError::TooLarge`] and
    /// [`StoreError::DuplicateKey`] for a commit no store accepts; [`StoreError::Unavailable`] if
    /// it could not be written. In all of these nothing changed. [`StoreError::Poisoned`] and
    /// [`StoreError::Unindexed`] describe themselves.
    async fn commit(&self, expected: Version, commit: Commit) -> Result<CommitRecord, StoreError>;

    /// Returns the value of a key at the head.
    async fn get(&self, key: &Key) -> Result<Option<Bytes>, StoreError>;

    /// Returns the value a key had as of a version.
    ///
    /// # Errors
    ///
    /// [`StoreError::UnknownVersion`] for a version above the head, [`StoreError::Forgotten`] for
    /// one the store no longer keeps. At version 0 there is nothing.
    async fn get_at(&self, version: Version, key: &Key) -> Result<Option<Bytes>, StoreError>;

    /// Returns the record of one commit.
    ///
    /// # Errors
    ///
    /// [`StoreError::UnknownVersion`] for a version that was never committed,
    /// [`StoreError::Forgotten`] for one the store no longer keeps.
    async fn record(&self, version: Version) -> Result<CommitRecord, StoreError>;

    /// Returns at most `limit` records older than `before`, or from the head on, newest first.
    ///
    /// The next page starts before the last version of this one; an empty answer is the end, or
    /// where what is kept begins.
    async fn records(
        &self,
        before: Option<Version>,
        limit: usize,
    ) -> Result<Vec<CommitRecord>, StoreError>;

    /// Follows the head; versions in between may be skipped.
    fn watch(&self) -> watch::Receiver<Version>;
}

/// A change: what to write, and who wants it why.
#[derive(Clone, PartialEq, Eq)]
pub struct Commit {
    /// Who makes the change.
    pub author: String,
    /// Why, in the words of the author.
    pub reason: String,
    /// When it was asked for.
    pub time: Timestamp,
    /// The values to write.
    pub puts: Vec<(Key, Bytes)>,
    /// The keys to remove; one that does not exist is no error.
    pub removes: Vec<Key>,
}

/// A commit as the history remembers it: everything but the values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitRecord {
    /// The version the commit made.
    pub version: Version,
    /// When it was asked for.
    pub time: Timestamp,
    /// Who made the change.
    pub author: String,
    /// Why, in the words of the author.
    pub reason: String,
    /// The hash of the commit before, which makes the records a chain.
    pub parent_hash: Hash,
    /// The hash of this commit: its texts, its keys, its values and `parent_hash`.
    pub hash: Hash,
    /// What was written.
    pub puts: Vec<Written>,
    /// What was removed.
    pub removes: Vec<Key>,
}

/// A value a commit wrote, without the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The name of the value.
    pub key: Key,
    /// How many bytes the value has.
    pub size: u64,
}

impl Commit {
    /// Refuses a commit no store accepts.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let size = record::size(self);
        if size > MAX_COMMIT_SIZE {
            return Err(StoreError::TooLarge { size, limit: MAX_COMMIT_SIZE });
        }
        let mut seen = HashSet::new();
        match self.puts.iter().map(|(key, _)| key).chain(&self.removes).find(|k| !seen.insert(*k)) {
            Some(key) => Err(StoreError::DuplicateKey { key: key.clone() }),
            None => Ok(()),
        }
    }
}

/// Shows sizes instead of values, which may be secrets.
impl std::fmt::Debug for Commit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let puts: Vec<_> = self.puts.iter().map(|(key, value)| (key, value.len())).collect();
        f.debug_struct("Commit")
            .field("author", &self.author)
            .field("reason", &self.reason)
            .field("time", &self.time)
            .field("puts", &puts)
            .field("removes", &self.removes)
            .finish()
    }
}

/// Returns the versions a page of records holds, newest first.
pub(crate) fn page(
    head: Version,
    before: Option<Version>,
    limit: usize,
) -> impl Iterator<Item = Version> {
    let newest = before.map_or(head.0, |before| before.0.saturating_sub(1).min(head.0));
    (1..=newest).rev().take(limit).map(Version)
}
