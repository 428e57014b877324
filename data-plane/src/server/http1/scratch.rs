//! What a request needs while it is served, lent by the thread.
//!
//! Heads and what is put together from them are written over and over into the same memory; an
//! idle connection holds none of it.

use std::cell::RefCell;

use lb_http::h1::RequestHead;

/// How many a thread keeps for the next request.
const KEPT: usize = 64;

/// The most bytes that one of them keeps.
const ROOM: usize = 32 << 10;

/// Scratches nobody uses. Boxed, because each is moved about and large.
struct Free(#[allow(clippy::vec_box, reason = "see above")] Vec<Box<Scratch>>);

thread_local! {
    static FREE: RefCell<Free> = const { RefCell::new(Free(Vec::new())) };
}

/// Room for one request.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// The client's request.
    pub(super) head: RequestHead,
    /// The request as the backend gets it.
    pub(super) outgoing: Vec<u8>,
    out: Vec<u8>,
}

impl Scratch {
    /// Takes one from the thread, or makes one.
    pub(super) fn take() -> Box<Self> {
        FREE.with_borrow_mut(|free| free.0.pop()).unwrap_or_default()
    }

    /// Room for what is sent to the client.
    pub(super) fn take_out(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// Takes that back.
    pub(super) fn give_out(&mut self, mut out: Vec<u8>) {
        out.clear();
        self.out = out;
    }

    /// Leaves it to the next request.
    pub(super) fn give_back(mut self: Box<Self>) {
        let held = self.outgoing.capacity() + self.out.capacity() + self.head.fields.capacity();
        if held > ROOM {
            return;
        }
        self.outgoing.clear();
        FREE.with_borrow_mut(|free| {
            if free.0.len() < KEPT {
                free.0.push(self);
            }
        });
    }
}
