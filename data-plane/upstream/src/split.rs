//! Which requests go to the new version.
//!
//! [`Split`] deals requests out exactly and not by chance: of 1,000 requests at 10 % exactly 100
//! are the canary's, evenly spread, however many workers ask. [`by_hash`](lb_routing::arm::by_hash)
//! decides for a client instead of a request, so that whoever has seen the new version stays with
//! it while the share grows.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use lb_routing::arm::{Arm, MILLION};

/// Deals requests out between two arms. All workers share one: the sum of what several would
/// deal out is off by one for each, and 1,000 requests do not say which worker they come to.
#[derive(Debug, Default)]
pub struct Split {
    /// The shares of all requests so far added up, in millionths. A change of the share goes on
    /// from what is owed. That it wraps in the end moves a single request.
    owed: AtomicU64,
}

impl Split {
    /// Nothing dealt out yet.
    pub const fn new() -> Self {
        Self { owed: AtomicU64::new(0) }
    }

    /// Whose the next request is, if the canary's share is `ppm` millionths.
    pub fn next(&self, ppm: u32) -> Arm {
        let share = u64::from(ppm.min(MILLION));
        // The shares at both ends are clear, and cost no write that other workers would see.
        if share == 0 {
            return Arm::Stable;
        }
        if share == u64::from(MILLION) {
            return Arm::Canary;
        }
        let owed = self.owed.fetch_add(share, Relaxed) % u64::from(MILLION);
        if owed + share >= u64::from(MILLION) { Arm::Canary } else { Arm::Stable }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, thread};

    use proptest::prelude::*;

    use super::*;

    fn canaries(split: &Split, requests: u32, ppm: u32) -> u32 {
        (0..requests).filter(|_| split.next(ppm) == Arm::Canary).count() as u32
    }

    #[test]
    fn a_tenth_of_a_thousand_is_a_hundred() {
        assert_eq!(canaries(&Split::new(), 1_000, 100_000), 100);
    }

    #[test]
    fn nothing_is_nothing_and_all_is_all() {
        let split = Split::new();
        assert_eq!(canaries(&split, 1_000, 0), 0);
        assert_eq!(canaries(&split, 1_000, MILLION), 1_000);
        assert_eq!(canaries(&split, 1_000, u32::MAX), 1_000);
    }

    #[test]
    fn the_share_is_exact_over_all_workers() {
        let split = Arc::new(Split::new());
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let split = Arc::clone(&split);
                thread::spawn(move || canaries(&split, 25_000, 33_300))
            })
            .collect();
        let taken: u32 = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
        assert_eq!(taken, 3_330);
    }

    proptest! {
        #[test]
        fn every_run_of_requests_is_within_one_of_its_share(
            before in 0_u64..10_000_000,
            ppm in 0..=MILLION,
            requests in 1_u32..2_000,
        ) {
            let split = Split { owed: AtomicU64::new(before) };
            let ideal = f64::from(requests) * f64::from(ppm) / f64::from(MILLION);
            let taken = f64::from(canaries(&split, requests, ppm));
            prop_assert!((taken - ideal).abs() < 1.0, "{} of {}", taken, ideal);
        }

        #[test]
        fn changes_of_the_share_owe_nobody_anything(
            steps in prop::collection::vec((1..MILLION, 1_u32..500), 1..10),
        ) {
            let split = Split::new();
            let mut millionths = 0;
            let mut taken = 0;
            for (ppm, requests) in steps {
                millionths += u64::from(ppm) * u64::from(requests);
                taken += u64::from(canaries(&split, requests, ppm));
                prop_assert_eq!(taken, millionths / u64::from(MILLION));
            }
        }
    }
}
