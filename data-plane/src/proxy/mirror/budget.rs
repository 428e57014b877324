//! How many copies are on their way at once, and how much of bodies is held for them.
//!
//! One for the whole proxy: a mirror that hangs must cost neither memory nor connections without
//! end, however many routes and workers copy to it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// Copies on their way at once.
const COPIES: u64 = 1_024;

/// Bytes of bodies held for copies.
const BYTES: u64 = 64 << 20;

/// What copies may take.
#[derive(Debug)]
pub struct Budget {
    copies: Account,
    bytes: Account,
}

#[derive(Debug)]
struct Account {
    used: AtomicU64,
    most: u64,
}

impl Account {
    const fn new(most: u64) -> Self {
        Self { used: AtomicU64::new(0), most }
    }

    fn take(&self, amount: u64) -> bool {
        let before = self.used.fetch_add(amount, Relaxed);
        let fits = before.saturating_add(amount) <= self.most;
        if !fits {
            self.give_back(amount);
        }
        fits
    }

    fn give_back(&self, amount: u64) {
        self.used.fetch_sub(amount, Relaxed);
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(COPIES, BYTES)
    }
}

impl Budget {
    /// Room for so many copies and bytes.
    pub const fn new(copies: u64, bytes: u64) -> Self {
        Self { copies: Account::new(copies), bytes: Account::new(bytes) }
    }

    /// Room for one more copy, unless there is none.
    pub(super) fn copy(self: &Arc<Self>) -> Option<Slot> {
        self.copies.take(1).then(|| Slot(Arc::clone(self)))
    }

    /// Takes room for bytes, unless there is none.
    pub(super) fn take(&self, bytes: usize) -> bool {
        self.bytes.take(bytes as u64)
    }

    /// Gives that back.
    pub(super) fn give_back(&self, bytes: usize) {
        self.bytes.give_back(bytes as u64);
    }

    /// Copies now on their way.
    pub fn copies(&self) -> u64 {
        self.copies.used.load(Relaxed)
    }

    /// Bytes now held.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.used.load(Relaxed)
    }
}

/// Room for one copy, until this is dropped.
#[derive(Debug)]
pub(super) struct Slot(Arc<Budget>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.copies.give_back(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_never_more_than_there_is_room_for() {
        let budget = Arc::new(Budget::new(2, 10));
        let slots: Vec<_> = (0..4).map(|_| budget.copy()).collect();
        assert_eq!(slots.iter().flatten().count(), 2);
        drop(slots);
        assert_eq!(budget.copies(), 0);
        assert!(budget.take(8) && !budget.take(3) && budget.take(2));
        budget.give_back(10);
        assert_eq!(budget.bytes(), 0);
    }
}
