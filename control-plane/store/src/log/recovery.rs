//! Reads a whole log at start, and tells what a crash leaves from what is damage.
//!
//! A crash can leave one record at the very end torn. A bad record with whole ones behind it, a
//! missing segment or a record that does not follow its parent were durable once.

use std::path::Path;

use crate::{
    Hash, Lineage, StoreError, Version,
    filesystem::{FileSystem, LogFile},
    log::{
        reader::{Entry, Reader, corrupt, size, unreadable},
        segment::{self, HEADER_SIZE, Header},
    },
};

/// How far a log has been read.
pub(crate) struct Position {
    pub(crate) head: Version,
    /// The hash of the newest record; unknown before the first of a log that is not read from its
    /// beginning.
    pub(crate) hash: Option<Hash>,
    /// Where the next record of the segment is.
    pub(crate) offset: u64,
    /// The record the log must hold, should the reading come by it.
    anchor: Option<Anchor>,
}

/// A commit that is known to have been durable, from a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Anchor {
    pub(crate) version: Version,
    pub(crate) hash: Hash,
}

/// Is told every record, oldest first.
pub(crate) type Visit<'a> = dyn FnMut(&Entry) -> Result<(), StoreError> + 'a;

impl Position {
    /// Stands before the first record of a segment.
    pub(crate) fn before(first: Version, lineage: &Lineage, anchor: Option<Anchor>) -> Self {
        let head = Version(first.0.saturating_sub(1));
        let known = anchor.filter(|anchor| anchor.version == head).map(|anchor| anchor.hash);
        let hash = if head == Version::NONE { Some(lineage.root()) } else { known };
        Self { head, hash, offset: 0, anchor }
    }
}

/// Returns the segments from which on a log has to be read to know everything above a version.
pub(crate) fn needed(
    reader: &Reader,
    segments: &[Version],
    above: Version,
) -> Result<Vec<Version>, StoreError> {
    let later = segments.partition_point(|first| *first <= above.next());
    if let Some(start) = later.checked_sub(1) {
        return Ok(segments[start..].to_vec());
    }
    let path = segments.first().map_or(reader.directory().to_owned(), |first| reader.path(*first));
    let what = match segments.first() {
        Some(first) => format!("it starts with version {first}, and nothing holds those before"),
        None => "it has no segments".to_owned(),
    };
    Err(corrupt(&path, 0, &what))
}

/// Lists the segments from the oldest on.
pub(crate) fn list_segments(
    file_system: &dyn FileSystem,
    directory: &Path,
) -> Result<Vec<Version>, StoreError> {
    let names =
        file_system.list(directory).map_err(|e| StoreError::unavailable("read", directory, e))?;
    let mut segments: Vec<_> = names.iter().filter_map(|name| segment::parse_name(name)).collect();
    segments.sort_unstable();
    Ok(segments)
}

/// Reads the header of a segment.
pub(crate) fn read_header(
    file: &dyn LogFile,
    path: &Path,
    size: u64,
) -> Result<Header, StoreError> {
    if size < HEADER_SIZE as u64 {
        return Err(corrupt(path, 0, "the header is cut short"));
    }
    let mut bytes = [0; HEADER_SIZE];
    file.read_exact_at(&mut bytes, 0).map_err(|e| unreadable(path, e))?;
    Header::decode(&bytes).map_err(|flaw| corrupt(path, 0, flaw))
}

/// Learns from the first segment which lineage the log belongs to.
pub(crate) fn read_lineage(
    file_system: &dyn FileSystem,
    directory: &Path,
    first: Version,
) -> Result<Lineage, StoreError> {
    let path = directory.join(segment::file_name(first));
    let file = file_system.open(&path).map_err(|e| StoreError::unavailable("open", &path, e))?;
    Ok(read_header(&*file, &path, size(&*file, &path)?)?.lineage)
}

/// Reads a segment up to its end, a version or what is no record, and returns the flaw of that.
pub(crate) fn read_segment(
    reader: &Reader,
    first: Version,
    until: Version,
    position: &mut Position,
    visit: &mut Visit<'_>,
) -> Result<Option<&'static str>, StoreError> {
    let path = reader.path(first);
    if first != position.head.next() {
        let what = format!("it starts with version {first}, not {}", position.head.next());
        return Err(corrupt(&path, 0, &what));
    }
    let file = reader.open(&path)?;
    let size = size(&*file, &path)?;
    let header = read_header(&*file, &path, size)?;
    if header != (Header { first, lineage: reader.lineage().clone() }) {
        return Err(corrupt(&path, 0, "the header belongs to another segment"));
    }
    position.offset = HEADER_SIZE as u64;
    while position.offset < size && position.head < until {
        let found =
            reader.entry(&*file, size, first, position.offset).map_err(|e| unreadable(&path, e))?;
        let entry = match found {
            Ok(entry) => entry,
            Err(flaw) => return Ok(Some(flaw)),
        };
        // The record is whole, so no crash explains that it is the wrong one.
        if entry.summary.version != position.head.next() {
            return Err(corrupt(&path, position.offset, "a record has the wrong version"));
        }
        if position.hash.is_some_and(|hash| hash != entry.summary.parent_hash) {
            return Err(corrupt(&path, position.offset, "a record does not follow the one before"));
        }
        let made = Anchor { version: entry.summary.version, hash: entry.location.hash };
        if position.anchor.is_some_and(|anchor| anchor.version == made.version && anchor != made) {
            return Err(corrupt(&path, position.offset, "a record is not the one of a checkpoint"));
        }
        visit(&entry)?;
        position.head = made.version;
        position.hash = Some(made.hash);
        position.offset = entry.end();
    }
    Ok(None)
}

/// Refuses a flaw in the last segment that has whole records behind it.
pub(crate) fn refuse_unless_tail(
    reader: &Reader,
    last: Version,
    position: &Position,
    flaw: &str,
) -> Result<(), StoreError> {
    let path = reader.path(last);
    let file = reader.open(&path)?;
    let later = reader
        .find_record(&*file, size(&*file, &path)?, last, position.offset + 1)
        .map_err(|e| unreadable(&path, e))?;
    match later {
        Some(_) => Err(not_the_tail(&path, position.offset, flaw)),
        None => Ok(()),
    }
}

/// Builds the error for damage that has whole commits behind it.
pub(crate) fn not_the_tail(path: &Path, offset: u64, flaw: &str) -> StoreError {
    corrupt(path, offset, &format!("{flaw}, and commits follow it"))
}

/// Builds the error for a log that ends before a commit that is known from the index.
pub(crate) fn too_short(path: &Path, offset: u64, head: Version, known: Version) -> StoreError {
    StoreError::Corrupt {
        path: path.to_owned(),
        offset,
        what: format!("it ends with version {head}, but version {known} was acknowledged"),
        help: "restore the data directory from a backup, \
               or move its index directory away to go on without the lost commits"
            .to_owned(),
    }
}
