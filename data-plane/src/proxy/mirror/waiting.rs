//! Waits until copies are done, for those who want their clients to wait.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use lb_http::{Clock, Source};
use tokio::time::Instant;

/// Copies that are waited for.
#[derive(Debug, Default)]
pub struct Waiting(Rc<Pending>);

#[derive(Debug, Default)]
struct Pending {
    left: Cell<usize>,
    waker: RefCell<Option<Waker>>,
}

/// One copy, done when this is dropped.
#[derive(Debug)]
pub(super) struct WaitedFor(Rc<Pending>);

impl Waiting {
    pub(super) fn ticket(&self) -> WaitedFor {
        self.0.left.set(self.0.left.get() + 1);
        WaitedFor(Rc::clone(&self.0))
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.0.left.get() == 0 {
            return Poll::Ready(());
        }
        *self.0.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Waits until all are done, `deadline` has passed, or the client of `source` has gone.
    /// `clock` has nothing to do with it: it is the backend's, which is not late meanwhile.
    pub async fn wait(
        self,
        source: &mut impl Source,
        clock: &mut Clock,
        deadline: Option<Instant>,
    ) {
        let mut limit = Clock::new();
        poll_fn(|cx| {
            if self.poll(cx).is_ready() || source.attend(cx).is_err() {
                return Poll::Ready(());
            }
            limit.poll_too_long(cx, None, deadline)
        })
        .await;
        clock.progress();
    }
}

impl Drop for WaitedFor {
    fn drop(&mut self) {
        let left = self.0.left.get() - 1;
        self.0.left.set(left);
        if left == 0
            && let Some(waker) = self.0.waker.borrow_mut().take()
        {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lb_http::source::NoBody;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_last_copy_ends_the_waiting() {
        let waiting = Waiting::default();
        let (one, two) = (waiting.ticket(), waiting.ticket());
        let begin = Instant::now();
        let later = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(one);
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(two);
        };
        let (mut source, mut clock) = (NoBody, Clock::new());
        tokio::join!(waiting.wait(&mut source, &mut clock, None), later);
        assert_eq!(begin.elapsed(), Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_ends_it_too() {
        let waiting = Waiting::default();
        let _copy = waiting.ticket();
        let begin = Instant::now();
        let deadline = Some(begin + Duration::from_secs(3));
        waiting.wait(&mut NoBody, &mut Clock::new(), deadline).await;
        assert_eq!(begin.elapsed(), Duration::from_secs(3));
        Waiting::default().wait(&mut NoBody, &mut Clock::new(), None).await;
    }
}
