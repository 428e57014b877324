//! The store of a single server: a commit log on its own disk and an index over it.
//!
//! The log is the truth. A commit is appended and flushed, then indexed and flushed again, then
//! shown to readers; so the index never knows a commit the log may lose. Now and then the whole
//! state becomes a checkpoint, after which a start need read only the log behind it. At start the
//! index is compared with the newest checkpoint and the log behind that: what it lacks is added,
//! and an index that is wrong is moved aside and built anew. An index or a checkpoint that is
//! *ahead* is no fault of theirs: the log lost commits that were acknowledged, and the store
//! refuses to open.
//!
//! ```text
//! <directory>/lock                        held while the store is open
//! <directory>/log/00000000000000000001.log
//! <directory>/checkpoints/00000000000000000256.ckpt
//! <directory>/index/
//! <directory>/index.corrupt-<unix time>/  what was moved aside; may be removed
//! <directory>/ballast                     may be removed when the disk is full
//! ```
//!
//! One writer at a time; everything that touches the disk runs on the blocking pool.

mod backup;
mod core;
mod maintenance;
mod open;
#[cfg(test)]
mod tests;
mod verify;

use std::{
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::{sync::watch, task::spawn_blocking};
use uuid::Uuid;

pub use crate::embedded::{backup::Restored, verify::Verified};
use crate::{
    Commit, CommitRecord, Key, Lineage, Store, StoreError, Version,
    embedded::{core::Shared, open::IndexPlace},
    filesystem::{Disk, FileSystem},
    page,
};

/// Where and how an [`EmbeddedStore`] keeps its data.
///
/// Time is what the commits say: nothing happens to a store in which nothing is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The directory that holds everything; created if it does not exist.
    pub directory: PathBuf,
    /// A log file that has reached this size is followed by a new one.
    pub segment_size: u64,
    /// The parent of the lineage, should the directory be empty; ignored otherwise.
    pub parent: Option<Uuid>,
    /// A checkpoint is made after this many commits.
    pub checkpoint_every: u64,
    /// A checkpoint is made at the first commit that is this much younger than the last one.
    pub checkpoint_age: Duration,
    /// How many checkpoints are kept.
    pub checkpoints_kept: usize,
    /// How many of the newest versions are kept at least.
    pub kept_versions: u64,
    /// Versions younger than this are kept, too.
    pub kept_for: Duration,
    /// How many bytes are set aside for somebody to free when the disk is full; 0 for none.
    pub ballast_size: u64,
}

/// Keeps commits in a directory of this machine.
///
/// One store at a time has a directory open. The lock is released when the store is dropped and
/// its last running call has ended. Closing the index may wait for the disk, so a store is dropped
/// at shutdown and not while requests are served.
#[derive(Debug)]
pub struct EmbeddedStore {
    shared: Arc<Shared>,
}

impl Settings {
    /// How large a log file grows unless told otherwise.
    pub const SEGMENT_SIZE: u64 = 64 * 1024 * 1024;
    /// How much is set aside unless told otherwise.
    pub const BALLAST_SIZE: u64 = 64 * 1024 * 1024;

    /// Keeps the data in a directory, with defaults for the rest.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            segment_size: Self::SEGMENT_SIZE,
            parent: None,
            checkpoint_every: 256,
            checkpoint_age: Duration::from_hours(24),
            checkpoints_kept: 7,
            kept_versions: 10_000,
            kept_for: Duration::from_hours(30 * 24),
            ballast_size: Self::BALLAST_SIZE,
        }
    }
}

impl EmbeddedStore {
    /// Opens the store in a directory, or starts one there.
    ///
    /// Reads the newest checkpoint and the log behind it, or all of the log if the index is lost
    /// or wrong.
    ///
    /// # Errors
    ///
    /// [`StoreError::InUse`] if the directory is open already, [`StoreError::Unavailable`] if it
    /// cannot be used, [`StoreError::Corrupt`] if the log lost or garbled a commit.
    pub async fn open(settings: Settings) -> Result<Self, StoreError> {
        Self::open_on(Arc::new(Disk), settings).await
    }

