//! The append-only log of commits: the durable truth of an embedded store.
//!
//! A commit is one record, appended and flushed before anybody hears of it. Segments bound the
//! size of a file; a new one is written under another name, flushed, renamed, and its directory
//! flushed, so a segment that has its name is whole up to its first record.
//!
//! At start every record is read and checked. What a crash can leave is a torn record at the very
//! end, and that is cut off. Everything else was durable once, so its loss is not a crash but
//! damage: the log then refuses to open rather than forget commits that were acknowledged, whose
//! versions would be given out a second time.
//!
//! A flush that failed is not repeated: the kernel may have dropped the pages it could not write,
//! and would report success.

pub(crate) mod reader;
pub(crate) mod recovery;
pub(crate) mod segment;
#[cfg(test)]
mod tests;

use std::{io, path::Path, path::PathBuf, sync::Arc};

use tracing::{error, info, warn};
use uuid::Uuid;

use crate::{
    Commit, Hash, Lineage, StoreError, Version,
    filesystem::FileSystem,
    log::{
        reader::{Entry, Reader, RecordLocation, corrupt, size},
        recovery::{
            Anchor, Position, Visit, list_segments, needed, not_the_tail, read_lineage,
            read_segment, refuse_unless_tail, too_short,
        },
        segment::{NewSegment, Segment},
    },
    record::{Frame, Summary},
};

/// Where and how to keep the log.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) directory: PathBuf,
    /// The directory of the checkpoints, which hold values too.
    pub(crate) checkpoints: PathBuf,
    /// A segment that has reached this size is followed by a new one.
    pub(crate) segment_size: u64,
    /// The parent of the lineage, should this be a new log.
    pub(crate) parent: Option<Uuid>,
}

/// A head that was durable at some time, as known from outside the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KnownHead {
    pub(crate) lineage: Uuid,
    pub(crate) version: Version,
}

/// When a commit becomes durable.
enum Flush {
    Now,
    Later,
}

/// Reads to the end.
const ANY: Version = Version(u64::MAX);

/// Appends commits, one at a time.
#[derive(Debug)]
pub(crate) struct Log {
    file_system: Arc<dyn FileSystem>,
    settings: Settings,
    reader: Reader,
    current: Segment,
    head: Version,
    head_hash: Hash,
    /// There are records that were written but not flushed.
    is_unflushed: bool,
    /// The file whose flush failed.
    poisoned: Option<PathBuf>,
}

impl Log {
    /// Opens a log, or starts one, and shows every record it reads to `visit`.
    ///
    /// With an anchor only the segments with later records are read.
    ///
    /// # Errors
    ///
    /// [`StoreError::Corrupt`] if the log does not hold everything that was durable; nothing is
    /// changed then.
    pub(crate) fn open(
        file_system: Arc<dyn FileSystem>,
        settings: Settings,
        known: Option<KnownHead>,
        anchor: Option<Anchor>,
        visit: &mut Visit<'_>,
    ) -> Result<Self, StoreError> {
        let segments = list_segments(&*file_system, &settings.directory)?;
        let Some(&last) = segments.last() else {
            let known = known.map(|known| known.version).max(anchor.map(|anchor| anchor.version));
            if let Some(known) = known.filter(|known| *known > Version::NONE) {
                return Err(too_short(&settings.directory, 0, Version::NONE, known));
            }
            let lineage = Lineage::new(settings.parent);
            return Self::create(file_system, settings, lineage, Version::NONE);
        };
        let lineage = read_lineage(&*file_system, &settings.directory, last)?;
        let reader = Reader::new(Arc::clone(&file_system), &settings, lineage);
        let above = anchor.map_or(Version::NONE, |anchor| anchor.version);
        let segments = needed(&reader, &segments, above)?;

        let mut position = Position::before(segments[0], reader.lineage(), anchor);
        for &first in &segments[..segments.len() - 1] {
            if let Some(flaw) = read_segment(&reader, first, ANY, &mut position, visit)? {
                return Err(not_the_tail(&reader.path(first), position.offset, flaw));
            }
        }
        let flaw = read_segment(&reader, last, ANY, &mut position, visit)?;
        let path = reader.path(last);
        if let Some(flaw) = flaw {
            refuse_unless_tail(&reader, last, &position, flaw)?;
        }
        let known = known.filter(|known| known.lineage == reader.lineage().id);
        let known = known.map_or(above, |known| known.version.max(above));
        let Some(head_hash) = position.hash.filter(|_| known <= position.head) else {
            return Err(too_short(&path, position.offset, position.head, known));
        };

        let file = file_system
            .open_append(&path)
            .map_err(|e| StoreError::unavailable("open for writing", &path, e))?;
        let Position { head, offset: end, .. } = position;
        let current = Segment { first: last, path, file, end };
        let mut log = Self {
            file_system,
            settings,
            reader,
            current,
            head,
            head_hash,
            is_unflushed: false,
            poisoned: None,
        };
        log.settle(flaw)?;
        Ok(log)
    }

