//! The stream of an HTTP/2 connection, watched.
//!
//! Between the socket (or TLS) and hyper: gives back what was read to tell the protocols apart,
//! and notes when the client does not take what is written.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use lb_http::{Buffer, Transport};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::proxy::client::Client;

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// A watched stream.
#[derive(Debug)]
pub struct Guard<S> {
    stream: S,
    first: Buffer,
    client: Rc<Client>,
}

impl<S> Guard<S> {
    /// Watches `stream`, of which `first` was read already.
    pub const fn new(stream: S, first: Buffer, client: Rc<Client>) -> Self {
        Self { stream, first, client }
    }

    fn note<T>(&self, written: Poll<T>) -> Poll<T> {
        self.client.state().set_stalled(written.is_pending());
        written
    }
}

impl<S: Transport> AsyncRead for Guard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let first = self.first.filled();
        let taken = first.len().min(buf.remaining());
        buf.put_slice(&first[..taken]);
        self.first.consume(taken);
        Poll::Ready(Ok(()))
    }
}

impl<S: Transport> AsyncWrite for Guard<S> {
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
