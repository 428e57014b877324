//! How the share of a canary grows by itself, and when it is taken back.
//!
//! Pure: what the versions counted and what time it is are passed in. A step lasts as long as it
//! says; then the next one begins, if the canary was not worse. A canary that is worse is given
//! nothing at once. Without enough traffic nothing is decided: the step goes on.
//!
//! A canary is **worse** when both versions got at least [`ENOUGH`] requests and
//!
//! - at least [`FEW_ERRORS`] of its own failed, and their share is above that of the stable version
//!   by more than one percentage point and by more than half, or
//! - 95 of 100 of its answers took more than twice as long as those of the stable version, and
//!   more than 50 ms longer.
//!
//! Asked is twice: over the last minute, and over the whole step.

use jiff::{SignedDuration, Timestamp};
use lb_model::{
    config::CanaryStep,
    value::{Duration, Percentage},
};
use serde::{Deserialize, Serialize};

use super::text;
use crate::report::{Arms, totals::Totals};

/// How many requests a version needs, to be judged.
pub const ENOUGH: u64 = 20;
/// How many of the canary's requests have to fail before their share says anything.
pub const FEW_ERRORS: u64 = 5;
/// By how much more of them, in percentage points and as a share of the stable version's.
const MORE_ERRORS: (f64, f64) = (1.0, 0.5);
/// How many times as long answers may take, and by how many milliseconds more.
const SLOWER: (f64, f64) = (2.0, 50.0);

/// A step, as it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The percentage of requests.
    #[serde(with = "text::split")]
    pub split: Percentage,
    /// Until the next step.
    #[serde(with = "text::millis", rename = "for_ms")]
    pub hold: Duration,
}

/// What a schedule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It goes from step to step.
    Running,
    /// It went all the way, and the last share stays.
    Finished,
    /// The canary was worse.
    Aborted,
    /// An operator decided otherwise.
    Stopped,
}

/// How far a canary has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// The steps as they were when it began. Others are another schedule.
    pub steps: Vec<Step>,
    /// Which of them holds, from 0.
    pub step: usize,
    /// Since when.
    pub since: Timestamp,
    /// What it does.
    pub state: State,
    /// Why it ended.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// What the versions counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Observed {
    /// Over the last minute of the step.
    pub recent: Arms,
    /// Since the step began, or since somebody listens.
    pub step: Arms,
}

/// What follows from that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The step goes on.
    Wait,
    /// Its time is over, and there is too little to judge by: it goes on.
    Hold,
    /// The next step begins.
    Next,
    /// That was the last one.
    Finish,
    /// The canary is worse.
    Abort(String),
}

impl Schedule {
    /// One that begins now; none without a step.
    pub fn begin(steps: &[CanaryStep], now: Timestamp) -> Option<Self> {
        let kept = |step: &CanaryStep| Step { split: step.split, hold: step.hold };
        let steps: Vec<_> = steps.iter().map(kept).collect();
        let begun = Self { steps, step: 0, since: now, state: State::Running, why: String::new() };
        (!begun.steps.is_empty()).then_some(begun)
    }

    /// Whether these are its steps.
    pub fn is_of(&self, steps: &[CanaryStep]) -> bool {
        let same =
            |(kept, step): (&Step, &CanaryStep)| kept.split == step.split && kept.hold == step.hold;
        self.steps.len() == steps.len() && self.steps.iter().zip(steps).all(same)
    }

    /// The share that it gives the canary.
    pub fn split(&self) -> Percentage {
        match self.state {
            State::Aborted => Percentage::ZERO,
            _ => self.current().map_or(Percentage::ZERO, |step| step.split),
        }
    }

    /// Whether it still goes on.
    pub const fn is_running(&self) -> bool {
        matches!(self.state, State::Running)
    }

    /// When the time of the step is over, while it runs.
    pub fn until(&self) -> Option<Timestamp> {
        let hold = self.current().filter(|_| self.is_running())?.hold;
        let hold = SignedDuration::try_from(hold.get()).ok()?;
        // A step that never ends goes on.
        Some(self.since.checked_add(hold).unwrap_or(Timestamp::MAX))
    }

    fn current(&self) -> Option<&Step> {
        self.steps.get(self.step)
    }

    /// What is to be done, by what was counted.
    pub fn judge(&self, observed: &Observed, now: Timestamp) -> Verdict {
        let Some(until) = self.until() else { return Verdict::Wait };
        if let Some(why) = worse(&observed.recent).or_else(|| worse(&observed.step)) {
            return Verdict::Abort(why);
        }
        if now < until {
            return Verdict::Wait;
        }
        // With all of the requests there is nothing left to compare with.
        let gets_all = self.split() == Percentage::ALL;
        let Arms { stable, canary } = &observed.step;
        if !gets_all && stable.requests.min(canary.requests) < ENOUGH {
            return Verdict::Hold;
        }
        if self.step + 1 < self.steps.len() { Verdict::Next } else { Verdict::Finish }
    }

