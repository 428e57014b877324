//! The buffers that connections read into, lent by the thread.
//!
//! A connection holds one only while it has bytes that nobody has taken yet: it waits until
//! there is something to read, then takes a buffer, and an empty one goes back. So ten thousand
//! idle connections hold none, and the few that are busy share the same warm memory.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// Bytes of a buffer. Large bodies take fewer calls the larger it is; 64 KiB of a body and the head
/// before it fit.
pub const SIZE: usize = 68 << 10;

/// Buffers that a thread keeps for the next connection.
const KEPT: usize = 64;

thread_local! {
    static FREE: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// A stream that can be waited for without a buffer.
pub trait Transport: AsyncRead + AsyncWrite + Unpin + 'static {
    /// Is ready when a read may have bytes, the end, or a failure to tell.
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

impl Transport for TcpStream {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(cx)
    }
}

/// Bytes that were read and not taken yet.
#[derive(Debug, Default)]
pub struct Buffer {
    bytes: Option<Box<[u8]>>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// Without bytes.
    pub const fn new() -> Self {
        Self { bytes: None, start: 0, end: 0 }
    }

    /// With these bytes in it.
    pub fn with(bytes: &[u8]) -> Self {
        let mut buffer = Self::new();
        if !bytes.is_empty() {
            let mut room = take();
            if room.len() < bytes.len() {
                room = vec![0; bytes.len()].into_boxed_slice();
            }
            room[..bytes.len()].copy_from_slice(bytes);
            buffer = Self { bytes: Some(room), start: 0, end: bytes.len() };
        }
        buffer
    }

    /// The bytes.
    pub fn filled(&self) -> &[u8] {
        match &self.bytes {
            Some(bytes) => bytes.get(self.start..self.end).unwrap_or_default(),
            None => &[],
        }
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Drops the first `count` bytes.
    pub fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        if self.start == self.end {
            self.release();
        }
    }

    /// Reads what is there, behind the bytes that are there already; 0 bytes are the end.
    ///
    /// # Errors
    ///
    /// What the stream says; and [`io::ErrorKind::OutOfMemory`] at `most` bytes without a taker.
    pub fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut impl Transport,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        if self.bytes.is_none() {
            ready!(stream.poll_readable(cx))?;
        }
        let read = loop {
            let room = self.room(most)?;
            let mut into = ReadBuf::new(room);
            match Pin::new(&mut *stream).poll_read(cx, &mut into) {
                Poll::Ready(Ok(())) => break into.filled().len(),
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Poll::Ready(Err(error)) => {
                    self.release_if_empty();
                    return Poll::Ready(Err(error));
                }
                Poll::Pending => {
                    self.release_if_empty();
                    return Poll::Pending;
                }
            }
        };
        self.end += read;
        self.release_if_empty();
        Poll::Ready(Ok(read))
    }

    /// Room behind the bytes, made by moving them or by a larger buffer where there is none.
    fn room(&mut self, most: usize) -> io::Result<&mut [u8]> {
        let bytes = self.bytes.get_or_insert_with(take);
        if self.end == bytes.len() && self.start > 0 {
            bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == bytes.len() {
            if bytes.len() >= most {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            let mut larger = vec![0; (bytes.len() * 2).min(most)].into_boxed_slice();
            larger[..self.end].copy_from_slice(bytes);
            give(std::mem::replace(bytes, larger));
        }
        Ok(&mut bytes[self.end..])
    }

    fn release_if_empty(&mut self) {
        if self.is_empty() {
            self.release();
        }
    }

    fn release(&mut self) {
        (self.start, self.end) = (0, 0);
        if let Some(bytes) = self.bytes.take() {
            give(bytes);
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.release();
    }
}

fn take() -> Box<[u8]> {
    let free = FREE.try_with(|free| free.borrow_mut().pop()).ok().flatten();
    free.unwrap_or_else(|| vec![0; SIZE].into_boxed_slice())
}

fn give(bytes: Box<[u8]>) {
    if bytes.len() == SIZE {
        // At the end of the thread there is nobody to keep it for.
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < KEPT {
                free.push(bytes);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::{io::AsyncWriteExt, net::TcpListener};

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let one = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (one, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn a_buffer_is_held_only_while_it_has_bytes() {
        let (mut near, mut far) = pair().await;
        let mut buffer = Buffer::new();
        let waits = poll_fn(|cx| Poll::Ready(buffer.poll_fill(cx, &mut near, SIZE).is_pending()));
        assert!(waits.await);
        assert!(buffer.bytes.is_none());
        far.write_all(b"hello").await.unwrap();
        assert_eq!(poll_fn(|cx| buffer.poll_fill(cx, &mut near, SIZE)).await.unwrap(), 5);
        buffer.consume(2);
        assert_eq!(buffer.filled(), b"llo");
        far.write_all(b"!").await.unwrap();
        poll_fn(|cx| buffer.poll_fill(cx, &mut near, SIZE)).await.unwrap();
        assert_eq!(buffer.filled(), b"llo!");
        buffer.consume(4);
        assert!(buffer.bytes.is_none());
        drop(far);
        assert_eq!(poll_fn(|cx| buffer.poll_fill(cx, &mut near, SIZE)).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_buffer_grows_to_its_limit_and_not_further() {
        let (mut near, mut far) = pair().await;
        tokio::spawn(async move {
            far.write_all(&vec![7; 4 * SIZE]).await.unwrap_or_default();
        });
        let mut buffer = Buffer::new();
        let error = loop {
            match poll_fn(|cx| buffer.poll_fill(cx, &mut near, SIZE + 1000)).await {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
        assert_eq!(buffer.filled(), vec![7; SIZE + 1000]);
    }

    #[test]
    fn bytes_can_be_put_back() {
        assert_eq!(Buffer::with(b"abc").filled(), b"abc");
        assert_eq!(Buffer::with(&vec![1; 2 * SIZE]).filled().len(), 2 * SIZE);
        assert!(Buffer::with(b"").is_empty());
    }
}
