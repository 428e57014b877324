//! Whole states of the store, so that a start need not read a long log.
//!
//! A checkpoint gets its name only when it is durable as a whole. One that cannot be read is
//! passed over with a warning: an older one and more of the log serve as well.

pub(crate) mod format;

use std::{
    io::{BufReader, BufWriter},
    path::PathBuf,
};

use bytes::Bytes;
use jiff::Timestamp;
use tracing::warn;

use crate::{
    Lineage, StoreError, Version,
    checkpoint::format::{Header, Held, read_values, write_value},
    filesystem::FileSystem,
    log::{
        reader::{Place, Reader, ValueLocation},
        recovery::Anchor,
    },
    stream::{Fault, FileInput, FileOutput, Input, Output},
};

const SUFFIX: &str = ".ckpt";
const BUFFER: usize = 64 * 1024;
const HELP: &str = "stop, move it away and start: an older checkpoint and the commit log may serve \
                    as well; should they not, restore the data directory from a backup";

/// The name of a checkpoint that is not durable yet.
const UNFINISHED: &str = "checkpoint.new";

/// The checkpoints of one store.
#[derive(Debug, Clone)]
pub(crate) struct Checkpoints {
    reader: Reader,
}

/// What a checkpoint says, but for the values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) at: Anchor,
    pub(crate) time: Timestamp,
    /// In the order of their keys.
    pub(crate) values: Vec<Held>,
}

impl Checkpoint {
    /// The state before the first commit.
    pub(crate) fn empty(lineage: &Lineage) -> Self {
        let at = Anchor { version: Version::NONE, hash: lineage.root() };
        Self { at, time: Timestamp::UNIX_EPOCH, values: Vec::new() }
    }

    /// Returns where a value of this checkpoint is.
    pub(crate) fn location(&self, held: &Held) -> ValueLocation {
        let Held { size, hash, offset, .. } = *held;
        ValueLocation { place: Place::Checkpoint(self.at.version), offset, size, hash }
    }
}

impl Checkpoints {
    pub(crate) fn new(reader: Reader) -> Self {
        Self { reader }
    }

    /// Lists the checkpoints from the oldest on, whatever is in them.
    pub(crate) fn list(&self) -> Result<Vec<Version>, StoreError> {
        list(self.reader.file_system(), self.reader.checkpoints())
    }

    /// Returns the newest checkpoint that can be read.
    pub(crate) fn newest(&self) -> Result<Option<Checkpoint>, StoreError> {
        for version in self.list()?.into_iter().rev() {
            match self.read(version) {
                Ok(checkpoint) => return Ok(Some(checkpoint)),
                Err(error) if error.is_environment() => return Err(error),
                Err(error) => warn!(%error, cause = ?error, "checkpoint passed over"),
            }
        }
        Ok(None)
    }

    /// Reads and checks a whole checkpoint.
    pub(crate) fn read(&self, version: Version) -> Result<Checkpoint, StoreError> {
        let path = self.path(version);
        let unreadable = |source| StoreError::unavailable("read", &path, source);
        let corrupt = |offset, what: &str| StoreError::Corrupt {
            path: path.clone(),
            offset,
            what: what.to_owned(),
            help: HELP.to_owned(),
        };
        let fault = |fault| match fault {
            Fault::Damaged { offset, what } => corrupt(offset, what),
            Fault::Unreadable { source, .. } => unreadable(source),
        };
        let file = self.reader.file_system().open(&path).map_err(unreadable)?;
        let mut buffered =
            BufReader::with_capacity(BUFFER, FileInput::new(&*file).map_err(unreadable)?);
        let mut input = Input::new(&mut buffered);
        let header = Header::read(&mut input).map_err(fault)?;
        if header.at.version != version || header.lineage != *self.reader.lineage() {
            return Err(corrupt(0, "it is of another version or another lineage"));
        }
        let mut values = Vec::new();
        read_values(&mut input, &header, |held, _| {
            values.push(held);
            Ok::<_, Fault>(())
        })
        .map_err(fault)?;
        input.finish().map_err(fault)?;
        Ok(Checkpoint { at: header.at, time: header.time, values })
    }

