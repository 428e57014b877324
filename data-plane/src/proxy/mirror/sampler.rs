//! Which requests are copied: an exact share of them, evenly spread.
//!
//! One counter for all workers, so that a tenth is every tenth request of the proxy and not about
//! a tenth of what each worker sees.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use lb_model::value::Fraction;

/// The whole, in the unit of shares.
const WHOLE: u64 = 1_000_000;

/// Chooses requests.
#[derive(Debug, Default)]
pub(super) struct Sampler(AtomicU64);

impl Sampler {
    /// Whether the next request is one of `share`.
    pub(super) fn takes(&self, share: Fraction) -> bool {
        let parts = u64::from(share.parts_per_million());
        // Within each million requests the choice is the same, so nothing can overflow.
        let number = self.0.fetch_add(1, Relaxed) % WHOLE;
        (number + 1) * parts / WHOLE > number * parts / WHOLE
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_tenth_is_every_tenth() {
        let sampler = Sampler::default();
        let tenth = Fraction::parse("0.1").unwrap();
        let taken: Vec<_> = (0..40).filter(|_| sampler.takes(tenth)).collect();
        assert_eq!(taken, [9, 19, 29, 39]);
    }

    #[test]
    fn all_and_none_are_that() {
        let sampler = Sampler::default();
        assert!((0..1_000).all(|_| sampler.takes(Fraction::ONE)));
        let none = Fraction::parse("0").unwrap();
        assert!(!(0..1_000).any(|_| sampler.takes(none)));
    }

    proptest! {
        #[test]
        fn any_run_of_requests_has_its_share(parts in 0u32..=1_000_000, skipped in 0u64..2_000_000, run in 1u64..5_000) {
            let sampler = Sampler(AtomicU64::new(skipped));
            let share = Fraction::of_millionths(parts).unwrap();
            let taken = (0..run).filter(|_| sampler.takes(share)).count() as f64;
            let expected = run as f64 * f64::from(parts) / WHOLE as f64;
            prop_assert!((taken - expected).abs() <= 1.0, "{taken} of {run}, not {expected}");
        }
    }
}
