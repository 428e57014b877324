//! A store as one stream, and a store made from such a stream.
//!
//! ```text
//! magic 8 | the state the history begins with, as in a checkpoint | records | end
//! record: 'r' | frame, summary and values as in the log
//! end:    'e' | newest version 8 | hash of its record 32 | BLAKE3 of everything before 32
//! ```
//!
//! The records carry the hashes of their lineage, which a restore checks and then makes anew: a
//! restored store is another history, and only what it took over has the numbers of its parent.
//!
//! A restore works in a directory of its own inside the target and renames the log last, since
//! the log is what makes a store. Neither direction holds more than one commit in memory.

use std::{
    fs,
    io::{self, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError},
};

use tracing::{info, warn};

use super::{Settings, open};
use crate::{
    Commit, Lineage, StoreError, Version,
    checkpoint::{
        Checkpoint,
        format::{Header, read_values, write_value},
    },
    embedded::core::Shared,
    filesystem::{Disk, FileSystem, LogFile},
    log::{self, Log, reader::Entry, recovery::Anchor},
    record::{self, FRAME_SIZE, Frame, Summary},
    stream::{Fault, FileOutput, Input, Output},
};

const MAGIC: [u8; 8] = *b"lbbackup";
const RECORD: u8 = b'r';
const END: u8 = b'e';

/// The directory a restore works in.
const UNFINISHED: &str = "restoring";

/// What a restore made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The new lineage; its parent is the lineage of the backup.
    pub lineage: Lineage,
    /// The newest version there is.
    pub head: Version,
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Damaged { offset, what } => Self::InvalidBackup { offset, what },
            Fault::Unreadable { offset, source } => Self::Stream { action: "read", offset, source },
        }
    }
}

impl Shared {
    pub(super) fn backup(&self, target: &mut dyn Write) -> Result<Version, StoreError> {
        // No file disappears meanwhile; commits go on behind the head of now.
        let _files = self.maintenance.lock().unwrap_or_else(PoisonError::into_inner);
        let head = self.newest()?;
        let start = self.whole_since(head)?;
        let mut buffered = BufWriter::new(target);
        let mut out = Output::new(&mut buffered);
        let refused = |out: &Output<'_>| {
            let offset = out.offset();
            move |source| StoreError::Stream { action: "write", offset, source }
        };

        out.write(&MAGIC).map_err(refused(&out))?;
        let header = Header {
            at: start.at,
            time: start.time,
            lineage: self.lineage().clone(),
            count: start.values.len() as u64,
        };
        header.write(&mut out).map_err(refused(&out))?;
        for held in &start.values {
            let value = self.value(&held.key, start.location(held))?;
            write_value(&mut out, &held.key, held.written, held.hash, &value)
                .map_err(refused(&out))?;
        }
        if head.version > start.at.version {
            let mut write = |entry: &Entry| self.write_record(entry, &mut out);
            log::walk(&self.reader, start.at.version, Some(start.at), head, &mut write)?;
        }
        let end = [&[END][..], &head.version.0.to_be_bytes(), &head.hash].concat();
        out.write(&end).map_err(refused(&out))?;
        let failed = refused(&out);
        out.finish().map_err(failed)?;
        Ok(head.version)
    }

    fn write_record(&self, entry: &Entry, out: &mut Output<'_>) -> Result<(), StoreError> {
        let offset = out.offset();
        let refused = |source| StoreError::Stream { action: "write", offset, source };
        let summary = entry.summary.encode();
        let frame = Frame::new(&summary, entry.summary.values_size());
        out.write(&[RECORD]).map_err(refused)?;
        out.write(&frame.encode(self.reader.marker())).map_err(refused)?;
        out.write(&summary).map_err(refused)?;
        for (_, location) in entry.values() {
            out.write(&self.reader.value(location)?).map_err(refused)?;
        }
        Ok(())
    }

    /// Returns the oldest state from which on the log is whole.
    ///
    /// Damage that a checkpoint makes up for costs a backup some history, and no more.
    fn whole_since(&self, head: Anchor) -> Result<Checkpoint, StoreError> {
        let base = self.base();
        let mut versions = self.checkpoints.list()?;
        versions.retain(|version| *version > base);
        versions.insert(0, base);
        let mut damage = None;
        for version in versions {
            let start = match version {
                Version::NONE => Ok(Checkpoint::empty(self.lineage())),
                version => self.checkpoints.read(version),
            };
            let whole = start.and_then(|start| {
                if head.version > start.at.version {
                    let at = start.at;
                    log::walk(&self.reader, at.version, Some(at), head, &mut |_| Ok(()))?;
                }
                Ok(start)
            });
            match whole {
                Ok(start) => return Ok(start),
                Err(error) if error.is_environment() => return Err(error),
                Err(error) => {
                    warn!(%error, cause = ?error, "history cannot be backed up from {version} on");
                    damage.get_or_insert(error);
                }
            }
        }
        // The list was not empty, so there is a reason.
        Err(damage.unwrap_or_else(|| self.index.disagrees("it has no base".to_owned())))
    }
}

