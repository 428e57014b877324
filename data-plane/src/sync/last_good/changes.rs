//! The versions after a snapshot, each as what it changed, in a file beside it.
//!
//! A large configuration changes in small ways, and writing all of it each time costs more than
//! everything else that a change does. So what follows a snapshot is appended to a file of its
//! own, and the snapshot is never opened to be written again: whatever happens to this file, the
//! snapshot stays. An entry holds a magic number, the length and hash of its payload, and the
//! payload, sealed for its place behind its snapshot. Reading ends at the first entry that is not
//! whole, and a file with such an end is not appended to again: after a start, and after an append
//! that failed, a new snapshot comes first.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use lb_model::{
    Resource, ResourceKey, ResourceKind, ResourceSet, Version,
    resource::{Delta, Digest, HashKey},
    seal::SealKey,
};
use lb_proto::v1;
use prost::Message;

use super::{LastGoodError, MAX_BYTES, Running, failed};

const MAGIC: &[u8; 8] = b"lbmore\x00\x01";
/// Magic, length of the payload, hash of the payload.
const HEADER: usize = 8 + 8 + 32;
/// How many versions may follow a snapshot: a start reads all of them.
const MOST: usize = 64;
/// A snapshot smaller than this is written whole each time.
const SMALL: u64 = 256 << 10;

/// A snapshot that more can be put behind.
#[derive(Debug)]
pub(super) struct Tail {
    /// The file of the snapshot, and its length.
    snapshot: PathBuf,
    length: u64,
    /// The newest version behind it, or its own.
    running: Running,
    /// How many versions stand behind it, and their bytes.
    count: usize,
    bytes: u64,
}

impl Tail {
    /// A snapshot that was just written.
    pub(super) const fn of(snapshot: PathBuf, length: u64, running: Running) -> Self {
        Self { snapshot, length, running, count: 0, bytes: 0 }
    }

    /// The newest version that is kept.
    pub(super) const fn running(&self) -> &Running {
        &self.running
    }

    /// Puts the next version behind the others, so that it survives a crash and a loss of power.
    /// False, and nothing is written, where a new snapshot should be written instead.
    ///
    /// # Errors
    ///
    /// When it could not be written. This tail must not be used again.
    pub(super) fn append(&mut self, next: &Running, key: &SealKey) -> Result<bool, LastGoodError> {
        let now = &self.running;
        let follows = now.lineage == next.lineage
            && now.labels == next.labels
            && now.resources.hash_key() == next.resources.hash_key();
        if !follows || self.length < SMALL || self.count == MOST {
            return Ok(false);
        }
        let delta = next.resources.delta_from_set(&now.resources);
        let payload = encode(next, &delta);
        let size = (payload.len() + HEADER) as u64;
        // Somebody may have taken the snapshot away.
        let is_there = std::fs::metadata(&self.snapshot).is_ok_and(|is| is.len() == self.length);
        if !is_there || self.bytes + size > self.length / 4 {
            return Ok(false);
        }
        let path = file(&self.snapshot);
        let seal = |source| LastGoodError::Seal { action: "seal", path: path.clone(), source };
        let sealed = key.seal(&label(&self.snapshot, self.count), &payload).map_err(seal)?;
        let mut entry = Vec::with_capacity(HEADER + sealed.len());
        entry.extend_from_slice(MAGIC);
        entry.extend_from_slice(&(sealed.len() as u64).to_le_bytes());
        entry.extend_from_slice(blake3::hash(&sealed).as_bytes());
        entry.extend_from_slice(&sealed);
        let write = || -> io::Result<()> {
            let mut options = OpenOptions::new();
            // Nothing is known of a file that is there before the first version is put into it.
            options.append(self.count > 0).create(true).mode(0o600);
            let mut file = options.write(true).truncate(self.count == 0).open(&path)?;
            file.write_all(&entry)?;
            file.sync_all()?;
            match path.parent() {
                Some(directory) if self.count == 0 => File::open(directory)?.sync_all(),
                _ => Ok(()),
            }
        };
        write().map_err(failed("write", &path))?;
        self.count += 1;
        self.bytes += entry.len() as u64;
        self.running = next.clone();
        Ok(true)
    }
}

/// The file beside a snapshot.
pub(super) fn file(snapshot: &Path) -> PathBuf {
    snapshot.with_extension("more")
}

/// What an entry is sealed for.
fn label(snapshot: &Path, place: usize) -> String {
    let name = snapshot.file_name().unwrap_or_default();
    format!("last-good/{}/{place}", name.display())
}

fn encode(next: &Running, delta: &Delta) -> Vec<u8> {
    let stored = |key: &ResourceKey, body| v1::StoredResource {
        kind: key.kind.as_str().to_owned(),
        name: key.name.to_string(),
        body,
    };
    let message = v1::LastGoodChange {
        version: next.version.0,
        root: next.resources.root().0.to_vec().into(),
        upsert: delta.upsert.iter().map(|(key, r)| stored(key, r.body().clone())).collect(),
        remove: delta.remove.iter().map(|key| stored(key, bytes::Bytes::new())).collect(),
    };
    message.encode_to_vec()
}

