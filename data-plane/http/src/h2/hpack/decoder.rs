//! Reads header blocks.

use super::{
    Class, Corrupt, TABLE,
    fixed::{COUNT, Fixed},
    huffman, integer,
    table::{self, Table},
};

/// Room for a line that is kept for the next one.
const KEPT: usize = 1 << 10;

/// A field as HTTP/1.1 writes it: `name: value` and the end of the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    bytes: &'a [u8],
    name: usize,
}

impl<'a> Line<'a> {
    /// The whole line.
    pub const fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// The name.
    pub fn name(self) -> &'a [u8] {
        &self.bytes[..self.name]
    }

    /// The value.
    pub fn value(self) -> &'a [u8] {
        &self.bytes[self.name + 2..self.bytes.len() - 2]
    }

    /// How large the field is for limits of lists (RFC 9113, 6.5.2).
    pub const fn size(self) -> usize {
        table::size(self.bytes.len(), 0) - 4
    }
}

/// Takes the fields of a block, in order.
pub trait Sink {
    /// Takes a field.
    fn field(&mut self, class: Class, line: Line<'_>);
}

/// Reads the blocks of a connection, each whole.
#[derive(Debug)]
pub struct Decoder {
    table: Table<(Class, u32)>,
    /// A field that is put together.
    line: Vec<u8>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { table: Table::new(TABLE), line: Vec::new() }
    }
}

impl Decoder {
    /// Reads a block.
    ///
    /// # Errors
    ///
    /// [`Corrupt`]; nothing after it can be understood.
    pub fn decode(&mut self, block: &[u8], sink: &mut impl Sink) -> Result<(), Corrupt> {
        let (mut at, mut is_first) = (0, true);
        while let Some(first) = block.get(at) {
            at = match first {
                0x80.. => self.indexed(block, at, sink)?,
                0x40..=0x7f => self.literal(block, at, 6, sink)?,
                // Sizes change before the first field (RFC 7541, 4.2).
                0x20..=0x3f if is_first => {
                    let (limit, end) = integer::decode(block, at, 5)?;
                    if limit > TABLE {
                        return Err(Corrupt);
                    }
                    self.table.set_limit(limit);
                    at = end;
                    continue;
                }
                0x20..=0x3f => return Err(Corrupt),
                0x00..=0x1f => self.literal(block, at, 4, sink)?,
            };
            is_first = false;
        }
        if self.line.capacity() > KEPT {
            self.line = Vec::new();
        }
        Ok(())
    }

    fn indexed(&self, block: &[u8], at: usize, sink: &mut impl Sink) -> Result<usize, Corrupt> {
        let (index, end) = integer::decode(block, at, 7)?;
        if index > COUNT {
            let (bytes, (class, name)) = self.table.get(index - COUNT - 1).ok_or(Corrupt)?;
            sink.field(class, Line { bytes, name: name as usize });
        } else {
            let fixed = Fixed::get(index).ok_or(Corrupt)?;
            sink.field(fixed.class, Line { bytes: fixed.line.as_bytes(), name: fixed.name });
        }
        Ok(end)
    }

    fn literal(
        &mut self,
        block: &[u8],
        at: usize,
        prefix: u32,
        sink: &mut impl Sink,
    ) -> Result<usize, Corrupt> {
        let (index, at) = integer::decode(block, at, prefix)?;
        self.line.clear();
        let (class, at) = if index == 0 {
            let at = string(block, at, &mut self.line)?;
            (Class::of(&self.line), at)
        } else if index > COUNT {
            let (bytes, (class, name)) = self.table.get(index - COUNT - 1).ok_or(Corrupt)?;
            let name = &bytes[..name as usize];
            self.line.extend_from_slice(name);
            // The other field may have been refused for its value.
            (if class == Class::Malformed { Class::of(name) } else { class }, at)
        } else {
            let fixed = Fixed::get(index).ok_or(Corrupt)?;
            self.line.extend_from_slice(fixed.name());
            (fixed.class, at)
        };
        let name = self.line.len();
        self.line.extend_from_slice(b": ");
        let end = string(block, at, &mut self.line)?;
        let class = class.with(&self.line[name + 2..]);
        self.line.extend_from_slice(b"\r\n");
        let line = Line { bytes: &self.line, name };
        if prefix == 6 {
            self.table.insert(line.bytes, line.size(), (class, name as u32));
        }
        sink.field(class, line);
        Ok(end)
    }
}

/// Reads a string (RFC 7541, 5.2) to the end of `out`.
fn string(block: &[u8], at: usize, out: &mut Vec<u8>) -> Result<usize, Corrupt> {
    let is_huffman = block.get(at).ok_or(Corrupt)? & 0x80 != 0;
    let (length, start) = integer::decode(block, at, 7)?;
    let end = start + length;
    let text = block.get(start..end).ok_or(Corrupt)?;
    if is_huffman {
        huffman::decode(text, out)?;
    } else {
        out.extend_from_slice(text);
    }
    Ok(end)
}
