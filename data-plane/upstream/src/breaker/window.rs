//! What one worker counts of the requests to one backend over the last while.
//!
//! A ring of steps, each a tenth of the window. A step belongs to one moment and one generation
//! of the breaker and is emptied by its first count of another, so nothing has to be cleared when
//! time passes or the state changes. Only its worker writes it: as with
//! [`Counter`](crate::counters::Counter), plain stores are enough.

use std::{
    ops::Add,
    sync::atomic::{
        AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
};

/// Steps of a window.
pub(super) const STEPS: u64 = 10;

/// The counts of one worker.
#[derive(Debug, Default)]
pub(super) struct Window([Step; STEPS as usize]);

#[derive(Debug, Default)]
struct Step {
    /// Whose counts they are: the number of the step in time, and the generation.
    of: AtomicU64,
    /// Failures in the high half, requests in the low one.
    counts: AtomicU64,
}

/// Requests that ended, and those of them that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tally {
    pub(super) requests: u64,
    pub(super) failures: u64,
}

impl Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let requests = self.requests + other.requests;
        Self { requests, failures: self.failures + other.failures }
    }
}

const FAILURE: u64 = 1 << 32;
const GENERATION_BITS: u32 = 19;

const fn owner(step: u64, generation: u32) -> u64 {
    step << GENERATION_BITS | generation as u64
}

impl Window {
    /// Counts a request that ended at `step`.
    pub(super) fn add(&self, step: u64, generation: u32, is_failure: bool) {
        let place = &self.0[(step % STEPS) as usize];
        let owner = owner(step, generation);
        let before = if place.of.load(Relaxed) == owner {
            place.counts.load(Relaxed)
        } else {
            // Emptied before it changes hands, so that no reader takes old counts for new ones.
            place.counts.store(0, Relaxed);
            place.of.store(owner, Release);
            0
        };
        // Four billion requests of one worker within a step are as good as more.
        if before as u32 != u32::MAX {
            let one = if is_failure { FAILURE + 1 } else { 1 };
            place.counts.store(before + one, Relaxed);
        }
    }

    /// The counts of the window that ends with `step`.
    pub(super) fn tally(&self, step: u64, generation: u32) -> Tally {
        let oldest = step.saturating_sub(STEPS - 1);
        let mut tally = Tally::default();
        for number in oldest..=step {
            let place = &self.0[(number % STEPS) as usize];
            if place.of.load(Acquire) == owner(number, generation) {
                let counts = place.counts.load(Relaxed);
                let (requests, failures) = (u64::from(counts as u32), counts >> 32);
                tally = tally + Tally { requests, failures };
            }
        }
        tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(window: &Window, step: u64, generation: u32) -> (u64, u64) {
        let Tally { requests, failures } = window.tally(step, generation);
        (requests, failures)
    }

    #[test]
    fn steps_leave_the_window_one_by_one() {
        let window = Window::default();
        for step in 0..15 {
            window.add(step, 0, step % 2 == 0);
        }
        assert_eq!(counts(&window, 14, 0), (10, 5));
        assert_eq!(counts(&window, 15, 0), (9, 5));
        assert_eq!(counts(&window, 23, 0), (1, 1));
        assert_eq!(counts(&window, 24, 0), (0, 0));
        assert_eq!(counts(&window, 1_000_000, 0), (0, 0));
    }

    #[test]
    fn another_generation_starts_with_nothing() {
        let window = Window::default();
        window.add(3, 0, true);
        assert_eq!(counts(&window, 3, 1), (0, 0));
        window.add(3, 1, false);
        assert_eq!(counts(&window, 3, 1), (1, 0));
        assert_eq!(counts(&window, 3, 0), (0, 0));
    }
}
