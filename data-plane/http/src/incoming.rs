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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::{
        io::AsyncWriteExt,
        net::{TcpListener, TcpStream},
    };

    use super::*;

    /// Reads a body of `length` out of `text`, and gives also what is left behind it.
    async fn read(length: BodyLength, text: &[u8]) -> (Vec<u8>, Vec<u8>, Option<ReadError>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut near, _) = listener.accept().await.unwrap();
        far.write_all(text).await.unwrap();
        drop(far);
        let mut incoming = Incoming::default();
        incoming.expect(length);
        let mut data = Vec::new();
        let error = loop {
            match poll_fn(|cx| incoming.poll_part(cx, &mut near)).await {
                Ok(Part::Data) => {
                    // Not all at once, as from a side that takes little.
                    let count = incoming.data().len().div_ceil(2);
                    data.extend_from_slice(&incoming.data()[..count]);
                    incoming.consume(count);
                }
                Ok(Part::End) => break None,
                Err(error) => break Some(error),
            }
        };
        assert_eq!(incoming.is_done(), error.is_none());
        (data, incoming.buffer.filled().to_vec(), error)
    }

    #[tokio::test]
    async fn a_body_ends_where_its_head_says() {
        for (length, text, data, rest) in [
            (BodyLength::Empty, "GET", "", ""),
            (BodyLength::Exact(5), "helloGET", "hello", "GET"),
            (BodyLength::Chunked, "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\nGET", "hello", "GET"),
            (BodyLength::UntilClose, "hello", "hello", ""),
        ] {
            let (found, left, error) = read(length, text.as_bytes()).await;
            assert!(error.is_none(), "{length:?}: {error:?}");
            assert_eq!((found.as_slice(), left.as_slice()), (data.as_bytes(), rest.as_bytes()));
        }
    }

    #[tokio::test]
    async fn a_body_that_is_cut_or_malformed_is_not_taken_for_a_whole() {
        let (data, _, error) = read(BodyLength::Exact(9), b"hello").await;
        assert!(matches!(error, Some(ReadError::Incomplete)), "{error:?}");
        assert_eq!(data, b"hello");
        let (_, _, error) = read(BodyLength::Chunked, b"5\r\nhello\r\n").await;
        assert!(matches!(error, Some(ReadError::Incomplete)), "{error:?}");
        let (data, _, error) = read(BodyLength::Chunked, b"5\r\nhello!\r\n").await;
        assert!(matches!(error, Some(ReadError::Malformed(_))), "{error:?}");
        assert_eq!(data, b"hello");
    }
}
