//! The store of a single server: a commit log on its own disk and an index over it.
//!
//! The log is the truth. A commit is appended and flushed, then indexed and flushed again, then
//! shown to readers; so the index never knows a commit the log may lose. At start the index is
//! compared with the log row by row: what it lacks is added, and an index that is wrong is moved
//! aside and built anew. An index that is *ahead* is no fault of the index: the log lost commits
//! that were acknowledged, and the store refuses to open.
//!
//! ```text
//! <directory>/lock                        held while the store is open
//! <directory>/log/00000000000000000001.log
//! <directory>/index/
//! <directory>/index.corrupt-<unix time>/  what was moved aside; may be removed
//! ```
//!
//! One writer at a time; everything that touches the disk runs on the blocking pool.

#[cfg(test)]
mod tests;

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::{sync::watch, task::spawn_blocking};
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::{
    Commit, CommitRecord, Key, Lineage, Store, StoreError, Version,
    filesystem::{Disk, FileSystem},
    index::Index,
    log::{self, Log, reader::Reader},
    page,
};

/// Where and how an [`EmbeddedStore`] keeps its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The directory that holds everything; created if it does not exist.
    pub directory: PathBuf,
    /// A log file that has reached this size is followed by a new one.
    pub segment_size: u64,
    /// The parent of the lineage, should the directory be empty; ignored otherwise.
    pub parent: Option<Uuid>,
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

/// What calls on the blocking pool share. The lock is dropped last.
#[derive(Debug)]
struct Shared {
    writer: Mutex<Writer>,
    reader: Reader,
    heads: watch::Sender<Version>,
    index: Index,
    directory: PathBuf,
    _lock: File,
}

#[derive(Debug)]
struct Writer {
    log: Log,
    /// The log has a commit the index may lack.
    is_index_behind: bool,
}

impl Settings {
    /// How large a log file grows unless told otherwise.
    pub const SEGMENT_SIZE: u64 = 64 * 1024 * 1024;

    /// Keeps the data in a directory, with defaults for the rest.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), segment_size: Self::SEGMENT_SIZE, parent: None }
    }
}

impl EmbeddedStore {
    /// Opens the store in a directory, or starts one there.
    ///
    /// Reads the whole log once to check it.
    ///
    /// # Errors
    ///
    /// [`StoreError::InUse`] if the directory is open already, [`StoreError::Unavailable`] if it
    /// cannot be used, [`StoreError::Corrupt`] if the log lost or garbled a commit.
    pub async fn open(settings: Settings) -> Result<Self, StoreError> {
        Self::open_on(Arc::new(Disk), settings).await
    }

    /// Opens the store with its log on another file system.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub async fn open_on(
        file_system: Arc<dyn FileSystem>,
        settings: Settings,
    ) -> Result<Self, StoreError> {
        let directory = settings.directory.clone();
        let open = move || Shared::open(file_system, settings);
        let shared = spawn_blocking(open).await.map_err(|e| unfinished(&directory, e))??;
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Runs a call that may wait for the disk, to its end even if nobody waits for it.
    async fn blocking<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Shared) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = Arc::clone(&self.shared);
        let result = spawn_blocking(move || call(&shared)).await;
        result.map_err(|e| unfinished(&self.shared.directory, e))?
    }
}

impl Shared {
    fn open(file_system: Arc<dyn FileSystem>, settings: Settings) -> Result<Self, StoreError> {
        let Settings { directory, segment_size, parent } = settings;
        let lock = lock(&directory)?;
        let log_directory = directory.join("log");
        prepare(&*file_system, &directory, &log_directory)?;
        let index_directory = directory.join("index");
        let index = match Index::open(&index_directory).and_then(|index| Ok((index.head()?, index)))
        {
            Ok(index) => Some(index),
            // Building another would meet the same obstacle, with more of the disk taken.
            Err(error) if error.is_environment() => return Err(error),
            Err(error) => {
                warn!(%error, cause = ?error, "index cannot be read");
                None
            }
        };

        let known = index.as_ref().and_then(|(head, _)| *head);
        let settings = log::Settings { directory: log_directory, segment_size, parent };
        let mut agrees = index.is_some();
        let mut compare = |entry: &log::reader::Entry| {
            if let (Some((_, index)), Some(head)) = (&index, known)
                && agrees
                && entry.summary.version <= head.version
            {
                agrees = index.holds(entry);
            }
            Ok(())
        };
        let log = Log::open(file_system, settings, known, &mut compare)?;
        let lineage = log.reader().lineage().id;
        agrees &= known.is_none_or(|head| head.lineage == lineage);

        let index = index.map(|(_, index)| index);
        let (index, above) = match index {
            Some(index) if agrees => (index, known.map_or(Version::NONE, |head| head.version)),
            other => {
                if let Some(index) = other {
                    index.close();
                }
                move_aside(&directory, &index_directory)?;
                (Index::open(&index_directory)?, Version::NONE)
            }
        };
        if above < log.head() {
            info!(from = %above, to = %log.head(), "indexing commits");
            log.replay(above, &mut |entry| index.add(lineage, entry))?;
            index.flush()?;
        }
        Ok(Self {
            reader: log.reader().clone(),
            heads: watch::Sender::new(log.head()),
            writer: Mutex::new(Writer { log, is_index_behind: false }),
            index,
            directory,
            _lock: lock,
        })
    }

