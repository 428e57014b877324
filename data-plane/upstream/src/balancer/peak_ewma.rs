//! The faster of two backends: response time and requests in flight together.
//!
//! Each worker keeps for each backend an average of response times that jumps to every peak at
//! once and comes down slowly (peak EWMA, as in Finagle and Linkerd). A backend that turns slow
//! is avoided after one slow response, before requests pile up on it, which is all that in-flight
//! counts would see. While nothing is sent to it the average decays to nothing, so it is tried
//! again by itself.
//!
//! Failures are fast: whoever records them gives them a time that says what they cost.

use std::time::Duration;

use tokio::time::Instant;

use super::p2c::P2c;

/// How response times are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The time after which a response counts for 1/e of what it did; 10 s is usual.
    pub decay: Duration,
    /// What is assumed of a backend that was sent a request and has answered none yet, so that a
    /// new one gets one request to show what it can do and not all of them.
    pub assumed: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { decay: Duration::from_secs(10), assumed: Duration::from_secs(1) }
    }
}

/// What one worker knows of how long one backend takes.
#[derive(Debug, Clone, Copy)]
pub struct PeakEwma {
    /// Seconds.
    decay: f64,
    /// Seconds.
    assumed: f64,
    /// Seconds, as of `at`; nothing before the first response.
    average: Option<f64>,
    at: Instant,
}

impl PeakEwma {
    /// Nothing known yet at `now`.
    pub fn new(settings: Settings, now: Instant) -> Self {
        let decay = settings.decay.as_secs_f64().max(0.001);
        Self { decay, assumed: settings.assumed.as_secs_f64(), average: None, at: now }
    }

    /// Takes in that a response took `rtt`.
    pub fn observe(&mut self, rtt: Duration, now: Instant) {
        let rtt = rtt.as_secs_f64();
        let left = self.left(now);
        self.average = Some(match self.average {
            Some(average) if rtt < average => average * left + rtt * (1.0 - left),
            _ => rtt,
        });
        // Responses of two tasks may be told out of order.
        self.at = self.at.max(now);
    }

    /// The average as of `now`, if there is one; it goes down while nothing is observed.
    pub fn average(&self, now: Instant) -> Option<Duration> {
        self.average.map(|average| Duration::from_secs_f64(average * self.left(now)))
    }

    /// What one more request would cost, to be compared among backends: microseconds times the
    /// requests that would share a unit of `weight` with it. Counting the new request as a whole
    /// unit leaves idle backends of different weight alike, so that draws by weight share them.
    ///
    /// A backend that has been [silent](crate::pending) for longer than it usually takes will take
    /// as long at least.
    pub fn cost(&self, in_flight: u64, weight: u16, silence: Duration, now: Instant) -> u64 {
        let waiting = in_flight as f64 / f64::from(weight.max(1)) + 1.0;
        let expected = match self.average {
            Some(average) => average * self.left(now),
            None if in_flight == 0 => 0.0,
            None => self.assumed,
        };
        (expected.max(silence.as_secs_f64()) * 1e6 * waiting) as u64
    }

    /// The share of the average that is left at `now`.
    fn left(&self, now: Instant) -> f64 {
        let idle = now.saturating_duration_since(self.at).as_secs_f64();
        (-idle / self.decay).exp()
    }
}

/// The cheaper of two backends drawn at random by weight.
#[derive(Debug)]
pub struct PeakP2c(P2c);

impl PeakP2c {
    /// Draws among `members`. The seed makes workers draw differently.
    pub const fn new(members: usize, seed: u64) -> Self {
        Self(P2c::new(members, seed))
    }

