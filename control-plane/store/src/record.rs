//! A commit as bytes.
//!
//! A record is a frame, a summary and the values:
//!
//! ```text
//! marker 8 | crc32c 4 | summary length 4 | values length 4 | summary | values
//! ```
//!
//! The checksum covers the lengths and the summary; the summary holds a keyed hash of each value.
//! So the summary can be read and trusted alone (listing the history reads no values), a value
//! can be read and trusted alone, and the hash of the summary is the hash of the whole commit.
//! The marker is derived from the secret key of the lineage: no value, whoever wrote it, can hold
//! bytes that pass for a record.

use std::io;

use jiff::Timestamp;

use crate::{
    Commit, CommitRecord, Hash, Key, Lineage, MAX_COMMIT_SIZE, Version, Written,
    cursor::{Cursor, write_text},
};

/// How many bytes come before the summary.
pub(crate) const FRAME_SIZE: usize = 20;

/// Starts a record.
pub(crate) type Marker = [u8; 8];

/// Everything about a commit but its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) version: Version,
    pub(crate) parent_hash: Hash,
    pub(crate) time: Timestamp,
    pub(crate) author: String,
    pub(crate) reason: String,
    pub(crate) puts: Vec<Put>,
    pub(crate) removes: Vec<Key>,
}

/// What the summary knows of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Put {
    pub(crate) key: Key,
    pub(crate) size: u32,
    pub(crate) hash: Hash,
}

/// The fixed front of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    crc: u32,
    pub(crate) summary_size: u32,
    pub(crate) values_size: u32,
}

/// Returns how many bytes a commit takes behind its frame.
pub(crate) fn size(commit: &Commit) -> u64 {
    const FIXED: usize = 8 + 32 + 8 + 4 + 4 + 4 + 4 + 4;
    let puts = commit.puts.iter().map(|(key, value)| 4 + key.as_str().len() + 4 + 32 + value.len());
    let removes = commit.removes.iter().map(|key| 4 + key.as_str().len());
    let texts = commit.author.len() + commit.reason.len();
    puts.chain(removes).map(|part| part as u64).sum::<u64>() + (FIXED + texts) as u64
}

/// Returns what every record of a lineage starts with.
pub(crate) fn marker(lineage: &Lineage) -> Marker {
    let mut marker = Marker::default();
    lineage.hasher().update(b"lb-store record").finalize_xof().fill(&mut marker);
    marker
}

impl Summary {
    /// Sums up a commit whose size was checked.
    pub(crate) fn new(
        lineage: &Lineage,
        version: Version,
        parent_hash: Hash,
        commit: &Commit,
    ) -> Self {
        let put = |(key, value): &(Key, bytes::Bytes)| Put {
            key: key.clone(),
            size: value.len() as u32,
            hash: lineage.hash(value),
        };
        Self {
            version,
            parent_hash,
            time: commit.time,
            author: commit.author.clone(),
            reason: commit.reason.clone(),
            puts: commit.puts.iter().map(put).collect(),
            removes: commit.removes.clone(),
        }
    }

    /// Writes the summary; its hash is the hash of the commit.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&self.version.0.to_be_bytes());
        out.extend_from_slice(&self.parent_hash);
        out.extend_from_slice(&self.time.as_second().to_be_bytes());
        out.extend_from_slice(&self.time.subsec_nanosecond().to_be_bytes());
        write_text(&mut out, &self.author);
        write_text(&mut out, &self.reason);
        out.extend_from_slice(&(self.puts.len() as u32).to_be_bytes());
        for put in &self.puts {
            write_text(&mut out, put.key.as_str());
            out.extend_from_slice(&put.size.to_be_bytes());
            out.extend_from_slice(&put.hash);
        }
        out.extend_from_slice(&(self.removes.len() as u32).to_be_bytes());
        for key in &self.removes {
            write_text(&mut out, key.as_str());
        }
        out
    }

    /// Reads a summary; `None` if the bytes are not exactly one.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(bytes);
        let version = Version(cursor.u64()?);
        let parent_hash = cursor.array()?;
        let time = Timestamp::new(cursor.i64()?, cursor.i32()?).ok()?;
        let author = cursor.text()?.to_owned();
        let reason = cursor.text()?.to_owned();
        // The counts are not trusted with an allocation; the vectors grow as entries are found.
        let mut puts = Vec::new();
        for _ in 0..cursor.u32()? {
            puts.push(Put { key: cursor.key()?, size: cursor.u32()?, hash: cursor.array()? });
        }
        let mut removes = Vec::new();
        for _ in 0..cursor.u32()? {
            removes.push(cursor.key()?);
        }
        cursor.end()?;
        Some(Self { version, parent_hash, time, author, reason, puts, removes })
    }

    /// Returns how many bytes the values take together.
    pub(crate) fn values_size(&self) -> u64 {
        self.puts.iter().map(|put| u64::from(put.size)).sum()
    }

    /// Turns the summary into what callers see.
    pub(crate) fn into_record(self, hash: Hash) -> CommitRecord {
        let written = |put: Put| Written { key: put.key, size: u64::from(put.size) };
        CommitRecord {
            version: self.version,
            time: self.time,
            author: self.author,
            reason: self.reason,
            parent_hash: self.parent_hash,
            hash,
            puts: self.puts.into_iter().map(written).collect(),
            removes: self.removes,
        }
    }
}

