//! Tells the streams of one connection apart when something wakes them.
//!
//! The connection's task polls them all. Each is given a waker of its own, which notes that it is
//! ready and wakes the task; so a wake-up costs the stream it is for, and no other. Wakers may be
//! called by any thread, therefore the notes are atomic; there is no lock.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Wake, Waker},
};

/// The most streams that can be told apart.
pub(super) const MOST: usize = 128;

/// A set of streams by their keys.
pub(super) type Keys = u128;

/// Which streams are ready.
#[derive(Debug)]
pub(super) struct Wakers {
    ready: [AtomicU64; 2],
    /// The connection's task.
    task: Waker,
}

#[derive(Debug)]
struct OfStream {
    all: Arc<Wakers>,
    key: usize,
}

/// The set of one stream.
pub(super) const fn only(key: usize) -> Keys {
    1 << (key % MOST)
}

impl Wakers {
    /// For streams that are polled by the task of this waker.
    pub(super) fn new(task: &Waker) -> Arc<Self> {
        Arc::new(Self { ready: [AtomicU64::new(0), AtomicU64::new(0)], task: task.clone() })
    }

    /// Whether they are polled by the task of this waker.
    pub(super) fn are_of(&self, task: &Waker) -> bool {
        self.task.will_wake(task)
    }

    /// The waker of a stream.
    pub(super) fn waker(self: &Arc<Self>, key: usize) -> Waker {
        Waker::from(Arc::new(OfStream { all: Arc::clone(self), key }))
    }

    /// Notes streams as ready. Their task is not woken: it is what calls this.
    pub(super) fn mark(&self, keys: Keys) {
        for (word, keys) in self.ready.iter().zip([keys as u64, (keys >> 64) as u64]) {
            if keys != 0 {
                word.fetch_or(keys, Ordering::Release);
            }
        }
    }

    /// Takes those that are ready.
    pub(super) fn take(&self) -> Keys {
        let [low, high] = &self.ready;
        let take = |word: &AtomicU64| match word.load(Ordering::Relaxed) {
            0 => 0,
            _ => word.swap(0, Ordering::Acquire),
        };
        Keys::from(take(low)) | Keys::from(take(high)) << 64
    }
}

impl Wake for OfStream {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let bit = 1 << (self.key % 64);
        let word = &self.all.ready[self.key / 64 % 2];
        // Whoever set it before has woken the task.
        if word.fetch_or(bit, Ordering::Release) & bit == 0 {
            self.all.task.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn each_stream_is_noted_and_the_task_woken_once_for_each() {
        let task = Arc::new(Task::default());
        let waker = Waker::from(Arc::clone(&task));
        let wakers = Wakers::new(&waker);
        assert!(wakers.are_of(&waker) && !wakers.are_of(Waker::noop()));
        for key in [0, 63, 64, 127, 64] {
            wakers.waker(key).wake();
        }
        assert_eq!(task.0.load(Ordering::Relaxed), 4);
        assert_eq!(wakers.take(), only(0) | only(63) | only(64) | only(127));
        assert_eq!(wakers.take(), 0);
        wakers.mark(only(7) | only(100));
        assert_eq!(wakers.take(), only(7) | only(100));
        assert_eq!(task.0.load(Ordering::Relaxed), 4);
    }
}
