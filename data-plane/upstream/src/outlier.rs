//! Outlier detection: backends that answer worse than the others of their service take a rest.
//!
//! As in Envoy. Requests themselves are the check: a run of failures ejects a backend on the
//! spot, and a [sweep](Outliers::sweep) at an interval ejects those whose success rate is far
//! below what is normal. An ejection ends by itself, each in a row lasts longer, and only a
//! part of a service is ever out, for whatever is wrong with all of them is not an outlier.
//!
//! [`Ejection`] is what all workers share of one backend: reading it is one load, a success one
//! store in the worker's own memory. [`Outliers`] is what backends of a service have in common:
//! the limits, and that one decision is taken at a time. Decisions themselves are pure
//! ([`judge`]).
//!
//! This is not the circuit breaker, which looks at one backend alone, and not the health checks.

pub mod judge;

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;

pub use self::judge::{Cause, Decision, Sample};
use crate::{
    counters::{Counter, PerWorker},
    epoch::{Epoch, whole_millis},
};

/// Who is ejected, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Failures in a row that eject a backend at once; 0 never does.
    pub consecutive_failures: u32,
    /// The time within which a run of failures counts, from its first.
    pub window: Duration,
    /// When a success rate is too low; nobody looks at it when absent.
    pub success_rate: Option<SuccessRate>,
    /// How often to sweep.
    pub interval: Duration,
    /// How long the first ejection lasts; the second in a row twice as long, and so on.
    pub base_ejection_time: Duration,
    /// The longest ejection.
    pub max_ejection_time: Duration,
    /// The percentage of a service's backends that may be out at a time. Above 0 one always may.
    pub max_ejection_percent: u8,
}

/// When a success rate is too low.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SuccessRate {
    /// How many backends must have enough requests for there to be a normal rate.
    pub minimum_hosts: u32,
    /// Requests within an interval that are enough.
    pub request_volume: u64,
    /// How many standard deviations below the mean is too low, in thousandths.
    pub stdev_factor: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            window: Duration::from_secs(10),
            success_rate: Some(SuccessRate::default()),
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_time: Duration::from_mins(5),
            max_ejection_percent: 10,
        }
    }
}

impl Default for SuccessRate {
    fn default() -> Self {
        Self { minimum_hosts: 5, request_volume: 100, stdev_factor: 1_900 }
    }
}

/// One backend in the eyes of outlier detection, shared by all workers.
#[derive(Debug)]
pub struct Ejection {
    epoch: Epoch,
    /// The failures in a row and when the first of them was, or 0.
    run: AtomicU64,
    /// Until when it is out, in milliseconds from the start, or 0.
    until: AtomicU64,
    /// How many ejections in a row still count.
    times: AtomicU32,
    workers: PerWorker<Ends>,
    /// What the last sweep had seen of the workers' counts.
    swept_successes: AtomicU64,
    swept_failures: AtomicU64,
}

/// What is known of an ejection at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Until when the backend is out; nothing while it is in.
    pub until: Option<Instant>,
    /// How many ejections in a row still count.
    pub times: u32,
    /// Failures in a row, until now.
    pub consecutive_failures: u32,
}

#[derive(Debug, Default)]
struct Ends {
    successes: Counter,
    failures: Counter,
}

/// Milliseconds in the high bits (half a million years), failures in the low ones.
const RUN: u32 = 20;
const LONGEST_RUN: u64 = (1 << RUN) - 1;

impl Ejection {
    /// A backend that nothing is known against.
    pub fn new(workers: usize, now: Instant) -> Self {
        Self {
            epoch: Epoch::new(now),
            run: AtomicU64::new(0),
            until: AtomicU64::new(0),
            times: AtomicU32::new(0),
            workers: PerWorker::new(workers),
            swept_successes: AtomicU64::new(0),
            swept_failures: AtomicU64::new(0),
        }
    }

    /// Whether the backend is out at `now`.
    pub fn is_ejected(&self, now: Instant) -> bool {
        let until = self.until.load(Relaxed);
        // Nearly always it is 0, and there is nothing to work out.
        until > 0 && self.epoch.millis(now) < until
    }

    /// A request that worker number `worker` sent succeeded.
    pub fn success(&self, worker: usize) {
        self.workers.of(worker).successes.bump();
        if self.run.load(Relaxed) != 0 {
            self.run.store(0, Relaxed);
        }
    }

