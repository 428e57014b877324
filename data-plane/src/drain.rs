//! How listeners, connections and tunnels learn that they should end.
//!
//! Everything here belongs to one worker: a stage in a cell and the wakers of those who wait
//! for it to change. Tasks look at the cell whenever they run anyway, which costs nothing; a
//! token shared between threads would take a lock each time.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
};

/// How far the end of a listener and its connections has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Stage {
    /// New connections are taken.
    #[default]
    Open,
    /// No new connections; those there are end when their requests are answered.
    Draining,
    /// Everything ends now.
    Killed,
}

/// The stage of one listener on one worker, with all its connections.
#[derive(Debug, Default)]
pub struct Lifecycle {
    stage: Cell<Stage>,
    next: Cell<u64>,
    waiting: RefCell<HashMap<u64, Waker>>,
}

/// A task that is woken when the stage changes, as long as this lives.
#[derive(Debug)]
pub struct Registration {
    lifecycle: Rc<Lifecycle>,
    id: u64,
}

impl Lifecycle {
    /// The stage now.
    pub fn stage(&self) -> Stage {
        self.stage.get()
    }

    /// Moves on to `stage`; there is no way back.
    pub fn advance(&self, stage: Stage) {
        if stage > self.stage.get() {
            self.stage.set(stage);
            for waker in self.waiting.borrow().values() {
                waker.wake_by_ref();
            }
        }
    }

    /// Has `waker` woken on changes.
    pub fn register(self: &Rc<Self>, waker: &Waker) -> Registration {
        let id = self.next.get();
        self.next.set(id + 1);
        self.waiting.borrow_mut().insert(id, waker.clone());
        Registration { lifecycle: Rc::clone(self), id }
    }

    /// Waits until the stage is `stage` or later.
    pub async fn reaches(self: &Rc<Self>, stage: Stage) {
        let mut registration = None;
        poll_fn(|cx| {
            if self.stage() >= stage {
                return Poll::Ready(());
            }
            // Dropping the old one first: a task may have moved to another waker.
            registration = None;
            registration = Some(self.register(cx.waker()));
            Poll::Pending
        })
        .await;
        drop(registration);
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.lifecycle.waiting.borrow_mut().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn whoever_waits_learns_of_any_later_stage() {
        let lifecycle = Rc::new(Lifecycle::default());
        assert!(lifecycle.reaches(Stage::Draining).now_or_never().is_none());
        assert!(lifecycle.waiting.borrow().is_empty(), "nobody is left behind");
        lifecycle.advance(Stage::Killed);
        lifecycle.advance(Stage::Draining);
        assert_eq!(lifecycle.stage(), Stage::Killed);
        assert!(lifecycle.reaches(Stage::Draining).now_or_never().is_some());
    }
}
