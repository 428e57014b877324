//! The stream of a connection, watched.
//!
//! Between the socket (or TLS) and the parser: shows what is read to the [`HeadScanner`], notes
//! when the client does not take what is written, and gives back the few bytes that were read to
//! tell the protocols apart.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use lb_http::Reason;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::{
    connection::ConnectionState,
    head::{HeadFault, HeadScanner},
};

/// How an HTTP/2 client begins (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A watched stream.
#[derive(Debug)]
pub struct Guard<S> {
    stream: S,
    state: Arc<ConnectionState>,
    scanner: Option<HeadScanner>,
    first: [u8; PREFACE.len()],
    first_at: u8,
    first_len: u8,
}

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Guard<S> {
    /// Watches `stream` for `state`.
    pub const fn new(stream: S, state: Arc<ConnectionState>) -> Self {
        Self { stream, state, scanner: None, first: [0; PREFACE.len()], first_at: 0, first_len: 0 }
    }

    /// Reads just enough to tell HTTP/2 by its preface; the parser gets the same bytes again.
    /// The end of the stream counts as HTTP/1.
    pub async fn detect(&mut self) -> io::Result<Protocol> {
        loop {
            let len = usize::from(self.first_len);
            if self.first[..len] != PREFACE[..len] {
                return Ok(Protocol::Http1);
            }
            if len == PREFACE.len() {
                return Ok(Protocol::Http2);
            }
            match self.stream.read(&mut self.first[len..]).await? {
                0 => return Ok(Protocol::Http1),
                read => self.first_len += read as u8,
            }
        }
    }

    /// Has request heads looked at from here on.
    pub fn scan(&mut self, scanner: HeadScanner) {
        self.scanner = Some(scanner);
    }

    /// The stream as it was.
    pub fn into_inner(self) -> S {
        self.stream
    }

    fn look(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(scanner) = &mut self.scanner else {
            return Ok(());
        };
        if self.state.is_opaque() {
            self.scanner = None;
            return Ok(());
        }
        let result = scanner.scan(bytes);
        if let Some(number) = scanner.ambiguous() {
            self.state.set_ambiguous(number);
        }
        self.state.set_within_head(scanner.is_within_head());
        result.map_err(|fault| {
            self.state.refuse(match fault {
                HeadFault::RequestLine => Reason::UriTooLong,
                HeadFault::Fields => Reason::HeaderTooLarge,
            });
            io::Error::new(io::ErrorKind::InvalidData, "request head over a limit")
        })
    }

    fn note<T>(&self, written: Poll<T>) -> Poll<T> {
        self.state.set_stalled(written.is_pending());
        written
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Guard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        if this.first_at < this.first_len {
            let waiting = &this.first[usize::from(this.first_at)..usize::from(this.first_len)];
            let taken = waiting.len().min(buf.remaining());
            buf.put_slice(&waiting[..taken]);
            this.first_at += taken as u8;
        } else {
            ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        }
        Poll::Ready(this.look(&buf.filled()[before..]))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.note(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
