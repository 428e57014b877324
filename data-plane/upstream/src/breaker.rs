//! The circuit breaker of one backend, shared by all workers.
//!
//! **Closed**, requests pass, and their ends are counted over a rolling window. With enough
//! failures among enough requests it **opens**: no requests, so that neither they nor the backend
//! suffer. After a time it is **half open**: a few requests probe the backend, and either all
//! succeed and it closes, or one fails and it opens again, for longer if so configured.
//!
//! State, generation, and what a state needs to know are one atomic word, so every transition is
//! one exchange that one thread wins. Each transition begins a generation. A [`Permit`] belongs to
//! the generation that gave it, and the end of an older one says nothing about the backend as it
//! is now, so it is ignored. Counts belong to workers and to generations as well: a success costs
//! a worker one store in its own memory, a failure the sum over all, and clearing the window
//! nothing at all.
//!
//! What a failure is, and that [`record`](Breaker::record) is called for every permit, is the
//! business of whoever asks.

mod window;
mod word;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

use self::{
    window::{Tally, Window},
    word::{Phase, Word},
};
use crate::{
    counters::PerWorker,
    epoch::{Epoch, whole_millis},
};

/// When a breaker opens and closes. A zero counts as a one, and a window below 10 ms as 10 ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Failures within the window that open it.
    pub failure_threshold: u32,
    /// Successes in a row that close it again, and the most probes at a time; at most 65,535.
    pub success_threshold: u32,
    /// For how long it stays open.
    pub recovery_timeout: Duration,
    /// Up to what that doubles with each probe that fails; it does not when absent.
    pub max_recovery_timeout: Option<Duration>,
    /// Requests within the window below which it never opens.
    pub request_volume_threshold: u32,
    /// The time over which both are counted, in steps of a tenth.
    pub window: Duration,
}

/// Whether requests pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// All do.
    Closed,
    /// None do.
    Open,
    /// A few do, to see.
    HalfOpen,
}

/// The state changed; exactly one caller is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transition {
    /// Failures opened it, or a probe that failed did so again.
    Opened,
    /// It let the first probe through.
    HalfOpened,
    /// Probes that succeeded closed it, or an operator did.
    Closed,
}

/// How a request ended, in the eyes of a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The backend did what it should.
    Success,
    /// It did not.
    Failure,
    /// Nobody knows: the client went away first.
    Undecided,
}

/// One request may pass. It must come back through [`Breaker::record`]: a probe that does not
/// keeps its place for as long as the breaker is half open.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a permit that is not recorded keeps its place"]
pub struct Permit {
    generation: u32,
    is_probe: bool,
    is_first: bool,
}

impl Permit {
    /// Whether this request probes a backend that failed.
    pub const fn is_probe(&self) -> bool {
        self.is_probe
    }

    /// The change of state that giving this permit was.
    pub const fn transition(&self) -> Option<Transition> {
        if self.is_first { Some(Transition::HalfOpened) } else { None }
    }
}

/// What is known of a breaker at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Whether requests pass.
    pub state: State,
    /// Requests that ended within the window; 0 unless it is closed.
    pub requests: u64,
    /// Those of them that failed.
    pub failures: u64,
    /// When it opened last, unless it is closed.
    pub opened_at: Option<Instant>,
    /// When it lets the next probe through, while it is open.
    pub next_attempt: Option<Instant>,
    /// How often it has opened.
    pub opened: u64,
}

/// The circuit breaker of one backend.
#[derive(Debug)]
pub struct Breaker {
    settings: Settings,
    epoch: Epoch,
    word: AtomicU64,
    workers: PerWorker<Window>,
    /// For summaries: milliseconds from the start.
    opened_at: AtomicU64,
    opened: AtomicU64,
}

