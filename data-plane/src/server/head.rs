//! Looks at HTTP/1 request heads before the parser does.
//!
//! The parser accepts a head that has both `Content-Length` and `Transfer-Encoding` and removes
//! the former without a trace, while RFC 9112 (6.1) lets a server refuse it, as a request
//! smuggler's tool. It also has one limit where operators set two, for the request line and for
//! the fields. Both can only be seen in the bytes. So they are followed here: lines of heads,
//! and the framing of bodies just well enough to know where the next head begins. Bodies are
//! skipped, not read.
//!
//! Nothing is judged here that the parser judges as well. Where it would refuse what this
//! follows wrongly, such as a malformed chunk, the connection ends and the difference with it.

/// Limits on a head, in bytes; `usize::MAX` is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// Method, target and version.
    pub request_line: usize,
    /// All fields together.
    pub fields: usize,
}

/// A head that must not be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadFault {
    /// The request line is too long.
    RequestLine,
    /// The fields are too large.
    Fields,
}

/// Follows the requests of one connection.
#[derive(Debug)]
pub struct HeadScanner {
    limits: HeadLimits,
    state: State,
    /// The beginning of a line whose end has not come yet.
    partial: Vec<u8>,
    heads: u64,
    ambiguous: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Before a request line.
    Start,
    /// Within the fields of a head.
    Fields { seen: usize, framing: Framing },
    /// Within a body or a chunk.
    Skip { left: u64, then: Then },
    /// Within the line that holds the size of a chunk.
    ChunkSize { size: u64, digits: bool },
    /// Within the trailer fields, at the start of a line or not.
    Trailers { line_is_empty: bool },
    /// Not HTTP/1 any more.
    Opaque,
}

#[derive(Debug, Clone, Copy)]
enum Then {
    Head,
    Chunk,
}

#[derive(Debug, Clone, Copy, Default)]
struct Framing {
    length: Option<u64>,
    chunked: bool,
}

impl HeadScanner {
    /// A scanner for a new connection.
    pub const fn new(limits: HeadLimits) -> Self {
        Self { limits, state: State::Start, partial: Vec::new(), heads: 0, ambiguous: None }
    }

    /// Stops looking: what follows is not HTTP/1.
    pub fn stop(&mut self) {
        self.state = State::Opaque;
        self.partial = Vec::new();
    }

    /// The number, from 1, of the first request with an ambiguous length.
    pub const fn ambiguous(&self) -> Option<u64> {
        self.ambiguous
    }

    /// Whether a head has begun and not ended.
    pub const fn is_within_head(&self) -> bool {
        match self.state {
            State::Start => !self.partial.is_empty(),
            State::Fields { .. } => true,
            _ => false,
        }
    }

    /// Follows `bytes`, the next of the connection.
    pub fn scan(&mut self, mut bytes: &[u8]) -> Result<(), HeadFault> {
        while let Some(first) = bytes.first() {
            match &mut self.state {
                State::Start | State::Fields { .. } => bytes = self.line(bytes)?,
                State::Skip { left, then } => {
                    let skipped = (*left).min(bytes.len() as u64);
                    *left -= skipped;
                    bytes = &bytes[skipped as usize..];
                    if *left == 0 {
                        self.state = match then {
                            Then::Head => State::Start,
                            Then::Chunk => State::ChunkSize { size: 0, digits: true },
                        };
                    }
                }
                State::ChunkSize { size, digits } => {
                    bytes = &bytes[1..];
                    if *first == b'\n' {
                        self.state = if *size == 0 {
                            State::Trailers { line_is_empty: true }
                        } else {
                            State::Skip { left: size.saturating_add(2), then: Then::Chunk }
                        };
                    } else if let (true, Some(digit)) = (*digits, char::from(*first).to_digit(16)) {
                        *size = size.saturating_mul(16).saturating_add(u64::from(digit));
                    } else {
                        *digits = false;
                    }
                }
                State::Trailers { line_is_empty } => {
                    bytes = &bytes[1..];
                    match *first {
                        b'\n' if *line_is_empty => self.state = State::Start,
                        b'\n' => *line_is_empty = true,
                        b'\r' => {}
                        _ => *line_is_empty = false,
                    }
                }
                State::Opaque => return Ok(()),
            }
        }
        Ok(())
    }

