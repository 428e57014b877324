//! How long a body may stand still, and when its exchange must be over.
//!
//! A clock is read and a timer armed only when a body has nothing to give: one that flows costs
//! neither. A pause that the reader causes by not asking is not counted, because a body that is
//! not polled cannot know whether it would have had data.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

/// The time limits of one body.
#[derive(Debug, Default)]
pub struct Pause {
    longest: Option<Duration>,
    deadline: Option<Instant>,
    since: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Pause {
    /// Limits each pause to `longest` and the whole to `deadline`; neither means no limit.
    pub const fn new(longest: Option<Duration>, deadline: Option<Instant>) -> Self {
        Self { longest, deadline, since: None, sleep: None }
    }

    /// Ends the current pause: data came.
    pub const fn end(&mut self) {
        self.since = None;
    }

    /// Is ready once the pause is too long or the deadline has passed; call it only while there
    /// is no data.
    pub fn poll_too_long(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.longest.is_none() && self.deadline.is_none() {
            return Poll::Pending;
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        let pause_end = self.longest.map(|longest| since + longest);
        let due = match (pause_end, self.deadline) {
            (Some(a), Some(b)) => a.min(b),
            (Some(due), None) | (None, Some(due)) => due,
            (None, None) => return Poll::Pending,
        };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if sleep.deadline() != due {
            sleep.as_mut().reset(due);
        }
        sleep.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_measured_from_the_last_data() {
        let start = Instant::now();
        let mut pause = Pause::new(Some(Duration::from_secs(10)), None);
        for _ in 0..3 {
            let waited =
                tokio::time::timeout(Duration::from_secs(9), poll_fn(|cx| pause.poll_too_long(cx)));
            assert!(waited.await.is_err());
            pause.end();
        }
        poll_fn(|cx| pause.poll_too_long(cx)).await;
        assert_eq!(start.elapsed().as_secs(), 37);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_ends_a_body_that_never_pauses_long() {
        let start = Instant::now();
        let deadline = start + Duration::from_secs(5);
        let mut pause = Pause::new(Some(Duration::from_mins(1)), Some(deadline));
        poll_fn(|cx| pause.poll_too_long(cx)).await;
        assert_eq!(start.elapsed().as_secs(), 5);
    }
}
