//! Reads records and values back, trusting no byte of the disk.
//!
//! Reading takes memory for one summary and one piece of a value at a time; sizes are checked
//! against the file before anything is allocated for them.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;

use crate::{
    CommitRecord, Hash, Key, Lineage, MAX_COMMIT_SIZE, StoreError, Version, checkpoint,
    filesystem::{FileSystem, LogFile},
    log::{Settings, segment},
    record::{self, FRAME_SIZE, Frame, Marker, Summary},
};

/// Where a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordLocation {
    /// The first version of the segment.
    pub(crate) segment: Version,
    pub(crate) offset: u64,
    /// The hash of the record, so that the wrong one is never taken for it.
    pub(crate) hash: Hash,
}

/// A file that holds values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The segment that starts with a version.
    Segment(Version),
    /// The checkpoint of a version.
    Checkpoint(Version),
}

/// Where a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ValueLocation {
    pub(crate) place: Place,
    pub(crate) offset: u64,
    pub(crate) size: u32,
    /// The hash of the value, so that the wrong one is never taken for it.
    pub(crate) hash: Hash,
}

/// A record that was found in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) summary: Summary,
    pub(crate) location: RecordLocation,
    /// The size of the encoded summary.
    pub(crate) summary_size: u32,
}

/// What keeps some bytes from being a record.
pub(crate) type Flaw = &'static str;

/// Reads one commit log and the values in its checkpoints; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Reader {
    file_system: Arc<dyn FileSystem>,
    directory: Arc<Path>,
    checkpoints: Arc<Path>,
    lineage: Lineage,
    marker: Marker,
}

impl Entry {
    /// Returns the offset behind the record.
    pub(crate) fn end(&self) -> u64 {
        self.values_offset() + self.summary.values_size()
    }

    /// Returns where each written value is.
    pub(crate) fn values(&self) -> impl Iterator<Item = (&Key, ValueLocation)> {
        let mut offset = self.values_offset();
        self.summary.puts.iter().map(move |put| {
            let location = ValueLocation {
                place: Place::Segment(self.location.segment),
                offset,
                size: put.size,
                hash: put.hash,
            };
            offset += u64::from(put.size);
            (&put.key, location)
        })
    }

    fn values_offset(&self) -> u64 {
        self.location.offset + FRAME_SIZE as u64 + u64::from(self.summary_size)
    }
}

impl Reader {
    pub(crate) fn new(
        file_system: Arc<dyn FileSystem>,
        settings: &Settings,
        lineage: Lineage,
    ) -> Self {
        let marker = record::marker(&lineage);
        let directory = settings.directory.as_path().into();
        let checkpoints = settings.checkpoints.as_path().into();
        Self { file_system, directory, checkpoints, lineage, marker }
    }

    pub(crate) fn file_system(&self) -> &dyn FileSystem {
        &*self.file_system
    }

    /// Returns the directory of the segments.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the directory of the checkpoints.
    pub(crate) fn checkpoints(&self) -> &Path {
        &self.checkpoints
    }

    pub(crate) fn lineage(&self) -> &Lineage {
        &self.lineage
    }

    pub(crate) fn marker(&self) -> Marker {
        self.marker
    }

    /// Returns the path of a segment.
    pub(crate) fn path(&self, segment: Version) -> PathBuf {
        self.directory.join(segment::file_name(segment))
    }

    /// Reads a value and checks that it is the one that was written.
    pub(crate) fn value(&self, location: ValueLocation) -> Result<Bytes, StoreError> {
        let path = match location.place {
            Place::Segment(first) => self.path(first),
            Place::Checkpoint(version) => self.checkpoints.join(checkpoint::file_name(version)),
        };
        let file = self.open(&path)?;
        let damaged = || misplaced(&path, location.offset, "a value is not the one written there");
        let end = location.offset.saturating_add(u64::from(location.size));
        if u64::from(location.size) > MAX_COMMIT_SIZE || end > size(&*file, &path)? {
            return Err(damaged());
        }
        let mut value = vec![0; location.size as usize];
        file.read_exact_at(&mut value, location.offset).map_err(|e| unreadable(&path, e))?;
        if self.lineage.hash(&value) != location.hash {
            return Err(damaged());
        }
        Ok(value.into())
    }

    /// Reads the record of a commit and checks that it is the one that was written.
    pub(crate) fn record(&self, location: RecordLocation) -> Result<CommitRecord, StoreError> {
        let path = self.path(location.segment);
        let file = self.open(&path)?;
        let size = size(&*file, &path)?;
        let found = self
            .summary(&*file, size, location.segment, location.offset)
            .map_err(|e| unreadable(&path, e))?;
        match found {
            Ok(entry) if entry.location == location => Ok(entry.summary.into_record(location.hash)),
            Ok(_) => Err(misplaced(&path, location.offset, "the record is not the one written")),
            Err(flaw) => Err(misplaced(&path, location.offset, flaw)),
        }
    }

