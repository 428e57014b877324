//! How much work a client may cause that serves nobody.
//!
//! Frames that cost something and ask for nothing are taken from a budget, and so are requests
//! that are cancelled before they were answered. Requests, bodies and time fill it again, so that
//! a client that uses the connection never notices. There is no clock here: whoever has one says
//! when time has passed.

/// Frames without a request, at most.
const FRAMES: u32 = 1_000;
/// What a request gives back of them.
const BY_REQUEST: u32 = 16;
/// What a frame of a body gives back.
const BY_DATA: u32 = 2;
/// Requests that may be cancelled unanswered, at most (CVE-2023-44487).
const CANCELS: u32 = 100;

/// What a client has left.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    frames: u32,
    cancels: u32,
}

/// There is nothing left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spent;

impl Budget {
    pub(super) const fn new() -> Self {
        Self { frames: FRAMES, cancels: CANCELS }
    }

    /// Takes a frame that serves nobody.
    pub(super) fn frame(&mut self) -> Result<(), Spent> {
        self.frames = self.frames.checked_sub(1).ok_or(Spent)?;
        Ok(())
    }

    /// Takes a request that was cancelled before it was answered.
    pub(super) fn cancel(&mut self) -> Result<(), Spent> {
        self.cancels = self.cancels.checked_sub(1).ok_or(Spent)?;
        Ok(())
    }

    /// A request was made.
    pub(super) fn request(&mut self) {
        self.frames = (self.frames + BY_REQUEST).min(FRAMES);
    }

    /// A frame brought something of a body.
    pub(super) fn data(&mut self) {
        self.frames = (self.frames + BY_DATA).min(FRAMES);
    }

    /// A request was answered to its end.
    pub(super) fn answer(&mut self) {
        self.cancels = (self.cancels + 1).min(CANCELS);
    }

    /// Some seconds have passed.
    pub(super) fn refill(&mut self) {
        *self = Self::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_serves_nobody_has_an_end_and_requests_move_it() {
        let mut budget = Budget::new();
        for _ in 0..10 * FRAMES {
            budget.request();
            assert_eq!((0..BY_REQUEST).try_for_each(|_| budget.frame()), Ok(()));
        }
        budget.refill();
        assert_eq!((0..FRAMES).try_for_each(|_| budget.frame()), Ok(()));
        assert_eq!(budget.frame(), Err(Spent));
        for _ in 0..10 * CANCELS {
            budget.answer();
            assert_eq!(budget.cancel(), Ok(()));
        }
        budget.refill();
        assert_eq!((0..CANCELS).try_for_each(|_| budget.cancel()), Ok(()));
        assert_eq!(budget.cancel(), Err(Spent));
        budget.refill();
        assert_eq!((budget.frame(), budget.cancel()), (Ok(()), Ok(())));
    }
}
