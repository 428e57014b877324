//! A body on its way in from a stream: bytes, and where they end.

use std::{
    io,
    task::{Context, Poll, ready},
};

use crate::{
    buffer::{Buffer, SIZE, Transport},
    fields::Fields,
    h1::{BodyDecoder, BodyLength, Fault, Step},
    source::Part,
};

/// Why a body cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The stream failed.
    #[error("could not read the body")]
    Io(#[source] io::Error),
    /// The stream ended before the body did.
    #[error("the body is incomplete")]
    Incomplete,
    /// Its framing is wrong.
    #[error("the body is malformed")]
    Malformed(#[source] Fault),
}

/// What a stream has brought, seen as a body and what follows it.
#[derive(Debug)]
pub struct Incoming {
    /// The bytes.
    pub buffer: Buffer,
    decoder: BodyDecoder,
    /// Bytes of data at the front of the buffer.
    there: usize,
}

impl Default for Incoming {
    fn default() -> Self {
        Self::new(Buffer::new())
    }
}

impl Incoming {
    /// Without a body so far.
    pub const fn new(buffer: Buffer) -> Self {
        Self { buffer, decoder: BodyDecoder::Done, there: 0 }
    }

    /// Takes what comes next for a body.
    pub fn expect(&mut self, length: BodyLength) {
        self.decoder = BodyDecoder::new(length);
        self.there = 0;
    }

    /// Whether the body was used to its end.
    pub fn is_done(&self) -> bool {
        self.there == 0 && self.decoder.is_done()
    }

    /// Reads on until there is data, or the end.
    ///
    /// # Errors
    ///
    /// [`ReadError`]; the body is of no use any more.
    pub fn poll_part(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut impl Transport,
    ) -> Poll<Result<Part, ReadError>> {
        loop {
            if let Some(part) = self.part()? {
                return Poll::Ready(Ok(part));
            }
            let read = ready!(self.buffer.poll_fill(cx, stream, SIZE)).map_err(ReadError::Io)?;
            if read == 0 {
                if !self.decoder.may_close() {
                    return Poll::Ready(Err(ReadError::Incomplete));
                }
                self.decoder = BodyDecoder::Done;
            }
        }
    }

    /// The part that is there without reading.
    ///
    /// # Errors
    ///
    /// [`ReadError::Malformed`].
    pub fn part(&mut self) -> Result<Option<Part>, ReadError> {
        if self.there > 0 {
            return Ok(Some(Part::Data));
        }
        let step = self.decoder.next(self.buffer.filled()).map_err(ReadError::Malformed)?;
        let (skip, part) = match step {
            Step::Data(skip, there) => {
                self.there = there;
                (skip, Some(Part::Data))
            }
            Step::More(skip) => (skip, None),
            Step::End(skip) => (skip, Some(Part::End)),
        };
        if skip > 0 {
            self.buffer.consume(skip);
        }
        Ok(part)
    }

    /// The data that is there.
    pub fn data(&self) -> &[u8] {
        self.buffer.filled().get(..self.there).unwrap_or_default()
    }

    /// Drops the first `count` bytes of it.
    pub fn consume(&mut self, count: usize) {
        let count = count.min(self.there);
        self.there -= count;
        self.decoder.took(count);
        self.buffer.consume(count);
    }

    /// The trailers behind the end.
    pub fn trailers(&self) -> Option<&Fields> {
        self.decoder.trailers()
    }
}
