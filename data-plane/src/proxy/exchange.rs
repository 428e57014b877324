//! One request at a backend, followed to its end.
//!
//! It lives in the request's task until the response head is there, then in the response body.
//! However it ends, and be it by being dropped, what was counted in is counted out and the
//! connection is given back or closed.

use std::rc::Rc;

use http::StatusCode;
use lb_http::{End, Reason, UploadState, Watch};
use lb_upstream::{InFlight, Lease, LocalEndpoint};
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
    lease: Option<Lease>,
    upload: Option<Rc<UploadState>>,
    start: Instant,
    is_over: bool,
}

impl Exchange {
    /// Begins a request of a route at a backend.
    pub fn begin(ticket: Ticket, entry: Rc<Entry>, route: usize, in_flight: InFlight) -> Self {
        Self {
            ticket,
            entry,
            route,
            in_flight,
            lease: None,
            upload: None,
            start: Instant::now(),
            is_over: false,
        }
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

    /// Follows a request body.
    pub fn set_upload(&mut self, upload: Option<Rc<UploadState>>) {
        self.upload = upload;
    }

    /// The request body.
    pub fn upload(&self) -> Option<&UploadState> {
        self.upload.as_deref()
    }

    /// Takes the response head in, and the connection it came on.
    pub fn respond(&mut self, status: StatusCode, lease: Lease) {
        self.lease = Some(lease);
        self.counters().respond(status);
        if status.is_server_error() {
            self.endpoint().counters().server_errors.bump();
        }
    }

    /// Ends without a response from the backend.
    pub fn fail(&mut self, reason: Reason) {
        self.counters().refuse(reason);
        self.counters().respond(reason.status());
        self.finish();
    }

    fn finish(&mut self) {
        self.is_over = true;
        let counters = self.counters();
        counters.took(self.start.elapsed());
        if let Some(upload) = &self.upload {
            counters.bytes_received.add(upload.bytes());
            self.endpoint().counters().bytes_sent.add(upload.bytes());
        }
    }

    fn abort(&mut self) {
        self.endpoint().counters().aborted.bump();
        self.counters().refuse(Reason::ClientAborted);
        self.ticket.client().count(Reason::ClientAborted);
        self.finish();
    }
}

impl Watch for Exchange {
    fn on_data(&mut self, bytes: usize) {
        self.counters().bytes_sent.add(bytes as u64);
        let endpoint = self.endpoint().counters();
        endpoint.bytes_received.add(bytes as u64);
    }

    fn on_end(&mut self, end: End) {
        if self.is_over {
            return;
        }
        match end {
            End::Complete => {
                // A connection that is still taking a request cannot take another.
                let is_sent = self.upload.as_ref().is_none_or(|upload| upload.is_done());
                if let Some(lease) = self.lease.take()
                    && is_sent
                {
                    self.endpoint().give_back(lease);
                }
                self.finish();
            }
            End::Failed(reason) => {
                let counters = self.endpoint().counters();
                match reason {
                    Reason::UpstreamTimeout => counters.timeouts.bump(),
                    _ => counters.resets.bump(),
                }
                self.counters().refuse(reason);
                self.ticket.client().count(reason);
                self.finish();
            }
            End::Aborted => self.abort(),
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.is_over {
            self.abort();
        }
    }
}