impl Frame {
    /// Frames a summary and values whose sizes were checked.
    pub(crate) fn new(summary: &[u8], values_size: u64) -> Self {
        let mut frame =
            Self { crc: 0, summary_size: summary.len() as u32, values_size: values_size as u32 };
        frame.crc = frame.checksum(summary);
        frame
    }

    /// Returns how many bytes follow the frame.
    pub(crate) fn body_size(self) -> u64 {
        u64::from(self.summary_size) + u64::from(self.values_size)
    }

    /// Writes the frame behind its marker.
    pub(crate) fn encode(self, marker: Marker) -> Vec<u8> {
        let mut out = marker.to_vec();
        out.extend_from_slice(&self.crc.to_be_bytes());
        out.extend_from_slice(&self.summary_size.to_be_bytes());
        out.extend_from_slice(&self.values_size.to_be_bytes());
        out
    }

    /// Reads a frame; refuses sizes no record has, before anybody allocates for them.
    pub(crate) fn decode(bytes: &[u8; FRAME_SIZE], marker: Marker) -> Result<Self, &'static str> {
        let mut cursor = Cursor::new(bytes);
        let mut fields = || {
            let found: Marker = cursor.array()?;
            let frame = Self {
                crc: cursor.u32()?,
                summary_size: cursor.u32()?,
                values_size: cursor.u32()?,
            };
            Some((found, frame))
        };
        match fields() {
            Some((found, frame)) if found == marker => {
                if frame.body_size() > MAX_COMMIT_SIZE {
                    return Err("a record claims an impossible length");
                }
                Ok(frame)
            }
            _ => Err("no record starts here"),
        }
    }

    /// Tells whether the summary is the one that was framed.
    pub(crate) fn matches(self, summary: &[u8]) -> bool {
        self.crc == self.checksum(summary)
    }

    fn checksum(self, summary: &[u8]) -> u32 {
        let crc = crc32c::crc32c(&self.summary_size.to_be_bytes());
        let crc = crc32c::crc32c_append(crc, &self.values_size.to_be_bytes());
        crc32c::crc32c_append(crc, summary)
    }
}

/// Hashes bytes that are read in pieces of bounded size.
pub(crate) fn hash_pieces(
    lineage: &Lineage,
    size: u64,
    mut read: impl FnMut(&mut [u8], u64) -> io::Result<()>,
) -> io::Result<Hash> {
    const PIECE: u64 = 64 * 1024;
    let mut hasher = lineage.hasher();
    let mut buffer = vec![0; size.min(PIECE) as usize];
    let mut done = 0;
    while done < size {
        let piece = &mut buffer[..(size - done).min(PIECE) as usize];
        read(piece, done)?;
        hasher.update(piece);
        done += piece.len() as u64;
    }
    Ok(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit() -> Commit {
        Commit {
            author: "ada".into(),
            reason: "größer".into(),
            time: Timestamp::new(-1, -5).unwrap(),
            puts: vec![(Key::config(), "value".into()), (Key::new("b").unwrap(), "".into())],
            removes: vec![Key::new("old").unwrap()],
        }
    }

    #[test]
    fn a_summary_survives_its_bytes_and_the_size_is_exact() {
        let lineage = Lineage::new(None);
        let summary = Summary::new(&lineage, Version(7), [3; 32], &commit());
        let bytes = summary.encode();
        assert_eq!(Summary::decode(&bytes), Some(summary.clone()));
        assert_eq!(size(&commit()), bytes.len() as u64 + summary.values_size());
    }

    #[test]
    fn a_summary_cut_short_or_with_more_behind_it_is_refused() {
        let bytes = Summary::new(&Lineage::new(None), Version(7), [3; 32], &commit()).encode();
        for end in 0..bytes.len() {
            assert_eq!(Summary::decode(&bytes[..end]), None, "{end}");
        }
        assert_eq!(Summary::decode(&[&bytes[..], &[0]].concat()), None);
    }

    #[test]
    fn an_impossible_length_is_refused_before_anything_is_allocated() {
        let frame = Frame { crc: 0, summary_size: u32::MAX, values_size: u32::MAX };
        let bytes: [u8; FRAME_SIZE] = frame.encode([1; 8]).try_into().unwrap();
        assert_eq!(Frame::decode(&bytes, [1; 8]), Err("a record claims an impossible length"));
        assert_eq!(Frame::decode(&bytes, [2; 8]), Err("no record starts here"));
    }
}
