//! What is going on on one connection, and how long it may.
//!
//! The parser, the requests' tasks and the task that drives the connection meet here. All run
//! on one thread, but an upgraded connection's I/O must be `Send` for hyper, so the fields are
//! atomics that are only loaded and stored. There is one timer a connection and it is lazy: a
//! request only notes the time, and the timer finds out what that means when it fires.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use lb_http::Reason;
use lb_model::config::{EntryPoint, EntryPointTimeouts};

/// Milliseconds are counted from the first use.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Milliseconds now; never 0, which means "not" wherever a time is kept.
pub fn now() -> u64 {
    EPOCH.elapsed().as_millis() as u64 + 1
}

/// The state of one connection.
#[derive(Debug)]
pub struct ConnectionState {
    opened: u64,
    /// Since when the next request has been waited for.
    idle_since: AtomicU64,
    /// Since when a head has been arriving.
    head_since: AtomicU64,
    /// Since when the client has not been taking what is sent.
    stalled_since: AtomicU64,
    requests: AtomicU64,
    in_flight: AtomicU32,
    /// The number of the first request with an ambiguous length.
    ambiguous: AtomicU64,
    refusal: AtomicU32,
    closing: AtomicBool,
    opaque: AtomicBool,
}

/// Limits in milliseconds; 0 is none.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    header: u64,
    idle: u64,
    stall: u64,
    age: u64,
}

/// What the timer found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Nothing; look again after this long.
    Later(Duration),
    /// Finish what is in flight, then close.
    Close,
    /// Close now; a client in the middle of a request is told why.
    Abort(Option<Reason>),
}

impl Limits {
    /// Those of an entry point.
    pub fn new(spec: &EntryPoint) -> Self {
        let EntryPointTimeouts { header, idle, body } = spec.timeouts;
        Self {
            header: header.as_millis(),
            idle: idle.as_millis(),
            stall: body.as_millis(),
            age: spec.keep_alive.max_time.as_millis(),
        }
    }

    /// How long a head may take.
    pub const fn header(&self) -> u64 {
        self.header
    }
}

impl Default for ConnectionState {
    fn default() -> Self {
        let now = now();
        Self {
            opened: now,
            idle_since: AtomicU64::new(now),
            head_since: AtomicU64::new(0),
            stalled_since: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            in_flight: AtomicU32::new(0),
            ambiguous: AtomicU64::new(0),
            refusal: AtomicU32::new(0),
            closing: AtomicBool::new(false),
            opaque: AtomicBool::new(false),
        }
    }
}

impl ConnectionState {
    /// Counts a request in and returns its number, from 1.
    pub fn begin_request(&self) -> u64 {
        let number = self.requests.load(Relaxed) + 1;
        self.requests.store(number, Relaxed);
        self.in_flight.store(self.in_flight.load(Relaxed) + 1, Relaxed);
        number
    }

    /// Counts a request out.
    pub fn end_request(&self) {
        let left = self.in_flight.load(Relaxed).saturating_sub(1);
        self.in_flight.store(left, Relaxed);
        if left == 0 {
            self.idle_since.store(now(), Relaxed);
        }
    }

    /// Requests so far.
    pub fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// Notes whether a head is arriving.
    pub fn set_within_head(&self, within: bool) {
        match (within, self.head_since.load(Relaxed)) {
            (true, 0) => self.head_since.store(now(), Relaxed),
            (false, 1..) => self.head_since.store(0, Relaxed),
            _ => {}
        }
    }

    /// Since when a head has been arriving; 0 if none is.
    pub fn head_since(&self) -> u64 {
        self.head_since.load(Relaxed)
    }

    /// Notes whether the client takes what is sent.
    pub fn set_stalled(&self, stalled: bool) {
        match (stalled, self.stalled_since.load(Relaxed)) {
            (true, 0) => self.stalled_since.store(now(), Relaxed),
            (false, 1..) => self.stalled_since.store(0, Relaxed),
            _ => {}
        }
    }

    /// Notes that the request of this number has an ambiguous length.
    pub fn set_ambiguous(&self, number: u64) {
        self.ambiguous.store(number, Relaxed);
    }

    /// Whether the request of this number has an ambiguous length.
    pub fn is_ambiguous(&self, number: u64) -> bool {
        self.ambiguous.load(Relaxed) == number
    }

