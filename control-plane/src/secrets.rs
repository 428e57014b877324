//! Everything in the store is sealed.
//!
//! The key stands in a file of its own, outside the data directory, so that a copy of the
//! directory or of a backup tells nothing. It is made at the first start. [`SealedStore`] seals
//! and opens between the store and everybody else, so no other code can forget to.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use lb_model::{
    Version,
    seal::{SealError, SealKey},
};
use lb_store::{Commit, CommitRecord, Key, Lineage, Store, StoreError};
use tokio::sync::watch;

/// A key that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("could not {action} the key file {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others can read the file.
    #[error("{path} can be read by others; run chmod 600 on it")]
    Exposed {
        /// Which file.
        path: PathBuf,
    },
    /// The file holds something else.
    #[error("{path} does not hold a key: 64 hexadecimal digits")]
    Malformed {
        /// Which file.
        path: PathBuf,
    },
    /// There is data, and no key for it.
    #[error(
        "{path} is missing, and what is in {directory} was sealed with it: put the key back, or \
         name where it is with --secrets-key-file"
    )]
    Lost {
        /// Which file.
        path: PathBuf,
        /// What it opens.
        directory: PathBuf,
    },
    /// The system gave no randomness.
    #[error("could not make a key")]
    Failed(#[from] SealError),
}

/// The file beside a data directory that holds its key.
pub fn default_path(directory: &Path) -> PathBuf {
    let mut name = directory.file_name().unwrap_or_default().to_owned();
    name.push(".key");
    directory.with_file_name(name)
}

/// Reads the key, or makes one for a new data directory.
///
/// # Errors
///
/// When it cannot be had, or others could have it too.
pub fn key(path: &Path, directory: &Path) -> Result<SealKey, KeyError> {
    let failed = |action| {
        let path = path.to_owned();
        move |source| KeyError::Io { action, path, source }
    };
    match fs::metadata(path) {
        Ok(metadata) if metadata.permissions().mode() & 0o077 != 0 => {
            Err(KeyError::Exposed { path: path.to_owned() })
        }
        Ok(_) => {
            let text = fs::read_to_string(path).map_err(failed("read"))?;
            SealKey::from_hex(&text).ok_or_else(|| KeyError::Malformed { path: path.to_owned() })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if directory.join("log").exists() {
                let directory = directory.to_owned();
                return Err(KeyError::Lost { path: path.to_owned(), directory });
            }
            let key = SealKey::generate()?;
            let mut options = fs::OpenOptions::new();
            let mut file = options
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)
                .map_err(failed("make"))?;
            writeln!(file, "{}", key.to_hex().expose_secret()).map_err(failed("write"))?;
            file.sync_all().map_err(failed("write"))?;
            tracing::warn!(path = %path.display(), "key made; without it the data cannot be read, so keep a copy elsewhere");
            Ok(key)
        }
        Err(error) => Err(failed("read")(error)),
    }
}

/// A store in which every value is sealed for its key's name.
pub struct SealedStore {
    inner: Arc<dyn Store>,
    key: SealKey,
}

impl SealedStore {
    /// Seals what goes into `inner`.
    pub fn new(inner: Arc<dyn Store>, key: SealKey) -> Self {
        Self { inner, key }
    }

    fn open(&self, name: &Key, value: Option<Bytes>) -> Result<Option<Bytes>, StoreError> {
        let Some(value) = value else { return Ok(None) };
        match self.key.open(name.as_str(), &value) {
            Ok(opened) => Ok(Some(opened.into())),
            Err(error) => Err(unavailable(name, error)),
        }
    }
}

fn unavailable(name: &Key, error: SealError) -> StoreError {
    StoreError::Unavailable {
        action: "open the sealed value of",
        path: PathBuf::from(name.as_str()),
        help: "start with the key file that this data was written with (--secrets-key-file)",
        source: io::Error::new(io::ErrorKind::InvalidData, error),
    }
}

#[async_trait]
impl Store for SealedStore {
    fn lineage(&self) -> &Lineage {
        self.inner.lineage()
    }

    async fn head(&self) -> Result<Version, StoreError> {
        self.inner.head().await
    }

    async fn commit(
        &self,
        expected: Version,
        mut commit: Commit,
    ) -> Result<CommitRecord, StoreError> {
        for (name, value) in &mut commit.puts {
            let sealed = self.key.seal(name.as_str(), value);
            *value = sealed.map_err(|error| unavailable(name, error))?.into();
        }
        self.inner.commit(expected, commit).await
    }

    async fn get(&self, key: &Key) -> Result<Option<Bytes>, StoreError> {
        self.open(key, self.inner.get(key).await?)
    }

    async fn get_at(&self, version: Version, key: &Key) -> Result<Option<Bytes>, StoreError> {
        self.open(key, self.inner.get_at(version, key).await?)
    }

    async fn record(&self, version: Version) -> Result<CommitRecord, StoreError> {
        self.inner.record(version).await
    }

    async fn records(
        &self,
        before: Option<Version>,
        limit: usize,
    ) -> Result<Vec<CommitRecord>, StoreError> {
        self.inner.records(before, limit).await
    }

    fn watch(&self) -> watch::Receiver<Version> {
        self.inner.watch()
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use lb_store::MemoryStore;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_only_its_owner_reads_it() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        let path = default_path(&data);
        assert_eq!(path, directory.path().join("data.key"));
        let made = key(&path, &data).unwrap();
        let again = key(&path, &data).unwrap();
        assert_eq!(made.to_hex().expose_secret(), again.to_hex().expose_secret());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(key(&path, &data), Err(KeyError::Exposed { .. })));
    }

    #[test]
    fn data_without_its_key_gets_no_new_one() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        fs::create_dir_all(data.join("log")).unwrap();
        let error = key(&default_path(&data), &data).unwrap_err();
        assert!(error.to_string().contains("--secrets-key-file"), "{error}");
    }

    #[tokio::test]
    async fn what_rests_is_sealed_and_what_is_read_is_not() {
        let inner: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let store = SealedStore::new(Arc::clone(&inner), SealKey::generate().unwrap());
        let commit = Commit {
            author: "a".into(),
            reason: String::new(),
            time: Timestamp::UNIX_EPOCH,
            puts: vec![(Key::config(), Bytes::from_static(b"the secret"))],
            removes: vec![],
        };
        store.commit(Version::NONE, commit).await.unwrap();
        let read = store.get(&Key::config()).await.unwrap().unwrap();
        assert_eq!(&read[..], b"the secret");
        let rests = inner.get(&Key::config()).await.unwrap().unwrap();
        assert!(!rests.windows(6).any(|part| part == b"secret"));
        let other = SealedStore::new(inner, SealKey::generate().unwrap());
        let error = other.get(&Key::config()).await.unwrap_err();
        assert!(error.to_string().contains("config"), "{error}");
    }
}