    /// The same after a verdict; none where nothing changes.
    #[must_use]
    pub fn after(&self, verdict: &Verdict, now: Timestamp) -> Option<Self> {
        if !self.is_running() {
            return None;
        }
        let ended = |state, why: &str| Self { state, why: why.to_owned(), ..self.clone() };
        match verdict {
            Verdict::Wait | Verdict::Hold => None,
            Verdict::Next => Some(Self { step: self.step + 1, since: now, ..self.clone() }),
            Verdict::Finish => Some(ended(State::Finished, "")),
            Verdict::Abort(why) => Some(ended(State::Aborted, why)),
        }
    }

    /// The same after an operator decided otherwise.
    #[must_use]
    pub fn stopped(&self, why: &str) -> Self {
        Self { state: State::Stopped, why: why.to_owned(), ..self.clone() }
    }
}

/// Why the canary is worse than the stable version, if it is.
pub fn worse(arms: &Arms) -> Option<String> {
    let Arms { stable, canary } = arms;
    if stable.requests.min(canary.requests) < ENOUGH {
        return None;
    }
    let (own, other) = (canary.error_percent(), stable.error_percent());
    if canary.errors() >= FEW_ERRORS && own > other + MORE_ERRORS.0.max(other * MORE_ERRORS.1) {
        return Some(format!(
            "{own:.1}% of its {} requests failed, and {other:.1}% of the {} of the stable version",
            canary.requests, stable.requests
        ));
    }
    let answered =
        |totals: &Totals| totals.latency.iter().fold(0, |a: u64, b| a.saturating_add(*b));
    if answered(stable).min(answered(canary)) < ENOUGH {
        return None;
    }
    let (own, other) = (canary.quantile(0.95)?, stable.quantile(0.95)?);
    (own > SLOWER.0 * other && own > other + SLOWER.1).then(|| {
        format!(
            "95% of its answers took up to {own:.0} ms, and those of the stable version up to \
             {other:.0} ms"
        )
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn steps(list: &[(&str, u64)]) -> Vec<CanaryStep> {
        let step = |(split, seconds): &(&str, u64)| CanaryStep {
            split: Percentage::parse(split).unwrap(),
            hold: Duration::from_secs(*seconds),
        };
        list.iter().map(step).collect()
    }

    fn schedule() -> Schedule {
        Schedule::begin(&steps(&[("5", 10), ("25", 20), ("100", 5)]), at(0)).unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn totals(requests: u64, errors: u64, bucket: usize) -> Totals {
        let latency = std::array::from_fn(|at| if at == bucket { requests - errors } else { 0 });
        Totals { requests, server_errors: errors, latency, ..Totals::default() }
    }

    fn arms(stable: (u64, u64, usize), canary: (u64, u64, usize)) -> Arms {
        let of = |(requests, errors, bucket)| totals(requests, errors, bucket);
        Arms { stable: of(stable), canary: of(canary) }
    }

    fn observed(arms: &Arms) -> Observed {
        Observed { recent: *arms, step: *arms }
    }

    fn well() -> Observed {
        observed(&arms((1_000, 1, 4), (100, 0, 4)))
    }

    #[test]
    fn a_good_canary_goes_from_step_to_step() {
        let mut schedule = schedule();
        assert_eq!(schedule.judge(&well(), at(9)), Verdict::Wait);
        for (second, verdict, split) in
            [(10, Verdict::Next, "25"), (31, Verdict::Next, "100"), (36, Verdict::Finish, "100")]
        {
            assert_eq!(schedule.judge(&well(), at(second)), verdict);
            schedule = schedule.after(&verdict, at(second)).unwrap();
            assert_eq!(schedule.split().to_string(), split);
        }
        assert_eq!((schedule.state, schedule.until()), (State::Finished, None));
        let bad = observed(&arms((1_000, 0, 4), (1_000, 900, 4)));
        assert_eq!(schedule.judge(&bad, at(99)), Verdict::Wait, "it is over");
    }

    #[test]
    fn without_traffic_it_holds_but_with_all_of_it_there_is_nothing_to_compare() {
        let mut schedule = schedule();
        let quiet = observed(&arms((1_000, 0, 4), (ENOUGH - 1, 0, 4)));
        assert_eq!(schedule.judge(&quiet, at(500)), Verdict::Hold);
        let alone = observed(&arms((0, 0, 4), (1_000, 0, 4)));
        assert_eq!(schedule.judge(&alone, at(500)), Verdict::Hold);
        schedule.step = 2;
        assert_eq!(schedule.judge(&alone, at(500)), Verdict::Finish);
    }

    #[test]
    fn errors_and_slowness_beyond_the_stable_version_abort_at_once() {
        let schedule = schedule();
        for (stable, canary, is_worse) in [
            ((1_000, 0, 4), (100, 5, 4), true),
            // A few errors, or few requests, say nothing.
            ((1_000, 0, 4), (100, 4, 4), false),
            ((1_000, 0, 4), (ENOUGH - 1, 9, 4), false),
            ((ENOUGH - 1, 0, 4), (100, 50, 4), false),
            // Within a percentage point, or within half of what the stable version has.
            ((1_000, 0, 4), (1_000, 9, 4), false),
            ((1_000, 200, 4), (1_000, 290, 4), false),
            ((1_000, 200, 4), (1_000, 310, 4), true),
            // Twice as slow, but not much; and much slower.
            ((1_000, 0, 2), (1_000, 0, 5), false),
            ((1_000, 0, 4), (1_000, 0, 9), true),
            ((1_000, 0, 9), (1_000, 0, 9), false),
        ] {
            let arms = arms(stable, canary);
            let verdict = schedule.judge(&observed(&arms), at(1));
            let said = matches!(verdict, Verdict::Abort(_));
            assert_eq!(said, is_worse, "{stable:?} {canary:?} {verdict:?}");
            // It is seen within the last minute, and over the whole step.
            let now = Observed { recent: arms, ..well() };
            assert_eq!(matches!(schedule.judge(&now, at(1)), Verdict::Abort(_)), is_worse);
            let then = Observed { step: arms, ..well() };
            assert_eq!(matches!(schedule.judge(&then, at(1)), Verdict::Abort(_)), is_worse);
        }
        let why = worse(&arms((1_000, 1, 4), (100, 50, 4))).unwrap();
        assert_eq!(
            why,
            "50.0% of its 100 requests failed, and 0.1% of the 1000 of the stable version"
        );
        let aborted = schedule.after(&Verdict::Abort(why), at(1)).unwrap();
        assert_eq!((aborted.split(), aborted.state), (Percentage::ZERO, State::Aborted));
    }

    #[test]
    fn what_is_kept_is_read_again_and_other_steps_are_another_schedule() {
        let kept = schedule();
        let text = serde_json::to_string(&kept).unwrap();
        assert_eq!(serde_json::from_str::<Schedule>(&text).unwrap(), kept);
        assert!(kept.is_of(&steps(&[("5", 10), ("25", 20), ("100", 5)])));
        assert!(!kept.is_of(&steps(&[("5", 10), ("25", 21), ("100", 5)])));
        assert!(!kept.is_of(&steps(&[("5", 10), ("25", 20)])));
        assert_eq!(Schedule::begin(&[], at(0)), None);
    }

    proptest! {
        #[test]
        fn it_only_grows_until_it_ends_and_ends_for_good(
            list in prop::collection::btree_set(1_u32..=1_000_000, 1..6),
            looks in prop::collection::vec((0_i64..100, 0_u64..200, 0_u64..200, 0_u64..200), 0..60),
        ) {
            let steps: Vec<_> = list
                .into_iter()
                .map(|parts| CanaryStep {
                    split: Percentage::of_millionths(parts).unwrap(),
                    hold: Duration::from_secs(u64::from(parts % 50)),
                })
                .collect();
            let mut schedule = Schedule::begin(&steps, at(0)).unwrap();
            let mut now = 0;
            for (later, stable, canary, errors) in looks {
                now += later;
                let arms = arms((stable, 0, 3), (canary, errors.min(canary), 3));
                let verdict = schedule.judge(&observed(&arms), at(now));
                let Some(next) = schedule.after(&verdict, at(now)) else {
                    prop_assert!(matches!(verdict, Verdict::Wait | Verdict::Hold) || !schedule.is_running());
                    continue;
                };
                prop_assert!(schedule.is_running());
                match next.state {
                    State::Running => {
                        prop_assert!(next.split() > schedule.split());
                        let held = schedule.steps[schedule.step].hold;
                        let took = at(now).duration_since(schedule.since);
                        prop_assert!(took >= SignedDuration::try_from(held.get()).unwrap());
                    }
                    State::Finished => {
                        prop_assert_eq!(next.step + 1, steps.len());
                        prop_assert_eq!(next.split(), steps.last().unwrap().split);
                    }
                    State::Aborted => prop_assert_eq!(next.split(), Percentage::ZERO),
                    State::Stopped => prop_assert!(false, "nobody stopped it"),
                }
                schedule = next;
            }
        }
    }
}
