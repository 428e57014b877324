//! Finds records and values in the log by version and by key.
//!
//! The index is a sled tree that can be thrown away and rebuilt from the log and its checkpoints
//! at any time, which is why a storage engine that calls itself beta may hold it. One tree, so
//! that one batch is one atomic step:
//!
//! ```text
//! h                       -> lineage id, newest version
//! b                       -> the base, a version; none if it is 0
//! v <version>             -> where the record is, above the base
//! k <key> 0 <version>     -> where the value is, or nothing if the commit removed the key
//! ```
//!
//! Below its base the index knows nothing but the values that were live there, and those are in
//! the checkpoint of that version.
//!
//! No call here may run on an async thread.

mod tree;

use std::path::{Path, PathBuf};

use uuid::Uuid;

#[cfg(test)]
pub(crate) use crate::index::tree::{Content, Rows, open_sled};
use crate::{
    Key, StoreError, Version,
    checkpoint::{Checkpoint, format::Held},
    cursor::Cursor,
    index::tree::{Batch, Tree},
    log::{
        KnownHead,
        reader::{Entry, Place, RecordLocation, ValueLocation},
    },
};

const HEAD: &[u8] = b"h";
const BASE: &[u8] = b"b";

/// The index of one log.
#[derive(Debug)]
pub(crate) struct Index {
    tree: Tree,
    path: PathBuf,
}

/// A value that was live at some version, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Live {
    pub(crate) held: Held,
    pub(crate) location: ValueLocation,
}

