//! All that decides about a breaker, in one word.
//!
//! | bits | |
//! |---|---|
//! | 2 | the phase |
//! | 5 | the level: how many probes in a row have failed, for times that double |
//! | 19 | the generation: the number of transitions; it begins again after half a million, long after the last permit of its namesake ended |
//! | 38 | what the phase needs: milliseconds until which it is open (8.7 years), or probes and successes, 19 bits each |

/// The word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word(pub(super) u64);

/// What a breaker does, and what it needs to know for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Closed,
    /// Milliseconds from the start.
    Open {
        until: u64,
    },
    /// Probes that have not ended, and those that succeeded.
    HalfOpen {
        probes: u16,
        successes: u16,
    },
}

const NEED: u32 = 38;
const HALF: u32 = NEED / 2;
const GENERATION: u32 = 19;
const LEVEL: u32 = 5;

const fn low(bits: u32) -> u64 {
    (1 << bits) - 1
}

impl Word {
    pub(super) const CLOSED: Self = Self(0);
    /// The highest level.
    pub(super) const MAX_LEVEL: u8 = low(LEVEL) as u8;

    pub(super) const fn phase(self) -> Phase {
        let need = self.0 & low(NEED);
        match self.0 >> (NEED + GENERATION + LEVEL) {
            0 => Phase::Closed,
            1 => Phase::Open { until: need },
            _ => Phase::HalfOpen { probes: (need >> HALF) as u16, successes: need as u16 },
        }
    }

    pub(super) const fn generation(self) -> u32 {
        ((self.0 >> NEED) & low(GENERATION)) as u32
    }

    pub(super) const fn level(self) -> u8 {
        ((self.0 >> (NEED + GENERATION)) & low(LEVEL)) as u8
    }

    /// The same generation and level with other numbers.
    pub(super) const fn with(self, phase: Phase) -> Self {
        Self::new(phase, self.level(), self.generation())
    }

    /// The next generation.
    pub(super) const fn transition(self, phase: Phase, level: u8) -> Self {
        Self::new(phase, level, self.generation().wrapping_add(1))
    }

    const fn new(phase: Phase, level: u8, generation: u32) -> Self {
        let (kind, need) = match phase {
            Phase::Closed => (0, 0),
            Phase::Open { until } => (1, if until < low(NEED) { until } else { low(NEED) }),
            Phase::HalfOpen { probes, successes } => {
                (2, ((probes as u64) << HALF) | successes as u64)
            }
        };
        let level = if level < Self::MAX_LEVEL { level } else { Self::MAX_LEVEL };
        let generation = generation as u64 & low(GENERATION);
        Self((((kind << LEVEL) | level as u64) << GENERATION | generation) << NEED | need)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn phase() -> impl Strategy<Value = Phase> {
        prop_oneof![
            Just(Phase::Closed),
            (0..1_u64 << 38).prop_map(|until| Phase::Open { until }),
            any::<(u16, u16)>()
                .prop_map(|(probes, successes)| Phase::HalfOpen { probes, successes }),
        ]
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(
            phase in phase(),
            next in phase(),
            level in 0..32_u8,
            generation in 0..1_u32 << 19,
        ) {
            let word = Word::new(phase, level, generation);
            prop_assert_eq!((word.phase(), word.level(), word.generation()), (phase, level, generation));
            let same = word.with(next);
            prop_assert_eq!((same.phase(), same.level(), same.generation()), (next, level, generation));
            let other = word.transition(next, 0);
            prop_assert_eq!((other.phase(), other.level()), (next, 0));
            prop_assert_ne!(other.generation(), generation);
        }
    }

    #[test]
    fn what_does_not_fit_is_the_most_that_does() {
        let word = Word::new(Phase::Open { until: u64::MAX }, u8::MAX, u32::MAX);
        assert_eq!(word.phase(), Phase::Open { until: (1 << 38) - 1 });
        assert_eq!(word.level(), 31);
        assert_eq!(word.transition(Phase::Closed, 0).generation(), 0);
    }
}
