//! What became of copies.

use http::StatusCode;
use lb_upstream::{Counter, PerWorker};

/// What became of a copy. Each ends in exactly one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered, with a status of this class, from 1 to 5.
    Answered(u8),
    /// It took too long.
    TimedOut,
    /// No connection stood.
    ConnectError,
    /// The connection broke, or what came was no answer.
    Error,
    /// The request itself broke off.
    Aborted,
    /// The body was too large.
    TooLarge,
    /// Too much was on its way already.
    Dropped,
}

/// All words, in the order of the counters.
const WORDS: [&str; 11] = [
    "1xx",
    "2xx",
    "3xx",
    "4xx",
    "5xx",
    "timeout",
    "connect_error",
    "error",
    "aborted",
    "too_large",
    "dropped",
];

/// What one worker counts for one target.
#[derive(Debug, Default)]
pub struct TargetCounters([Counter; WORDS.len()]);

impl Outcome {
    /// An answer with this status.
    pub fn of(status: StatusCode) -> Self {
        Self::Answered((status.as_u16() / 100).clamp(1, 5) as u8)
    }

    const fn index(self) -> usize {
        match self {
            Self::Answered(class) => class as usize - 1,
            Self::TimedOut => 5,
            Self::ConnectError => 6,
            Self::Error => 7,
            Self::Aborted => 8,
            Self::TooLarge => 9,
            Self::Dropped => 10,
        }
    }
}

impl TargetCounters {
    /// Counts one copy.
    pub fn count(&self, outcome: Outcome) {
        self.0[outcome.index()].bump();
    }

    /// Adds up what workers counted, each number with its word.
    pub fn sum(parts: &PerWorker<Self>) -> Vec<(&'static str, u64)> {
        let sum = |(index, word)| (word, parts.sum(|part| &part.0[index]));
        WORDS.into_iter().enumerate().map(sum).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_a_word_of_its_own() {
        let parts = PerWorker::<TargetCounters>::new(1);
        let answered = (1..=5).map(Outcome::Answered);
        for outcome in answered.chain([
            Outcome::TimedOut,
            Outcome::ConnectError,
            Outcome::Error,
            Outcome::Aborted,
            Outcome::TooLarge,
            Outcome::Dropped,
        ]) {
            parts.of(0).count(outcome);
        }
        assert!(TargetCounters::sum(&parts).iter().all(|(_, count)| *count == 1));
        assert_eq!(Outcome::of(StatusCode::NOT_FOUND), Outcome::Answered(4));
    }
}
