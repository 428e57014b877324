//! Where a body ends, whatever says so (RFC 9112, 6.3).

use super::{chunked::ChunkDecoder, head::Fault};
use crate::fields::Fields;

/// What the head says about the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLength {
    /// There is none.
    Empty,
    /// It has this many bytes, at least one.
    Exact(u64),
    /// It says itself when it ends.
    Chunked,
    /// It ends with the connection.
    UntilClose,
}

/// The place in a body.
#[derive(Debug, Clone)]
pub enum BodyDecoder {
    /// At the end.
    Done,
    /// So many bytes before it.
    Exact(u64),
    /// In a chunked body.
    Chunked(Box<ChunkDecoder>),
    /// In a body that the end of the connection ends.
    UntilClose,
}

/// What comes next in the bytes that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// So many bytes to skip, then so many of data.
    Data(usize, usize),
    /// So many bytes to skip, then more must be read.
    More(usize),
    /// So many bytes to skip, then the body is over.
    End(usize),
}

impl BodyDecoder {
    /// Before the first byte.
    pub fn new(length: BodyLength) -> Self {
        match length {
            BodyLength::Empty | BodyLength::Exact(0) => Self::Done,
            BodyLength::Exact(left) => Self::Exact(left),
            BodyLength::Chunked => Self::Chunked(Box::default()),
            BodyLength::UntilClose => Self::UntilClose,
        }
    }

    /// Whether nothing more comes, as far as was read.
    pub fn is_done(&self) -> bool {
        match self {
            Self::Done => true,
            Self::Chunked(chunks) => chunks.is_done(),
            Self::Exact(_) | Self::UntilClose => false,
        }
    }

    /// Looks at the front of `input`. Call [`BodyDecoder::took`] for the data used.
    ///
    /// # Errors
    ///
    /// A [`Fault`] in the framing.
    pub fn next(&mut self, input: &[u8]) -> Result<Step, Fault> {
        match self {
            Self::Done => Ok(Step::End(0)),
            Self::Exact(_) | Self::UntilClose if input.is_empty() => Ok(Step::More(0)),
            Self::Exact(left) => Ok(Step::Data(0, (*left).min(input.len() as u64) as usize)),
            Self::UntilClose => Ok(Step::Data(0, input.len())),
            Self::Chunked(chunks) => {
                let (skip, there) = chunks.frame(input)?;
                Ok(match there {
                    0 if chunks.is_done() => Step::End(skip),
                    0 => Step::More(skip),
                    there => Step::Data(skip, there),
                })
            }
        }
    }

    /// Notes that `bytes` of data were used.
    pub fn took(&mut self, bytes: usize) {
        match self {
            Self::Exact(left) => {
                *left = left.saturating_sub(bytes as u64);
                if *left == 0 {
                    *self = Self::Done;
                }
            }
            Self::Chunked(chunks) => chunks.took(bytes),
            Self::Done | Self::UntilClose => {}
        }
    }

    /// Whether the end of the connection may stand here.
    pub fn may_close(&self) -> bool {
        self.is_done() || matches!(self, Self::UntilClose)
    }

    /// The trailer fields behind a body that is done.
    pub fn trailers(&self) -> Option<&Fields> {
        match self {
            Self::Chunked(chunks) => chunks.trailers(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exact_body_leaves_what_is_behind_it() {
        let mut body = BodyDecoder::new(BodyLength::Exact(5));
        assert_eq!(body.next(b""), Ok(Step::More(0)));
        assert_eq!(body.next(b"abc"), Ok(Step::Data(0, 3)));
        body.took(3);
        assert!(!body.may_close());
        assert_eq!(body.next(b"deGET"), Ok(Step::Data(0, 2)));
        body.took(2);
        assert!(body.is_done());
        assert_eq!(body.next(b"GET"), Ok(Step::End(0)));
    }

    #[test]
    fn a_chunked_body_is_over_with_its_last_line() {
        let mut body = BodyDecoder::new(BodyLength::Chunked);
        assert_eq!(body.next(b"2\r\nab\r\n0\r\n\r\nGET"), Ok(Step::Data(3, 2)));
        body.took(2);
        assert_eq!(body.next(b"\r\n0\r\n"), Ok(Step::More(5)));
        assert!(!body.may_close());
        assert_eq!(body.next(b"\r\nGET"), Ok(Step::End(2)));
        assert!(body.is_done() && body.trailers().is_none());
    }

    #[test]
    fn only_a_body_without_a_length_ends_with_the_connection() {
        let mut body = BodyDecoder::new(BodyLength::UntilClose);
        assert_eq!(body.next(b"abc"), Ok(Step::Data(0, 3)));
        body.took(3);
        assert!(body.may_close() && !body.is_done());
        assert!(BodyDecoder::new(BodyLength::Empty).may_close());
    }
}