    /// A request that worker number `worker` sent failed. If this says true the run of failures
    /// is long enough and the caller, nobody else, asks [`Outliers::eject`].
    #[must_use = "a run that is long enough is told once"]
    pub fn failure(&self, worker: usize, settings: &Settings, now: Instant) -> bool {
        self.workers.of(worker).failures.bump();
        let enough = u64::from(settings.consecutive_failures).min(LONGEST_RUN);
        if enough == 0 {
            return false;
        }
        let at = self.epoch.millis(now);
        let window = whole_millis(settings.window);
        let next = |run: u64| {
            let (first, failures) = (run >> RUN, run & LONGEST_RUN);
            if failures == 0 || at.saturating_sub(first) > window {
                at << RUN | 1
            } else {
                first << RUN | (failures + 1)
            }
        };
        let is_enough = |run: u64| run & LONGEST_RUN >= enough;
        // A run that is long enough begins anew, whatever becomes of it: if the backend may not
        // be ejected, not every further failure has to ask again.
        let step = |run| Some(next(run)).map(|run| if is_enough(run) { 0 } else { run });
        let before = self.run.fetch_update(Relaxed, Relaxed, step).unwrap_or_else(|run| run);
        is_enough(next(before))
    }

    /// All that is known at `now`.
    pub fn summary(&self, now: Instant) -> Summary {
        Summary {
            until: self.until().filter(|until| *until > now),
            times: self.times.load(Relaxed),
            consecutive_failures: (self.run.load(Relaxed) & LONGEST_RUN) as u32,
        }
    }

    fn until(&self) -> Option<Instant> {
        let until = self.until.load(Relaxed);
        self.epoch.instant(until).filter(|_| until > 0)
    }

    fn sample(&self) -> Sample {
        Sample { until: self.until(), times: self.times.load(Relaxed), ..Sample::default() }
    }

    /// The same with the requests since the last sweep, which this one is.
    fn take_sample(&self) -> Sample {
        let successes = self.workers.sum(|ends| &ends.successes);
        let failures = self.workers.sum(|ends| &ends.failures);
        Sample {
            successes: successes.wrapping_sub(self.swept_successes.swap(successes, Relaxed)),
            failures: failures.wrapping_sub(self.swept_failures.swap(failures, Relaxed)),
            ..self.sample()
        }
    }

    fn apply(&self, decision: Decision) {
        match decision {
            Decision::Eject { until, times, .. } => {
                self.times.store(times, Relaxed);
                self.run.store(0, Relaxed);
                self.until.store(self.epoch.millis(until).max(1), Relaxed);
            }
            Decision::Return { .. } => self.until.store(0, Relaxed),
            Decision::Forgive { times, .. } => self.times.store(times, Relaxed),
        }
    }
}

/// Outlier detection of one service. All who decide about a backend go through the same one, so
/// it is kept for as long as its settings are.
#[derive(Debug)]
pub struct Outliers {
    settings: Settings,
    /// Held while deciding: two backends ejected at once would be one too many.
    turn: Mutex<()>,
}

impl Outliers {
    /// Detection with these settings.
    pub const fn new(settings: Settings) -> Self {
        Self { settings, turn: Mutex::new(()) }
    }

    /// Who is ejected, and for how long.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Ejects the backend at `member` after a run of failures, if another one may be out.
    /// `all` are the backends of the service.
    pub fn eject<'a>(
        &self,
        all: impl Iterator<Item = &'a Ejection> + Clone,
        member: usize,
        now: Instant,
    ) -> Option<Decision> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let samples: Vec<_> = all.clone().map(Ejection::sample).collect();
        let decision = judge::eject(&self.settings, &samples, member, now)?;
        apply(all, &[decision]);
        Some(decision)
    }

    /// Looks at all backends of the service: ends ejections that are over, forgives those who
    /// are well, and ejects by success rate. To be called once an interval. Says what it did.
    pub fn sweep<'a>(
        &self,
        all: impl Iterator<Item = &'a Ejection> + Clone,
        now: Instant,
    ) -> Vec<Decision> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let samples: Vec<_> = all.clone().map(Ejection::take_sample).collect();
        let decisions = judge::sweep(&self.settings, &samples, now);
        apply(all, &decisions);
        decisions
    }
}

fn apply<'a>(all: impl Iterator<Item = &'a Ejection>, decisions: &[Decision]) {
    for (index, ejection) in all.enumerate() {
        for decision in decisions.iter().filter(|decision| decision.member() == index) {
            ejection.apply(*decision);
        }
    }
}

#[cfg(test)]
mod tests;
