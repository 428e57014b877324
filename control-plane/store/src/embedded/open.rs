//! What happens at a start: lock, recovery of the log, and an index that is as the log has it.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::{SystemTime, UNIX_EPOCH},
};

use tokio::sync::watch;
use tracing::{info, warn};

#[cfg(test)]
use crate::index::Rows;
use crate::{
    StoreError, Version,
    checkpoint::{self, Checkpoint, Checkpoints},
    embedded::{
        Settings,
        core::{Shared, Writer},
        maintenance::Maintenance,
    },
    filesystem::{Disk, FileSystem},
    index::Index,
    log::{
        self, Log,
        reader::{Entry, Reader},
        recovery::list_segments,
    },
};

/// Where the index is kept.
#[derive(Debug)]
pub(super) enum IndexPlace {
    /// In a directory of the data directory.
    Directory { data: PathBuf, index: PathBuf },
    /// In memory, for the tests of crashes.
    #[cfg(test)]
    Memory(Rows),
}

impl IndexPlace {
    pub(super) fn in_directory(data: &Path) -> Self {
        Self::Directory { data: data.to_owned(), index: data.join("index") }
    }

    fn open(&self) -> Result<Index, StoreError> {
        match self {
            Self::Directory { index, .. } => Index::open(index),
            #[cfg(test)]
            Self::Memory(rows) => Ok(Index::in_memory(rows.clone())),
        }
    }

    fn move_aside(&self) -> Result<(), StoreError> {
        match self {
            Self::Directory { data, index } => move_aside(data, index),
            #[cfg(test)]
            Self::Memory(rows) => {
                rows.now.lock().unwrap().clear();
                Ok(())
            }
        }
    }
}

impl Shared {
    pub(super) fn open(
        file_system: Arc<dyn FileSystem>,
        settings: Settings,
        place: IndexPlace,
        lock: Option<File>,
    ) -> Result<Self, StoreError> {
        let directory = settings.directory.clone();
        let (log_directory, checkpoint_directory) =
            (directory.join("log"), directory.join("checkpoints"));
        prepare(&*file_system, &directory, [&log_directory, &checkpoint_directory])?;
        let index = match place.open().and_then(|index| Ok((index.head()?, index.base()?, index))) {
            Ok(index) => Some(index),
            // Building another would meet the same obstacle, with more of the disk taken.
            Err(error) if error.is_environment() => return Err(error),
            Err(error) => {
                warn!(%error, cause = ?error, "index cannot be read");
                None
            }
        };
        let known = index.as_ref().and_then(|(head, ..)| *head);

        let log_settings = log::Settings {
            directory: log_directory.clone(),
            checkpoints: checkpoint_directory.clone(),
            segment_size: settings.segment_size,
            parent: settings.parent,
        };
        let anchor = if let Some(lineage) = log::lineage(&*file_system, &log_directory)? {
            let reader = Reader::new(Arc::clone(&file_system), &log_settings, lineage);
            Checkpoints::new(reader).newest()?
        } else {
            refuse_orphans(&*file_system, &log_directory, &checkpoint_directory)?;
            None
        };
        let mut agrees = known.is_some();
        let mut compare = |entry: &Entry| {
            if let (Some((Some(head), _, index)), true) = (&index, agrees)
                && entry.summary.version <= head.version
            {
                agrees = index.holds(entry);
            }
            Ok(())
        };
        let at = anchor.as_ref().map(|anchor| anchor.at);
        let log = Log::open(Arc::clone(&file_system), log_settings, known, at, &mut compare)?;
        let checkpoints = Checkpoints::new(log.reader().clone());
        let lineage = log.reader().lineage().id;
        agrees &= known.is_some_and(|head| head.lineage == lineage);

        let first = list_segments(&*file_system, &log_directory)?.first().copied();
        let index = match index {
            Some((Some(head), base, index)) => {
                agrees &= first.is_some_and(|first| first <= base.next()) && base <= head.version;
                if let Some(anchor) =
                    anchor.as_ref().filter(|a| agrees && a.at.version <= head.version)
                {
                    agrees = index.agrees(anchor)?;
                }
                if agrees && let Err(error) = catch_up(&log, &index, head.version) {
                    if error.is_environment() {
                        return Err(error);
                    }
                    warn!(%error, cause = ?error, "index cannot catch up");
                    agrees = false;
                }
                if agrees {
                    index
                } else {
                    index.close();
                    place.move_aside()?;
                    rebuild(&log, &checkpoints, place.open()?)?
                }
            }
            Some((None, _, index)) => rebuild(&log, &checkpoints, index)?,
            None => {
                place.move_aside()?;
                rebuild(&log, &checkpoints, place.open()?)?
            }
        };
        let base = index.base()?;
        // Last, so that it takes no room from what matters.
        ballast(&*file_system, &directory, settings.ballast_size);
        Ok(Self {
            reader: log.reader().clone(),
            heads: watch::Sender::new(log.head()),
            writer: Mutex::new(Writer { log, is_index_behind: false }),
            index,
            checkpoints,
            base: AtomicU64::new(base.0),
            maintenance: Mutex::new(Maintenance::new(anchor.as_ref())),
            failed_checkpoints: AtomicU64::new(0),
            settings,
            _lock: lock,
        })
    }
}

