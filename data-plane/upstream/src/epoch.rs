//! Moments as numbers, for atomics hold no [`Instant`].

use std::time::Duration;

use tokio::time::Instant;

/// The moment from which an object counts its milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Epoch(Instant);

impl Epoch {
    pub(crate) const fn new(now: Instant) -> Self {
        Self(now)
    }

    /// The milliseconds until `at`; 0 before the epoch.
    pub(crate) fn millis(self, at: Instant) -> u64 {
        whole_millis(at.saturating_duration_since(self.0))
    }

    /// The moment so many milliseconds later, if clocks go that far.
    pub(crate) fn instant(self, millis: u64) -> Option<Instant> {
        self.0.checked_add(Duration::from_millis(millis))
    }
}

/// The whole milliseconds of a duration, at most what fits. `as_millis` divides 128 bits, which
/// is too dear for each request.
pub(crate) const fn whole_millis(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000).saturating_add(duration.subsec_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_numbers_and_back() {
        let start = Instant::now();
        let epoch = Epoch::new(start + Duration::from_secs(1));
        let later = start + Duration::from_micros(3_500_900);
        assert_eq!((epoch.millis(start), epoch.millis(later)), (0, 2_500));
        assert_eq!(epoch.instant(2_500), Some(start + Duration::from_millis(3_500)));
        assert_eq!(whole_millis(Duration::MAX), u64::MAX);
    }
}
