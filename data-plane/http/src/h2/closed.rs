//! The streams that closed last.
//!
//! What still comes for a stream depends on who closed it: after our reset it was on its way and
//! is passed over, after the client's own end it is an error (RFC 9113, 5.1). Only as many are
//! remembered as can matter.

use std::collections::VecDeque;

/// How many are remembered: more than can be open at a time.
const KEPT: usize = 128;

/// Stream numbers have 31 bits.
const OURS: u32 = 1 << 31;

/// Who closed a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// We did, before the client had said all.
    Us,
    /// Both had said all, or the client reset it.
    Client,
}

/// Streams that closed.
#[derive(Debug, Default)]
pub(super) struct Closed(VecDeque<u32>);

impl Closed {
    /// Notes that a stream closed.
    pub(super) fn note(&mut self, stream: u32, by: By) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(if by == By::Us { stream | OURS } else { stream });
    }

    /// Who closed a stream, if that is known still.
    pub(super) fn by(&self, stream: u32) -> Option<By> {
        let found = self.0.iter().rev().find(|closed| **closed & !OURS == stream)?;
        Some(if found & OURS == 0 { By::Client } else { By::Us })
    }

    /// Gives up room; what was long ago matters no more.
    pub(super) fn shrink(&mut self) {
        self.0 = VecDeque::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_are_remembered() {
        let mut closed = Closed::default();
        closed.note(1, By::Us);
        for stream in 1..=KEPT as u32 {
            closed.note(2 * stream + 1, By::Client);
        }
        assert_eq!((closed.by(1), closed.by(3)), (None, Some(By::Client)));
        closed.note(5, By::Us);
        assert_eq!((closed.by(5), closed.by(7)), (Some(By::Us), Some(By::Client)));
    }
}
