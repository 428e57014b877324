//! A body that is read where it lies.
//!
//! Whoever reads polls for the next part, looks at its bytes and says how many it used; nothing
//! is copied and nothing allocated to hand it over. Both fronts give request bodies this way and
//! backends give response bodies.

use std::task::{Context, Poll};

use crate::{
    Reason,
    fields::Fields,
    h1::{BodyLength, ResponseHead},
};

/// What comes next in a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Bytes.
    Data,
    /// Nothing more; there may be trailers.
    End,
}

/// A request body on its way to a backend.
pub trait Source {
    /// How long it says it is.
    fn length(&self) -> BodyLength;

    /// Is ready when there is a part.
    ///
    /// # Errors
    ///
    /// Why the body broke off, which is not the backend's fault.
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Part, Reason>>;

    /// The bytes of the part that [`Source::poll_part`] found.
    fn data(&self) -> &[u8];

    /// Drops the first `count` of them.
    fn consume(&mut self, count: usize);

    /// The trailers behind the end.
    fn trailers(&self) -> Option<&Fields>;

    /// Takes an answer that is not the last, such as 103, to hand it on if the client can be told.
    fn interim(&mut self, head: &ResponseHead);

    /// Sees to the client while the backend is waited for: sends what [`Source::interim`] took,
    /// and notices that the client went away.
    ///
    /// # Errors
    ///
    /// Why nobody waits for the answer any more.
    fn attend(&mut self, cx: &mut Context<'_>) -> Result<(), Reason>;
}

/// The body of a request without one.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoBody;

impl Source for NoBody {
    fn length(&self) -> BodyLength {
        BodyLength::Empty
    }

    fn poll_part(&mut self, _: &mut Context<'_>) -> Poll<Result<Part, Reason>> {
        Poll::Ready(Ok(Part::End))
    }

    fn data(&self) -> &[u8] {
        &[]
    }

    fn consume(&mut self, _: usize) {}

    fn trailers(&self) -> Option<&Fields> {
        None
    }

    fn interim(&mut self, _: &ResponseHead) {}

    fn attend(&mut self, _: &mut Context<'_>) -> Result<(), Reason> {
        Ok(())
    }
}