    /// Reads the record at an offset and checks its values.
    pub(crate) fn entry(
        &self,
        file: &dyn LogFile,
        size: u64,
        segment: Version,
        offset: u64,
    ) -> io::Result<Result<Entry, Flaw>> {
        let entry = match self.summary(file, size, segment, offset)? {
            Ok(entry) => entry,
            Err(flaw) => return Ok(Err(flaw)),
        };
        for (_, value) in entry.values() {
            let hash = record::hash_pieces(&self.lineage, u64::from(value.size), |piece, at| {
                file.read_exact_at(piece, value.offset + at)
            })?;
            if hash != value.hash {
                return Ok(Err("a value does not match its hash"));
            }
        }
        Ok(Ok(entry))
    }

    /// Finds the first whole record at or after an offset, however the bytes before it look.
    pub(crate) fn find_record(
        &self,
        file: &dyn LogFile,
        size: u64,
        segment: Version,
        mut offset: u64,
    ) -> io::Result<Option<Entry>> {
        const WINDOW: u64 = 64 * 1024;
        let overlap = self.marker.len() as u64 - 1;
        while size.saturating_sub(offset) > overlap {
            let mut window = vec![0; (size - offset).min(WINDOW) as usize];
            file.read_exact_at(&mut window, offset)?;
            for (place, _) in
                window.windows(self.marker.len()).enumerate().filter(|(_, w)| *w == self.marker)
            {
                if let Ok(entry) = self.entry(file, size, segment, offset + place as u64)? {
                    return Ok(Some(entry));
                }
            }
            // A marker may lie across two windows.
            offset += window.len() as u64 - overlap;
        }
        Ok(None)
    }

    /// Opens a segment for reading.
    pub(crate) fn open(&self, path: &Path) -> Result<Box<dyn LogFile>, StoreError> {
        self.file_system.open(path).map_err(|e| StoreError::unavailable("open", path, e))
    }

    /// Reads the record at an offset without its values.
    fn summary(
        &self,
        file: &dyn LogFile,
        size: u64,
        segment: Version,
        offset: u64,
    ) -> io::Result<Result<Entry, Flaw>> {
        let left = size.saturating_sub(offset);
        if left < FRAME_SIZE as u64 {
            return Ok(Err("a record is cut short"));
        }
        let mut frame = [0; FRAME_SIZE];
        file.read_exact_at(&mut frame, offset)?;
        let frame = match Frame::decode(&frame, self.marker) {
            Ok(frame) => frame,
            Err(flaw) => return Ok(Err(flaw)),
        };
        if left - (FRAME_SIZE as u64) < frame.body_size() {
            return Ok(Err("a record is cut short"));
        }
        let mut bytes = vec![0; frame.summary_size as usize];
        file.read_exact_at(&mut bytes, offset + FRAME_SIZE as u64)?;
        if !frame.matches(&bytes) {
            return Ok(Err("a record does not match its checksum"));
        }
        Ok(match Summary::decode(&bytes) {
            Some(summary) if summary.values_size() == u64::from(frame.values_size) => Ok(Entry {
                summary,
                location: RecordLocation { segment, offset, hash: self.lineage.hash(&bytes) },
                summary_size: frame.summary_size,
            }),
            _ => Err("a record does not say what a commit says"),
        })
    }
}

/// Returns the size of an open segment.
pub(crate) fn size(file: &dyn LogFile, path: &Path) -> Result<u64, StoreError> {
    file.size().map_err(|e| unreadable(path, e))
}

/// Builds the error for a segment that cannot be read.
pub(crate) fn unreadable(path: &Path, source: io::Error) -> StoreError {
    StoreError::unavailable("read", path, source)
}

/// Builds the error for a segment that holds something else than was written.
pub(crate) fn corrupt(path: &Path, offset: u64, what: &str) -> StoreError {
    StoreError::Corrupt {
        path: path.to_owned(),
        offset,
        what: what.to_owned(),
        help: "restore the data directory from a backup".to_owned(),
    }
}

/// Builds the error for something that is not where the index says.
fn misplaced(path: &Path, offset: u64, what: &str) -> StoreError {
    StoreError::Corrupt {
        path: path.to_owned(),
        offset,
        what: what.to_owned(),
        help: "stop, move the directory `index` away and start, to have the index rebuilt; \
               should that not help, restore the data directory from a backup"
            .to_owned(),
    }
}
