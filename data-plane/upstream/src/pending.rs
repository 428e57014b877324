//! For how long a backend has answered nothing, although requests wait for it.
//!
//! Averages of response times know only of what was answered. A backend that goes silent is
//! found out by its first time-out, and until then takes whatever its good past earns it; this
//! sees it after a few of its usual response times. Requests whose response has begun do not
//! wait, however long its body takes.

use std::time::Duration;

use tokio::time::Instant;

/// The requests of one worker that wait for one backend.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pending {
    count: u32,
    /// When the backend answered last, or when the first of them was sent.
    since: Option<Instant>,
}

impl Pending {
    /// One was sent at `now`.
    pub fn sent(&mut self, now: Instant) {
        self.count += 1;
        self.since = self.since.or(Some(now));
    }

    /// One was answered at `now`.
    pub fn answered(&mut self, now: Instant) {
        self.count = self.count.saturating_sub(1);
        self.since = (self.count > 0).then_some(now);
    }

    /// One does not wait any more, and was not answered.
    pub fn dropped(&mut self) {
        self.count = self.count.saturating_sub(1);
        self.since = self.since.filter(|_| self.count > 0);
    }

    /// For how long nothing was answered, as of `now`; nothing if none waits.
    pub fn silence(&self, now: Instant) -> Duration {
        self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn silence_lasts_from_the_last_answer_while_somebody_waits() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut pending = Pending::default();
        assert_eq!(pending.silence(at(5)), Duration::ZERO);
        pending.sent(at(0));
        pending.sent(at(3));
        assert_eq!(pending.silence(at(5)), Duration::from_millis(5));
        pending.answered(at(6));
        assert_eq!(pending.silence(at(8)), Duration::from_millis(2));
        pending.dropped();
        assert_eq!(pending.silence(at(9)), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn nobody_waits_once_all_have_ended(ends in prop::collection::vec(any::<bool>(), 0..20)) {
            let now = Instant::now();
            let later = now + Duration::from_secs(1);
            let mut pending = Pending::default();
            for _ in &ends {
                pending.sent(now);
            }
            prop_assert_eq!(pending.silence(later).is_zero(), ends.is_empty());
            for is_answered in &ends {
                if *is_answered { pending.answered(now) } else { pending.dropped() }
            }
            prop_assert_eq!(pending.silence(later), Duration::ZERO);
        }
    }
}
