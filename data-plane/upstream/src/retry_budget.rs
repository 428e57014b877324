//! How many retries the traffic pays for.
//!
//! When a backend fails, retries without a limit multiply the load that made it fail. Here each
//! request pays in a part of a retry, each retry takes a whole one, and what was paid in is good
//! for ten seconds: retries stay a fixed share of requests, as in Finagle and Linkerd. A few a
//! second are free, for a service that is nearly idle pays in too little to retry at all.
//!
//! Each worker has a budget of its own, so there is nothing to share; whoever configures a floor
//! for the proxy divides it among them.

use tokio::time::Instant;

/// How long payments are good for, in seconds.
const WINDOW: u8 = 10;
/// What a retry takes: payments are in hundredths of one.
const RETRY: i64 = 100;

/// How many retries there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Retries for each hundred requests.
    pub percent: u16,
    /// Retries a second that are free.
    pub min_per_second: u16,
}

impl Default for Settings {
    fn default() -> Self {
        Self { percent: 20, min_per_second: 3 }
    }
}

/// The budget of one worker for one service.
#[derive(Debug)]
pub struct RetryBudget {
    settings: Settings,
    start: Instant,
    /// What came in less what went out in each of the last seconds, each in the place of its
    /// number modulo their count.
    seconds: [i64; WINDOW as usize],
    /// The last second with a place, counted from the start.
    second: u64,
}

impl RetryBudget {
    /// A budget that nothing was paid into.
    pub const fn new(settings: Settings, now: Instant) -> Self {
        Self { settings, start: now, seconds: [0; WINDOW as usize], second: 0 }
    }

    /// The limits.
    pub const fn settings(&self) -> Settings {
        self.settings
    }

    /// Other limits from now on; what was paid in stays.
    pub const fn set(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// A request pays in. Retries of it do not.
    pub fn deposit(&mut self, now: Instant) {
        let paid = i64::from(self.settings.percent);
        *self.turn_to(now) += paid;
    }

    /// Takes a retry out, if there is enough in.
    pub fn withdraw(&mut self, now: Instant) -> bool {
        self.turn_to(now);
        let is_enough = self.balance() >= RETRY;
        if is_enough {
            *self.turn_to(now) -= RETRY;
        }
        is_enough
    }

    /// How many retries there could be at once at `now`.
    pub fn left(&mut self, now: Instant) -> u64 {
        self.turn_to(now);
        (self.balance().max(0) / RETRY) as u64
    }

    fn balance(&self) -> i64 {
        let free = i64::from(self.settings.min_per_second) * i64::from(WINDOW) * RETRY;
        self.seconds.iter().sum::<i64>() + free
    }

    /// Forgets the seconds that are over and gives the place of this one. A clock that goes back
    /// stands still.
    fn turn_to(&mut self, now: Instant) -> &mut i64 {
        let second = now.saturating_duration_since(self.start).as_secs().max(self.second);
        let passed = (second - self.second).min(u64::from(WINDOW));
        for over in 0..passed {
            self.seconds[((second - over) % u64::from(WINDOW)) as usize] = 0;
        }
        self.second = second;
        &mut self.seconds[(second % u64::from(WINDOW)) as usize]
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn taken(budget: &mut RetryBudget, now: Instant) -> u64 {
        let mut retries = 0;
        while budget.withdraw(now) {
            retries += 1;
        }
        retries
    }

    fn budget(percent: u16, min_per_second: u16, now: Instant) -> RetryBudget {
        RetryBudget::new(Settings { percent, min_per_second }, now)
    }

    #[test]
    fn retries_are_a_share_of_requests() {
        let now = Instant::now();
        let mut budget = budget(20, 0, now);
        assert!(!budget.withdraw(now));
        for _ in 0..100 {
            budget.deposit(now);
        }
        assert_eq!(budget.left(now), 20);
        assert_eq!(taken(&mut budget, now), 20);
        assert_eq!(budget.left(now), 0);
    }

    #[test]
    fn an_idle_service_may_retry_a_little() {
        let start = Instant::now();
        let mut budget = budget(20, 3, start);
        assert_eq!(taken(&mut budget, start), 30);
        assert_eq!(taken(&mut budget, start + Duration::from_secs(9)), 0);
        assert_eq!(taken(&mut budget, start + Duration::from_secs(10)), 30);
    }

    #[test]
    fn payments_are_good_for_ten_seconds() {
        let start = Instant::now();
        let mut budget = budget(50, 0, start);
        budget.deposit(start);
        budget.deposit(start + Duration::from_secs(5));
        assert_eq!(budget.left(start + Duration::from_secs(9)), 1);
        assert_eq!(budget.left(start + Duration::from_secs(10)), 0);
        budget.deposit(start + Duration::from_secs(10));
        assert_eq!(budget.left(start + Duration::from_secs(14)), 1);
        assert_eq!(budget.left(start + Duration::from_secs(100_000)), 0);
    }

    #[test]
    fn other_limits_keep_what_was_paid_in() {
        let now = Instant::now();
        let mut budget = budget(100, 0, now);
        budget.deposit(now);
        budget.set(Settings { percent: 0, min_per_second: 0 });
        budget.deposit(now);
        assert_eq!(taken(&mut budget, now), 1);
    }

    proptest! {
        #[test]
        fn ten_seconds_never_hold_more_retries_than_they_pay_for(
            percent in 0_u16..200,
            min_per_second in 0_u16..5,
            steps in prop::collection::vec((any::<bool>(), 0_u64..700), 1..300),
        ) {
            let start = Instant::now();
            let mut budget = budget(percent, min_per_second, start);
            let mut at = 0;
            // Milliseconds of requests and of retries.
            let (mut requests, mut retries) = (Vec::new(), Vec::new());
            for (is_request, pause) in steps {
                at += pause;
                let now = start + Duration::from_millis(at);
                // The window is made of whole seconds, this one among them.
                let within = |times: &[u64]| {
                    times.iter().filter(|time| **time / 1_000 + 10 > at / 1_000).count() as u64
                };
                if is_request {
                    budget.deposit(now);
                    requests.push(at);
                }
                let paid = within(&requests) * u64::from(percent)
                    + u64::from(min_per_second) * 1_000;
                let is_allowed = budget.withdraw(now);
                prop_assert_eq!(is_allowed, (within(&retries) + 1) * 100 <= paid);
                if is_allowed {
                    retries.push(at);
                }
            }
        }
    }
}
