//! The last good snapshot on disk, from which the proxy starts when nobody else is there.
//!
//! A file holds a magic number, the length and hash of its payload, and the payload: the lineage,
//! the version and every resource, sealed with the key of this proxy. It is written beside its final name, synced, renamed, and the
//! directory is synced, so that a crash leaves the old file or the new one and never a part. The
//! newest few are kept; at the start the newest that is whole and has the root it names is taken.
//! What changes little of much is put behind the newest (`changes`) once there are a few whole
//! ones. After a change of private keys there are none but whole ones for a while: what is gone
//! from a configuration is gone from the disk with the versions after it.

mod changes;

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use lb_model::{
    Resource, ResourceKey, ResourceKind, ResourceSet, Version,
    resource::{Digest, HashKey},
    seal::{SealError, SealKey},
    value::Labels,
};
use lb_proto::v1;
use prost::Message;

use self::changes::{Followed, Tail};
use super::session::{MAX_BYTES, Running};

const MAGIC: &[u8; 8] = b"lbgood\x00\x02";
/// Magic, length of the payload, hash of the payload.
const HEADER: usize = 8 + 8 + 32;
/// What the payload is sealed for.
const LABEL: &str = "last-good";
/// How many are kept.
const KEPT: usize = 3;

/// The last good snapshots in a directory.
#[derive(Debug, Clone)]
pub struct LastGood {
    directory: PathBuf,
    key: SealKey,
    written: Arc<Mutex<Written>>,
}

/// What this process wrote.
#[derive(Debug)]
struct Written {
    tail: Option<Tail>,
    /// How many versions are written whole before one may be put behind another.
    whole: usize,
}

/// Why a snapshot could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum LastGoodError {
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
    /// The file is damaged.
    #[error("{path} is damaged: {what}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// How.
        what: &'static str,
    },
    /// The file was sealed with another key, or the system could not seal.
    #[error("could not {action} {path} with the key of this proxy")]
    Seal {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: SealError,
    },
}

impl LastGood {
    /// Keeps snapshots in `directory`, which is made if it is not there, sealed with `key`.
    ///
    /// # Errors
    ///
    /// When it cannot be made or read.
    pub fn open(directory: PathBuf, key: SealKey) -> Result<Self, LastGoodError> {
        fs::create_dir_all(&directory).map_err(failed("create", &directory))?;
        fs::read_dir(&directory).map_err(failed("read", &directory))?;
        let written = Arc::new(Mutex::new(Written { tail: None, whole: KEPT }));
        Ok(Self { directory, key, written })
    }

    /// Writes a version so that it survives a crash and a loss of power.
    ///
    /// # Errors
    ///
    /// When it could not be written; the ones before are untouched.
    pub fn save(&self, running: &Running) -> Result<(), LastGoodError> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        // One that fails is not appended to again.
        let mut tail = written.tail.take();
        let has_other_keys = tail.as_ref().is_none_or(|tail| {
            let delta = running.resources.delta_from_set(&tail.running().resources);
            let mut keys = delta.upsert.iter().map(|(key, _)| key).chain(&delta.remove);
            keys.any(|key| key.kind.is_secret())
        });
        if has_other_keys {
            written.whole = KEPT;
        }
        let is_appended = match &mut tail {
            Some(tail) if written.whole == 0 => tail.append(running, &self.key)?,
            _ => false,
        };
        if !is_appended {
            tail = Some(self.save_whole(running)?);
            written.whole = written.whole.saturating_sub(1);
        }
        written.tail = tail;
        Ok(())
    }

    fn save_whole(&self, running: &Running) -> Result<Tail, LastGoodError> {
        let path = self.directory.join(file_name(running));
        let seal = |source| LastGoodError::Seal { action: "seal", path: path.clone(), source };
        let payload = self.key.seal(LABEL, &encode(running)).map_err(seal)?;
        let mut header = Vec::with_capacity(HEADER);
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&(payload.len() as u64).to_le_bytes());
        header.extend_from_slice(blake3::hash(&payload).as_bytes());

        let temporary = self.directory.join("writing");
        let write = || -> io::Result<()> {
            let mut options = OpenOptions::new();
            // Private keys are in it.
            options.write(true).create(true).truncate(true).mode(0o600);
            let mut file = options.open(&temporary)?;
            file.write_all(&header)?;
            file.write_all(&payload)?;
            file.sync_all()?;
            // What stood behind a snapshot of the same name was newer then, and is not now.
            match fs::remove_file(changes::file(&path)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            fs::rename(&temporary, &path)?;
            File::open(&self.directory)?.sync_all()
        };
        write().map_err(|error| {
            // On a full disk, the part that was written is in the way of whoever makes room.
            let _ = fs::remove_file(&temporary);
            failed("write", &path)(error)
        })?;
        self.forget(&path);
        Ok(Tail::of(path, (HEADER + payload.len()) as u64, running.clone()))
    }

    /// The newest snapshot that is whole and that `wanted` takes. Damaged ones are named in the
    /// log and passed over.
    ///
    /// # Errors
    ///
    /// When the directory cannot be read.
    pub fn load(
        &self,
        mut wanted: impl FnMut(&Running) -> bool,
    ) -> Result<Option<Running>, LastGoodError> {
        for path in self.files().map_err(failed("read", &self.directory))? {
            match read(&path, &self.key) {
                Ok(running) => {
                    let followed = Followed::read(&path, running, &self.key);
                    if let Some(newest) = followed.newest(&mut wanted) {
                        return Ok(Some(newest));
                    }
                }
                Err(error) => {
                    tracing::error!(error = %chain(&error), "last good snapshot not used");
                }
            }
        }
        Ok(None)
    }

    /// The files, newest first.
    fn files(&self) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "snap") {
                files.push((entry.metadata()?.modified()?, path));
            }
        }
        files.sort_by(|a, b| b.cmp(a));
        Ok(files.into_iter().map(|(_, path)| path).collect())
    }

    /// Removes all but the newest. A file that stays is only clutter.
    fn forget(&self, newest: &Path) {
        let files = self.files().unwrap_or_default();
        let older = files.iter().filter(|path| *path != newest).skip(KEPT - 1);
        for path in older {
            for path in [&changes::file(path), path] {
                match fs::remove_file(path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        tracing::warn!(path = %path.display(), %error, "old snapshot not removed");
                    }
                    _ => {}
                }
            }
        }
    }
}

