//! How long requests take, in buckets.

use std::time::Duration;

use crate::counters::{Counter, PerWorker};

/// Upper bounds of the buckets; the last one, without a bound, is not listed.
pub const BOUNDS: [Duration; 14] = [
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(5),
    Duration::from_secs(10),
];

/// How many buckets there are.
pub const BUCKETS: usize = BOUNDS.len() + 1;

/// A duration and its bucket, found once for all histograms that take it in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Took {
    bucket: usize,
    micros: u64,
}

impl Took {
    /// Finds the bucket.
    pub fn new(duration: Duration) -> Self {
        // Fast answers are looked for first: they are the ones that the search would cost.
        let bucket = BOUNDS.iter().position(|bound| *bound >= duration).unwrap_or(BOUNDS.len());
        let micros = duration.as_secs().wrapping_mul(1_000_000);
        Self { bucket, micros: micros.wrapping_add(duration.subsec_micros().into()) }
    }
}

/// What one worker counts.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Counter; BUCKETS],
    micros: Counter,
}

/// What all workers counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Latency {
    /// One more than [`BOUNDS`], not cumulative.
    pub buckets: [u64; BUCKETS],
    /// All durations together.
    pub sum: Duration,
}

impl Histogram {
    /// Takes a duration in.
    pub fn took(&self, took: Took) {
        self.buckets[took.bucket.min(BUCKETS - 1)].bump();
        self.micros.add(took.micros);
    }
}

impl Latency {
    /// Adds the workers up.
    pub fn sum<T>(parts: &PerWorker<T>, of: impl Fn(&T) -> &Histogram) -> Self {
        Self {
            buckets: std::array::from_fn(|bucket| parts.sum(|part| &of(part).buckets[bucket])),
            sum: Duration::from_micros(parts.sum(|part| &of(part).micros)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_bucket_is_the_first_whose_bound_is_not_passed(nanos in 0_u64..20_000_000_000) {
            let duration = Duration::from_nanos(nanos);
            let Took { bucket, micros } = Took::new(duration);
            prop_assert_eq!(u128::from(micros), duration.as_micros());
            prop_assert_eq!(bucket, BOUNDS.partition_point(|bound| *bound < duration));
        }
    }

    #[test]
    fn a_duration_falls_into_the_bucket_that_bounds_it() {
        let parts = PerWorker::<Histogram>::new(2);
        for (worker, millis) in [1, 2, 60_000].into_iter().enumerate() {
            parts.of(worker).took(Took::new(Duration::from_millis(millis)));
        }
        let latency = Latency::sum(&parts, |part| part);
        let filled: Vec<_> = (0..BUCKETS).filter(|i| latency.buckets[*i] > 0).collect();
        assert_eq!(filled, [1, 2, BUCKETS - 1]);
        assert_eq!(latency.sum, Duration::from_millis(60_003));
    }
}
