//! The body of a request on its way to a backend.
//!
//! It counts, enforces the entry point's size limit and its longest pause, and leaves word of
//! what went wrong in an [`UploadState`] that the request's own task reads: the connection to
//! the backend only sees a body that failed. A request without a body allocates nothing.

use std::{
    cell::Cell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use crate::{Pause, Reason};

/// What is known of a request body while it is sent.
#[derive(Debug, Default)]
pub struct UploadState {
    started: Cell<bool>,
    done: Cell<bool>,
    bytes: Cell<u64>,
    fault: Cell<Option<Reason>>,
}

impl UploadState {
    /// Whether a byte was taken from the client: from then on the request cannot be sent anew.
    pub const fn has_started(&self) -> bool {
        self.started.get()
    }

    /// Whether the last byte was handed on.
    pub const fn is_done(&self) -> bool {
        self.done.get()
    }

    /// Bytes handed on so far.
    pub const fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// Why the body broke off, if the client is to blame.
    pub const fn fault(&self) -> Option<Reason> {
        self.fault.get()
    }
}

/// A request body.
#[derive(Debug)]
pub enum Upload {
    /// No bytes.
    Empty,
    /// Bytes as the client sends them.
    Streaming(Box<Sending>),
}

/// A request body passed on frame by frame.
#[derive(Debug)]
pub struct Sending {
    source: Incoming,
    left: u64,
    pause: Pause,
    state: Rc<UploadState>,
}

/// A request body that broke off.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The client failed or went away.
    #[error("could not read the request body")]
    Source(#[source] hyper::Error),
    /// More bytes came than the entry point allows.
    #[error("the request body is too large")]
    TooLarge,
    /// Nothing came for too long.
    #[error("the request body took too long")]
    TooLong,
}

impl Upload {
    /// Passes `source` on, at most `limit` bytes of it, and says how it fares in the state
    /// returned. There is none for a request without a body.
    pub fn new(
        source: Incoming,
        limit: Option<u64>,
        pause: Pause,
    ) -> (Self, Option<Rc<UploadState>>) {
        if source.is_end_stream() {
            return (Self::Empty, None);
        }
        let state = Rc::new(UploadState::default());
        let sending =
            Sending { source, left: limit.unwrap_or(u64::MAX), pause, state: Rc::clone(&state) };
        (Self::Streaming(Box::new(sending)), Some(state))
    }
}

impl Sending {
    fn fail(&mut self, reason: Reason) {
        self.state.fault.set(Some(reason));
    }

    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        self.state.started.set(true);
        let Poll::Ready(next) = Pin::new(&mut self.source).poll_frame(cx) else {
            ready!(self.pause.poll_too_long(cx));
            self.fail(Reason::RequestTimeout);
            return Poll::Ready(Some(Err(UploadError::TooLong)));
        };
        self.pause.end();
        Poll::Ready(match next {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                if bytes > self.left {
                    self.fail(Reason::RequestTooLarge);
                    return Poll::Ready(Some(Err(UploadError::TooLarge)));
                }
                self.left -= bytes;
                self.state.bytes.set(self.state.bytes.get() + bytes);
                if self.source.is_end_stream() {
                    self.state.done.set(true);
                }
                Some(Ok(frame))
            }
            Some(Err(error)) => {
                // Bad framing is the client's doing, as is going away in the middle.
                self.fail(Reason::BadRequest);
                Some(Err(UploadError::Source(error)))
            }
            None => {
                self.state.done.set(true);
                None
            }
        })
    }
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Streaming(sending) => sending.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streaming(sending) => sending.source.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Streaming(sending) => sending.source.size_hint(),
        }
    }
}
