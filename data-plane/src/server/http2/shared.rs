//! What a connection and its streams share: the protocol's state and what came for each stream.
//!
//! All of them run in one task, so that a cell will do: each borrows it for a moment and never
//! across a wait.

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use http::StatusCode;
use lb_http::{
    Clock, Fields,
    h2::{self, ErrorCode, HeadWriter},
};

use super::wakers::{Keys, Wakers, only};
use crate::proxy::client::Client;

/// How much may wait to be sent before streams add more.
const QUEUE: usize = 64 << 10;

/// Room for a body that is kept for the next one.
const KEPT: usize = 16 << 10;

/// Clocks that are kept for the next streams.
const CLOCKS: usize = 16;

/// A connection as its streams see it.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) client: Rc<Client>,
    /// How long a client may take nothing.
    pub(super) stall: Option<Duration>,
    pub(super) state: RefCell<State>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) codec: h2::Connection,
    /// Bytes of what waits there that were sent.
    pub(super) sent: usize,
    /// By the streams' keys.
    pub(super) inboxes: Vec<Inbox>,
    /// Streams that wait for room to send.
    pub(super) blocked: Keys,
    /// The stream that sent last.
    pub(super) last: usize,
    pub(super) wakers: Arc<Wakers>,
    clocks: Vec<Clocks>,
}

/// What measures the pauses of one exchange. Streams that follow each other share them.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    pub(super) client: Clock,
    pub(super) backend: Clock,
}

/// What came for a stream and was not taken yet.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    pub(super) data: Vec<u8>,
    pub(super) is_ended: bool,
    pub(super) trailers: Option<Fields>,
    /// The client broke the rules: nothing more comes.
    pub(super) is_broken: bool,
    /// The stream waits for more.
    pub(super) waits: bool,
}

impl State {
    pub(super) const fn new(codec: h2::Connection, wakers: Arc<Wakers>) -> Self {
        Self {
            codec,
            sent: 0,
            inboxes: Vec::new(),
            blocked: 0,
            last: 0,
            wakers,
            clocks: Vec::new(),
        }
    }

    /// How much waits to be sent.
    pub(super) const fn queued(&self) -> usize {
        self.codec.out.len() - self.sent
    }

    /// Prepares for a new stream.
    pub(super) fn open(&mut self, key: usize, is_ended: bool) {
        if key >= self.inboxes.len() {
            self.inboxes.resize_with(key + 1, Inbox::default);
        }
        self.inboxes[key].is_ended = is_ended;
        self.wakers.mark(only(key));
    }

    /// Forgets a stream that is over, whatever it left behind.
    pub(super) fn close(&mut self, key: usize) {
        self.codec.reset(key, ErrorCode::Internal);
        self.blocked &= !only(key);
        if let Some(inbox) = self.inboxes.get_mut(key) {
            inbox.data.clear();
            if inbox.data.capacity() > KEPT {
                inbox.data = Vec::new();
            }
            (inbox.trailers, inbox.is_ended) = (None, false);
            (inbox.is_broken, inbox.waits) = (false, false);
        }
    }

    /// Has a stream look at what came, if it waits for that.
    pub(super) fn notify(&mut self, key: usize) {
        if std::mem::take(&mut self.inboxes[key].waits) {
            self.wakers.mark(only(key));
        }
    }

    /// Has streams try again that wait for room where there is some; tells whether there are any.
    /// To be called when nothing waits to be sent.
    pub(super) fn unblock(&mut self) -> bool {
        let (mut left, mut freed) = (self.blocked, 0);
        while left != 0 {
            let key = left.trailing_zeros() as usize;
            left &= left - 1;
            if self.codec.room(key) != Some(0) {
                freed |= only(key);
            }
        }
        self.blocked &= !freed;
        self.wakers.mark(freed);
        freed != 0
    }

    /// Forgets what was sent of what waits, when that is much.
    pub(super) fn compact(&mut self) {
        if self.sent >= QUEUE {
            self.codec.out.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// Takes clocks for an exchange.
    pub(super) fn take_clocks(&mut self) -> Clocks {
        self.clocks.pop().unwrap_or_default()
    }

    /// Takes them back.
    pub(super) fn give_clocks(&mut self, mut clocks: Clocks) {
        clocks.client.progress();
        clocks.backend.progress();
        if self.clocks.len() < CLOCKS {
            self.clocks.push(clocks);
        }
    }

    /// Gives up what only streams need, when there are none.
    pub(super) fn shrink(&mut self) {
        self.inboxes = Vec::new();
        self.clocks = Vec::new();
    }
}

/// A stream as its exchange sees it.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    pub(super) shared: Rc<Shared>,
    pub(super) key: usize,
}

impl Stream {
    /// Writes a head, `write` its fields; tells whether the client wants it still.
    pub(super) fn answer(
        &self,
        status: StatusCode,
        is_last: bool,
        write: impl FnOnce(&mut HeadWriter<'_>),
    ) -> bool {
        let mut state = self.shared.state.borrow_mut();
        let Some(mut writer) = state.codec.answer(self.key, status) else {
            return false;
        };
        write(&mut writer);
        writer.finish(is_last);
        true
    }

    /// Sends bytes of a body. Returns how many; with none the stream is woken when more may be
    /// sent. Nothing is returned if the client wants no more.
    pub(super) fn send(&self, data: &[u8]) -> Option<usize> {
        let mut state = self.shared.state.borrow_mut();
        if !state.codec.is_open(self.key) {
            return None;
        }
        let count = if state.queued() < QUEUE { state.codec.data(self.key, data) } else { 0 };
        if count == 0 {
            state.blocked |= only(self.key);
        } else {
            state.last = self.key;
        }
        Some(count)
    }

    /// Ends a body, with what was just sent if `is_in_last`.
    pub(super) fn end(&self, is_in_last: bool) {
        self.shared.state.borrow_mut().codec.end_data(self.key, is_in_last);
    }

    /// Ends it with trailers.
    pub(super) fn end_with(&self, trailers: &Fields) {
        let mut state = self.shared.state.borrow_mut();
        if let Some(mut writer) = state.codec.trailers(self.key) {
            for (field, line) in trailers.lines().filter(|(field, _)| !field.known.is_hop_by_hop())
            {
                writer.line(&field, line);
            }
            writer.finish(true);
        }
    }

    /// Says that there is no more of an answer.
    pub(super) fn reset(&self, code: ErrorCode) {
        self.shared.state.borrow_mut().codec.reset(self.key, code);
    }

    /// Has the stream polled again, after the others.
    pub(super) fn yield_now(&self) {
        self.shared.state.borrow().wakers.mark(only(self.key));
    }
}