/// Builds a store from a backup, or leaves the directory as it was.
pub(super) fn restore(backup: &mut dyn Read, directory: &Path) -> Result<Restored, StoreError> {
    let unavailable = |action, path: &Path| {
        let path = path.to_owned();
        move |e| StoreError::unavailable(action, &path, e)
    };
    let is_empty = is_empty(directory).map_err(unavailable("read", directory))?;
    if !is_empty {
        return Err(StoreError::Occupied { path: directory.to_owned() });
    }
    let missing: Vec<_> = directory.ancestors().take_while(|above| !above.exists()).collect();
    let had_lock = directory.join("lock").exists();
    let lock = open::lock(directory)?;
    let result = build(backup, directory).and_then(|restored| {
        publish(directory).map_err(unavailable("put a restored store into", directory))?;
        Ok(restored)
    });
    if let Ok(restored) = &result {
        info!(lineage = %restored.lineage.id, head = %restored.head, "backup restored");
    } else {
        // The error at hand says more than one about the clearing up.
        let _ = clear(directory);
        if !had_lock {
            let _ = fs::remove_file(directory.join("lock"));
        }
        for path in missing.into_iter().filter(|path| !path.as_os_str().is_empty()) {
            let _ = fs::remove_dir(path);
        }
    }
    drop(lock);
    result
}

/// Tells whether there is nothing but what a restore that was cut off has left.
fn is_empty(directory: &Path) -> io::Result<bool> {
    let names = match Disk.list(directory) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    let was_cut_off = names.iter().any(|name| name == UNFINISHED);
    Ok(names.iter().all(|name| match name.as_str() {
        "lock" | "lost+found" | UNFINISHED => true,
        "checkpoints" => was_cut_off,
        _ => false,
    }))
}

