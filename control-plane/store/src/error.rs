//! What can go wrong in a store.
//!
//! Every text names the file it is about and says what to do; none repeats its source.

use std::{
    io,
    path::{Path, PathBuf},
};

use thiserror::Error;

use crate::{Key, Version};

/// Tells why a store could not do what it was asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Somebody else committed first; nothing was written.
    #[error("expected version {expected} but the newest is {head}; read it and try again")]
    Conflict {
        /// The head the caller built on.
        expected: Version,
        /// The head there is.
        head: Version,
    },
    /// The version was never committed.
    #[error("version {version} does not exist; ask for one from 1 to {head}")]
    UnknownVersion {
        /// The version asked for.
        version: Version,
        /// The newest there is.
        head: Version,
    },
    /// The version is older than what is kept.
    #[error("version {version} is no longer kept; the oldest that can be read is {oldest}")]
    Forgotten {
        /// The version asked for.
        version: Version,
        /// The oldest there is.
        oldest: Version,
    },
    /// The commit is larger than a store accepts; nothing was written.
    #[error("the commit has {size} bytes; split it so that each has at most {limit}")]
    TooLarge {
        /// How many bytes the commit takes.
        size: u64,
        /// How many are accepted.
        limit: u64,
    },
    /// The commit names a key twice, so its outcome would depend on an order; nothing was written.
    #[error("the commit names key `{key}` twice; put or remove each key once")]
    DuplicateKey {
        /// The key named twice.
        key: Key,
    },
    /// The operating system refused; a commit that ends so was not written.
    #[error("could not {action} `{}`; {help}", path.display())]
    Unavailable {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or directory it was tried on.
        path: PathBuf,
        /// What to do about it.
        help: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
    /// Another process has the data directory open.
    #[error(
        "data directory `{}` is in use by another process; \
         stop that process or choose another directory",
        path.display()
    )]
    InUse {
        /// The data directory.
        path: PathBuf,
    },
    /// A file does not hold what was once written to it.
    #[error("`{}` is damaged at byte {offset}: {what}; {help}", path.display())]
    Corrupt {
        /// The damaged file or directory.
        path: PathBuf,
        /// Where the damage starts.
        offset: u64,
        /// What is wrong there.
        what: String,
        /// What to do about it.
        help: String,
    },
    /// A backup is damaged or is none; nothing was restored.
    #[error("the backup is damaged at byte {offset}: {what}; use another backup")]
    InvalidBackup {
        /// Where the damage starts, or was noticed.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// A backup could not be read or written.
    #[error("could not {action} the backup at byte {offset}; check where it is kept and try again")]
    Stream {
        /// What was tried, as a verb.
        action: &'static str,
        /// How far it came.
        offset: u64,
        /// What the stream said.
        source: io::Error,
    },
    /// There is something where a backup was to be restored to; nothing was restored.
    #[error("`{}` is not empty; name an empty directory or one that does not exist", path.display())]
    Occupied {
        /// The directory.
        path: PathBuf,
    },
    /// A flush to disk failed, so what the disk holds is unknown: commits are refused until the
    /// process restarts, reads go on.
    ///
    /// The commit that met the failure was not acknowledged and may or may not be found after the
    /// restart.
    #[error(
        "commits are refused since `{}` could not be flushed to disk; \
         check the disk, then restart",
        path.display()
    )]
    Poisoned {
        /// The file or directory whose flush failed.
        path: PathBuf,
    },
    /// The commit is durable but cannot be read yet; commits are refused until the process
    /// restarts.
    #[error(
        "version {version} is durable but could not be indexed in `{}`; \
         check the free space, then restart to have it indexed",
        path.display()
    )]
    Unindexed {
        /// The version of the durable commit.
        version: Version,
        /// The directory of the index.
        path: PathBuf,
        /// What the index said.
        source: io::Error,
    },
}

impl StoreError {
    /// Builds the error for an operation the operating system refused.
    pub(crate) fn unavailable(action: &'static str, path: &Path, source: io::Error) -> Self {
        let help = match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "free some space on its file system, if need be by deleting the file `ballast` in \
                 the data directory, then try again"
            }
            io::ErrorKind::PermissionDenied => {
                "give the user this process runs as read and write access to it"
            }
            io::ErrorKind::ReadOnlyFilesystem => "mount its file system for writing",
            io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
                "choose a path that is a directory, or where one can be created"
            }
            _ => "check the disk and its file system, then try again",
        };
        Self::Unavailable { action, path: path.to_owned(), help, source }
    }

    /// Tells whether the surroundings are at fault and not what a file holds.
    pub(crate) fn is_environment(&self) -> bool {
        use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        matches!(
            self,
            Self::Unavailable { source, .. } if matches!(
                source.kind(),
                PermissionDenied | QuotaExceeded | ReadOnlyFilesystem | StorageFull
            )
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_file_and_what_to_do_but_not_its_source() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let error = StoreError::unavailable("write to", Path::new("/data/log"), full);
        assert!(error.is_environment());
        assert_eq!(
            error.to_string(),
            "could not write to `/data/log`; free some space on its file system, if need be by \
             deleting the file `ballast` in the data directory, then try again"
        );
    }

    #[test]
    fn a_file_that_cannot_be_understood_is_not_the_fault_of_its_surroundings() {
        let garbled = io::Error::from(io::ErrorKind::InvalidData);
        let error = StoreError::unavailable("use index", Path::new("/data/index"), garbled);
        assert!(!error.is_environment());
    }
}