    /// The cheaper of two members with a weight above 0, at what [`PeakEwma::cost`] says.
    pub fn pick(
        &mut self,
        weight: impl Fn(usize) -> u16,
        cost: impl Fn(usize) -> u64,
    ) -> Option<usize> {
        // P2c compares load in proportion to weight, and costs know of weight already.
        let load = |index| cost(index).saturating_mul(u64::from(weight(index)));
        self.0.pick(&weight, load)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    const QUIET: Duration = Duration::ZERO;

    #[test]
    fn a_backend_that_answers_nothing_costs_more_and_more() {
        let now = Instant::now();
        let mut fast = PeakEwma::new(Settings::default(), now);
        fast.observe(Duration::from_millis(1), now);
        let mut slow = PeakEwma::new(Settings::default(), now);
        slow.observe(Duration::from_millis(8), now);
        let silent = |millis| fast.cost(1, 1, Duration::from_millis(millis), now);
        assert_eq!(silent(0), silent(1));
        assert!(silent(2) < slow.cost(0, 1, QUIET, now) && slow.cost(0, 1, QUIET, now) < silent(5));
    }

    #[test]
    fn a_peak_counts_at_once_and_goes_slowly() {
        let start = Instant::now();
        let mut ewma = PeakEwma::new(Settings::default(), start);
        ewma.observe(MILLI * 2_000, start);
        assert_eq!(ewma.average(start), Some(MILLI * 2_000));
        for second in 1..=10 {
            ewma.observe(MILLI * 10, after(start, second));
        }
        let now = ewma.average(after(start, 10)).unwrap().as_secs_f64();
        // 1.99 s / e, and the 10 ms.
        assert!((0.70..0.76).contains(&now), "{now}");
    }

    #[test]
    fn one_that_was_slow_gets_another_chance() {
        let start = Instant::now();
        let (mut slow, mut fast) =
            (PeakEwma::new(Settings::default(), start), PeakEwma::new(Settings::default(), start));
        slow.observe(MILLI * 2_000, start);
        let mut tried = None;
        for second in 0..120 {
            let now = after(start, second);
            fast.observe(MILLI, now);
            if slow.cost(0, 1, QUIET, now) < fast.cost(0, 1, QUIET, now) {
                tried = Some(second);
                break;
            }
        }
        // ln(2000 ms / 1 ms) times ten seconds are 76.
        assert!((70..80).contains(&tried.unwrap()), "{tried:?}");
    }

    #[test]
    fn a_new_one_is_tried_once_and_then_waited_for() {
        let now = Instant::now();
        let (mut new, mut known) =
            (PeakEwma::new(Settings::default(), now), PeakEwma::new(Settings::default(), now));
        known.observe(MILLI * 5, now);
        assert!(new.cost(0, 1, QUIET, now) < known.cost(0, 1, QUIET, now));
        assert!(new.cost(1, 1, QUIET, now) > known.cost(50, 1, QUIET, now));
        new.observe(MILLI * 2, now);
        assert_eq!(new.average(now), Some(MILLI * 2), "the first response says all that is known");
    }

    #[test]
    fn cost_grows_with_what_is_in_flight_for_the_weight() {
        let now = Instant::now();
        let mut ewma = PeakEwma::new(Settings::default(), now);
        ewma.observe(MILLI * 50, now);
        assert_eq!(ewma.cost(0, 1, QUIET, now), 50_000);
        assert_eq!(ewma.cost(3, 1, QUIET, now), 200_000);
        assert_eq!(ewma.cost(30, 10, QUIET, now), 200_000);
        assert_eq!(
            ewma.cost(0, 10, QUIET, now),
            50_000,
            "idle ones are alike whatever their weight"
        );
        assert_eq!(ewma.cost(0, 0, QUIET, now), 50_000);
    }

    #[test]
    fn the_slow_one_is_not_chosen_and_the_weightless_never() {
        let costs = [2_000_000, 1_000, 1_200, 0];
        let weights = [1, 1, 1, 0];
        let mut balancer = PeakP2c::new(4, 42);
        let mut taken = [0; 4];
        for _ in 0..3_000 {
            taken[balancer.pick(|i| weights[i], |i| costs[i]).unwrap()] += 1;
        }
        assert_eq!((taken[0], taken[3]), (0, 0));
        assert!(taken[1] > taken[2] && taken[2] > 0, "{taken:?}");
    }

    #[test]
    fn equally_fast_backends_share_by_weight() {
        let mut balancer = PeakP2c::new(2, 42);
        let weights = [3, 1];
        let first = (0..40_000).filter(|_| balancer.pick(|i| weights[i], |_| 500) == Some(0));
        assert!((29_500..30_500).contains(&first.count()));
    }

    proptest! {
        #[test]
        fn the_average_stays_between_nothing_and_the_worst(
            observed in prop::collection::vec((0_u64..5_000, 0_u64..60_000), 1..50),
            decay in 0_u64..30_000,
        ) {
            let start = Instant::now();
            let settings = Settings { decay: MILLI * decay as u32, assumed: MILLI * 30 };
            let mut ewma = PeakEwma::new(settings, start);
            let worst = observed.iter().map(|(rtt, _)| *rtt).max().unwrap();
            for (rtt, at) in observed {
                // Not in order, on purpose.
                let now = start + Duration::from_millis(at);
                ewma.observe(Duration::from_millis(rtt), now);
                prop_assert!(ewma.average(now).unwrap() <= Duration::from_millis(worst) + MILLI);
                prop_assert!(ewma.cost(5, 1, QUIET, now) >= ewma.cost(4, 1, QUIET, now));
            }
        }
    }
}
