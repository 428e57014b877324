//! The body of a response on its way to a client.
//!
//! An enum and not a boxed trait object: most bodies are a few frames, and a virtual call and an
//! allocation a request would buy nothing. A streaming body carries a [`Watch`] that learns how
//! many bytes passed and how it ended; dropping the body before its end is an end too. Frames
//! pass untouched, trailers included. Buffering and transforming are not done here.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use crate::{Pause, Reason};

/// How a streaming body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Every byte was handed on.
    Complete,
    /// The source failed.
    Failed(Reason),
    /// The reader went away first.
    Aborted,
}

/// Learns what becomes of a streaming body.
pub trait Watch {
    /// `bytes` more were handed on.
    fn on_data(&mut self, bytes: usize);

    /// The body is over; called exactly once.
    fn on_end(&mut self, end: End);
}

/// A response body.
#[derive(Debug)]
pub enum Body<W: Watch> {
    /// No bytes.
    Empty,
    /// Bytes in memory, handed on once.
    Full(Bytes),
    /// Bytes as a backend sends them.
    Streaming(Streaming<W>),
}

/// A body that ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The source failed.
    #[error("could not read the body")]
    Source(#[source] hyper::Error),
    /// Nothing came for too long, or the exchange as a whole took too long.
    #[error("the body took too long")]
    TooLong,
}

/// A body passed on frame by frame.
#[derive(Debug)]
pub struct Streaming<W: Watch> {
    source: Incoming,
    pause: Pause,
    watch: W,
    ended: bool,
}

impl<W: Watch> Body<W> {
    /// Passes `source` on under the eyes of `watch`. A source without a byte ends at once.
    pub fn streaming(source: Incoming, pause: Pause, mut watch: W) -> Self {
        if source.is_end_stream() {
            watch.on_end(End::Complete);
            return Self::Empty;
        }
        Self::Streaming(Streaming { source, pause, watch, ended: false })
    }
}

impl<W: Watch> Streaming<W> {
    fn end(&mut self, end: End) {
        if !self.ended {
            self.ended = true;
            self.watch.on_end(end);
        }
    }
}

impl<W: Watch> Drop for Streaming<W> {
    fn drop(&mut self) {
        self.end(End::Aborted);
    }
}

impl<W: Watch + Unpin> HttpBody for Streaming<W> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Poll::Ready(next) = Pin::new(&mut this.source).poll_frame(cx) else {
            ready!(this.pause.poll_too_long(cx));
            this.end(End::Failed(Reason::UpstreamTimeout));
            return Poll::Ready(Some(Err(BodyError::TooLong)));
        };
        this.pause.end();
        Poll::Ready(match next {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    this.watch.on_data(data.len());
                }
                if this.source.is_end_stream() {
                    this.end(End::Complete);
                }
                Some(Ok(frame))
            }
            Some(Err(error)) => {
                this.end(End::Failed(Reason::UpstreamReset));
                Some(Err(BodyError::Source(error)))
            }
            None => {
                this.end(End::Complete);
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.source.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.source.size_hint()
    }
}

impl<W: Watch + Unpin> HttpBody for Body<W> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Self::Streaming(streaming) => Pin::new(streaming).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_empty(),
            Self::Streaming(streaming) => streaming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Streaming(streaming) => streaming.size_hint(),
        }
    }
}