/// Removes what a restore has made.
fn clear(directory: &Path) -> io::Result<()> {
    for name in [UNFINISHED, "log", "checkpoints"] {
        match fs::remove_dir_all(directory.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Gives a finished store its names; the log is the last, and makes it a store.
fn publish(directory: &Path) -> io::Result<()> {
    let unfinished = directory.join(UNFINISHED);
    Disk.sync_dir(&unfinished.join("log"))?;
    Disk.sync_dir(&unfinished.join("checkpoints"))?;
    Disk.sync_dir(&unfinished)?;
    Disk.sync_dir(directory)?;
    for name in ["checkpoints", "log"] {
        Disk.rename(&unfinished.join(name), &directory.join(name))?;
        Disk.sync_dir(directory)?;
    }
    fs::remove_dir(&unfinished)?;
    if let Some(above) = directory.parent().filter(|above| !above.as_os_str().is_empty()) {
        // As when a store is created, that directory may belong to somebody else.
        let _ = Disk.sync_dir(above);
    }
    Disk.sync_dir(directory)
}

/// Reads a whole backup into a store nobody sees yet.
fn build(backup: &mut dyn Read, directory: &Path) -> Result<Restored, StoreError> {
    let unfinished = directory.join(UNFINISHED);
    clear(directory).map_err(|e| StoreError::unavailable("clear", &unfinished, e))?;
    let settings = log::Settings {
        directory: unfinished.join("log"),
        checkpoints: unfinished.join("checkpoints"),
        segment_size: Settings::SEGMENT_SIZE,
        parent: None,
    };
    for path in [&settings.directory, &settings.checkpoints] {
        Disk.create_dir_all(path).map_err(|e| StoreError::unavailable("create", path, e))?;
    }

    let mut buffered = BufReader::new(backup);
    let mut input = Input::new(&mut buffered);
    if input.array()? != MAGIC {
        return Err(StoreError::InvalidBackup {
            offset: 0,
            what: "it does not start like a backup",
        });
    }
    let header = Header::read(&mut input)?;
    let old = header.lineage.clone();
    let lineage = Lineage::new(Some(old.id));
    restore_state(&mut input, &header, &lineage, &settings.checkpoints)?;
    let base = header.at.version;
    let mut log = Log::create(Arc::new(Disk), settings, lineage.clone(), base)?;

    let mut newest = header.at;
    loop {
        let offset = input.offset();
        match input.array()? {
            [RECORD] => newest = restore_record(&mut input, &old, newest, &mut log)?,
            [END] => {
                let end = Anchor {
                    version: Version(u64::from_be_bytes(input.array()?)),
                    hash: input.array()?,
                };
                if end != newest {
                    let what = "it ends with another version than it says";
                    return Err(StoreError::InvalidBackup { offset, what });
                }
                break;
            }
            _ => return Err(StoreError::InvalidBackup { offset, what: "no record starts here" }),
        }
    }
    input.finish()?;
    log.flush()?;
    Ok(Restored { lineage, head: newest.version })
}

/// Turns the state a backup begins with into a checkpoint of the new lineage.
fn restore_state(
    input: &mut Input<'_>,
    header: &Header,
    lineage: &Lineage,
    directory: &Path,
) -> Result<(), StoreError> {
    if header.at.version == Version::NONE {
        if header.count > 0 || header.at.hash != header.lineage.root() {
            return Err(input.damaged("there are values before the first version").into());
        }
        return Ok(());
    }
    let path: PathBuf = directory.join(crate::checkpoint::file_name(header.at.version));
    let unwritten = |source| StoreError::unavailable("write to", &path, source);
    let mut file: Box<dyn LogFile> = Disk.create(&path).map_err(unwritten)?;
    let mut target = FileOutput(&mut *file);
    let mut buffered = BufWriter::new(&mut target);
    let mut out = Output::new(&mut buffered);
    let at = Anchor { version: header.at.version, hash: lineage.root() };
    let renewed = Header { at, lineage: lineage.clone(), ..header.clone() };
    renewed.write(&mut out).map_err(unwritten)?;
    read_values(input, header, |held, value| {
        write_value(&mut out, &held.key, held.written, lineage.hash(&value), &value)
            .map(drop)
            .map_err(unwritten)
    })?;
    out.finish().map_err(unwritten)?;
    drop(buffered);
    file.sync_data().map_err(unwritten)
}

/// Checks a record and appends its commit to the new log.
fn restore_record(
    input: &mut Input<'_>,
    old: &Lineage,
    parent: Anchor,
    log: &mut Log,
) -> Result<Anchor, StoreError> {
    let offset = input.offset();
    let invalid = |what| StoreError::InvalidBackup { offset, what };
    let frame: [u8; FRAME_SIZE] = input.array()?;
    let frame = Frame::decode(&frame, record::marker(old)).map_err(invalid)?;
    let bytes = input.bytes(u64::from(frame.summary_size))?;
    if !frame.matches(&bytes) {
        return Err(invalid("a record does not match its checksum"));
    }
    let summary = Summary::decode(&bytes)
        .filter(|summary| summary.values_size() == u64::from(frame.values_size))
        .ok_or_else(|| invalid("a record does not say what a commit says"))?;
    if summary.version != parent.version.next() || summary.parent_hash != parent.hash {
        return Err(invalid("a record does not follow the one before"));
    }
    let made = Anchor { version: summary.version, hash: old.hash(&bytes) };
    let mut puts = Vec::new();
    for put in summary.puts {
        let offset = input.offset();
        let value = input.bytes(u64::from(put.size))?;
        if old.hash(&value) != put.hash {
            let what = "a value does not match its hash";
            return Err(StoreError::InvalidBackup { offset, what });
        }
        puts.push((put.key, value.into()));
    }
    let Summary { time, author, reason, removes, .. } = summary;
    let commit = Commit { author, reason, time, puts, removes };
    commit.check().map_err(|_| invalid("a record holds a commit no store accepts"))?;
    log.write(&commit)?;
    Ok(made)
}