/// One version behind a snapshot.
#[derive(Debug)]
struct Change {
    version: Version,
    root: Digest,
    delta: Delta,
}

impl Change {
    fn decode(payload: &[u8], hash_key: &HashKey) -> Option<Self> {
        let message = v1::LastGoodChange::decode(payload).ok()?;
        let key = |stored: &v1::StoredResource| {
            let kind = ResourceKind::parse(&stored.kind)?;
            Some(ResourceKey { kind, name: stored.name.as_str().into() })
        };
        let upsert = message.upsert.into_iter().map(|stored| {
            let key = key(&stored)?;
            let resource = Resource::new(&key, stored.body, hash_key);
            Some((key, resource))
        });
        let delta = Delta {
            upsert: upsert.collect::<Option<_>>()?,
            remove: message.remove.iter().map(key).collect::<Option<_>>()?,
        };
        let root = Digest::from_slice(&message.root)?;
        Some(Self { version: Version(message.version), root, delta })
    }
}

/// The versions behind a snapshot, as far as they are whole.
#[derive(Debug)]
pub(super) struct Followed {
    snapshot: Running,
    changes: Vec<Change>,
}

impl Followed {
    /// Reads what stands behind a snapshot. Whatever is wrong there is named in the log, and ends
    /// the reading.
    pub(super) fn read(path: &Path, snapshot: Running, key: &SealKey) -> Self {
        let mut followed = Self { snapshot, changes: Vec::new() };
        let log = file(path);
        let damage = match followed.entries(path, &log, key) {
            Ok(None) => return followed,
            Ok(Some(what)) => what.to_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return followed,
            Err(error) => error.to_string(),
        };
        let (path, kept) = (log.display(), followed.changes.len());
        tracing::error!(%path, kept, damage, "versions behind a last good snapshot not used");
        followed
    }

    /// Gives what is wrong with the first entry that is not whole.
    fn entries(
        &mut self,
        path: &Path,
        log: &Path,
        key: &SealKey,
    ) -> io::Result<Option<&'static str>> {
        let mut bytes = Vec::new();
        File::open(log)?.take(MAX_BYTES as u64).read_to_end(&mut bytes)?;
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let Some((header, after)) = rest.split_at_checked(HEADER) else {
                return Ok(Some("it ends within a header"));
            };
            let (magic, numbers) = header.split_at(8);
            let (length, hash) = numbers.split_at(8);
            if magic != MAGIC {
                return Ok(Some("an entry does not begin like one"));
            }
            let length = u64::from_le_bytes(length.try_into().unwrap_or_default());
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            let Some((sealed, after)) = after.split_at_checked(length) else {
                return Ok(Some("it ends within an entry"));
            };
            if blake3::hash(sealed).as_bytes() != hash {
                return Ok(Some("an entry does not have its hash"));
            }
            let Ok(payload) = key.open(&label(path, self.changes.len()), sealed) else {
                return Ok(Some("an entry was sealed for another place or with another key"));
            };
            match Change::decode(&payload, self.snapshot.resources.hash_key()) {
                Some(change) if self.changes.len() < MOST => self.changes.push(change),
                _ => return Ok(Some("an entry is not a version")),
            }
            rest = after;
        }
        Ok(None)
    }

    /// The newest version that has the root it names and that `wanted` takes.
    pub(super) fn newest(self, wanted: &mut impl FnMut(&Running) -> bool) -> Option<Running> {
        for count in (1..=self.changes.len()).rev() {
            match self.at(count) {
                Some(running) if wanted(&running) => return Some(running),
                Some(_) => {}
                None => tracing::error!(count, "a last good version does not have its root"),
            }
        }
        wanted(&self.snapshot).then_some(self.snapshot)
    }

    /// The version that so many changes lead to.
    fn at(&self, count: usize) -> Option<Running> {
        // Put together first, so that the set is copied and hashed once.
        let mut whole = std::collections::BTreeMap::new();
        for Change { delta, .. } in &self.changes[..count] {
            whole.extend(delta.remove.iter().map(|key| (key, None)));
            whole.extend(delta.upsert.iter().map(|(key, resource)| (key, Some(resource))));
        }
        let mut delta = Delta::default();
        for (key, resource) in whole {
            match resource {
                Some(resource) => delta.upsert.push((key.clone(), resource.clone())),
                None => delta.remove.push(key.clone()),
            }
        }
        let resources: ResourceSet = self.snapshot.resources.with(delta);
        let last = self.changes.get(count.checked_sub(1)?)?;
        (resources.root() == last.root).then(|| Running {
            version: last.version,
            resources: Arc::new(resources),
            ..self.snapshot.clone()
        })
    }
}