    /// Notes why a request was refused before it was understood.
    pub fn refuse(&self, reason: Reason) {
        self.refusal.store(reason.index() as u32 + 1, Relaxed);
    }

    /// Why a request was refused before it was understood.
    pub fn refusal(&self) -> Option<Reason> {
        let index = self.refusal.load(Relaxed).checked_sub(1)?;
        Reason::ALL.get(index as usize).copied()
    }

    /// Asks for the connection to end after what is in flight.
    pub fn close(&self) {
        self.closing.store(true, Relaxed);
    }

    /// Whether that was asked for.
    pub fn is_closing(&self) -> bool {
        self.closing.load(Relaxed)
    }

    /// Notes that the connection is a tunnel from now on.
    pub fn set_opaque(&self) {
        self.opaque.store(true, Relaxed);
    }

    /// Whether the connection is a tunnel.
    pub fn is_opaque(&self) -> bool {
        self.opaque.load(Relaxed)
    }

    /// What is due at `now`.
    pub fn due(&self, now: u64, limits: &Limits) -> Due {
        let mut next = u64::MAX;
        let mut passed = |since: u64, limit: u64| {
            if since == 0 || limit == 0 {
                return false;
            }
            let left = (since + limit).saturating_sub(now);
            if left > 0 {
                next = next.min(left);
            }
            left == 0
        };
        if passed(self.stalled_since.load(Relaxed), limits.stall) {
            return Due::Abort(None);
        }
        if passed(self.head_since.load(Relaxed), limits.header) {
            return Due::Abort(Some(Reason::RequestTimeout));
        }
        if self.in_flight.load(Relaxed) == 0 {
            // A new connection owes its first request as soon as a begun one owes its end.
            let limit =
                if self.requests() == 0 && limits.header > 0 { limits.header } else { limits.idle };
            if passed(self.idle_since.load(Relaxed), limit) {
                return Due::Close;
            }
        }
        if passed(self.opened, limits.age) {
            return Due::Close;
        }
        // What begins from now on is noticed when the shortest limit could have passed.
        let shortest = [limits.header, limits.idle, limits.stall];
        let shortest = shortest.into_iter().filter(|limit| *limit > 0).min();
        Due::Later(Duration::from_millis(next.min(shortest.unwrap_or(60_000)).max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { header: 10_000, idle: 60_000, stall: 30_000, age: 0 };

    fn state() -> (ConnectionState, u64) {
        let state = ConnectionState::default();
        let opened = state.opened;
        (state, opened)
    }

    #[test]
    fn a_new_connection_must_soon_send_a_request() {
        let (state, t) = state();
        assert_eq!(state.due(t + 4_000, &LIMITS), Due::Later(Duration::from_secs(6)));
        assert_eq!(state.due(t + 10_000, &LIMITS), Due::Close);
    }

    #[test]
    fn between_requests_the_idle_limit_holds() {
        let (state, _) = state();
        assert_eq!(state.begin_request(), 1);
        let t = now();
        assert!(matches!(state.due(t + 600_000, &LIMITS), Due::Later(_)));
        state.end_request();
        assert!(matches!(state.due(t + 50_000, &LIMITS), Due::Later(_)));
        assert_eq!(state.due(t + 61_000, &LIMITS), Due::Close);
    }

    #[test]
    fn a_slow_head_is_answered_and_a_client_that_takes_nothing_is_not() {
        let (state, t) = state();
        state.begin_request();
        state.set_within_head(true);
        assert_eq!(state.due(t + 11_000, &LIMITS), Due::Abort(Some(Reason::RequestTimeout)));
        state.set_stalled(true);
        assert_eq!(state.due(t + 31_000, &LIMITS), Due::Abort(None));
        state.set_stalled(false);
        state.set_within_head(false);
        assert!(matches!(state.due(t + 31_000, &LIMITS), Due::Later(_)));
    }

    #[test]
    fn age_ends_a_connection_however_busy() {
        let (state, t) = state();
        state.begin_request();
        let limits = Limits { age: 5_000, ..LIMITS };
        assert_eq!(state.due(t + 5_000, &limits), Due::Close);
    }

    #[test]
    fn without_limits_nothing_is_due() {
        let (state, t) = state();
        let none = Limits { header: 0, idle: 0, stall: 0, age: 0 };
        assert_eq!(state.due(t + 1_000_000, &none), Due::Later(Duration::from_mins(1)));
    }
}