fn file_name(running: &Running) -> String {
    format!("{:020}-{}.snap", running.version.0, running.resources.root())
}

fn encode(running: &Running) -> Vec<u8> {
    let resources = running.resources.iter().map(|(key, resource)| v1::StoredResource {
        kind: key.kind.as_str().to_owned(),
        name: key.name.to_string(),
        body: resource.body().clone(),
    });
    let message = v1::LastGood {
        lineage: running.lineage.to_string(),
        version: running.version.0,
        hash_key: running.resources.hash_key().0.to_vec().into(),
        root: running.resources.root().0.to_vec().into(),
        resources: resources.collect(),
        labels: running.labels.to_strings(),
    };
    message.encode_to_vec()
}

fn read(path: &Path, key: &SealKey) -> Result<Running, LastGoodError> {
    let damaged = |what| LastGoodError::Damaged { path: path.to_owned(), what };
    let mut file = File::open(path).map_err(failed("open", path))?;
    let mut header = [0; HEADER];
    file.read_exact(&mut header).map_err(|_| damaged("it ends within its header"))?;
    let (magic, rest) = header.split_at(8);
    let (length, hash) = rest.split_at(8);
    if magic != MAGIC {
        return Err(damaged("it does not begin like a snapshot"));
    }
    let length = u64::from_le_bytes(length.try_into().unwrap_or_default());
    if length > 2 * MAX_BYTES as u64 {
        return Err(damaged("it claims to be larger than any version"));
    }
    let mut payload = Vec::new();
    // One byte more than claimed, to see a file that goes on.
    file.take(length + 1).read_to_end(&mut payload).map_err(failed("read", path))?;
    if payload.len() as u64 != length {
        return Err(damaged("its length is not what it claims"));
    }
    if blake3::hash(&payload).as_bytes() != hash {
        return Err(damaged("its content does not have its hash"));
    }
    let open = |source| LastGoodError::Seal { action: "open", path: path.to_owned(), source };
    let opened = key.open(LABEL, &payload).map_err(open)?;
    decode(&opened).ok_or_else(|| damaged("its content is not a snapshot"))
}

fn decode(payload: &[u8]) -> Option<Running> {
    let message = v1::LastGood::decode(payload).ok()?;
    let hash_key = HashKey(message.hash_key[..].try_into().ok()?);
    let mut resources = BTreeMap::new();
    for stored in message.resources {
        let kind = ResourceKind::parse(&stored.kind)?;
        let key = ResourceKey { kind, name: stored.name.into() };
        let resource = Resource::new(&key, stored.body, &hash_key);
        resources.insert(key, resource);
    }
    let set = ResourceSet::new(hash_key, resources);
    let labels = Labels::grant(&message.labels).ok()?;
    (Some(set.root()) == Digest::from_slice(&message.root)).then(|| Running {
        lineage: message.lineage.into(),
        version: Version(message.version),
        labels,
        resources: Arc::new(set),
    })
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LastGoodError + use<> {
    let path = path.to_owned();
    move |source| LastGoodError::Io { action, path, source }
}

fn chain(error: &LastGoodError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