    /// Writes a checkpoint and makes it durable; `value` reads what is at a place.
    pub(crate) fn write(
        &self,
        at: Anchor,
        time: Timestamp,
        live: &[Held],
        mut value: impl FnMut(&Held) -> Result<Bytes, StoreError>,
    ) -> Result<Checkpoint, StoreError> {
        let (file_system, lineage) = (self.reader.file_system(), self.reader.lineage());
        let unfinished = self.reader.checkpoints().join(UNFINISHED);
        let unwritten = |source| StoreError::unavailable("write to", &unfinished, source);
        let mut file = file_system.create(&unfinished).map_err(unwritten)?;
        let mut write = || {
            let mut target = FileOutput(&mut *file);
            let mut buffered = BufWriter::with_capacity(BUFFER, &mut target);
            let mut out = Output::new(&mut buffered);
            let lineage = lineage.clone();
            let header = Header { at, time, lineage, count: live.len() as u64 };
            header.write(&mut out).map_err(unwritten)?;
            let mut values = Vec::with_capacity(live.len());
            for held in live {
                let bytes = value(held)?;
                let Held { key, written, hash, .. } = held;
                values
                    .push(write_value(&mut out, key, *written, *hash, &bytes).map_err(unwritten)?);
            }
            out.finish().map_err(unwritten)?;
            drop(buffered);
            file.sync_data().map_err(|e| StoreError::unavailable(FLUSH, &unfinished, e))?;
            Ok(values)
        };
        let values = match write() {
            Ok(values) => values,
            Err(error) => {
                // What stays of it is emptied by the next attempt.
                let _ = file_system.remove(&unfinished);
                return Err(error);
            }
        };
        let path = self.path(at.version);
        file_system
            .rename(&unfinished, &path)
            .map_err(|e| StoreError::unavailable("rename to", &path, e))?;
        self.flush_names()?;
        Ok(Checkpoint { at, time, values })
    }

    /// Removes all but the newest checkpoints and the one the log begins at.
    pub(crate) fn prune(&self, keep: usize, base: Version) -> Result<(), StoreError> {
        let versions = self.list()?;
        let excess = versions.iter().filter(|version| **version != base).count();
        let old = versions.into_iter().filter(|version| *version != base);
        let mut is_changed = false;
        for version in old.take(excess.saturating_sub(keep)) {
            let path = self.path(version);
            let removed = self.reader.file_system().remove(&path);
            removed.map_err(|e| StoreError::unavailable("remove", &path, e))?;
            is_changed = true;
        }
        if is_changed { self.flush_names() } else { Ok(()) }
    }

    /// Returns the path of a checkpoint.
    pub(crate) fn path(&self, version: Version) -> PathBuf {
        self.reader.checkpoints().join(file_name(version))
    }

    fn flush_names(&self) -> Result<(), StoreError> {
        let directory = self.reader.checkpoints();
        let flushed = self.reader.file_system().sync_dir(directory);
        flushed.map_err(|e| StoreError::unavailable(FLUSH, directory, e))
    }
}

/// What is said to be tried when a flush fails.
pub(crate) const FLUSH: &str = "flush";

/// Returns the file name of the checkpoint of a version.
pub(crate) fn file_name(version: Version) -> String {
    format!("{version:020}{SUFFIX}", version = version.0)
}

/// Lists the checkpoints in a directory from the oldest on.
pub(crate) fn list(
    file_system: &dyn FileSystem,
    directory: &std::path::Path,
) -> Result<Vec<Version>, StoreError> {
    let names =
        file_system.list(directory).map_err(|e| StoreError::unavailable("read", directory, e))?;
    let parse = |name: &String| {
        let version = Version(name.strip_suffix(SUFFIX)?.parse().ok()?);
        (file_name(version) == *name).then_some(version)
    };
    let mut versions: Vec<_> = names.iter().filter_map(parse).collect();
    versions.sort_unstable();
    Ok(versions)
}
