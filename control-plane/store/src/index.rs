//! Finds records and values in the log by version and by key.
//!
//! The index is a sled tree that can be thrown away and rebuilt from the log at any time, which
//! is why a storage engine that calls itself beta may hold it. One tree, so that one batch is one
//! atomic step:
//!
//! ```text
//! h                       -> lineage id, newest version
//! v <version>             -> where the record is
//! k <key> 0 <version>     -> where the value is, or nothing if the commit removed the key
//! ```
//!
//! No call here may run on an async thread.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use sled::{Batch, IVec};
use uuid::Uuid;

use crate::{
    Key, StoreError, Version,
    cursor::Cursor,
    log::{
        KnownHead,
        reader::{Entry, RecordLocation, ValueLocation},
    },
};

const HEAD: &[u8] = b"h";
const CACHE_SIZE: u64 = 16 * 1024 * 1024;

/// The index of one log.
#[derive(Debug)]
pub(crate) struct Index {
    database: sled::Db,
    path: PathBuf,
}

impl Index {
    /// Opens or creates an index.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] for anything sled objects to, also if it panics.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        // Every commit is flushed by `add`; a timer would only add writes at odd times.
        let config = sled::Config::new().path(path).cache_capacity(CACHE_SIZE).flush_every_ms(None);
        let database = guarded(path, || config.open())?;
        Ok(Self { database, path: path.to_owned() })
    }

    /// Closes the index, even one sled panics over.
    pub(crate) fn close(self) {
        let _ = catch_unwind(AssertUnwindSafe(move || drop(self)));
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

    /// Tells whether every row of a commit is there and as the log has it.
    pub(crate) fn holds(&self, entry: &Entry) -> bool {
        rows(entry).iter().all(|(name, content)| {
            self.row(name).is_ok_and(|row| row.is_some_and(|row| row == content))
        })
    }

    /// Adds a commit in one step; [`flush`](Self::flush) makes it durable.
    pub(crate) fn add(&self, lineage: Uuid, entry: &Entry) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        for (name, content) in rows(entry) {
            batch.insert(name, content);
        }
        batch.insert(HEAD, encode_head(lineage, entry.summary.version));
        guarded(&self.path, || self.database.apply_batch(batch))
    }

    /// Makes everything added so far durable.
    pub(crate) fn flush(&self) -> Result<(), StoreError> {
        guarded(&self.path, || self.database.flush()).map(drop)
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
        let versions = value_name(key, Version::NONE)..=value_name(key, version);
        let newest = guarded(&self.path, || self.database.range(versions).next_back().transpose())?;
        match newest {
            Some((_, row)) if row.is_empty() => Ok(None),
            Some((_, row)) => decode_value(&row).map(Some).ok_or_else(|| self.garbled()),
            None => Ok(None),
        }
    }

    fn row(&self, name: &[u8]) -> Result<Option<IVec>, StoreError> {
        guarded(&self.path, || self.database.get(name))
    }

    fn garbled(&self) -> StoreError {
        StoreError::Corrupt {
            path: self.path.clone(),
            offset: 0,
            what: "an index row cannot be read".to_owned(),
            help: "restart to have the index rebuilt".to_owned(),
        }
    }
}

/// Calls sled, turning its errors and its panics into one of ours.
fn guarded<T>(path: &Path, call: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
    let source = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(sled::Error::Io(source))) => source,
        Ok(Err(error)) => io::Error::other(error),
        Err(_) => io::Error::other("sled panicked"),
    };
    Err(StoreError::unavailable("use index", path, source))
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
    let ValueLocation { segment, offset, size, hash } = location;
    let (segment, offset) = (segment.0.to_be_bytes(), offset.to_be_bytes());
    [segment.as_slice(), &offset, &size.to_be_bytes(), &hash].concat()
}

fn decode_value(row: &[u8]) -> Option<ValueLocation> {
    let mut cursor = Cursor::new(row);
    let (segment, offset) = (Version(cursor.u64()?), cursor.u64()?);
    let location = ValueLocation { segment, offset, size: cursor.u32()?, hash: cursor.array()? };
    cursor.end()?;
    Some(location)
}
