//! What is going on on one connection, and how long it may.
//!
//! The requests of an HTTP/2 connection and its timer meet here. There is one timer a connection
//! and it is lazy: a request only notes the time, and the timer finds out what that means when it
//! fires. Connections of HTTP/1 count their requests here and measure their own pauses.

use std::{
    cell::Cell,
    sync::LazyLock,
    time::{Duration, Instant},
};

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
    idle_since: Cell<u64>,
    /// Since when the client has not been taking what is sent.
    stalled_since: Cell<u64>,
    requests: Cell<u64>,
    in_flight: Cell<u32>,
    is_closing: Cell<bool>,
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
    /// Close now.
    Abort,
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
}

impl Default for ConnectionState {
    fn default() -> Self {
        let now = now();
        Self {
            opened: now,
            idle_since: Cell::new(now),
            stalled_since: Cell::new(0),
            requests: Cell::new(0),
            in_flight: Cell::new(0),
            is_closing: Cell::new(false),
        }
    }
}

impl ConnectionState {
    /// Counts a request in and returns its number, from 1.
    pub fn begin_request(&self) -> u64 {
        let number = self.requests.get() + 1;
        self.requests.set(number);
        self.in_flight.set(self.in_flight.get() + 1);
        number
    }

    /// Counts a request out.
    pub fn end_request(&self) {
        let left = self.in_flight.get().saturating_sub(1);
        self.in_flight.set(left);
        if left == 0 {
            self.idle_since.set(now());
        }
    }

    /// Requests so far.
    pub const fn requests(&self) -> u64 {
        self.requests.get()
    }

    /// Notes whether the client takes what is sent.
    pub fn set_stalled(&self, stalled: bool) {
        match (stalled, self.stalled_since.get()) {
            (true, 0) => self.stalled_since.set(now()),
            (false, 1..) => self.stalled_since.set(0),
            _ => {}
        }
    }

    /// Asks for the connection to end after what is in flight.
    pub fn close(&self) {
        self.is_closing.set(true);
    }

    /// Whether that was asked for.
    pub const fn is_closing(&self) -> bool {
        self.is_closing.get()
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
        if passed(self.stalled_since.get(), limits.stall) {
            return Due::Abort;
        }
        if self.in_flight.get() == 0 {
            // A new connection owes its first request as soon as a begun one owes its end.
            let limit =
                if self.requests() == 0 && limits.header > 0 { limits.header } else { limits.idle };
            if passed(self.idle_since.get(), limit) {
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
    fn a_client_that_takes_nothing_is_let_go() {
        let (state, t) = state();
        state.begin_request();
        state.set_stalled(true);
        assert_eq!(state.due(t + 31_000, &LIMITS), Due::Abort);
        state.set_stalled(false);
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
