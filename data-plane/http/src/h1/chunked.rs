//! Reads chunked bodies (RFC 9112, 7.1).
//!
//! Strict: a size is hexadecimal digits and nothing else, lines end in CRLF, extensions are
//! plain text of a bounded length and are dropped. Trailer fields are kept, except that those
//! which could change what the message is or whose it is are refused.

use super::head::{Fault, read_lines};
use crate::fields::{Fields, Known};

/// The most bytes of extensions in one body: nobody uses them but to keep a reader busy.
const MAX_EXTENSIONS: usize = 4096;

/// The most bytes of trailer fields.
const MAX_TRAILERS: usize = 8192;

/// The place in a chunked body.
#[derive(Debug, Clone, Default)]
pub struct ChunkDecoder {
    state: State,
    extensions: usize,
    /// The trailer lines so far, and then their fields.
    lines: Vec<u8>,
    trailers: Option<Box<Fields>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Within the digits of a size.
    Size { value: u64, digits: u8 },
    /// Within an extension.
    Extension { size: u64 },
    /// Before the line feed after a size.
    SizeEnd { size: u64 },
    /// Within the data.
    Data { left: u64 },
    /// Before the carriage return after the data.
    DataCr,
    /// Before the line feed after the data.
    DataLf,
    /// At the start of a trailer line.
    Trailer,
    /// Within one.
    TrailerLine,
    /// Before the line feed of a trailer line.
    TrailerLf,
    /// Before the line feed of the last line.
    LastLf,
    /// Past the end.
    Done,
}

impl Default for State {
    fn default() -> Self {
        Self::Size { value: 0, digits: 0 }
    }
}

impl ChunkDecoder {
    /// Takes framing from the front of `input`: how many bytes of it, and how many bytes of data
    /// follow those in `input`. No data after all of `input` was taken means that more is needed,
    /// or the end; see [`ChunkDecoder::is_done`].
    ///
    /// # Errors
    ///
    /// [`Fault::Malformed`], or [`Fault::Fields`] for too much of extensions or trailers.
    pub fn frame(&mut self, input: &[u8]) -> Result<(usize, usize), Fault> {
        let mut at = 0;
        while let Some(byte) = input.get(at) {
            if let State::Data { left } = self.state {
                let there = (input.len() - at) as u64;
                return Ok((at, left.min(there) as usize));
            }
            if self.state == State::Done {
                break;
            }
            self.state = self.step(*byte)?;
            at += 1;
        }
        Ok((at, 0))
    }

    /// Notes that `bytes` of data were taken.
    pub const fn took(&mut self, bytes: usize) {
        if let State::Data { left } = &mut self.state {
            *left = left.saturating_sub(bytes as u64);
            if *left == 0 {
                self.state = State::DataCr;
            }
        }
    }

    /// Whether the end was read.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The trailer fields, once the end was read and if there were any.
    pub fn trailers(&self) -> Option<&Fields> {
        self.trailers.as_deref()
    }

    fn step(&mut self, byte: u8) -> Result<State, Fault> {
        let state = match (self.state, byte) {
            (State::Size { value, digits }, _) => match (hex(byte), byte) {
                (Some(digit), _) if digits < 16 => {
                    State::Size { value: value << 4 | u64::from(digit), digits: digits + 1 }
                }
                (None, b'\r') if digits > 0 => State::SizeEnd { size: value },
                (None, b';') if digits > 0 => State::Extension { size: value },
                _ => return Err(Fault::Malformed),
            },
            (State::Extension { size }, b'\r') => State::SizeEnd { size },
            (state @ State::Extension { .. }, b'\t' | b' '..=b'~' | 0x80..) => {
                self.extensions += 1;
                if self.extensions > MAX_EXTENSIONS {
                    return Err(Fault::Fields);
                }
                state
            }
            (State::SizeEnd { size: 0 }, b'\n') => State::Trailer,
            (State::SizeEnd { size }, b'\n') => State::Data { left: size },
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size { value: 0, digits: 0 },
            (State::Trailer, b'\r') => State::LastLf,
            (State::LastLf, b'\n') => {
                self.finish()?;
                State::Done
            }
            (State::TrailerLine, b'\r') => {
                self.keep(byte)?;
                State::TrailerLf
            }
            (State::Trailer | State::TrailerLine, b'\t' | b' '..=b'~' | 0x80..) => {
                self.keep(byte)?;
                State::TrailerLine
            }
            (State::TrailerLf, b'\n') => {
                self.keep(byte)?;
                State::Trailer
            }
            _ => return Err(Fault::Malformed),
        };
        Ok(state)
    }

