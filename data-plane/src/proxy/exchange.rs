//! One request at a backend, followed to its end.
//!
//! However it ends, and be it by being dropped, what was counted in is counted out. The
//! connection it uses is given back by whoever read the response to its end.

use std::rc::Rc;

use http::StatusCode;
use lb_http::Reason;
use lb_upstream::{Connection, InFlight, LocalEndpoint};
use tokio::time::Instant;

use super::client::{Entry, Ticket};
use crate::{runtime::compiled::RouteTarget, stats::RouteCounters};

/// One request at a backend.
#[derive(Debug)]
pub struct Exchange {
    ticket: Ticket,
    entry: Rc<Entry>,
    route: usize,
    in_flight: InFlight,
    start: Instant,
    uploaded: u64,
    is_over: bool,
}

impl Exchange {
    /// Begins a request of a route at a backend.
    pub fn begin(ticket: Ticket, entry: Rc<Entry>, route: usize, in_flight: InFlight) -> Self {
        let start = Instant::now();
        Self { ticket, entry, route, in_flight, start, uploaded: 0, is_over: false }
    }

    /// When it began.
    pub const fn start(&self) -> Instant {
        self.start
    }

    /// The request and its connection.
    pub const fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    /// The backend.
    pub const fn endpoint(&self) -> &Rc<LocalEndpoint> {
        self.in_flight.endpoint()
    }

    /// The route.
    pub fn route(&self) -> &RouteTarget {
        &self.entry.view.snapshot().routes[self.route]
    }

    /// This worker's counters of the route.
    pub fn counters(&self) -> &RouteCounters {
        let worker = self.ticket.client().worker().index();
        self.route().counters.of(worker)
    }

    /// The entry point the request came in by.
    pub const fn entry(&self) -> &Rc<Entry> {
        &self.entry
    }

    /// Counts the response head.
    pub fn respond(&self, status: StatusCode) {
        self.counters().respond(status);
        if status.is_server_error() {
            self.endpoint().counters().server_errors.bump();
        }
    }

    /// Counts `bytes` of the request body that went to the backend, in all.
    pub const fn upload(&mut self, bytes: u64) {
        self.uploaded = bytes;
    }

    /// Counts `bytes` more of the response body.
    pub fn download(&self, bytes: usize) {
        self.counters().bytes_sent.add(bytes as u64);
        self.endpoint().counters().bytes_received.add(bytes as u64);
    }

    /// Ends with a response that was handed on whole, and gives the connection back. Says when
    /// that was.
    pub fn complete(mut self, connection: Option<Box<Connection>>) -> Instant {
        let now = self.finish();
        if let Some(connection) = connection {
            self.endpoint().give_back(connection, now);
        }
        now
    }

    /// Ends without a response from the backend.
    pub fn fail(mut self, reason: Reason) {
        if reason == Reason::ClientAborted {
            return self.abort();
        }
        self.counters().refuse(reason);
        self.counters().respond(reason.status());
        self.finish();
    }

    /// Ends in the middle of the response.
    pub fn break_off(mut self, reason: Reason) {
        if reason == Reason::ClientAborted {
            return self.abort();
        }
        let counters = self.endpoint().counters();
        match reason {
            Reason::UpstreamTimeout => counters.timeouts.bump(),
            Reason::UpstreamInvalid => counters.invalid.bump(),
            Reason::UpstreamReset => counters.resets.bump(),
            _ => {}
        }
        self.counters().refuse(reason);
        self.ticket.client().count(reason);
        self.finish();
    }

    fn finish(&mut self) -> Instant {
        self.is_over = true;
        let now = Instant::now();
        let counters = self.counters();
        counters.took(now.saturating_duration_since(self.start));
        if self.uploaded > 0 {
            counters.bytes_received.add(self.uploaded);
            self.endpoint().counters().bytes_sent.add(self.uploaded);
        }
        now
    }

    fn abort(&mut self) {
        self.endpoint().counters().aborted.bump();
        self.counters().refuse(Reason::ClientAborted);
        self.ticket.client().count(Reason::ClientAborted);
        self.finish();
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.is_over {
            self.abort();
        }
    }
}