impl Breaker {
    /// A closed one for `workers` threads. A configuration with the same settings keeps the old
    /// one, with all that it knows: compare [`settings`](Self::settings).
    pub fn new(settings: Settings, workers: usize, now: Instant) -> Self {
        Self {
            settings,
            epoch: Epoch::new(now),
            word: AtomicU64::new(Word::CLOSED.0),
            workers: PerWorker::new(workers),
            opened_at: AtomicU64::new(0),
            opened: AtomicU64::new(0),
        }
    }

    /// When it opens and closes.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether the backend may be chosen at `now`. Others may take the last probe until
    /// [`try_begin`](Self::try_begin) is called.
    pub fn allows(&self, now: Instant) -> bool {
        match self.word().phase() {
            Phase::Closed => true,
            Phase::Open { until } => self.epoch.millis(now) >= until,
            Phase::HalfOpen { probes, .. } => probes < self.probes(),
        }
    }

    /// Lets a request through, if one may pass at `now`.
    pub fn try_begin(&self, now: Instant) -> Option<Permit> {
        let mut word = self.word();
        loop {
            let generation = word.generation();
            let (next, is_first) = match word.phase() {
                Phase::Closed => {
                    return Some(Permit { generation, is_probe: false, is_first: false });
                }
                Phase::Open { until } if self.epoch.millis(now) >= until => (
                    word.transition(Phase::HalfOpen { probes: 1, successes: 0 }, word.level()),
                    true,
                ),
                Phase::HalfOpen { probes, successes } if probes < self.probes() => {
                    (word.with(Phase::HalfOpen { probes: probes + 1, successes }), false)
                }
                Phase::Open { .. } | Phase::HalfOpen { .. } => return None,
            };
            match self.exchange(word, next) {
                Ok(()) => {
                    let generation = next.generation();
                    return Some(Permit { generation, is_probe: true, is_first });
                }
                Err(current) => word = current,
            }
        }
    }

    /// Takes in how a request of worker number `worker` ended, and says whether that changed the
    /// state.
    pub fn record(
        &self,
        worker: usize,
        permit: Permit,
        outcome: Outcome,
        now: Instant,
    ) -> Option<Transition> {
        let mut word = self.word();
        loop {
            if word.generation() != permit.generation {
                return None;
            }
            let next = match word.phase() {
                Phase::Closed => return self.count(word, worker, outcome, now),
                // Permits are of a closed or half-open generation.
                Phase::Open { .. } => return None,
                Phase::HalfOpen { probes, successes } => {
                    let probes = probes.saturating_sub(1);
                    let enough = u32::from(self.probes());
                    match outcome {
                        Outcome::Failure => self.reopened(word, now),
                        Outcome::Success if u32::from(successes) + 1 >= enough => {
                            word.transition(Phase::Closed, 0)
                        }
                        Outcome::Success => {
                            word.with(Phase::HalfOpen { probes, successes: successes + 1 })
                        }
                        Outcome::Undecided => word.with(Phase::HalfOpen { probes, successes }),
                    }
                }
            };
            match self.exchange(word, next) {
                Ok(()) => return self.entered(word, next, now),
                Err(current) => word = current,
            }
        }
    }

    /// Closes it and clears the window, as an operator asks. Says whether it was not closed.
    pub fn reset(&self, now: Instant) -> Option<Transition> {
        let mut word = self.word();
        loop {
            let next = word.transition(Phase::Closed, 0);
            match self.exchange(word, next) {
                Ok(()) if word.phase() == Phase::Closed => return None,
                Ok(()) => return self.entered(word, next, now),
                Err(current) => word = current,
            }
        }
    }

    /// The state at `now`. One that waits for its next request to probe with is half open.
    pub fn state(&self, now: Instant) -> State {
        self.state_of(self.word(), now)
    }

