//! Compressed header fields (RFC 7541).
//!
//! A [`Decoder`] hands each field to a [`Sink`] as the line that HTTP/1.1 would have for it, with
//! what is known of its name: a field that the client repeats by its index is copied in one run
//! and neither decoded nor checked again. An [`Encoder`] looks first for what it wrote at the same
//! place of the answer before, so that answers alike cost a comparison a field.

mod decoder;
mod encoder;
mod fixed;
mod huffman;
mod integer;
mod table;

pub use decoder::{Decoder, Line, Sink};
pub use encoder::Encoder;

use crate::{
    fields::Known,
    h1::syntax::{control, is_lower_case_token},
};

/// The size that both tables may have unless settings say otherwise (RFC 9113, 6.5.2).
pub const TABLE: usize = 4096;

/// A block that cannot be decoded, which leaves the connection without a common table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the header block is malformed")]
pub struct Corrupt;

/// What a field is to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A field.
    Field(Known),
    /// `:method`.
    Method,
    /// `:scheme`.
    Scheme,
    /// `:authority`.
    Authority,
    /// `:path`.
    Path,
    /// Nothing that may stand in a request (RFC 9113, 8.2).
    Malformed,
}

impl Class {
    /// Of a name.
    fn of(name: &[u8]) -> Self {
        if name.first() == Some(&b':') {
            return match name {
                b":method" => Self::Method,
                b":scheme" => Self::Scheme,
                b":authority" => Self::Authority,
                b":path" => Self::Path,
                _ => Self::Malformed,
            };
        }
        if !is_lower_case_token(name) {
            return Self::Malformed;
        }
        match Known::of(name) {
            // They speak of a connection, and of one over HTTP/1.1 (RFC 9113, 8.2.2).
            Known::Connection
            | Known::KeepAlive
            | Known::ProxyConnection
            | Known::TransferEncoding
            | Known::Upgrade => Self::Malformed,
            known => Self::Field(known),
        }
    }

    /// The same, with this value: there are values that no field may have (RFC 9113, 8.2.1).
    fn with(self, value: &[u8]) -> Self {
        let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
        if control(value, 0) < value.len() || is_space(value.first()) || is_space(value.last()) {
            return Self::Malformed;
        }
        self
    }
}

#[cfg(test)]
mod tests;