/// Adds to the index what the log has above a version.
fn catch_up(log: &Log, index: &Index, above: Version) -> Result<(), StoreError> {
    if above < log.head() {
        info!(from = %above, to = %log.head(), "indexing commits");
        let lineage = log.reader().lineage().id;
        log.replay(above, None, &mut |entry| index.add(lineage, entry))?;
        index.flush()?;
    }
    Ok(())
}

/// Fills an index from the log.
///
/// The oldest state from which on the log is whole is what it starts with: the one before the
/// first commit, or else a checkpoint.
fn rebuild(log: &Log, checkpoints: &Checkpoints, index: Index) -> Result<Index, StoreError> {
    let reader = log.reader();
    let mut damage = None;
    let mut versions = checkpoints.list()?;
    versions.insert(0, Version::NONE);
    for version in versions {
        let base = match version {
            Version::NONE => Ok(Checkpoint::empty(reader.lineage())),
            version => checkpoints.read(version),
        };
        let filled = base.and_then(|base| {
            index.reset(reader.lineage().id, &base)?;
            log.replay(base.at.version, Some(base.at), &mut |entry| {
                index.add(reader.lineage().id, entry)
            })?;
            index.flush()
        });
        match filled {
            Ok(()) => {
                if version > Version::NONE || log.head() > Version::NONE {
                    info!(from = %version, to = %log.head(), "index built");
                }
                return Ok(index);
            }
            Err(error) if error.is_environment() => return Err(error),
            Err(error) => {
                warn!(%error, cause = ?error, "history cannot be indexed from {version} on");
                damage.get_or_insert(error);
            }
        }
    }
    // The list was not empty, so there is a reason.
    Err(damage.unwrap_or_else(|| index.disagrees("it cannot be built".to_owned())))
}

/// Refuses checkpoints that have no log.
fn refuse_orphans(
    file_system: &dyn FileSystem,
    log: &Path,
    checkpoints: &Path,
) -> Result<(), StoreError> {
    let Some(newest) = checkpoint::list(file_system, checkpoints)?.pop() else {
        return Ok(());
    };
    Err(StoreError::Corrupt {
        path: log.to_owned(),
        offset: 0,
        what: format!("it is empty, but there is a checkpoint of version {newest}"),
        help: "restore the data directory from a backup".to_owned(),
    })
}

/// Sets space aside that somebody can free when the disk is full.
///
/// A disk that is full by now is no reason not to start.
fn ballast(file_system: &dyn FileSystem, directory: &Path, size: u64) {
    const PIECE: usize = 1024 * 1024;
    let path = directory.join("ballast");
    let found = file_system.open(&path).and_then(|file| file.size());
    if size == 0 || found.is_ok_and(|found| found >= size) {
        return;
    }
    let zeros = vec![0; PIECE.min(size as usize)];
    let fill = || {
        let mut file = file_system.create(&path)?;
        let mut left = size;
        while left > 0 {
            let piece = left.min(PIECE as u64);
            file.append(&zeros[..piece as usize])?;
            left -= piece;
        }
        file.sync_data()
    };
    if let Err(error) = fill() {
        warn!(path = %path.display(), %error, "no space set aside");
        let _ = file_system.remove(&path);
    }
}

/// Creates the data directory if need be and takes its lock.
pub(super) fn lock(directory: &Path) -> Result<File, StoreError> {
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

/// Makes the directories durable before anything is put into them.
fn prepare(
    file_system: &dyn FileSystem,
    directory: &Path,
    inner: [&Path; 2],
) -> Result<(), StoreError> {
    for path in inner {
        file_system.create_dir_all(path).map_err(|e| StoreError::unavailable("create", path, e))?;
    }
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