    /// Opens the store with its log and checkpoints on another file system.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub async fn open_on(
        file_system: Arc<dyn FileSystem>,
        settings: Settings,
    ) -> Result<Self, StoreError> {
        let directory = settings.directory.clone();
        let open = move || {
            let lock = open::lock(&settings.directory)?;
            let index = IndexPlace::in_directory(&settings.directory);
            Shared::open(file_system, settings, index, Some(lock))
        };
        let shared = spawn_blocking(open).await.map_err(|e| unfinished(&directory, e))??;
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Builds a store in an empty or missing directory from a backup, and opens nothing.
    ///
    /// The store begins a new lineage whose parent is the one of the backup. Versions keep their
    /// numbers and contents, and the next commit the number it would have had. Nothing is visible
    /// in the directory before the backup was read to its end and found whole.
    ///
    /// Blocks; an async caller runs it on the blocking pool.
    ///
    /// # Errors
    ///
    /// [`StoreError::InvalidBackup`] says where the backup is damaged, [`StoreError::Occupied`]
    /// that the directory is not empty. Whatever fails, the directory is as it was.
    pub fn restore(backup: &mut dyn Read, directory: &Path) -> Result<Restored, StoreError> {
        backup::restore(backup, directory)
    }

    /// Writes everything there is to a stream, to be [restored](Self::restore) somewhere else.
    ///
    /// The backup is the store as of the version that is answered; commits go on meanwhile. It
    /// holds the values as they are, secrets included, and the key of the lineage.
    ///
    /// Blocks; an async caller runs it on the blocking pool.
    ///
    /// # Errors
    ///
    /// [`StoreError::Stream`] if the stream refuses, or an error of reading.
    pub fn backup(&self, out: &mut dyn Write) -> Result<Version, StoreError> {
        self.shared.backup(out)
    }

    /// Makes a checkpoint of the newest version and forgets what need not be kept.
    ///
    /// The store does so by itself; one that fails to is counted in
    /// [`failed_checkpoints`](Self::failed_checkpoints).
    pub async fn checkpoint(&self) -> Result<Version, StoreError> {
        self.blocking(Shared::checkpoint).await
    }

    /// Returns how often a checkpoint was due and could not be made since the store was opened.
    pub fn failed_checkpoints(&self) -> u64 {
        self.shared.failed_checkpoints()
    }

    /// Reads all there is, recomputes the chain of hashes and compares the index with the log.
    ///
    /// # Errors
    ///
    /// [`StoreError::Corrupt`] names the first file that is not what was written.
    pub async fn verify(&self) -> Result<Verified, StoreError> {
        self.blocking(Shared::verify).await
    }

    /// Runs a call that may wait for the disk, to its end even if nobody waits for it.
    async fn blocking<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Shared) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = Arc::clone(&self.shared);
        let result = spawn_blocking(move || call(&shared)).await;
        result.map_err(|e| unfinished(&self.shared.settings.directory, e))?
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    fn lineage(&self) -> &Lineage {
        self.shared.lineage()
    }

    async fn head(&self) -> Result<Version, StoreError> {
        Ok(self.shared.head())
    }

    async fn commit(&self, expected: Version, commit: Commit) -> Result<CommitRecord, StoreError> {
        self.blocking(move |shared| shared.commit(expected, &commit)).await
    }

    async fn get(&self, key: &Key) -> Result<Option<Bytes>, StoreError> {
        let key = key.clone();
        self.blocking(move |shared| shared.get(&key)).await
    }

    async fn get_at(&self, version: Version, key: &Key) -> Result<Option<Bytes>, StoreError> {
        let key = key.clone();
        self.blocking(move |shared| shared.get_at(version, &key)).await
    }

    async fn record(&self, version: Version) -> Result<CommitRecord, StoreError> {
        self.blocking(move |shared| shared.record(version)).await
    }

    async fn records(
        &self,
        before: Option<Version>,
        limit: usize,
    ) -> Result<Vec<CommitRecord>, StoreError> {
        self.blocking(move |shared| {
            let oldest = shared.oldest();
            let page = page(shared.head(), before, limit).take_while(|version| *version >= oldest);
            page.map(|version| shared.record(version)).collect()
        })
        .await
    }

    fn watch(&self) -> watch::Receiver<Version> {
        self.shared.heads.subscribe()
    }
}

/// Builds the error for a call that did not come to its end.
fn unfinished(directory: &Path, error: tokio::task::JoinError) -> StoreError {
    StoreError::unavailable("finish a call on", directory, io::Error::other(error))
}
