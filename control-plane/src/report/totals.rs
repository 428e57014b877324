//! Running totals of requests, what lies between two of them, and what that says.
//!
//! Pure: whoever holds totals knows when they were true.

use lb_model::api::LatencyView;
use lb_proto::v1::{ArmReport, BackendReport};

/// Upper bounds of the buckets in milliseconds; the last bucket has none.
const BOUNDS: [f64; 14] = [
    0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 10_000.0,
];

/// What a proxy counted about a backend, or one version of a canary, since it started, or sums of
/// that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Requests sent.
    pub requests: u64,
    /// Of these, ended without a response of the backend.
    pub failures: u64,
    /// Of these, answered with a status of 500 or more.
    pub server_errors: u64,
    /// Those that were answered, by how long that took.
    pub latency: [u64; BOUNDS.len() + 1],
}

impl Totals {
    /// What a report says.
    pub fn of(report: &BackendReport) -> Self {
        Self {
            requests: report.requests,
            failures: report.failures,
            server_errors: report.server_errors,
            latency: buckets(&report.latency),
        }
    }

    /// What a report says of one version.
    pub fn of_arm(report: &ArmReport) -> Self {
        Self {
            requests: report.requests,
            failures: report.failures,
            server_errors: report.server_errors,
            latency: buckets(&report.latency),
        }
    }

    /// What came since an earlier moment; nothing where a number went back.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        self.with(before, u64::saturating_sub)
    }

    /// Both together.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        self.with(other, u64::saturating_add)
    }

    fn with(&self, other: &Self, make: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            requests: make(self.requests, other.requests),
            failures: make(self.failures, other.failures),
            server_errors: make(self.server_errors, other.server_errors),
            latency: std::array::from_fn(|at| make(self.latency[at], other.latency[at])),
        }
    }

    /// Requests without a good response.
    pub const fn errors(&self) -> u64 {
        self.failures.saturating_add(self.server_errors)
    }

    /// The share of requests without a good response, in percent.
    pub fn error_percent(&self) -> f64 {
        match self.requests {
            0 => 0.0,
            requests => 100.0 * self.errors().min(requests) as f64 / requests as f64,
        }
    }

    /// The time that a share of the answered requests took at most, in milliseconds: exact to its
    /// bucket, and even within it. Absent when nothing was answered.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let all: f64 = self.latency.iter().map(|count| *count as f64).sum();
        if all == 0.0 {
            return None;
        }
        let wanted = share * all;
        let mut below = 0.0;
        for (at, count) in self.latency.iter().enumerate() {
            let count = *count as f64;
            if count > 0.0 && below + count >= wanted {
                let low = at.checked_sub(1).map_or(0.0, |before| BOUNDS[before]);
                let high = BOUNDS.get(at).copied().unwrap_or(low);
                let part = ((wanted - below) / count).clamp(0.0, 1.0);
                return Some(part.mul_add(high - low, low));
            }
            below += count;
        }
        BOUNDS.last().copied()
    }

    /// How long requests took, if any was answered.
    pub fn latencies(&self) -> Option<LatencyView> {
        let rounded = |share| self.quantile(share).map(|ms| (ms * 100.0).round() / 100.0);
        Some(LatencyView { p50_ms: rounded(0.5)?, p95_ms: rounded(0.95)?, p99_ms: rounded(0.99)? })
    }
}

/// The buckets that are known here; those that were not sent are empty.
fn buckets(reported: &[u64]) -> [u64; BOUNDS.len() + 1] {
    std::array::from_fn(|bucket| reported.get(bucket).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_quantile_lies_in_its_bucket() {
        let mut totals = Totals::default();
        assert_eq!(totals.latencies(), None);
        totals.latency[3] = 90;
        totals.latency[8] = 10;
        let view = totals.latencies().unwrap();
        assert!((2.5..=5.0).contains(&view.p50_ms), "{view:?}");
        assert!((100.0..=250.0).contains(&view.p95_ms) && view.p95_ms < view.p99_ms, "{view:?}");
        let slow = Totals { latency: std::array::from_fn(|at| u64::from(at == 14)), ..totals };
        assert_eq!(slow.quantile(0.5), Some(10_000.0), "there is no bound to say more");
    }

    #[test]
    fn errors_are_a_share_of_requests() {
        let totals = Totals { requests: 200, failures: 3, server_errors: 7, ..Totals::default() };
        assert_eq!((totals.errors(), totals.error_percent()), (10, 5.0));
        assert!(Totals::default().error_percent() < f64::EPSILON);
    }

    proptest! {
        #[test]
        fn quantiles_grow_with_their_share_whatever_was_counted(
            counts in proptest::array::uniform15(any::<u64>()),
            shares in [0.0..=1.0_f64, 0.0..=1.0_f64],
        ) {
            let totals = Totals { latency: counts, ..Totals::default() };
            let [low, high] = if shares[0] <= shares[1] { shares } else { [shares[1], shares[0]] };
            prop_assert!(totals.quantile(low) <= totals.quantile(high));
            prop_assert!(totals.quantile(high).is_none_or(|ms| (0.0..=10_000.0).contains(&ms)));
        }

        #[test]
        fn what_came_since_and_what_was_before_are_all(
            before in 0_u64..1 << 40,
            more in 0_u64..1 << 40,
        ) {
            let totals = |count| Totals { requests: count, latency: [count; 15], ..Totals::default() };
            let (old, new) = (totals(before), totals(before + more));
            prop_assert_eq!(new.since(&old).and(&old), new);
            prop_assert_eq!(old.since(&new), Totals::default());
        }
    }
}
