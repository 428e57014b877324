//! A store that forgets everything when it is dropped, for tests.
//!
//! It keeps every promise of [`Store`] but durability, and builds the same records and hashes as
//! the store on disk, which makes it the model that one is tested against.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use crate::{
    Commit, CommitRecord, Key, Lineage, Store, StoreError, Version, page, record::Summary,
};

/// Keeps commits in memory.
#[derive(Debug)]
pub struct MemoryStore {
    lineage: Lineage,
    history: Mutex<History>,
    heads: watch::Sender<Version>,
}

#[derive(Debug, Default)]
struct History {
    records: Vec<CommitRecord>,
    /// What each commit made of each key it touched; `None` is a removal.
    values: HashMap<Key, BTreeMap<Version, Option<Bytes>>>,
}

impl MemoryStore {
    /// Starts empty, with a lineage of its own.
    pub fn new() -> Self {
        Self::with_lineage(Lineage::new(None))
    }

    /// Starts empty, with the given lineage.
    pub fn with_lineage(lineage: Lineage) -> Self {
        Self { lineage, history: Mutex::default(), heads: watch::Sender::new(Version::NONE) }
    }

    fn history(&self) -> MutexGuard<'_, History> {
        // The history is changed only after everything that could panic.
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl History {
    fn head(&self) -> Version {
        Version(self.records.len() as u64)
    }

    fn get_at(&self, version: Version, key: &Key) -> Result<Option<Bytes>, StoreError> {
        let head = self.head();
        if version > head {
            return Err(StoreError::UnknownVersion { version, head });
        }
        let newest = |versions: &BTreeMap<_, Option<Bytes>>| {
            versions.range(..=version).next_back().and_then(|(_, value)| value.clone())
        };
        Ok(self.values.get(key).and_then(newest))
    }

    fn record(&self, version: Version) -> Result<&CommitRecord, StoreError> {
        let place = version.0.checked_sub(1).and_then(|place| usize::try_from(place).ok());
        place
            .and_then(|place| self.records.get(place))
            .ok_or(StoreError::UnknownVersion { version, head: self.head() })
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn lineage(&self) -> &Lineage {
        &self.lineage
    }

    async fn head(&self) -> Result<Version, StoreError> {
        Ok(self.history().head())
    }

    async fn commit(&self, expected: Version, commit: Commit) -> Result<CommitRecord, StoreError> {
        commit.check()?;
        let mut history = self.history();
        let head = history.head();
        if head != expected {
            return Err(StoreError::Conflict { expected, head });
        }
        let version = head.next();
        let parent_hash = history.records.last().map_or_else(|| self.lineage.root(), |r| r.hash);
        let summary = Summary::new(&self.lineage, version, parent_hash, &commit);
        let hash = self.lineage.hash(&summary.encode());
        let record = summary.into_record(hash);
        let puts = commit.puts.into_iter().map(|(key, value)| (key, Some(value)));
        let removes = commit.removes.into_iter().map(|key| (key, None));
        for (key, value) in puts.chain(removes) {
            history.values.entry(key).or_default().insert(version, value);
        }
        history.records.push(record.clone());
        self.heads.send_replace(version);
        Ok(record)
    }

    async fn get(&self, key: &Key) -> Result<Option<Bytes>, StoreError> {
        let history = self.history();
        history.get_at(history.head(), key)
    }

    async fn get_at(&self, version: Version, key: &Key) -> Result<Option<Bytes>, StoreError> {
        self.history().get_at(version, key)
    }

    async fn record(&self, version: Version) -> Result<CommitRecord, StoreError> {
        self.history().record(version).cloned()
    }

    async fn records(
        &self,
        before: Option<Version>,
        limit: usize,
    ) -> Result<Vec<CommitRecord>, StoreError> {
        let history = self.history();
        let head = history.head();
        page(head, before, limit).map(|version| history.record(version).cloned()).collect()
    }

    fn watch(&self) -> watch::Receiver<Version> {
        self.heads.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh() -> std::future::Ready<(MemoryStore, ())> {
        std::future::ready((MemoryStore::new(), ()))
    }

    crate::conformance_tests!(fresh);
}