    /// All that is known at `now`.
    pub fn summary(&self, now: Instant) -> Summary {
        let word = self.word();
        let state = self.state_of(word, now);
        let tally = match state {
            State::Closed => self.tally(word, now),
            State::Open | State::HalfOpen => Tally::default(),
        };
        let next_attempt = match word.phase() {
            Phase::Open { until } if state == State::Open => self.epoch.instant(until),
            _ => None,
        };
        Summary {
            state,
            requests: tally.requests,
            failures: tally.failures,
            opened_at: self
                .epoch
                .instant(self.opened_at.load(Ordering::Relaxed))
                .filter(|_| state != State::Closed),
            next_attempt,
            opened: self.opened.load(Ordering::Relaxed),
        }
    }

    fn state_of(&self, word: Word, now: Instant) -> State {
        match word.phase() {
            Phase::Closed => State::Closed,
            Phase::Open { until } if self.epoch.millis(now) < until => State::Open,
            Phase::Open { .. } | Phase::HalfOpen { .. } => State::HalfOpen,
        }
    }

    /// Counts the end of a request while the breaker is closed.
    fn count(
        &self,
        word: Word,
        worker: usize,
        outcome: Outcome,
        now: Instant,
    ) -> Option<Transition> {
        let is_failure = match outcome {
            Outcome::Success => false,
            Outcome::Failure => true,
            Outcome::Undecided => return None,
        };
        self.workers.of(worker).add(self.step(now), word.generation(), is_failure);
        if !is_failure {
            return None;
        }
        // Of two workers that count the last two failures at once, at least one sees both.
        std::sync::atomic::fence(Ordering::SeqCst);
        let Tally { requests, failures } = self.tally(word, now);
        let is_too_much = failures >= u64::from(self.settings.failure_threshold.max(1))
            && requests >= u64::from(self.settings.request_volume_threshold);
        if !is_too_much {
            return None;
        }
        let next = self.open(word, 0, now);
        // Whoever was faster has told of it.
        self.exchange(word, next).ok().and_then(|()| self.entered(word, next, now))
    }

    fn tally(&self, word: Word, now: Instant) -> Tally {
        let step = self.step(now);
        let tallies = self.workers.iter().map(|window| window.tally(step, word.generation()));
        tallies.fold(Tally::default(), |sum, tally| sum + tally)
    }

    fn reopened(&self, word: Word, now: Instant) -> Word {
        self.open(word, word.level().saturating_add(1), now)
    }

    fn open(&self, word: Word, level: u8, now: Instant) -> Word {
        let first = self.settings.recovery_timeout;
        let timeout = match self.settings.max_recovery_timeout {
            Some(max) => first.saturating_mul(1 << level.min(Word::MAX_LEVEL)).min(max).max(first),
            None => first,
        };
        let until = self.epoch.millis(now).saturating_add(whole_millis(timeout));
        word.transition(Phase::Open { until }, level)
    }

    /// Notes and names what the thread that made it happen has to tell.
    fn entered(&self, before: Word, after: Word, now: Instant) -> Option<Transition> {
        if before.generation() == after.generation() {
            return None;
        }
        Some(match after.phase() {
            Phase::Closed => Transition::Closed,
            Phase::HalfOpen { .. } => Transition::HalfOpened,
            Phase::Open { .. } => {
                self.opened_at.store(self.epoch.millis(now), Ordering::Relaxed);
                self.opened.fetch_add(1, Ordering::Relaxed);
                Transition::Opened
            }
        })
    }

    fn probes(&self) -> u16 {
        self.settings.success_threshold.clamp(1, u32::from(u16::MAX)) as u16
    }

    fn word(&self) -> Word {
        Word(self.word.load(Ordering::Acquire))
    }

    fn exchange(&self, from: Word, to: Word) -> Result<(), Word> {
        self.word
            .compare_exchange(from.0, to.0, Ordering::AcqRel, Ordering::Acquire)
            .map(|_| ())
            .map_err(Word)
    }

    /// The number of the tenth of a window in which `now` lies.
    fn step(&self, now: Instant) -> u64 {
        self.epoch.millis(now) / (whole_millis(self.settings.window) / window::STEPS).max(1)
    }
}

#[cfg(test)]
mod tests;
