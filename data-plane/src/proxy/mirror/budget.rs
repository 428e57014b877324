//! How many copies are on their way at once, and how much of bodies is held for them.
//!
//! One for the whole proxy: mirrors that hang must cost neither memory nor connections without
//! end, however many routes and workers copy to them. And a part of it for each target, so that
//! one that hangs leaves room for the others.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// Copies on their way at once.
const COPIES: u64 = 1_024;

/// The same for one target.
const COPIES_EACH: u64 = 256;

/// Bytes of bodies held for copies.
const BYTES: u64 = 64 << 20;

/// What copies may take.
#[derive(Debug)]
pub struct Budget {
    copies: Account,
    bytes: Account,
}

/// Something of which there is only so much.
#[derive(Debug)]
struct Account {
    used: AtomicU64,
    most: u64,
}

/// What the copies for one target may take of it.
#[derive(Debug)]
pub(super) struct Allowance(Arc<Account>);

impl Default for Allowance {
    fn default() -> Self {
        Self::new(COPIES_EACH)
    }
}

impl Allowance {
    /// So many copies at once.
    pub(super) fn new(copies: u64) -> Self {
        Self(Arc::new(Account::new(copies)))
    }

    /// The same one, for the successor of its target.
    pub(super) fn share(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
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

    /// Room for one more copy for a target, unless there is none.
    pub(super) fn copy(self: &Arc<Self>, target: &Allowance) -> Option<Slot> {
        if !target.0.take(1) {
            return None;
        }
        if !self.copies.take(1) {
            target.0.give_back(1);
            return None;
        }
        Some(Slot { budget: Arc::clone(self), target: Arc::clone(&target.0) })
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
pub(super) struct Slot {
    budget: Arc<Budget>,
    target: Arc<Account>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.budget.copies.give_back(1);
        self.target.give_back(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_never_more_than_there_is_room_for() {
        let budget = Arc::new(Budget::new(3, 10));
        let (one, two) = (Allowance::new(2), Allowance::new(2));
        let slots =
            |target: &Allowance| -> Vec<_> { (0..4).filter_map(|_| budget.copy(target)).collect() };
        let (first, second) = (slots(&one), slots(&two));
        assert_eq!((first.len(), second.len()), (2, 1), "one target leaves room for the other");
        drop(first);
        assert_eq!((budget.copies(), slots(&two).len()), (1, 1));
        drop(second);
        assert_eq!((budget.copies(), slots(&one).len()), (0, 2));
        assert!(budget.take(8) && !budget.take(3) && budget.take(2));
        budget.give_back(10);
        assert_eq!(budget.bytes(), 0);
    }
}
