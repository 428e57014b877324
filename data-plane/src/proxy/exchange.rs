//! One request at a backend, followed to its end.
//!
//! However it ends, and be it by being dropped, what was counted in is counted out. The
//! connection it uses is given back by whoever read the response to its end.

use std::rc::Rc;

use lb_http::{Reason, h1::ResponseHead};
use lb_upstream::{
    Attempt, Connection, LocalCluster, LocalEndpoint, Picked, latency::Took, limiter::NoPlace,
};
use tokio::time::Instant;

use super::{
    choose::Chosen,
    client::{Entry, Ticket},
    forward::{Again, earlier},
    in_flight::Passes,
};
use crate::{
    runtime::compiled::{RouteLimits, RouteTarget},
    stats::RouteCounters,
};

/// One request at a backend.
#[derive(Debug)]
pub struct Exchange {
    ticket: Ticket,
    entry: Rc<Entry>,
    route: usize,
    /// The cluster that the backend is of, and the backend's place there.
    place: (usize, usize),
    attempt: Attempt,
    /// What few requests have. Boxed, because an exchange is moved more than once.
    more: Option<Box<More>>,
    start: Instant,
    uploaded: u64,
    is_over: bool,
}

/// What few requests have.
#[derive(Debug, Default)]
struct More {
    /// What the client is to remember.
    cookie: Option<Box<[u8]>>,
    /// Held until the end, where there are limits.
    _passes: Passes,
}

impl Exchange {
    /// Begins a request of a route at the backend that was chosen at `start`.
    pub fn begin(
        ticket: Ticket,
        entry: Rc<Entry>,
        route: usize,
        (chosen, passes): (Chosen, Passes),
        start: Instant,
    ) -> Self {
        let Chosen { cluster, picked: Picked { attempt, member, cookie } } = chosen;
        let has_more = cookie.is_some() || !passes.is_empty();
        let more = has_more.then(|| Box::new(More { cookie, _passes: passes }));
        let place = (cluster, member);
        Self { ticket, entry, route, place, attempt, more, start, uploaded: 0, is_over: false }
    }

    /// Goes on at another backend.
    pub fn turn_to(&mut self, chosen: Chosen) {
        let Chosen { cluster, picked: Picked { attempt, member, cookie } } = chosen;
        self.place = (cluster, member);
        self.attempt = attempt;
        if cookie.is_some() {
            self.more.get_or_insert_default().cookie = cookie;
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
        self.attempt.endpoint()
    }

    /// The cluster of the backend, and its place there.
    pub const fn place(&self) -> (usize, usize) {
        self.place
    }

    /// The try that is on its way.
    pub const fn attempt(&self) -> &Attempt {
        &self.attempt
    }

    /// The same, to tell what became of it.
    pub const fn attempt_mut(&mut self) -> &mut Attempt {
        &mut self.attempt
    }

    /// The value of a `Set-Cookie` field for the client.
    pub fn cookie(&self) -> Option<&[u8]> {
        self.more.as_ref()?.cookie.as_deref()
    }

    /// The cluster that the route leads to.
    pub fn first_cluster(&self) -> usize {
        self.route().cluster
    }

    fn cluster(&self) -> &Rc<LocalCluster> {
        &self.entry.view.clusters()[self.place.0]
    }

    /// The cluster that answers in place of the one that was chosen, if one does.
    pub fn failover(&self) -> Option<usize> {
        self.entry.view.snapshot().links.get(self.place.0)?.failover
    }

    /// Whether another service answers in place of an answer with this status.
    pub fn fails_over(&self, status: u16) -> bool {
        let failover = self.cluster().cluster().service().failover.as_ref();
        failover.is_some_and(|failover| failover.status.iter().any(|range| range.contains(status)))
    }

    /// Counts the request among those that pay for retries.
    pub fn deposit(&self) {
        if let Some(again) = &self.route().retry {
            let mut budget = self.cluster().budget().borrow_mut();
            budget.set(again.budget());
            budget.deposit(self.start);
        }
    }

    /// Takes a retry out of what requests have paid for.
    pub fn withdraw(&self) -> bool {
        let cluster = self.cluster();
        let paid = cluster.budget().borrow_mut().withdraw(Instant::now());
        let counters = cluster.counters();
        if paid {
            counters.retries.bump();
        } else {
            counters.retries_denied.bump();
        }
        paid
    }

    /// Waits for a place at the backend.
    ///
    /// # Errors
    ///
    /// There was none.
    pub async fn queue(&mut self) -> Result<(), NoPlace> {
        let outcome = self.attempt.wait().await;
        let counters = self.cluster().counters();
        if outcome.is_ok() {
            counters.queued.bump();
        } else {
            counters.queue_overflows.bump();
        }
        outcome
    }

    /// A try was answered with this head, and another one follows.
    pub fn answered(&mut self, head: &ResponseHead) {
        if head.status.is_server_error() {
            self.endpoint().counters().server_errors.bump();
        }
        self.attempt.respond(head, Instant::now());
    }

    /// The route.
    pub fn route(&self) -> &RouteTarget {
        self.route_in(&self.entry)
    }

    /// The route, for as long as its entry point is held.
    pub fn route_in<'e>(&self, entry: &'e Entry) -> &'e RouteTarget {
        &entry.view.snapshot().routes[self.route]
    }

    /// The limits of the route.
    pub fn limits(&self) -> &RouteLimits {
        &self.route().limits
    }

    /// When it has to be over.
    pub fn deadline(&self) -> Option<Instant> {
        self.limits().total.map(|total| self.start + total)
    }

    /// When the first try has to be over.
    pub fn first_deadline(&self) -> Option<Instant> {
        let per_try = self.route().retry.as_ref().and_then(Again::per_try);
        earlier(per_try.map(|limit| self.start + limit), self.deadline())
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
    pub fn respond(&mut self, head: &ResponseHead) {
        self.counters().respond(head.status);
        if head.status.is_server_error() {
            self.endpoint().counters().server_errors.bump();
        }
        if self.attempt.is_watched() {
            self.attempt.respond(head, Instant::now());
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
        if self.attempt.is_watched() {
            self.attempt.end(connection.as_ref().and_then(|connection| connection.trailers()), now);
        }
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
        let now = self.finish();
        self.attempt.fail(reason, now);
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
        let now = self.finish();
        self.attempt.fail(reason, now);
    }

    fn finish(&mut self) -> Instant {
        self.is_over = true;
        let now = Instant::now();
        let counters = self.counters();
        let took = Took::new(now.saturating_duration_since(self.start));
        counters.took(took);
        self.attempt.took(took);
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