    /// Takes a line of a head, or the part of it that is there; returns what follows it.
    fn line<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], HeadFault> {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
            self.check(self.partial.len() + bytes.len())?;
            self.partial.extend_from_slice(bytes);
            return Ok(&[]);
        };
        let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
        if self.partial.is_empty() {
            self.whole_line(line)?;
        } else {
            let mut whole = std::mem::take(&mut self.partial);
            whole.extend_from_slice(line);
            self.whole_line(&whole)?;
        }
        Ok(rest)
    }

    const fn check(&self, line: usize) -> Result<(), HeadFault> {
        match self.state {
            State::Fields { seen, .. } if seen.saturating_add(line) > self.limits.fields => {
                Err(HeadFault::Fields)
            }
            State::Start if line > self.limits.request_line => Err(HeadFault::RequestLine),
            _ => Ok(()),
        }
    }

    fn whole_line(&mut self, line: &[u8]) -> Result<(), HeadFault> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        self.check(line.len())?;
        match &mut self.state {
            // The parser skips empty lines before a request as well (RFC 9112, 2.2).
            State::Start if line.is_empty() => {}
            State::Start => {
                self.state = State::Fields { seen: 0, framing: Framing::default() };
            }
            State::Fields { framing, .. } if line.is_empty() => {
                let framing = *framing;
                self.end_of_head(framing);
            }
            State::Fields { seen, framing } => {
                *seen += line.len() + 2;
                framing.field(line);
            }
            _ => {}
        }
        Ok(())
    }

    fn end_of_head(&mut self, framing: Framing) {
        self.heads += 1;
        if framing.chunked && framing.length.is_some() {
            self.ambiguous.get_or_insert(self.heads);
        }
        self.state = match framing {
            Framing { chunked: true, .. } => State::ChunkSize { size: 0, digits: true },
            Framing { length: Some(left @ 1..), .. } => State::Skip { left, then: Then::Head },
            Framing { .. } => State::Start,
        };
    }
}

impl Framing {
    fn field(&mut self, line: &[u8]) {
        // Most fields begin otherwise.
        if !matches!(line.first(), Some(b'c' | b'C' | b't' | b'T')) {
            return;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            let number = std::str::from_utf8(value).ok().and_then(|v| v.parse().ok());
            self.length = Some(number.unwrap_or(0));
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.chunked = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: HeadLimits = HeadLimits { request_line: 64, fields: 200 };

    const TRAFFIC: &str = "\r\nPOST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n\
        GET / HTTP/1.1\r\n\r\nab\
        POST /b HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n\
        1a;x=y\r\nContent-Length: 3\r\n\r\nabcd\n\r\n0\r\nX-Trailer: 1\r\n\r\n\
        GET /c HTTP/1.1\r\nHost: x\r\n\r\n\
        POST /d HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n";

    proptest! {
        #[test]
        fn heads_are_found_however_the_bytes_arrive(cuts in prop::collection::vec(1usize..40, 1..40)) {
            let mut scanner = HeadScanner::new(LIMITS);
            let mut rest = TRAFFIC.as_bytes();
            for cut in cuts.iter().cycle() {
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                prop_assert_eq!(scanner.scan(now), Ok(()));
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!((scanner.heads, scanner.ambiguous()), (4, Some(4)));
        }
    }

    #[test]
    fn two_lengths_are_ambiguous_in_either_order() {
        for fields in [
            "Content-Length: 0\r\nTransfer-Encoding: chunked",
            "TRANSFER-ENCODING:chunked\r\ncontent-length:5",
        ] {
            let mut scanner = HeadScanner::new(LIMITS);
            let head = format!("POST / HTTP/1.1\r\n{fields}\r\n\r\n");
            assert_eq!(scanner.scan(head.as_bytes()), Ok(()));
            assert_eq!(scanner.ambiguous(), Some(1));
        }
    }

    #[test]
    fn limits_hold_before_a_line_is_complete() {
        let mut scanner = HeadScanner::new(LIMITS);
        assert_eq!(scanner.scan(&[b'a'; 64]), Ok(()));
        assert!(scanner.is_within_head());
        assert_eq!(scanner.scan(b"b"), Err(HeadFault::RequestLine));

        let mut scanner = HeadScanner::new(LIMITS);
        assert_eq!(scanner.scan(b"GET / HTTP/1.1\r\n"), Ok(()));
        for _ in 0..5 {
            assert_eq!(scanner.scan(&[b"x: ", &[b'a'; 35][..], b"\r\n"].concat()), Ok(()));
        }
        assert_eq!(scanner.scan(b"y"), Err(HeadFault::Fields));
    }
}
