//! Everything that the control plane keeps, in one file.
//!
//! The file holds the configuration, the identity of the fleet and the audit log, each as its
//! store wrote it: sealed. Without the key file it tells nothing, and cannot be used; keep the two apart. What is
//! restored begins a new lineage that names the old one, so proxies follow it and take no number
//! for another content.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use lb_store::{EmbeddedStore, StoreError};

/// How the file begins.
const MAGIC: &[u8; 8] = b"lbfleet2";
/// How one began that has no audit log.
const WITHOUT_AUDIT: &[u8; 8] = b"lbfleet1";
/// What is in it, in order.
const PARTS: [&str; 3] = ["configuration", "identity", "audit"];

/// The stores of a control plane.
#[derive(Clone)]
pub struct Stores {
    /// The configuration.
    pub configuration: Arc<EmbeddedStore>,
    /// The identity of the fleet.
    pub identity: Arc<EmbeddedStore>,
    /// What operators did.
    pub audit: Arc<EmbeddedStore>,
    /// Where there is room for a copy.
    pub directory: PathBuf,
}

impl Stores {
    /// Each with its name.
    pub fn named(&self) -> [(&'static str, &Arc<EmbeddedStore>); 3] {
        let [configuration, identity, audit] = PARTS;
        [(configuration, &self.configuration), (identity, &self.identity), (audit, &self.audit)]
    }
}

/// A backup that could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A store failed, or found the backup damaged.
    #[error("the {part} could not be {action}")]
    Store {
        /// Which part.
        part: &'static str,
        /// What was tried.
        action: &'static str,
        /// Why.
        source: StoreError,
    },
    /// The file system failed.
    #[error("could not {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not a backup.
    #[error("{path} is not a whole backup of a fleet; nothing was restored")]
    NotABackup {
        /// Which file.
        path: PathBuf,
    },
}

/// Writes a backup into a file without a name and gives it, wound to its beginning. Commits go
/// on meanwhile. Blocks.
///
/// # Errors
///
/// When a store cannot be read or there is no room.
pub fn write(stores: &Stores) -> Result<File, BackupError> {
    let path = stores.directory.join(".backup");
    let io = |action| {
        let path = path.clone();
        move |source| BackupError::Io { action, path, source }
    };
    let mut options = File::options();
    let file = options.read(true).write(true).create(true).truncate(true).open(&path);
    let file = file.map_err(io("make"))?;
    // The file lives as long as it is open, whatever becomes of this process.
    std::fs::remove_file(&path).map_err(io("make"))?;
    let mut out = BufWriter::new(file);
    out.write_all(MAGIC).map_err(io("write"))?;
    for (part, store) in stores.named() {
        let start = out.stream_position().map_err(io("write"))?;
        out.write_all(&[0; 8]).map_err(io("write"))?;
        store.backup(&mut out).map_err(|source| BackupError::Store {
            part,
            action: "read",
            source,
        })?;
        let end = out.stream_position().map_err(io("write"))?;
        out.seek(SeekFrom::Start(start)).map_err(io("write"))?;
        out.write_all(&(end - start - 8).to_le_bytes()).map_err(io("write"))?;
        out.seek(SeekFrom::Start(end)).map_err(io("write"))?;
    }
    let mut file = out.into_inner().map_err(|error| io("write")(error.into_error()))?;
    file.rewind().map_err(io("read"))?;
    Ok(file)
}