impl Index {
    /// Opens or creates an index.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] for anything sled objects to, also if it panics.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self { tree: Tree::open(path)?, path: path.to_owned() })
    }

    /// Opens an index that is a map in memory.
    #[cfg(test)]
    pub(crate) fn in_memory(rows: Rows) -> Self {
        Self { tree: Tree::Memory(rows), path: PathBuf::from("index") }
    }

    /// Closes the index, even one sled panics over.
    pub(crate) fn close(self) {
        self.tree.close();
    }

    /// Returns where the index is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the newest commit, `None` if there is none yet.
    pub(crate) fn head(&self) -> Result<Option<KnownHead>, StoreError> {
        let Some(row) = self.row(HEAD)? else {
            return Ok(None);
        };
        decode_head(&row).map(Some).ok_or_else(|| self.garbled())
    }

    /// Returns the version below which the index knows nothing.
    pub(crate) fn base(&self) -> Result<Version, StoreError> {
        let Some(row) = self.row(BASE)? else {
            return Ok(Version::NONE);
        };
        row.try_into().map(|row| Version(u64::from_be_bytes(row))).map_err(|_| self.garbled())
    }

    /// Tells whether every row of a commit is there and as the log has it.
    pub(crate) fn holds(&self, entry: &Entry) -> bool {
        rows(entry).iter().all(|(name, content)| {
            self.row(name).is_ok_and(|row| row.is_some_and(|row| row == *content))
        })
    }

    /// Tells whether what is live at the version of a checkpoint is what the checkpoint holds.
    pub(crate) fn agrees(&self, checkpoint: &Checkpoint) -> Result<bool, StoreError> {
        let live = self.live(checkpoint.at.version)?;
        let same = |(live, held): (&Live, &Held)| {
            Held { offset: held.offset, ..live.held.clone() } == *held
        };
        Ok(live.len() == checkpoint.values.len() && live.iter().zip(&checkpoint.values).all(same))
    }

    /// Returns the values that were live at a version, in the order of their keys.
    pub(crate) fn live(&self, version: Version) -> Result<Vec<Live>, StoreError> {
        let mut live: Vec<Live> = Vec::new();
        self.tree.scan(&self.path, b"k", &mut |name, content| {
            let (key, written) = decode_value_name(name).ok_or_else(|| self.garbled())?;
            if written > version {
                return Ok(());
            }
            // The versions of a key are in order, so a later one replaces the one before.
            live.pop_if(|last| last.held.key == key);
            if !content.is_empty() {
                let location = decode_value(content).ok_or_else(|| self.garbled())?;
                let ValueLocation { offset, size, hash, .. } = location;
                live.push(Live { held: Held { key, written, size, hash, offset }, location });
            }
            Ok(())
        })?;
        Ok(live)
    }

    /// Counts the rows of commits and values up to a version.
    pub(crate) fn count(&self, until: Version) -> Result<u64, StoreError> {
        let mut count = 0;
        for prefix in [b"k", b"v"] {
            self.tree.scan(&self.path, prefix, &mut |name, _| {
                let version = name.last_chunk().map(|bytes| u64::from_be_bytes(*bytes));
                count += u64::from(version.is_none_or(|version| version <= until.0));
                Ok(())
            })?;
        }
        Ok(count)
    }

    /// Adds a commit in one step; [`flush`](Self::flush) makes it durable.
    pub(crate) fn add(&self, lineage: Uuid, entry: &Entry) -> Result<(), StoreError> {
        let mut batch: Batch =
            rows(entry).into_iter().map(|(name, content)| (name, Some(content))).collect();
        batch.push((HEAD.to_vec(), Some(encode_head(lineage, entry.summary.version))));
        self.tree.apply(&self.path, batch)
    }

    /// Forgets everything and starts anew at a checkpoint, in one step.
    pub(crate) fn reset(&self, lineage: Uuid, base: &Checkpoint) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        self.tree.scan(&self.path, b"", &mut |name, _| {
            batch.push((name.to_vec(), None));
            Ok(())
        })?;
        batch.push((HEAD.to_vec(), Some(encode_head(lineage, base.at.version))));
        batch.extend(base_rows(base));
        self.tree.apply(&self.path, batch)
    }

    /// Forgets, in one step, what was before a checkpoint, and takes what was live from there.
    pub(crate) fn rebase(&self, base: &Checkpoint) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        for prefix in [b"k", b"v"] {
            self.tree.scan(&self.path, prefix, &mut |name, _| {
                let version = name.last_chunk().map(|bytes| u64::from_be_bytes(*bytes));
                if version.is_some_and(|version| version <= base.at.version.0) {
                    batch.push((name.to_vec(), None));
                }
                Ok(())
            })?;
        }
        batch.extend(base_rows(base));
        self.tree.apply(&self.path, batch)
    }

    /// Makes everything added so far durable.
    pub(crate) fn flush(&self) -> Result<(), StoreError> {
        self.tree.flush(&self.path)
    }

    /// Finds the record of a commit.
    pub(crate) fn record(&self, version: Version) -> Result<Option<RecordLocation>, StoreError> {
        let Some(row) = self.row(&record_name(version))? else {
            return Ok(None);
        };
        decode_record(&row).map(Some).ok_or_else(|| self.garbled())
    }

    /// Finds the value a key had as of a version.
    pub(crate) fn value(
        &self,
        version: Version,
        key: &Key,
    ) -> Result<Option<ValueLocation>, StoreError> {
        let (from, to) = (value_name(key, Version::NONE), value_name(key, version));
        match self.tree.last(&self.path, &from, &to)? {
            Some((_, row)) if row.is_empty() => Ok(None),
            Some((_, row)) => decode_value(&row).map(Some).ok_or_else(|| self.garbled()),
            None => Ok(None),
        }
    }

    /// Builds the error for an index that is not what the log makes of it.
    pub(crate) fn disagrees(&self, what: String) -> StoreError {
        StoreError::Corrupt { path: self.path.clone(), offset: 0, what, help: REBUILD.to_owned() }
    }

    fn row(&self, name: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.tree.get(&self.path, name)
    }

    fn garbled(&self) -> StoreError {
        self.disagrees("an index row cannot be read".to_owned())
    }
}

const REBUILD: &str = "stop, move this directory away and start, to have the index rebuilt";

