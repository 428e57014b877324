//! Slow start: a backend that came up gets its share of requests little by little.
//!
//! A cold cache or a virtual machine that has compiled nothing yet fails under a load that it
//! carries later. For a while the weight of a backend is only a part of what is configured, as
//! in Envoy: `(t / window) ^ (1 / aggression)`, and never less than a minimum.

use std::time::Duration;

use tokio::time::Instant;

use crate::health::Health;

/// How a backend that came up gets its share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// How long it takes until it has all of its weight; zero turns slow start off.
    pub window: Duration,
    /// How the share grows: in a line at 1, first fast and then slowly above, the other way
    /// round below. What is no number above 0 counts as 1.
    pub aggression: f64,
    /// The percentage of its weight that it has from the first moment.
    pub min_weight_percent: u8,
}

impl Default for Settings {
    fn default() -> Self {
        Self { window: Duration::ZERO, aggression: 1.0, min_weight_percent: 10 }
    }
}

impl Settings {
    /// What `weight` is worth `up_for` after the backend came up: at least 1, and 0 only if it
    /// is 0 itself.
    ///
    /// Weights are whole numbers, and a part of 1 is 1: multiply the weights of all backends of
    /// the service by [`room`] first.
    pub fn share(&self, weight: u16, up_for: Duration) -> u16 {
        if up_for >= self.window || weight == 0 {
            return weight;
        }
        let passed = up_for.as_secs_f64() / self.window.as_secs_f64();
        let is_usable = self.aggression.is_finite() && self.aggression > 0.0;
        let aggression = if is_usable { self.aggression } else { 1.0 };
        let least = f64::from(self.min_weight_percent.min(100)) / 100.0;
        let part = passed.powf(1.0 / aggression).max(least);
        ((f64::from(weight) * part).round() as u16).clamp(1, weight)
    }
}

/// Which backends of a service have come through it, as one worker knows: no clock need be asked
/// about those for each request.
#[derive(Debug, Default)]
pub(crate) struct Warmth(Vec<u64>);

/// What is known of a backend that has not come through it: it never came up then.
const COLD: u64 = u64::MAX;

impl Warmth {
    /// Whether all backends have been up for a whole window at `now`; always given in the same
    /// order.
    pub(crate) fn are_warm<'a>(
        &mut self,
        all: impl ExactSizeIterator<Item = &'a Health>,
        window: Duration,
        now: Instant,
    ) -> bool {
        self.0.resize(all.len(), COLD);
        let mut are_warm = true;
        for (known, health) in self.0.iter_mut().zip(all) {
            let came_up = health.came_up();
            if *known == came_up {
                continue;
            }
            if health.up_for(now) >= window {
                *known = came_up;
            } else {
                are_warm = false;
            }
        }
        are_warm
    }
}

/// By how much to multiply the weights of a service of which `largest` is the largest, so that
/// parts of them can be told apart: 100, or as much as fits.
pub const fn room(largest: u16) -> u16 {
    match u16::MAX.checked_div(largest) {
        Some(fits) if fits < 100 => fits,
        _ => 100,
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use proptest::prelude::*;

    use super::*;
    use crate::health::Thresholds;

    const MINUTE: Settings =
        Settings { window: Duration::from_mins(1), aggression: 1.0, min_weight_percent: 10 };

    fn shares(settings: Settings) -> Vec<u16> {
        [0, 3, 15, 30, 59, 60, 1_000]
            .map(|seconds| settings.share(100, Duration::from_secs(seconds)))
            .into()
    }

    #[test]
    fn the_share_grows_in_a_line_from_the_minimum() {
        assert_eq!(shares(MINUTE), [10, 10, 25, 50, 98, 100, 100]);
    }

    #[test]
    fn aggression_bends_the_line() {
        assert_eq!(shares(Settings { aggression: 2.0, ..MINUTE }), [10, 22, 50, 71, 99, 100, 100]);
        assert_eq!(shares(Settings { aggression: 0.5, ..MINUTE }), [10, 10, 10, 25, 97, 100, 100]);
        for unusable in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(shares(Settings { aggression: unusable, ..MINUTE }), shares(MINUTE));
        }
    }

    #[test]
    fn without_a_window_the_weight_is_whole_at_once() {
        assert_eq!(Settings::default().share(7, Duration::ZERO), 7);
    }

    #[test]
    fn there_is_room_for_parts_of_small_weights() {
        assert_eq!(
            (room(0), room(1), room(655), room(1_000), room(u16::MAX)),
            (100, 100, 100, 65, 1)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_backend_that_came_up_again_is_cold_again() {
        const SECOND: Duration = Duration::from_secs(1);
        let (mut warmth, health) = (Warmth::default(), Health::new(true));
        let mut is_warm =
            |health: &Health| warmth.are_warm([health].into_iter(), MINUTE.window, Instant::now());
        let record = |result: Result<(), &str>| {
            let once = Thresholds { healthy: 1, unhealthy: 1 };
            health.record(result.map_err(str::to_owned), once, SystemTime::UNIX_EPOCH)
        };
        tokio::time::advance(SECOND).await;
        assert!(record(Ok(())));
        tokio::time::advance(SECOND * 59).await;
        assert!(!is_warm(&health));
        tokio::time::advance(SECOND).await;
        assert!(is_warm(&health) && is_warm(&health));
        assert!(record(Err("no")) && record(Ok(())));
        assert!(!is_warm(&health));
        tokio::time::advance(SECOND * 60).await;
        assert!(is_warm(&health));
    }

    proptest! {
        #[test]
        fn the_share_never_falls_and_never_leaves_its_range(
            weight: u16,
            window in 0_u64..10_000,
            aggression in 0.01_f64..10.0,
            min_weight_percent: u8,
            (a, b) in (0_u64..20_000, 0_u64..20_000),
        ) {
            let settings =
                Settings { window: Duration::from_millis(window), aggression, min_weight_percent };
            let share = |at| settings.share(weight, Duration::from_millis(at));
            let (earlier, later) = (share(a.min(b)), share(a.max(b)));
            prop_assert!(earlier <= later && later <= weight);
            prop_assert!(weight == 0 || earlier > 0);
            prop_assert!(a.max(b) < window || later == weight);
        }
    }
}