    fn head(&self) -> Version {
        *self.heads.borrow()
    }

    fn commit(&self, expected: Version, commit: &Commit) -> Result<CommitRecord, StoreError> {
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

    fn get_at(&self, version: Version, key: &Key) -> Result<Option<Bytes>, StoreError> {
        let head = self.head();
        if version > head {
            return Err(StoreError::UnknownVersion { version, head });
        }
        match self.index.value(version, key)? {
            Some(location) => self.reader.value(location).map(Some),
            None => Ok(None),
        }
    }

    fn record(&self, version: Version) -> Result<CommitRecord, StoreError> {
        let head = self.head();
        let location = if version <= head { self.index.record(version)? } else { None };
        let location = location.ok_or(StoreError::UnknownVersion { version, head })?;
        self.reader.record(location)
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    fn lineage(&self) -> &Lineage {
        self.shared.reader.lineage()
    }

    async fn head(&self) -> Result<Version, StoreError> {
        Ok(self.shared.head())
    }

    async fn commit(&self, expected: Version, commit: Commit) -> Result<CommitRecord, StoreError> {
        self.blocking(move |shared| shared.commit(expected, &commit)).await
    }

    async fn get(&self, key: &Key) -> Result<Option<Bytes>, StoreError> {
        let key = key.clone();
        self.blocking(move |shared| shared.get_at(shared.head(), &key)).await
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
            page(shared.head(), before, limit).map(|version| shared.record(version)).collect()
        })
        .await
    }

    fn watch(&self) -> watch::Receiver<Version> {
        self.shared.heads.subscribe()
    }
}

/// Creates the data directory if need be and takes its lock.
fn lock(directory: &Path) -> Result<File, StoreError> {
    let unavailable = |source| StoreError::unavailable("use data directory", directory, source);
    Disk.create_dir_all(directory).map_err(unavailable)?;
    let mut options = OpenOptions::new();
    let options = options.create(true).truncate(false).write(true).mode(0o600);
    let file = options.open(directory.join("lock")).map_err(unavailable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: directory.to_owned() }),
        Err(TryLockError::Error(source)) => Err(unavailable(source)),
    }
}

/// Makes the directory of the log durable before anything is put into it.
fn prepare(file_system: &dyn FileSystem, directory: &Path, log: &Path) -> Result<(), StoreError> {
    file_system.create_dir_all(log).map_err(|e| StoreError::unavailable("create", log, e))?;
    file_system.sync_dir(directory).map_err(|e| StoreError::unavailable("flush", directory, e))?;
    // The directory above may belong to somebody else; whoever made it durable, it is not news.
    if let Some(above) = directory.parent().filter(|above| !above.as_os_str().is_empty()) {
        let _ = file_system.sync_dir(above);
    }
    Ok(())
}

/// Gives an unusable index another name, so that somebody can look at it.
fn move_aside(directory: &Path, index: &Path) -> Result<(), StoreError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    // The clock may stand still between two starts; the next free second will do.
    let free = (now..).map(|time| directory.join(format!("index.corrupt-{time}")));
    let Some(aside) = free.into_iter().find(|path| !path.exists()) else {
        return Ok(());
    };
    match fs::rename(index, &aside) {
        Ok(()) => {
            warn!(moved_to = %aside.display(), "index disagrees with the log and is rebuilt");
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(StoreError::unavailable("move aside", index, source)),
    }
}

/// Builds the error for a call that did not come to its end.
fn unfinished(directory: &Path, error: tokio::task::JoinError) -> StoreError {
    StoreError::unavailable("finish a call on", directory, io::Error::other(error))
}
