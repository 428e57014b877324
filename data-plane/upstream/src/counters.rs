//! Counters that cost a worker one plain addition.
//!
//! Each worker writes its own and nobody else's, so a relaxed load and a relaxed store do what
//! would otherwise be a locked instruction; readers add the workers up. The price: two threads
//! must never write the same counter, which [`PerWorker`] makes natural.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that one thread writes and any may read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn bump(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Takes one away.
    pub fn drop_one(&self) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(1), Relaxed);
    }

    /// The value as of now.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// One `T` for each worker, each on cache lines of its own.
#[derive(Debug)]
pub struct PerWorker<T>(Box<[Padded<T>]>);

/// Two cache lines: processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<T>(T);

impl<T: Default> PerWorker<T> {
    /// Room for `workers` threads, at least one.
    pub fn new(workers: usize) -> Self {
        Self((0..workers.max(1)).map(|_| Padded::default()).collect())
    }
}

impl<T> PerWorker<T> {
    /// The part of one worker. A worker beyond those planned for shares the last part, where
    /// counts may be lost but nothing else happens.
    pub fn of(&self, worker: usize) -> &T {
        &self.0[worker.min(self.0.len() - 1)].0
    }

    /// Every part.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|part| &part.0)
    }

    /// The sum of one number over all parts.
    pub fn sum(&self, number: impl Fn(&T) -> &Counter) -> u64 {
        self.iter().fold(0, |sum, part| sum.wrapping_add(number(part).get()))
    }
}

macro_rules! counters {
    (
        $(#[doc = $doc:literal])* pub struct $name:ident;
        $(#[doc = $sum_doc:literal])* pub struct $sum:ident;
        $($(#[$field_doc:meta])* $field:ident,)*
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Default)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: Counter,)*
        }

        $(#[doc = $sum_doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct $sum {
            $($(#[$field_doc])* pub $field: u64,)*
        }

        impl $sum {
            /// Adds the workers up.
            pub fn sum(counters: &PerWorker<$name>) -> Self {
                Self { $($field: counters.sum(|part| &part.$field),)* }
            }
        }

        impl std::ops::AddAssign for $sum {
            fn add_assign(&mut self, other: Self) {
                $( self.$field = self.$field.wrapping_add(other.$field); )*
            }
        }
    };
}

counters! {
    /// What one worker counts for one backend.
    pub struct Counters;
    /// What all workers together counted for one backend.
    pub struct BackendCounts;
    /// Requests now between being sent and the end of their response.
    in_flight,
    /// Requests sent.
    requests,
    /// Connections made.
    connects,
    /// Connections that could not be made.
    connect_errors,
    /// Requests whose response did not come in time.
    timeouts,
    /// Connections that broke before or within a response.
    resets,
    /// Responses that were not HTTP.
    invalid,
    /// Responses with a status of 500 or more.
    server_errors,
    /// Requests whose client went away first.
    aborted,
    /// Requests sent again because a reused connection turned out to be dead.
    resent,
    /// Request body bytes.
    bytes_sent,
    /// Response body bytes.
    bytes_received,
    /// Times that its circuit breaker changed its state.
    breaker_transitions,
}

counters! {
    /// What one worker counts of the decisions about the requests of one service.
    pub struct PolicyCounters;
    /// What all workers together counted of the decisions about one service.
    pub struct PolicyCounts;
    /// Requests for the stable version.
    stable,
    /// Requests for the canary.
    canary,
    /// Requests for the blue slot.
    blue,
    /// Requests for the green slot.
    green,
    /// Requests for a canary that had no backend to choose.
    canary_fallbacks,
    /// Requests for a slot that had no backend to choose, where the other one may stand in.
    slot_fallbacks,
    /// Headers that should choose a slot or a version and name none.
    headers_ignored,
    /// Sessions that began with a cookie.
    sessions_begun,
    /// Requests that went to the backend of their session.
    sessions_kept,
    /// Sessions whose backend could not be chosen any more.
    sessions_moved,
    /// Tries beyond the first.
    retries,
    /// Tries beyond the first that the budget did not pay for.
    retries_denied,
    /// Requests that another service answered in place of this one.
    failovers,
    /// Choices that ignored health, because too few backends were well.
    panics,
    /// Requests that waited for a place at a backend.
    queued,
    /// Requests that waited in vain, or could not even wait.
    queue_overflows,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_see_the_sum_of_all_workers() {
        let counters = PerWorker::<Counters>::new(3);
        counters.of(0).requests.bump();
        counters.of(2).requests.add(4);
        // A request may end on another worker than a reader expects; sums still come out right.
        counters.of(0).in_flight.bump();
        counters.of(1).in_flight.drop_one();
        let counts = BackendCounts::sum(&counters);
        assert_eq!((counts.requests, counts.in_flight), (5, 0));
    }
}