/// Returns the rows an index has of its base.
fn base_rows(base: &Checkpoint) -> Batch {
    let mut rows: Batch = base
        .values
        .iter()
        .map(|held| {
            let row = encode_value(base.location(held));
            (value_name(&held.key, held.written), Some(row))
        })
        .collect();
    if base.at.version > Version::NONE {
        rows.push((BASE.to_vec(), Some(base.at.version.0.to_be_bytes().to_vec())));
    }
    rows
}

/// Returns the rows of a commit but for the head.
fn rows(entry: &Entry) -> Vec<(Vec<u8>, Vec<u8>)> {
    let version = entry.summary.version;
    let mut rows = vec![(record_name(version), encode_record(entry.location))];
    for (key, location) in entry.values() {
        rows.push((value_name(key, version), encode_value(location)));
    }
    rows.extend(entry.summary.removes.iter().map(|key| (value_name(key, version), Vec::new())));
    rows
}

fn record_name(version: Version) -> Vec<u8> {
    [b"v".as_slice(), &version.0.to_be_bytes()].concat()
}

fn value_name(key: &Key, version: Version) -> Vec<u8> {
    // A key holds no zero byte, so the versions of one key never mix with those of another.
    [b"k".as_slice(), key.as_str().as_bytes(), &[0], &version.0.to_be_bytes()].concat()
}

fn decode_value_name(name: &[u8]) -> Option<(Key, Version)> {
    let (key, version) = name.strip_prefix(b"k")?.split_last_chunk()?;
    let key = std::str::from_utf8(key.strip_suffix(&[0])?).ok()?;
    Some((Key::new(key).ok()?, Version(u64::from_be_bytes(*version))))
}

fn encode_head(lineage: Uuid, version: Version) -> Vec<u8> {
    [lineage.as_bytes().as_slice(), &version.0.to_be_bytes()].concat()
}

fn decode_head(row: &[u8]) -> Option<KnownHead> {
    let mut cursor = Cursor::new(row);
    let lineage = Uuid::from_bytes(cursor.array()?);
    let head = KnownHead { lineage, version: Version(cursor.u64()?) };
    cursor.end()?;
    Some(head)
}

fn encode_record(location: RecordLocation) -> Vec<u8> {
    let RecordLocation { segment, offset, hash } = location;
    [segment.0.to_be_bytes().as_slice(), &offset.to_be_bytes(), &hash].concat()
}

fn decode_record(row: &[u8]) -> Option<RecordLocation> {
    let mut cursor = Cursor::new(row);
    let segment = Version(cursor.u64()?);
    let location = RecordLocation { segment, offset: cursor.u64()?, hash: cursor.array()? };
    cursor.end()?;
    Some(location)
}

fn encode_value(location: ValueLocation) -> Vec<u8> {
    let ValueLocation { place, offset, size, hash } = location;
    let (mut row, version) = match place {
        Place::Segment(first) => (Vec::new(), first),
        Place::Checkpoint(version) => (vec![CHECKPOINT], version),
    };
    row.extend_from_slice(&version.0.to_be_bytes());
    row.extend_from_slice(&offset.to_be_bytes());
    row.extend_from_slice(&size.to_be_bytes());
    row.extend_from_slice(&hash);
    row
}

fn decode_value(row: &[u8]) -> Option<ValueLocation> {
    let (row, place): (_, fn(Version) -> Place) = match row {
        [CHECKPOINT, row @ ..] if row.len() == VALUE_SIZE => (row, Place::Checkpoint),
        row => (row, Place::Segment),
    };
    let mut cursor = Cursor::new(row);
    let (place, offset) = (place(Version(cursor.u64()?)), cursor.u64()?);
    let location = ValueLocation { place, offset, size: cursor.u32()?, hash: cursor.array()? };
    cursor.end()?;
    Some(location)
}

/// Starts the row of a value that is in a checkpoint and not in the log.
const CHECKPOINT: u8 = b'c';
/// How many bytes the row of a value in the log has.
const VALUE_SIZE: usize = 8 + 8 + 4 + 32;
