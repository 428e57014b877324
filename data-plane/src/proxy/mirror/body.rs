//! A request body on its way to a backend, and to those who get copies beside it.
//!
//! [`Tee`] is told of every byte the backend took. Readers follow at their own pace; what all of
//! them have read is forgotten. So a copy begins before its body has ended, and no more of it is
//! held than the slowest reader lags behind, which the limit on bodies bounds. The client and
//! the backend never wait for a reader.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use lb_http::{
    Fields, Part, Reason, Source,
    h1::{BodyLength, ResponseHead},
};
use lb_model::config::LargeBody;

use super::budget::Budget;

/// How much a reader takes at once.
const PIECE: usize = 16 << 10;

/// What is forgotten at once: moving the rest costs, too.
const TRIM: usize = 64 << 10;

/// The writing side. Dropped before its end, it breaks the copies off.
#[derive(Debug)]
pub struct Tee {
    shared: Rc<RefCell<Shared>>,
    /// Bytes to come, if that is known.
    left: Option<u64>,
    /// Bytes that may still be copied.
    room: u64,
    on_large_body: LargeBody,
}

/// The reading side.
#[derive(Debug)]
pub(super) struct CopiedBody {
    shared: Rc<RefCell<Shared>>,
    reader: usize,
    length: BodyLength,
    current: Vec<u8>,
    used: usize,
}

/// Why a copy has no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// The body is larger than copies may be.
    TooLarge,
    /// There is no room for it.
    NoRoom,
    /// The request itself broke off.
    BrokeOff,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Ended,
    Broken(Broken),
}

#[derive(Debug)]
struct Shared {
    /// What some reader has not read yet.
    data: Vec<u8>,
    /// Where in the body that begins.
    start: usize,
    state: State,
    readers: Vec<Reader>,
    budget: Arc<Budget>,
}

#[derive(Debug, Default)]
struct Reader {
    /// How much of the body it has; nothing once it has gone.
    at: Option<usize>,
    waker: Option<Waker>,
}

impl Tee {
    /// A body of `length`, of which at most `room` bytes are copied. Nothing if there is no
    /// body.
    pub(super) fn new(
        length: BodyLength,
        room: u64,
        on_large_body: LargeBody,
        budget: Arc<Budget>,
    ) -> Option<Self> {
        let left = match length {
            BodyLength::Empty | BodyLength::Exact(0) => return None,
            BodyLength::Exact(length) => Some(length),
            BodyLength::Chunked | BodyLength::UntilClose => None,
        };
        let shared =
            Shared { data: Vec::new(), start: 0, state: State::Open, readers: Vec::new(), budget };
        Some(Self { shared: Rc::new(RefCell::new(shared)), left, room, on_large_body })
    }

    /// Another reader, who will be told that the body has `length`.
    pub(super) fn reader(&self, length: BodyLength) -> CopiedBody {
        let mut shared = self.shared.borrow_mut();
        let reader = shared.readers.len();
        shared.readers.push(Reader { at: Some(0), waker: None });
        let shared = Rc::clone(&self.shared);
        CopiedBody { shared, reader, length, current: Vec::new(), used: 0 }
    }

    /// Takes what the backend took.
    pub fn take(&mut self, data: &[u8]) {
        let mut shared = self.shared.borrow_mut();
        if shared.state != State::Open {
            return;
        }
        let fits = usize::try_from(self.room).map_or(data.len(), |room| room.min(data.len()));
        if fits < data.len() && self.on_large_body == LargeBody::Skip {
            return shared.close(State::Broken(Broken::TooLarge));
        }
        shared.append(&data[..fits]);
        self.room -= fits as u64;
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(data.len() as u64);
        }
        if self.left == Some(0) || fits < data.len() {
            shared.close(State::Ended);
        }
    }

    /// Notes that nothing more comes.
    pub fn end(&mut self) {
        self.shared.borrow_mut().close(State::Ended);
    }
}

impl Drop for Tee {
    fn drop(&mut self) {
        self.shared.borrow_mut().close(State::Broken(Broken::BrokeOff));
    }
}

impl Shared {
    fn append(&mut self, data: &[u8]) {
        // Nobody may be left to read it.
        if self.state != State::Open || self.readers.iter().all(|reader| reader.at.is_none()) {
            return;
        }
        if !self.budget.take(data.len()) {
            return self.close(State::Broken(Broken::NoRoom));
        }
        self.data.extend_from_slice(data);
        self.wake();
    }

    /// Leaves the state as it is if it is an end already.
    fn close(&mut self, state: State) {
        if self.state == State::Open {
            self.state = state;
            if matches!(state, State::Broken(_)) {
                self.forget(self.data.len());
            }
            self.wake();
        }
    }

    fn wake(&mut self) {
        for reader in &mut self.readers {
            if let Some(waker) = reader.waker.take() {
                waker.wake();
            }
        }
    }

    /// Forgets what everybody has read.
    fn trim(&mut self) {
        let end = self.start + self.data.len();
        let least = self.readers.iter().filter_map(|reader| reader.at).min().unwrap_or(end);
        let read = least.saturating_sub(self.start);
        if read >= TRIM || read == self.data.len() {
            self.forget(read);
        }
    }

    fn forget(&mut self, count: usize) {
        if count == self.data.len() {
            self.data = Vec::new();
        } else {
            self.data.drain(..count);
        }
        self.start += count;
        self.budget.give_back(count);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.budget.give_back(self.data.len());
    }
}

impl CopiedBody {
    /// Why the body has no end, if it has none.
    pub(super) fn broken(&self) -> Option<Broken> {
        match self.shared.borrow().state {
            State::Broken(broken) => Some(broken),
            State::Open | State::Ended => None,
        }
    }
}

impl Source for CopiedBody {
    fn length(&self) -> BodyLength {
        self.length
    }

    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Part, Reason>> {
        if self.used < self.current.len() {
            return Poll::Ready(Ok(Part::Data));
        }
        let mut shared = self.shared.borrow_mut();
        let (start, state) = (shared.start, shared.state);
        let at = shared.readers[self.reader].at.unwrap_or(start);
        if let State::Broken(_) = state {
            return Poll::Ready(Err(Reason::ClientAborted));
        }
        let there = &shared.data[at - start..];
        if there.is_empty() {
            if state == State::Ended {
                return Poll::Ready(Ok(Part::End));
            }
            shared.readers[self.reader].waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let piece = &there[..there.len().min(PIECE)];
        self.current.clear();
        self.current.extend_from_slice(piece);
        self.used = 0;
        shared.readers[self.reader].at = Some(at + self.current.len());
        shared.trim();
        Poll::Ready(Ok(Part::Data))
    }

    fn data(&self) -> &[u8] {
        &self.current[self.used..]
    }

    fn consume(&mut self, count: usize) {
        self.used = self.current.len().min(self.used + count);
    }

    fn trailers(&self) -> Option<&Fields> {
        None
    }

    fn interim(&mut self, _: &ResponseHead) {}

    fn attend(&mut self, _: &mut Context<'_>) -> Result<(), Reason> {
        Ok(())
    }
}

impl Drop for CopiedBody {
    fn drop(&mut self) {
        let mut shared = self.shared.borrow_mut();
        shared.readers[self.reader] = Reader::default();
        shared.trim();
    }
}

#[cfg(test)]
mod tests;