    fn keep(&mut self, byte: u8) -> Result<(), Fault> {
        if self.lines.len() >= MAX_TRAILERS {
            return Err(Fault::Fields);
        }
        self.lines.push(byte);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Fault> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let mut trailers = read_lines(&self.lines)?;
        self.lines = Vec::new();
        for field in trailers.iter() {
            // They would be taken for the message's own by whoever merges them (RFC 9110, 6.5.1).
            if matches!(
                field.known,
                Known::Host | Known::ContentLength | Known::TransferEncoding | Known::Connection
            ) {
                return Err(Fault::Malformed);
            }
        }
        trailers.retain(|field| !field.known.is_hop_by_hop() && field.known != Known::Trailer);
        if !trailers.is_empty() {
            self.trailers = Some(Box::new(trailers));
        }
        Ok(())
    }
}

const fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The data of a body that arrives in pieces of `cut` bytes, and what is left behind it.
    fn decode(mut input: &[u8], cut: usize) -> Result<(Vec<u8>, usize, ChunkDecoder), Fault> {
        let mut decoder = ChunkDecoder::default();
        let mut data = Vec::new();
        while !input.is_empty() && !decoder.is_done() {
            let piece = &input[..cut.min(input.len())];
            let (skip, there) = decoder.frame(piece)?;
            data.extend_from_slice(&piece[skip..skip + there]);
            decoder.took(there);
            input = &input[skip + there..];
        }
        Ok((data, input.len(), decoder))
    }

    #[test]
    fn data_and_trailers_are_found_however_they_arrive() {
        let body = b"5;a=\"b\"\r\nhello\r\n00C\r\n more of it.\r\n0\r\nX-Sum: 7\r\n\r\nGET";
        for cut in 1..body.len() {
            let (data, rest, decoder) = decode(body, cut).unwrap();
            assert_eq!((data.as_slice(), rest), (&b"hello more of it."[..], 3), "{cut}");
            let trailers = decoder.trailers().unwrap();
            assert_eq!(trailers.named("x-sum").next(), Some(&b"7"[..]));
        }
        let (data, rest, decoder) = decode(b"0\r\n\r\n", 9).unwrap();
        assert!(data.is_empty() && rest == 0 && decoder.is_done() && decoder.trailers().is_none());
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for body in [
            "\r\n",
            " 5\r\nhello\r\n",
            "+5\r\nhello\r\n",
            "0x5\r\nhello\r\n",
            "5 \r\nhello\r\n",
            "5\nhello\r\n",
            "5\r\nhello!\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5\r\nhello\r0",
            "5;a\nhello\r\n",
            "5;\0\r\nhello\r\n",
            "g\r\n",
            "-1\r\n",
            "00000000000000005\r\nhello\r\n",
            "10000000000000000\r\n",
            "0\r\nContent-Length: 5\r\n\r\n",
            "0\r\ntransfer-encoding: chunked\r\n\r\n",
            "0\r\nHost: a\r\n\r\n",
            "0\r\n folded: a\r\n\r\n",
            "0\r\nA : b\r\n\r\n",
            "0\r\nA: b\n\r\n",
            "0\r\n\n",
        ] {
            assert!(decode(body.as_bytes(), 3).is_err(), "{body:?}");
        }
        let long = format!("5;{}\r\nhello\r\n", "x".repeat(5000));
        assert_eq!(decode(long.as_bytes(), 700).err(), Some(Fault::Fields));
        let many = format!("0\r\n{}\r\n", "A: b\r\n".repeat(2000));
        assert_eq!(decode(many.as_bytes(), 700).err(), Some(Fault::Fields));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(pieces in prop::collection::vec("[a-z]{1,40}", 0..8), cut in 1usize..50) {
            let mut body = Vec::new();
            for piece in &pieces {
                super::super::encode::chunk(&mut body, piece.as_bytes());
            }
            super::super::encode::last_chunk(&mut body, None);
            let (data, rest, decoder) = decode(&body, cut).unwrap();
            prop_assert_eq!(data, pieces.concat().into_bytes());
            prop_assert!(rest == 0 && decoder.is_done());
        }

        #[test]
        fn no_bytes_are_too_much(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 1usize..50) {
            let _ = decode(&bytes, cut);
        }
    }
}
