//! Where a request ends, and the little that the origin wants to know of it.

use std::io;

/// The longest head, or line of a chunk.
const LONGEST: usize = 64 << 10;

/// What a request asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Request {
    /// The answer of 64 KiB.
    pub(super) wants_large: bool,
    /// No other follows on this connection.
    pub(super) is_last: bool,
}

/// Takes bytes as they come, gives requests as they are whole.
#[derive(Debug, Default)]
pub(super) struct Reader {
    bytes: Vec<u8>,
    /// From where on the bytes are not looked at yet.
    at: usize,
    request: Request,
    expects: Expects,
}

#[derive(Debug, Clone, Copy, Default)]
enum Expects {
    #[default]
    Head,
    /// So many bytes, and then, in chunks, the size of the next one.
    Body {
        left: usize,
        in_chunks: bool,
    },
    ChunkSize,
    /// The empty line behind the last chunk.
    End,
}

impl Reader {
    /// Takes more bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.at);
        self.at = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next request whose last byte is there.
    pub(super) fn next(&mut self) -> io::Result<Option<Request>> {
        loop {
            let whole = match self.expects {
                Expects::Head => match self.until(b"\r\n\r\n")? {
                    Some(head) => self.head(head)?,
                    None => return Ok(None),
                },
                Expects::Body { left, in_chunks } => {
                    let there = left.min(self.bytes.len() - self.at);
                    self.at += there;
                    if there < left {
                        self.expects = Expects::Body { left: left - there, in_chunks };
                        return Ok(None);
                    }
                    self.expects = Expects::ChunkSize;
                    !in_chunks
                }
                Expects::ChunkSize => match self.until(b"\r\n")? {
                    Some((from, to)) => {
                        let size = chunk_size(&self.bytes[from..to]).ok_or_else(malformed)?;
                        self.expects = match size {
                            0 => Expects::End,
                            // A line ends behind each chunk.
                            _ => Expects::Body { left: size + 2, in_chunks: true },
                        };
                        false
                    }
                    None => return Ok(None),
                },
                Expects::End => match self.until(b"\r\n")? {
                    // Fields behind the body end with an empty line.
                    Some((from, to)) => from == to,
                    None => return Ok(None),
                },
            };
            if whole {
                self.expects = Expects::Head;
                return Ok(Some(std::mem::take(&mut self.request)));
            }
        }
    }

    /// The bytes up to `end`, which are then behind us.
    fn until(&mut self, end: &[u8]) -> io::Result<Option<(usize, usize)>> {
        let rest = &self.bytes[self.at..];
        let Some(length) = rest.windows(end.len()).position(|window| window == end) else {
            return if rest.len() > LONGEST { Err(malformed()) } else { Ok(None) };
        };
        let from = self.at;
        self.at += length + end.len();
        Ok(Some((from, from + length)))
    }

    /// Reads a head; true when nothing follows it.
    fn head(&mut self, (from, to): (usize, usize)) -> io::Result<bool> {
        let head = std::str::from_utf8(&self.bytes[from..to]).map_err(|_| malformed())?;
        let mut lines = head.split("\r\n");
        let path = lines.next().and_then(|line| line.split(' ').nth(1)).ok_or_else(malformed)?;
        self.request.wants_large = path == "/64k";
        let (mut length, mut in_chunks) = (0, false);
        for line in lines {
            let (name, value) = line.split_once(':').ok_or_else(malformed)?;
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                length = value.parse().map_err(|_| malformed())?;
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                in_chunks = true;
            } else if name.eq_ignore_ascii_case("connection") {
                self.request.is_last = value.eq_ignore_ascii_case("close");
            }
        }
        self.expects =
            if in_chunks { Expects::ChunkSize } else { Expects::Body { left: length, in_chunks } };
        Ok(!in_chunks && length == 0)
    }
}

fn chunk_size(line: &[u8]) -> Option<usize> {
    let digits = line.split(|byte| *byte == b';').next()?;
    usize::from_str_radix(std::str::from_utf8(digits).ok()?.trim(), 16).ok()
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a request that the origin does not understand")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Request = Request { wants_large: false, is_last: false };
    const LARGE: Request = Request { wants_large: true, is_last: false };

    /// What is read when the bytes come in pieces of this size.
    fn read(bytes: &[u8], piece: usize) -> Vec<Request> {
        let (mut reader, mut found) = (Reader::default(), Vec::new());
        for piece in bytes.chunks(piece) {
            reader.push(piece);
            while let Some(request) = reader.next().unwrap() {
                found.push(request);
            }
        }
        found
    }

    #[test]
    fn requests_end_where_they_end_however_they_come() {
        let bytes = b"GET /64k HTTP/1.1\r\nHost: o\r\n\r\n\
            POST /s HTTP/1.1\r\nContent-Length: 5\r\n\r\nGET /\
            POST /s HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nt: 1\r\n\r\n\
            GET /s HTTP/1.1\r\nConnection: close\r\n\r\n";
        let last = Request { is_last: true, ..SMALL };
        for piece in 1..=bytes.len() {
            assert_eq!(read(bytes, piece), [LARGE, SMALL, SMALL, last], "pieces of {piece}");
        }
    }

    #[test]
    fn a_request_is_given_only_when_it_is_whole() {
        assert!(read(b"POST /s HTTP/1.1\r\ncontent-length: 4\r\n\r\nabc", 7).is_empty());
        assert!(read(b"GET /s HTTP/1.1\r\n", 4).is_empty());
    }

    #[test]
    fn what_is_not_a_request_is_an_error() {
        let mut reader = Reader::default();
        reader.push(b"nonsense\r\n\r\n");
        assert!(reader.next().is_err());
    }
}
