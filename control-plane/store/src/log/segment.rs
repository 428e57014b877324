//! A file of the log, and its front: which history it belongs to and where in it.
//!
//! A segment gets its name only after its front is durable, so a front that cannot be read was
//! never a crash and is never cut away.

use std::{
    io,
    path::{Path, PathBuf},
};

use uuid::Uuid;

use crate::{
    Lineage, StoreError, Version,
    cursor::Cursor,
    filesystem::{FileSystem, LogFile},
};

/// How many bytes come before the first record.
pub(crate) const HEADER_SIZE: usize = 88;

const MAGIC: [u8; 8] = *b"lbcommit";
const FORMAT: u32 = 1;
const SUFFIX: &str = ".log";

/// The name of a segment whose header is not durable yet.
pub(crate) const UNFINISHED: &str = "segment.new";

/// The segment that is appended to.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) first: Version,
    pub(crate) path: PathBuf,
    pub(crate) file: Box<dyn LogFile>,
    /// Where the next record goes; everything before is durable.
    pub(crate) end: u64,
}

/// The fixed front of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    /// The version of the first record, which is also the name of the file.
    pub(crate) first: Version,
    pub(crate) lineage: Lineage,
}

impl Header {
    /// Writes the header.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&FORMAT.to_be_bytes());
        out.extend_from_slice(&self.first.0.to_be_bytes());
        out.extend_from_slice(self.lineage.id.as_bytes());
        // No random id is nil, so nil can stand for none.
        out.extend_from_slice(self.lineage.parent.unwrap_or_default().as_bytes());
        out.extend_from_slice(&self.lineage.hash_key);
        out.extend_from_slice(&crc32c::crc32c(&out).to_be_bytes());
        out
    }

    /// Reads a header, or says what is wrong with it.
    pub(crate) fn decode(bytes: &[u8; HEADER_SIZE]) -> Result<Self, &'static str> {
        let (covered, checksum) = bytes.split_at(HEADER_SIZE - 4);
        let mut cursor = Cursor::new(covered);
        let mut fields = || {
            let magic: [u8; 8] = cursor.array()?;
            let format = cursor.u32()?;
            let first = Version(cursor.u64()?);
            let id = Uuid::from_bytes(cursor.array()?);
            let parent = Uuid::from_bytes(cursor.array()?);
            let parent = (!parent.is_nil()).then_some(parent);
            let lineage = Lineage { id, parent, hash_key: cursor.array()? };
            Some((magic, format, Self { first, lineage }))
        };
        let is_intact = crc32c::crc32c(covered).to_be_bytes() == checksum;
        match fields() {
            Some((MAGIC, FORMAT, header)) if is_intact => Ok(header),
            Some((MAGIC, format, _)) if is_intact && format > FORMAT => {
                Err("it was written by a newer release")
            }
            Some((MAGIC, ..)) => Err("the header does not match its checksum"),
            _ => Err("it does not start like a segment of the commit log"),
        }
    }
}

/// Returns the file name of the segment that starts with a version.
pub(crate) fn file_name(first: Version) -> String {
    format!("{first:020}{SUFFIX}", first = first.0)
}

/// Returns the version a segment starts with, if this is the name of a segment.
pub(crate) fn parse_name(name: &str) -> Option<Version> {
    let first = Version(name.strip_suffix(SUFFIX)?.parse().ok()?);
    (file_name(first) == name).then_some(first)
}

/// Why a segment could not be created.
pub(crate) enum NewSegment {
    /// It has no name yet, so it does not exist.
    Unwritten { path: PathBuf, source: io::Error },
    /// It may or may not exist after a crash.
    Unflushed { path: PathBuf, source: io::Error },
}

impl NewSegment {
    pub(crate) fn into_error(self) -> StoreError {
        match self {
            Self::Unwritten { path, source } | Self::Unflushed { path, source } => {
                StoreError::unavailable("create", &path, source)
            }
        }
    }
}

/// Creates a segment and makes it durable before it has its name.
pub(crate) fn create(
    file_system: &dyn FileSystem,
    directory: &Path,
    first: Version,
    lineage: &Lineage,
) -> Result<Segment, NewSegment> {
    let unfinished = directory.join(UNFINISHED);
    let path = directory.join(file_name(first));
    let header = Header { first, lineage: lineage.clone() }.encode();
    let unwritten = |source| NewSegment::Unwritten { path: path.clone(), source };
    let unflushed = |source| NewSegment::Unflushed { path: path.clone(), source };

    let mut file = file_system.create(&unfinished).map_err(unwritten)?;
    if let Err(source) = file.append(&header) {
        // One that stays is emptied by the next attempt.
        let _ = file_system.remove(&unfinished);
        return Err(unwritten(source));
    }
    file.sync_data().map_err(unflushed)?;
    file_system.rename(&unfinished, &path).map_err(unwritten)?;
    file_system.sync_dir(directory).map_err(unflushed)?;
    Ok(Segment { first, path, file, end: header.len() as u64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header { first: Version(3), lineage: Lineage::new(Some(Uuid::new_v4())) }
    }

    #[test]
    fn a_header_survives_its_bytes() {
        let bytes: [u8; HEADER_SIZE] = header().encode().try_into().unwrap();
        assert_eq!(Header::decode(&bytes).unwrap().encode(), bytes);
    }

    #[test]
    fn a_header_with_any_bit_flipped_is_refused() {
        let bytes: [u8; HEADER_SIZE] = header().encode().try_into().unwrap();
        for bit in 0..HEADER_SIZE * 8 {
            let mut bytes = bytes;
            bytes[bit / 8] ^= 1 << (bit % 8);
            Header::decode(&bytes).unwrap_err();
        }
    }

    #[test]
    fn only_the_exact_name_is_a_segment() {
        assert_eq!(file_name(Version(1)), "00000000000000000001.log");
        assert_eq!(parse_name("00000000000000000001.log"), Some(Version(1)));
        for name in ["1.log", "+0000000000000000001.log", "00000000000000000001.log.new", "x"] {
            assert_eq!(parse_name(name), None, "{name}");
        }
    }
}
