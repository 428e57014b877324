//! How many requests a backend gets at once from this proxy, and who waits for a place.
//!
//! A place is taken without waiting where there is one; otherwise a request joins a queue that is
//! bounded in length and time, first come first served over all workers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many, and who may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Requests at once; above 0.
    pub most: u32,
    /// Requests that may wait.
    pub queue: u32,
    /// How long one may wait.
    pub patience: Duration,
}

/// The places at one backend.
#[derive(Debug)]
pub struct Limiter {
    settings: Settings,
    places: Arc<Semaphore>,
    waiting: AtomicU32,
}

/// A place at a backend, given back when this is dropped.
#[derive(Debug)]
pub struct Place(#[allow(dead_code, reason = "it is there to be dropped")] OwnedSemaphorePermit);

/// Why there was no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoPlace {
    /// As many wait as may.
    #[error("too many requests wait for the backend")]
    QueueFull,
    /// It took too long.
    #[error("no place at the backend became free in time")]
    TimedOut,
}

impl Limiter {
    /// All places are free.
    pub fn new(settings: Settings) -> Self {
        let places = (settings.most as usize).min(Semaphore::MAX_PERMITS);
        Self { settings, places: Arc::new(Semaphore::new(places)), waiting: AtomicU32::new(0) }
    }

    /// The limits.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether there is no place. Another worker may take the last one after this was asked.
    pub fn is_full(&self) -> bool {
        self.places.available_permits() == 0
    }

    /// How many requests wait.
    pub fn waiting(&self) -> u32 {
        self.waiting.load(Relaxed)
    }

    /// Takes a place if there is one.
    pub fn try_take(&self) -> Option<Place> {
        Arc::clone(&self.places).try_acquire_owned().ok().map(Place)
    }

    /// Takes a place, or waits for one.
    ///
    /// # Errors
    ///
    /// [`NoPlace`]. Giving up on the future gives up the place in the queue.
    pub async fn take(&self) -> Result<Place, NoPlace> {
        if let Some(place) = self.try_take() {
            return Ok(place);
        }
        let _waiter = Waiter::join(self).ok_or(NoPlace::QueueFull)?;
        let place = Arc::clone(&self.places).acquire_owned();
        match tokio::time::timeout(self.settings.patience, place).await {
            Ok(Ok(place)) => Ok(Place(place)),
            // It is never closed; were it, nobody would get a place.
            Ok(Err(_)) | Err(_) => Err(NoPlace::TimedOut),
        }
    }
}

/// Counts as waiting as long as it lives.
struct Waiter<'l>(&'l Limiter);

impl<'l> Waiter<'l> {
    fn join(limiter: &'l Limiter) -> Option<Self> {
        let before = limiter.waiting.fetch_add(1, Relaxed);
        let waiter = Self(limiter);
        (before < limiter.settings.queue).then_some(waiter)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(most: u32, queue: u32) -> Limiter {
        Limiter::new(Settings { most, queue, patience: Duration::from_secs(1) })
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_gets_the_place_that_becomes_free() {
        let limiter = Arc::new(limiter(1, 1));
        let first = limiter.take().await.unwrap();
        assert!(limiter.is_full() && limiter.try_take().is_none());
        let waits = tokio::spawn({
            let limiter = Arc::clone(&limiter);
            async move { limiter.take().await.map(drop) }
        });
        while limiter.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(limiter.take().await.unwrap_err(), NoPlace::QueueFull);
        drop(first);
        assert_eq!(waits.await.unwrap(), Ok(()));
        assert_eq!(limiter.waiting(), 0);
        assert!(!limiter.is_full());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let limiter = limiter(1, 5);
        let _first = limiter.take().await.unwrap();
        assert_eq!(limiter.take().await.unwrap_err(), NoPlace::TimedOut);
        assert_eq!(limiter.waiting(), 0);
    }

    #[tokio::test]
    async fn who_gives_up_leaves_the_queue() {
        let limiter = limiter(1, 1);
        let _first = limiter.take().await.unwrap();
        let waits = limiter.take();
        tokio::select! {
            biased;
            _ = waits => unreachable!(),
            () = std::future::ready(()) => {}
        }
        assert_eq!(limiter.waiting(), 0);
    }
}