    /// Shows every record above a version to `visit`, oldest first.
    pub(crate) fn replay(
        &self,
        above: Version,
        base: Option<Anchor>,
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError> {
        walk(&self.reader, above, base, self.newest(), visit)
    }

    /// Returns the newest version with its hash.
    pub(crate) fn newest(&self) -> Anchor {
        Anchor { version: self.head, hash: self.head_hash }
    }

    /// Returns the newest version.
    pub(crate) fn head(&self) -> Version {
        self.head
    }

    /// Returns what reads the log while it is appended to.
    pub(crate) fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Appends a checked commit; it is durable when this returns.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] if it could not be written: the log is as before, and the next
    /// commit may succeed. [`StoreError::Poisoned`] if it could not be flushed.
    pub(crate) fn append(&mut self, commit: &Commit) -> Result<Entry, StoreError> {
        self.add(commit, Flush::Now)
    }

    /// Appends a checked commit that is durable only after [`flush`](Self::flush).
    pub(crate) fn write(&mut self, commit: &Commit) -> Result<Entry, StoreError> {
        self.add(commit, Flush::Later)
    }

    /// Makes durable what was written.
    pub(crate) fn flush(&mut self) -> Result<(), StoreError> {
        if std::mem::take(&mut self.is_unflushed)
            && let Err(source) = self.current.file.sync_data()
        {
            return Err(self.poison(self.current.path.clone(), &source));
        }
        Ok(())
    }

    fn add(&mut self, commit: &Commit, flush: Flush) -> Result<Entry, StoreError> {
        if let Some(path) = &self.poisoned {
            return Err(StoreError::Poisoned { path: path.clone() });
        }
        if self.current.end >= self.settings.segment_size && self.current.first <= self.head {
            self.start_segment()?;
        }
        let lineage = self.reader.lineage();
        let summary = Summary::new(lineage, self.head.next(), self.head_hash, commit);
        let bytes = summary.encode();
        let frame = Frame::new(&bytes, summary.values_size());
        let location = RecordLocation {
            segment: self.current.first,
            offset: self.current.end,
            hash: lineage.hash(&bytes),
        };
        let entry = Entry { summary, location, summary_size: frame.summary_size };

        let front = [frame.encode(self.reader.marker()), bytes].concat();
        let values = commit.puts.iter().map(|(_, value)| value.as_ref());
        for part in std::iter::once(front.as_slice()).chain(values) {
            if let Err(source) = self.current.file.append(part) {
                self.take_back()?;
                return Err(StoreError::unavailable("write to", &self.current.path, source));
            }
        }
        if matches!(flush, Flush::Later) {
            self.is_unflushed = true;
        } else if let Err(source) = self.current.file.sync_data() {
            // The commit is refused, so a restart had better not find it in the page cache.
            // If this fails too the restart decides; nothing was promised either way.
            let _ = self.current.file.truncate(self.current.end);
            return Err(self.poison(self.current.path.clone(), &source));
        }
        self.current.end = entry.end();
        self.head = entry.summary.version;
        self.head_hash = entry.location.hash;
        Ok(entry)
    }

