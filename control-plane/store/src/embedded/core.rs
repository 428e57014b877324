//! One open store: what reads and commits do, off the async threads.

use std::{
    fs::File,
    io,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use tokio::sync::watch;
use tracing::{error, warn};

use crate::{
    Commit, CommitRecord, Key, Lineage, StoreError, Version,
    checkpoint::Checkpoints,
    embedded::{Settings, maintenance::Maintenance},
    index::Index,
    log::{
        Log,
        reader::{Reader, ValueLocation},
    },
};

/// What calls on the blocking pool share. The lock is dropped last.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) writer: Mutex<Writer>,
    pub(super) reader: Reader,
    pub(super) heads: watch::Sender<Version>,
    pub(super) index: Index,
    pub(super) checkpoints: Checkpoints,
    /// What the index says its base is.
    pub(super) base: AtomicU64,
    /// Whoever holds it may rely on the files of the store, or remove some.
    pub(super) maintenance: Mutex<Maintenance>,
    pub(super) failed_checkpoints: AtomicU64,
    pub(super) settings: Settings,
    /// None only in tests without a directory.
    pub(super) _lock: Option<File>,
}

#[derive(Debug)]
pub(super) struct Writer {
    pub(super) log: Log,
    /// The log has a commit the index may lack.
    pub(super) is_index_behind: bool,
}

impl Shared {
    pub(super) fn lineage(&self) -> &Lineage {
        self.reader.lineage()
    }

    pub(super) fn head(&self) -> Version {
        *self.heads.borrow()
    }

    /// Returns the version below which nothing is kept.
    pub(super) fn base(&self) -> Version {
        Version(self.base.load(Ordering::Acquire))
    }

    /// Returns the oldest version whose record is kept, or would be.
    pub(super) fn oldest(&self) -> Version {
        self.base().next()
    }

    pub(super) fn commit(
        &self,
        expected: Version,
        commit: &Commit,
    ) -> Result<CommitRecord, StoreError> {
        let record = self.append(expected, commit)?;
        self.maintain(record.version, commit.time);
        Ok(record)
    }

    fn append(&self, expected: Version, commit: &Commit) -> Result<CommitRecord, StoreError> {
        commit.check()?;
        let poisoned = || StoreError::Poisoned { path: self.index.path().to_owned() };
        // A writer that panicked may have left the log and the index apart.
        let mut writer = self.writer.lock().map_err(|_| poisoned())?;
        if writer.is_index_behind {
            return Err(poisoned());
        }
        let head = writer.log.head();
        if expected != head {
            return Err(StoreError::Conflict { expected, head });
        }
        let entry = writer.log.append(commit)?;
        let version = entry.summary.version;
        let lineage = self.reader.lineage().id;
        if let Err(error) = self.index.add(lineage, &entry).and_then(|()| self.index.flush()) {
            error!(%version, %error, cause = ?error, "durable commit not indexed");
            writer.is_index_behind = true;
            return Err(StoreError::Unindexed {
                version,
                path: self.index.path().to_owned(),
                source: io::Error::other(error),
            });
        }
        self.heads.send_replace(version);
        Ok(entry.summary.into_record(entry.location.hash))
    }

    /// Returns the value of a key at the head.
    pub(super) fn get(&self, key: &Key) -> Result<Option<Bytes>, StoreError> {
        self.read(|| {
            let location = self.index.value(self.head(), key)?;
            location.map(|location| self.value(key, location)).transpose()
        })
    }

    pub(super) fn get_at(&self, version: Version, key: &Key) -> Result<Option<Bytes>, StoreError> {
        let head = self.head();
        if version > head {
            return Err(StoreError::UnknownVersion { version, head });
        }
        if version == Version::NONE {
            return Ok(None);
        }
        self.read(|| {
            let oldest = self.base();
            if version < oldest {
                return Err(StoreError::Forgotten { version, oldest });
            }
            let location = self.index.value(version, key)?;
            location.map(|location| self.value(key, location)).transpose()
        })
    }

    pub(super) fn record(&self, version: Version) -> Result<CommitRecord, StoreError> {
        let head = self.head();
        if version > head || version == Version::NONE {
            return Err(StoreError::UnknownVersion { version, head });
        }
        self.read(|| {
            let oldest = self.oldest();
            if version < oldest {
                return Err(StoreError::Forgotten { version, oldest });
            }
            let lost = || self.index.disagrees(format!("it lacks version {version}"));
            let location = self.index.record(version)?.ok_or_else(lost)?;
            self.reader.record(location)
        })
    }

    /// Reads again if what was being read has been forgotten meanwhile.
    fn read<T>(&self, read: impl Fn() -> Result<T, StoreError>) -> Result<T, StoreError> {
        loop {
            let base = self.base();
            let result = read();
            if base == self.base() {
                return result;
            }
        }
    }

    /// Reads a value, if need be from a checkpoint that has it, too.
    pub(super) fn value(&self, key: &Key, place: ValueLocation) -> Result<Bytes, StoreError> {
        let error = match self.reader.value(place) {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        for version in self.checkpoints.list()?.into_iter().rev() {
            let Ok(checkpoint) = self.checkpoints.read(version) else { continue };
            // The hash is keyed and part of the index row: a value that has it is the value.
            let held = checkpoint.values.iter().find(|h| h.key == *key && h.hash == place.hash);
            if let Some(Ok(value)) = held.map(|held| self.reader.value(checkpoint.location(held))) {
                warn!(%error, %key, checkpoint = %version, "value read from a checkpoint");
                return Ok(value);
            }
        }
        Err(error)
    }
}
