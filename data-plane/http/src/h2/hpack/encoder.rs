//! Writes header blocks.
//!
//! Answers over one connection are much alike. What stands at a place is first compared with what
//! stood there in the answer before; only if it differs is it looked for. Fields whose values
//! rarely come twice are written as they are and not remembered.

use http::StatusCode;

use super::{
    TABLE,
    fixed::{self, COUNT},
    huffman, integer,
    table::{self, Table},
};
use crate::fields::{Field, Known};

/// Places of an answer that are remembered.
const PLACES: usize = 32;

/// A value that is longer is not remembered: it would push out all others.
const LONG: usize = 256;

/// A place at which nothing was remembered.
const NOTHING: u64 = u64::MAX;

/// Writes the blocks of a connection.
#[derive(Debug)]
pub struct Encoder {
    table: Table<()>,
    /// The numbers of the fields of the block before, by their place.
    places: Vec<u64>,
    place: usize,
    /// The table's limit has changed, and this was the lowest meanwhile.
    lowest: Option<usize>,
}

impl Default for Encoder {
    fn default() -> Self {
        Self { table: Table::new(TABLE), places: Vec::new(), place: 0, lowest: None }
    }
}

impl Encoder {
    /// Keeps to the size that the peer allows its table.
    pub fn set_limit(&mut self, limit: usize) {
        let limit = limit.min(TABLE);
        if limit != self.table.limit() || self.lowest.is_some() {
            self.table.set_limit(limit);
            self.lowest = Some(self.lowest.map_or(limit, |lowest| lowest.min(limit)));
        }
    }

    /// Begins a block.
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        self.place = 0;
        if let Some(lowest) = self.lowest.take() {
            integer::encode(out, 0x20, 5, lowest);
            if lowest != self.table.limit() {
                integer::encode(out, 0x20, 5, self.table.limit());
            }
        }
    }

    /// Writes `:status`.
    pub fn status(&mut self, out: &mut Vec<u8>, status: StatusCode) {
        if let Some(index) = fixed::status(status.as_u16()) {
            out.push(0x80 | index as u8);
        } else {
            out.push(8);
            plain(out, status.as_str().as_bytes());
        }
    }

    /// Writes a field, whose `line` is how HTTP/1.1 writes it, in any letter case and with any
    /// white space around the value.
    pub fn field(&mut self, out: &mut Vec<u8>, field: &Field<'_>, line: &[u8]) {
        let place = self.place;
        self.place += 1;
        if field.known == Known::ContentLength {
            integer::encode(out, 0x00, 4, 28);
            plain(out, field.value);
            self.note(place, NOTHING);
            return;
        }
        if let Some(number) = self.places.get(place)
            && let Some(age) = self.table.age(*number)
            && self.table.get(age).is_some_and(|(there, ())| there == line)
        {
            integer::encode(out, 0x80, 7, COUNT + 1 + age);
            return;
        }
        let number = self.write(out, field, line);
        self.note(place, number);
    }

    /// Writes a field that does not stand where it stood before; returns its number.
    fn write(&mut self, out: &mut Vec<u8>, field: &Field<'_>, line: &[u8]) -> u64 {
        let index = fixed::find(field.name);
        let size = table::size(field.name.len(), field.value.len());
        let is_kept = field.value.len() <= LONG && size <= self.table.limit();
        if !is_kept || is_rarely_repeated(index) {
            // What others must not guess is kept out of their tables too (RFC 7541, 7.1.3).
            integer::encode(out, if is_sensitive(index) { 0x10 } else { 0 }, 4, index);
            if index == 0 {
                name(out, field.name, false);
            }
            plain(out, field.value);
            return NOTHING;
        }
        if let Some(number) = self.table.find(line)
            && let Some(age) = self.table.age(number)
        {
            integer::encode(out, 0x80, 7, COUNT + 1 + age);
            return number;
        }
        integer::encode(out, 0x40, 6, index);
        if index == 0 {
            name(out, field.name, true);
        }
        let length = huffman::length(field.value.iter().copied());
        if length < field.value.len() {
            integer::encode(out, 0x80, 7, length);
            huffman::encode(field.value.iter().copied(), out);
        } else {
            plain(out, field.value);
        }
        self.table.insert(line, size, ());
        self.table.next() - 1
    }

    fn note(&mut self, place: usize, number: u64) {
        match self.places.get_mut(place) {
            Some(noted) => *noted = number,
            None if place < PLACES => self.places.push(number),
            None => {}
        }
    }
}

/// Whether a field's value is mostly another one each time, by its number.
const fn is_rarely_repeated(index: usize) -> bool {
    // age, content-range, etag, expires, last-modified, location
    matches!(index, 21 | 30 | 34 | 36 | 44 | 46) || is_sensitive(index)
}

/// Whether a field's value is a secret of the client's, by its number.
const fn is_sensitive(index: usize) -> bool {
    // authorization, proxy-authorization, set-cookie
    matches!(index, 23 | 49 | 55)
}

fn plain(out: &mut Vec<u8>, text: &[u8]) {
    integer::encode(out, 0, 7, text.len());
    out.extend_from_slice(text);
}

fn name(out: &mut Vec<u8>, name: &[u8], may_shrink: bool) {
    let lower = || name.iter().map(u8::to_ascii_lowercase);
    let length = if may_shrink { huffman::length(lower()) } else { usize::MAX };
    if length < name.len() {
        integer::encode(out, 0x80, 7, length);
        huffman::encode(lower(), out);
    } else {
        integer::encode(out, 0, 7, name.len());
        out.extend(lower());
    }
}
