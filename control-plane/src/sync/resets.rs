//! Brings what proxies say about circuit breakers to whoever told them to close some.
//!
//! A command has a number, and the answers repeat it. An answer that nobody waits for any more, or
//! that comes twice, is dropped.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use lb_proto::v1::BreakersReset;
use tokio::sync::mpsc;

/// A proxy, and what it says that it did.
pub type Reset = (String, BreakersReset);

/// Who waits for answers.
#[derive(Debug, Default)]
pub struct Resets {
    ears: Mutex<Ears>,
}

#[derive(Debug, Default)]
struct Ears {
    last: u64,
    open: BTreeMap<u64, mpsc::Sender<Reset>>,
}

/// Hears the answers to one command.
#[derive(Debug)]
pub struct Ear<'r> {
    resets: &'r Resets,
    /// The number of the command.
    pub id: u64,
    heard: mpsc::Receiver<Reset>,
}

impl Resets {
    fn lock(&self) -> MutexGuard<'_, Ears> {
        self.ears.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens an ear for a command, with room for the answers of so many proxies.
    pub fn hear(&self, most: usize) -> Ear<'_> {
        let (answers, heard) = mpsc::channel(most.max(1));
        let mut ears = self.lock();
        ears.last += 1;
        let id = ears.last;
        ears.open.insert(id, answers);
        Ear { resets: self, id, heard }
    }

    /// A proxy answers.
    pub fn answer(&self, proxy: &str, answer: BreakersReset) {
        if let Some(ear) = self.lock().open.get(&answer.id) {
            // There is room for one answer of each: who has no place said too much.
            let _ = ear.try_send((proxy.to_owned(), answer));
        }
    }
}

impl Ear<'_> {
    /// The next answer.
    pub async fn next(&mut self) -> Option<Reset> {
        self.heard.recv().await
    }
}

impl Drop for Ear<'_> {
    fn drop(&mut self) {
        self.resets.lock().open.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(id: u64, closed: u32) -> BreakersReset {
        BreakersReset { id, found: 1, closed }
    }

    #[tokio::test]
    async fn an_answer_reaches_whoever_gave_the_command_and_nobody_else() {
        let resets = Resets::default();
        let (mut first, mut second) = (resets.hear(2), resets.hear(2));
        assert_ne!(first.id, second.id);
        resets.answer("p", answer(second.id, 1));
        resets.answer("p", answer(first.id, 0));
        assert_eq!(second.next().await, Some(("p".into(), answer(second.id, 1))));
        assert_eq!(first.next().await, Some(("p".into(), answer(first.id, 0))));
    }

    #[tokio::test]
    async fn too_many_answers_and_late_ones_are_dropped() {
        let resets = Resets::default();
        let mut ear = resets.hear(1);
        for closed in 0..10 {
            resets.answer("p", answer(ear.id, closed));
        }
        assert_eq!(ear.next().await, Some(("p".into(), answer(ear.id, 0))));
        let id = ear.id;
        drop(ear);
        resets.answer("p", answer(id, 1));
        assert!(resets.lock().open.is_empty());
    }
}