    /// Starts a log in an empty directory, with the commit after `head` as its first.
    pub(crate) fn create(
        file_system: Arc<dyn FileSystem>,
        settings: Settings,
        lineage: Lineage,
        head: Version,
    ) -> Result<Self, StoreError> {
        let directory = &settings.directory;
        info!(lineage = %lineage.id, directory = %directory.display(), "commit log created");
        let current = segment::create(&*file_system, directory, head.next(), &lineage)
            .map_err(NewSegment::into_error)?;
        let head_hash = lineage.root();
        let reader = Reader::new(Arc::clone(&file_system), &settings, lineage);
        Ok(Self {
            file_system,
            settings,
            reader,
            current,
            head,
            head_hash,
            is_unflushed: false,
            poisoned: None,
        })
    }

    /// Makes what was read at start durable, without the torn record behind it.
    ///
    /// The last record may be known only to the page cache; it must not be shown and then lost.
    fn settle(&mut self, flaw: Option<&'static str>) -> Result<(), StoreError> {
        let Segment { path, file, end, .. } = &mut self.current;
        if let Some(flaw) = flaw {
            let cut = size(&**file, path)?.saturating_sub(*end);
            file.truncate(*end).map_err(|e| StoreError::unavailable("truncate", path, e))?;
            warn!(path = %path.display(), offset = *end, bytes = cut, flaw, "torn commit cut off");
        }
        file.sync_data().map_err(|e| StoreError::unavailable("flush", path, e))?;
        let directory = &self.settings.directory;
        self.file_system
            .sync_dir(directory)
            .map_err(|e| StoreError::unavailable("flush", directory, e))
    }

    /// Makes the next commit the first of a new segment.
    fn start_segment(&mut self) -> Result<(), StoreError> {
        self.flush()?;
        let directory = &self.settings.directory;
        let first = self.head.next();
        match segment::create(&*self.file_system, directory, first, self.reader.lineage()) {
            Ok(segment) => {
                self.current = segment;
                Ok(())
            }
            Err(NewSegment::Unwritten { path, source }) => {
                Err(StoreError::unavailable("create", &path, source))
            }
            Err(NewSegment::Unflushed { path, source }) => Err(self.poison(path, &source)),
        }
    }

    /// Removes what a failed write left behind the last record.
    fn take_back(&mut self) -> Result<(), StoreError> {
        let Segment { path, file, end, .. } = &mut self.current;
        // Flushed, because the refused record may be whole and must not come back after a crash.
        match file.truncate(*end).and_then(|()| file.sync_data()) {
            Ok(()) => Ok(()),
            Err(source) => {
                let path = path.clone();
                Err(self.poison(path, &source))
            }
        }
    }

    fn poison(&mut self, path: PathBuf, source: &io::Error) -> StoreError {
        error!(path = %path.display(), error = %source, "flush failed, commits are refused");
        self.poisoned = Some(path.clone());
        StoreError::Poisoned { path }
    }
}

/// Returns the lineage of the log in a directory, `None` if there is no log.
pub(crate) fn lineage(
    file_system: &dyn FileSystem,
    directory: &Path,
) -> Result<Option<Lineage>, StoreError> {
    let segments = list_segments(file_system, directory)?;
    segments.last().map(|last| read_lineage(file_system, directory, *last)).transpose()
}

/// Shows every record above a version to `visit`, up to one that must be there; oldest first.
///
/// `base` tells the hash of the record before the first.
pub(crate) fn walk(
    reader: &Reader,
    above: Version,
    base: Option<Anchor>,
    end: Anchor,
    visit: &mut Visit<'_>,
) -> Result<(), StoreError> {
    let segments = list_segments(reader.file_system(), reader.directory())?;
    let segments = needed(reader, &segments, above)?;
    let mut position = Position::before(segments[0], reader.lineage(), base);
    let mut path = reader.path(segments[0]);
    for first in segments {
        if position.head >= end.version {
            break;
        }
        let flaw = read_segment(reader, first, end.version, &mut position, &mut |entry| {
            if entry.summary.version > above { visit(entry) } else { Ok(()) }
        })?;
        path = reader.path(first);
        if let Some(flaw) = flaw {
            return Err(corrupt(&path, position.offset, flaw));
        }
    }
    if position.head < end.version {
        return Err(too_short(&path, position.offset, position.head, end.version));
    }
    // Every record names the hash of the one before, so the last vouches for all.
    if position.hash.is_some_and(|hash| hash != end.hash) {
        return Err(corrupt(
            &path,
            position.offset,
            "it ends with another record than was written",
        ));
    }
    Ok(())
}
