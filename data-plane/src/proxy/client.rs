//! A client's connection as the requests on it see it.
//!
//! Holds what is the same for all of them: where it came in, what its forwarded fields say, how
//! its entry point limits it. A new configuration is noticed here, once, by the first request
//! after it.

use std::{
    cell::RefCell,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use lb_http::{Forwarded, Reason, forwarded::Proto};

use crate::{
    drain::Lifecycle,
    server::connection::ConnectionState,
    stats::EntryPointState,
    workers::{View, Worker},
};

/// A client's connection.
#[derive(Debug)]
pub struct Client {
    worker: Rc<Worker>,
    state: ConnectionState,
    lifecycle: Rc<Lifecycle>,
    entry_point: Arc<EntryPointState>,
    name: Arc<str>,
    peer: SocketAddr,
    port: u16,
    proto: Proto,
    entry: RefCell<Rc<Entry>>,
}

/// An entry point of one view, with what follows from it for one connection.
#[derive(Debug)]
pub struct Entry {
    /// The view.
    pub view: Rc<View>,
    /// The entry point's place in the snapshot.
    pub index: usize,
    /// The forwarded fields.
    pub forwarded: Forwarded,
    /// The largest request body.
    pub max_body: Option<u64>,
    /// The longest pause in a request body.
    pub body_pause: Option<Duration>,
    /// Requests after which the connection ends.
    pub max_requests: Option<u64>,
    /// Whether requests are refused while the proxy has too much to do.
    pub sheds: bool,
}

/// A request that counts as being in flight on its connection.
#[derive(Debug)]
pub struct Ticket {
    client: Rc<Client>,
    number: u64,
}

impl Client {
    /// A connection from `peer` to a port of this proxy, counted in already in `entry_point`.
    pub fn new(
        worker: Rc<Worker>,
        lifecycle: Rc<Lifecycle>,
        entry_point: Arc<EntryPointState>,
        view: Rc<View>,
        index: usize,
        (peer, port, proto): (SocketAddr, u16, Proto),
    ) -> Self {
        let name = Arc::clone(&view.snapshot().entry_points[index].name);
        let entry = Entry::new(view, index, (peer.ip(), port, proto));
        Self {
            worker,
            state: ConnectionState::default(),
            lifecycle,
            entry_point,
            name,
            peer,
            port,
            proto,
            entry: RefCell::new(Rc::new(entry)),
        }
    }

    /// The worker it belongs to.
    pub const fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    /// What is going on on it.
    pub const fn state(&self) -> &ConnectionState {
        &self.state
    }

    /// When it ends.
    pub const fn lifecycle(&self) -> &Rc<Lifecycle> {
        &self.lifecycle
    }

    /// The client's address.
    pub fn address(&self) -> IpAddr {
        self.peer.ip().to_canonical()
    }

    /// Whether it came over TLS.
    pub fn is_secure(&self) -> bool {
        self.proto == Proto::Https
    }

    /// Its entry point as of now. One that was removed stays as it was until its connections
    /// have ended.
    pub fn entry(&self) -> Rc<Entry> {
        let view = self.worker.view();
        let mut entry = self.entry.borrow_mut();
        if !Rc::ptr_eq(&view, &entry.view)
            && let Some(index) = view.snapshot().entry_point(&self.name)
        {
            let connection = (self.peer.ip(), self.port, self.proto);
            *entry = Rc::new(Entry::new(view, index, connection));
        }
        Rc::clone(&entry)
    }

    /// Counts a request in.
    pub fn begin(self: &Rc<Self>) -> Ticket {
        let number = self.state.begin_request();
        self.entry_point.of(self.worker.index()).requests.bump();
        Ticket { client: Rc::clone(self), number }
    }

    /// Counts an answer of the proxy itself.
    pub fn count(&self, reason: Reason) {
        self.worker.count(reason);
    }

    /// Counts a TLS handshake that failed.
    pub fn count_handshake_error(&self) {
        let counters = self.entry_point.of(self.worker.index());
        counters.handshake_errors.bump();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.entry_point.leave();
    }
}

impl Entry {
    fn new(view: Rc<View>, index: usize, (peer, port, proto): (IpAddr, u16, Proto)) -> Self {
        let spec = &view.snapshot().entry_points[index].spec;
        let limit = |limit: u64| (limit > 0).then_some(limit);
        Self {
            forwarded: Forwarded::new(peer, port, proto, &spec.trusted_ips),
            max_body: limit(spec.limits.body.0),
            body_pause: spec.timeouts.body.limit(),
            max_requests: limit(spec.keep_alive.max_requests),
            sheds: spec.overload.is_some(),
            index,
            view,
        }
    }
}

impl Ticket {
    /// The connection.
    pub const fn client(&self) -> &Rc<Client> {
        &self.client
    }

    /// The request's number on its connection, from 1.
    pub const fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.client.state.end_request();
    }
}