/// Fills an empty or missing data directory from a backup. Blocks.
///
/// # Errors
///
/// When the backup is damaged or the directory is in use; each part is whole or not there.
pub fn restore(path: &Path, directory: &Path) -> Result<(), BackupError> {
    let io = |action| {
        let path = path.to_owned();
        move |source| BackupError::Io { action, path, source }
    };
    let not_a_backup = || BackupError::NotABackup { path: path.to_owned() };
    let file = File::open(path).map_err(io("open"))?;
    let size = file.metadata().map_err(io("read"))?.len();
    let mut file = BufReader::new(file);
    let mut magic = [0; 8];
    file.read_exact(&mut magic).map_err(|_| not_a_backup())?;
    let parts = match &magic {
        MAGIC => PARTS.len(),
        WITHOUT_AUDIT => PARTS.len() - 1,
        _ => return Err(not_a_backup()),
    };
    let mut at = MAGIC.len() as u64;
    let places = [directory.to_owned(), directory.join("identity"), directory.join("audit")];
    for (part, directory) in PARTS.into_iter().zip(&places).take(parts) {
        let mut length = [0; 8];
        file.read_exact(&mut length).map_err(|_| not_a_backup())?;
        let length = u64::from_le_bytes(length);
        at = at.checked_add(8).and_then(|at| at.checked_add(length)).ok_or_else(not_a_backup)?;
        if at > size {
            return Err(not_a_backup());
        }
        let mut stream = (&mut file).take(length);
        let restored = EmbeddedStore::restore(&mut stream, directory)
            .map_err(|source| BackupError::Store { part, action: "restored", source })?;
        tracing::info!(part, head = restored.head.0, "restored");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use lb_model::Version;
    use lb_store::{Commit, Key, Store, embedded};

    use super::*;

    async fn open(directory: &Path) -> Arc<EmbeddedStore> {
        let settings = embedded::Settings { ballast_size: 0, ..embedded::Settings::new(directory) };
        Arc::new(EmbeddedStore::open(settings).await.unwrap())
    }

    fn commit(text: &str) -> Commit {
        Commit {
            author: "a".into(),
            reason: String::new(),
            time: Timestamp::UNIX_EPOCH,
            puts: vec![(Key::config(), text.to_owned().into())],
            removes: vec![],
        }
    }

    async fn backup(directory: &Path) -> (Stores, PathBuf) {
        let configuration = open(&directory.join("a")).await;
        let identity = open(&directory.join("a/identity")).await;
        configuration.commit(Version::NONE, commit("one")).await.unwrap();
        configuration.commit(Version(1), commit("two")).await.unwrap();
        identity.commit(Version::NONE, commit("fleet")).await.unwrap();
        let audit = open(&directory.join("a/audit")).await;
        audit.commit(Version::NONE, commit("who")).await.unwrap();
        let stores = Stores { configuration, identity, audit, directory: directory.join("a") };
        let mut bytes = Vec::new();
        write(&stores).unwrap().read_to_end(&mut bytes).unwrap();
        let path = directory.join("backup");
        std::fs::write(&path, bytes).unwrap();
        (stores, path)
    }

    #[tokio::test]
    async fn all_stores_come_back_with_their_history_in_a_new_lineage() {
        let directory = tempfile::tempdir().unwrap();
        let (stores, path) = backup(directory.path()).await;
        let target = directory.path().join("b");
        restore(&path, &target).unwrap();
        let (configuration, identity) = (open(&target).await, open(&target.join("identity")).await);
        assert_eq!(configuration.lineage().parent, Some(stores.configuration.lineage().id));
        let read = configuration.get_at(Version(1), &Key::config()).await.unwrap().unwrap();
        assert_eq!((&read[..], configuration.head().await.unwrap()), (&b"one"[..], Version(2)));
        assert_eq!(&identity.get(&Key::config()).await.unwrap().unwrap()[..], b"fleet");
        let audit = open(&target.join("audit")).await;
        assert_eq!(&audit.get(&Key::config()).await.unwrap().unwrap()[..], b"who");
    }

    #[tokio::test]
    async fn a_damaged_or_cut_backup_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let (_stores, path) = backup(directory.path()).await;
        let bytes = std::fs::read(&path).unwrap();
        for (n, end) in [0, 7, 15, bytes.len() / 2, bytes.len() - 1].into_iter().enumerate() {
            std::fs::write(&path, &bytes[..end]).unwrap();
            let target = directory.path().join(format!("cut-{n}"));
            assert!(restore(&path, &target).is_err(), "cut at {end}");
        }
        let mut damaged = bytes.clone();
        damaged[100] ^= 1;
        std::fs::write(&path, &damaged).unwrap();
        assert!(restore(&path, &directory.path().join("damaged")).is_err());
    }
}
