//! The whole state at one version, as bytes.
//!
//! ```text
//! header: magic 8 | format 4 | version 8 | hash of the record 32 | time 12 |
//!         lineage: id 16, parent 16, hash key 32 | number of values 8 | crc32c 4
//! value:  key length 4 | key | written at 8 | size 4 | keyed hash 32 | crc32c 4 | the value
//! ```
//!
//! Values are in the order of their keys. A checkpoint file is this with a hash behind it; a
//! backup begins with it.

use std::io;

use jiff::Timestamp;
use uuid::Uuid;

use crate::{
    Hash, Key, Lineage, MAX_COMMIT_SIZE, Version,
    cursor::{Cursor, write_text},
    log::recovery::Anchor,
    stream::{Fault, Input, Output},
};

const MAGIC: [u8; 8] = *b"lbstate\n";
const FORMAT: u32 = 1;
const HEADER_SIZE: usize = 140;

/// The front of a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    /// The version the state is of, with the hash of its record.
    pub(crate) at: Anchor,
    /// When the commit was asked for.
    pub(crate) time: Timestamp,
    pub(crate) lineage: Lineage,
    /// How many values follow.
    pub(crate) count: u64,
}

/// A value of a state, without the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) key: Key,
    /// The version that wrote it.
    pub(crate) written: Version,
    pub(crate) size: u32,
    pub(crate) hash: Hash,
    /// Where the value is in the stream.
    pub(crate) offset: u64,
}

impl Header {
    /// Writes the header.
    pub(crate) fn write(&self, out: &mut Output<'_>) -> io::Result<()> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&FORMAT.to_be_bytes());
        bytes.extend_from_slice(&self.at.version.0.to_be_bytes());
        bytes.extend_from_slice(&self.at.hash);
        bytes.extend_from_slice(&self.time.as_second().to_be_bytes());
        bytes.extend_from_slice(&self.time.subsec_nanosecond().to_be_bytes());
        bytes.extend_from_slice(self.lineage.id.as_bytes());
        bytes.extend_from_slice(self.lineage.parent.unwrap_or_default().as_bytes());
        bytes.extend_from_slice(&self.lineage.hash_key);
        bytes.extend_from_slice(&self.count.to_be_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_be_bytes());
        out.write(&bytes)
    }

    /// Reads a header.
    pub(crate) fn read(input: &mut Input<'_>) -> Result<Self, Fault> {
        let start = input.offset();
        let bytes: [u8; HEADER_SIZE] = input.array()?;
        let damaged = |what| Fault::Damaged { offset: start, what };
        let (covered, checksum) = bytes.split_at(HEADER_SIZE - 4);
        if covered[..MAGIC.len()] != MAGIC {
            return Err(damaged("it does not start like a checkpoint"));
        }
        if crc32c::crc32c(covered).to_be_bytes() != checksum {
            return Err(damaged("the header does not match its checksum"));
        }
        let mut cursor = Cursor::new(&covered[MAGIC.len()..]);
        let mut fields = || {
            let format = cursor.u32()?;
            let at = Anchor { version: Version(cursor.u64()?), hash: cursor.array()? };
            let time = Timestamp::new(cursor.i64()?, cursor.i32()?).ok()?;
            let id = Uuid::from_bytes(cursor.array()?);
            let parent = Uuid::from_bytes(cursor.array()?);
            let parent = (!parent.is_nil()).then_some(parent);
            let lineage = Lineage { id, parent, hash_key: cursor.array()? };
            Some((format, Self { at, time, lineage, count: cursor.u64()? }))
        };
        match fields() {
            Some((FORMAT, header)) => Ok(header),
            Some((format, _)) if format > FORMAT => {
                Err(damaged("it was written by a newer release"))
            }
            _ => Err(damaged("the header does not say what a checkpoint says")),
        }
    }
}

/// Writes a value whose size was checked, and returns where it is.
pub(crate) fn write_value(
    out: &mut Output<'_>,
    key: &Key,
    written: Version,
    hash: Hash,
    value: &[u8],
) -> io::Result<Held> {
    let size = value.len() as u32;
    let mut front = Vec::new();
    write_text(&mut front, key.as_str());
    front.extend_from_slice(&written.0.to_be_bytes());
    front.extend_from_slice(&size.to_be_bytes());
    front.extend_from_slice(&hash);
    front.extend_from_slice(&crc32c::crc32c(&front).to_be_bytes());
    out.write(&front)?;
    let held = Held { key: key.clone(), written, size, hash, offset: out.offset() };
    out.write(value)?;
    Ok(held)
}

/// Reads and checks the values behind a header, one at a time.
pub(crate) fn read_values<E: From<Fault>>(
    input: &mut Input<'_>,
    header: &Header,
    mut visit: impl FnMut(Held, Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    let mut last: Option<Key> = None;
    for _ in 0..header.count {
        let (held, value) = read_value(input, header)?;
        if last.as_ref().is_some_and(|last| *last >= held.key) {
            return Err(input.damaged("its keys are not in order").into());
        }
        last = Some(held.key.clone());
        visit(held, value)?;
    }
    Ok(())
}

fn read_value(input: &mut Input<'_>, header: &Header) -> Result<(Held, Vec<u8>), Fault> {
    const FIXED: u64 = 8 + 4 + 32 + 4;
    let start = input.offset();
    let damaged = |what| Fault::Damaged { offset: start, what };
    let length: [u8; 4] = input.array()?;
    let name = u64::from(u32::from_be_bytes(length));
    if name > Key::MAX_LENGTH as u64 {
        return Err(damaged("a key claims an impossible length"));
    }
    let bytes = [length.as_slice(), &input.bytes(name + FIXED)?].concat();
    let (covered, checksum) = bytes.split_at(bytes.len() - 4);
    if crc32c::crc32c(covered).to_be_bytes() != checksum {
        return Err(damaged("a key does not match its checksum"));
    }
    let mut cursor = Cursor::new(covered);
    let mut fields = || {
        let (key, written) = (cursor.key()?, Version(cursor.u64()?));
        Some(Held { key, written, size: cursor.u32()?, hash: cursor.array()?, offset: 0 })
    };
    let held = fields().ok_or_else(|| damaged("a key does not say what a key says"))?;
    if u64::from(held.size) > MAX_COMMIT_SIZE || held.written > header.at.version {
        return Err(damaged("a value claims what no value has"));
    }
    let offset = input.offset();
    let value = input.bytes(u64::from(held.size))?;
    if header.lineage.hash(&value) != held.hash {
        return Err(Fault::Damaged { offset, what: "a value does not match its hash" });
    }
    Ok((Held { offset, ..held }, value))
}
