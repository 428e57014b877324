//! What a request needs until it is answered, and what a connection sends from, lent by the
//! thread. An idle connection holds none of it.

use std::cell::RefCell;

use lb_http::h2::RequestHead;

/// How many of each a thread keeps.
const KEPT: usize = 64;

/// The most bytes that one keeps.
const ROOM: usize = 32 << 10;

/// The same of what is sent from.
const OUT: usize = 128 << 10;

/// Boxed, because each is moved about and large.
struct Free {
    #[allow(clippy::vec_box, reason = "see above")]
    scratches: Vec<Box<Scratch>>,
    outs: Vec<Vec<u8>>,
}

thread_local! {
    static FREE: RefCell<Free> =
        const { RefCell::new(Free { scratches: Vec::new(), outs: Vec::new() }) };
}

/// Room for one request.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// The client's request.
    pub(super) head: RequestHead,
    /// The request as the backend gets it.
    pub(super) outgoing: Vec<u8>,
}

impl Scratch {
    /// Takes one from the thread, or makes one.
    pub(super) fn take() -> Box<Self> {
        FREE.with_borrow_mut(|free| free.scratches.pop()).unwrap_or_default()
    }

    /// Leaves it to the next request.
    pub(super) fn give_back(mut self: Box<Self>) {
        if self.outgoing.capacity() + self.head.capacity() > ROOM {
            return;
        }
        self.outgoing.clear();
        FREE.with_borrow_mut(|free| {
            if free.scratches.len() < KEPT {
                free.scratches.push(self);
            }
        });
    }
}

/// Takes room to send from.
pub(super) fn take_out() -> Vec<u8> {
    FREE.with_borrow_mut(|free| free.outs.pop()).unwrap_or_default()
}

/// Gives it back, empty.
pub(super) fn give_out(mut out: Vec<u8>) {
    out.clear();
    if (1..=OUT).contains(&out.capacity()) {
        FREE.with_borrow_mut(|free| {
            if free.outs.len() < KEPT {
                free.outs.push(out);
            }
        });
    }
}
