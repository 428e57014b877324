//! How long one side of an exchange may stand still.
//!
//! A clock is read and a timer looked at only when there is nothing to do, and a timer is armed
//! anew only when it would fire too late: one that fires early finds that out and waits on. So
//! requests that follow each other on a connection share one timer and rarely touch it.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

/// Measures pauses.
#[derive(Debug, Default)]
pub struct Clock {
    since: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Clock {
    /// Before the first pause.
    pub const fn new() -> Self {
        Self { since: None, sleep: None }
    }

    /// Ends the current pause: something moved.
    pub const fn progress(&mut self) {
        self.since = None;
    }

    /// Begins a pause at `now`, which the caller knows anyway.
    pub const fn begin_at(&mut self, now: Instant) {
        self.since = Some(now);
    }

    /// Begins a pause now, or at its beginning if it has begun.
    pub fn begin(&mut self) -> Instant {
        *self.since.get_or_insert_with(Instant::now)
    }

    /// Is ready once the pause is longer than `longest` or `deadline` has passed. Neither means no
    /// limit. Call it only while nothing moves.
    pub fn poll_too_long(
        &mut self,
        cx: &mut Context<'_>,
        longest: Option<Duration>,
        deadline: Option<Instant>,
    ) -> Poll<()> {
        let due = match (longest, deadline) {
            (None, None) => return Poll::Pending,
            (Some(longest), None) => self.begin() + longest,
            (None, Some(deadline)) => deadline,
            (Some(longest), Some(deadline)) => deadline.min(self.begin() + longest),
        };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if sleep.deadline() > due {
            sleep.as_mut().reset(due);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= due {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const TEN: Option<Duration> = Some(Duration::from_secs(10));

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_measured_from_the_last_progress() {
        let start = Instant::now();
        let mut clock = Clock::new();
        for _ in 0..3 {
            let wait = poll_fn(|cx| clock.poll_too_long(cx, TEN, None));
            assert!(tokio::time::timeout(Duration::from_secs(9), wait).await.is_err());
            clock.progress();
        }
        poll_fn(|cx| clock.poll_too_long(cx, TEN, None)).await;
        assert_eq!(start.elapsed().as_secs(), 37);
    }

    #[tokio::test(start_paused = true)]
    async fn a_shorter_limit_is_kept_with_the_timer_of_a_longer_one() {
        let mut clock = Clock::new();
        let minute = Some(Duration::from_mins(1));
        let wait = poll_fn(|cx| clock.poll_too_long(cx, minute, None));
        assert!(tokio::time::timeout(Duration::from_secs(1), wait).await.is_err());
        clock.progress();
        let start = Instant::now();
        poll_fn(|cx| clock.poll_too_long(cx, TEN, None)).await;
        assert_eq!(start.elapsed().as_secs(), 10);
        clock.progress();
        let deadline = Instant::now() + Duration::from_secs(70);
        poll_fn(|cx| clock.poll_too_long(cx, None, Some(deadline))).await;
        assert_eq!(start.elapsed().as_secs(), 80);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_ends_what_never_pauses_long() {
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut clock = Clock::new();
        poll_fn(|cx| clock.poll_too_long(cx, TEN, Some(deadline))).await;
        assert_eq!(Instant::now(), deadline);
    }
}
