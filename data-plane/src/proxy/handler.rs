//! Judges a request and finds its route and a backend: all that is decided before anything is
//! sent.

use std::{borrow::Cow, rc::Rc};

use http::{Method, Version};
use lb_http::{Fields, Reason, h1::BodyLength};
use lb_routing::{Headers, RequestHead};

use super::{
    client::{Client, Ticket},
    exchange::Exchange,
    rescue::{Connection, Refusal},
    target::{self, Host, Target},
};

/// A request as a client put it.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The method.
    pub method: &'a Method,
    /// The version.
    pub version: Version,
    /// What the request line asks for.
    pub target: Target<'a>,
    /// The fields.
    pub fields: &'a Fields,
    /// How long the body says it is.
    pub length: BodyLength,
}

/// A request that will be sent to a backend.
#[derive(Debug)]
pub struct Accepted<'a> {
    /// Its exchange.
    pub exchange: Exchange,
    /// Who is asked for.
    pub host: Host<'a>,
    /// The path to send, which is the one that was matched.
    pub path: Cow<'a, str>,
}

/// Header fields as rules see them.
#[derive(Debug)]
struct Seen<'a>(&'a Fields);

impl Headers for Seen<'_> {
    fn any(&self, name: &str, wanted: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.0.named(name).any(wanted)
    }
}

/// Decides what becomes of a request.
///
/// # Errors
///
/// The refusal, which [`super::rescue`] turns into an answer.
pub fn accept<'a>(
    client: &Rc<Client>,
    ticket: Ticket,
    asked: &Asked<'a>,
) -> Result<Accepted<'a>, Refusal> {
    let entry = client.entry();
    if entry.max_requests.is_some_and(|max| ticket.number() >= max) {
        client.state().close();
    }
    if *asked.method == Method::CONNECT {
        return Err(Refusal { reason: Reason::MethodNotAllowed, connection: Connection::Closes });
    }
    let host = target::host(&asked.target, asked.fields, asked.version)?;
    let path = target::path(asked.target.path)?;
    if let (Some(max), BodyLength::Exact(length)) = (entry.max_body, asked.length)
        && length > max
    {
        return Err(Reason::RequestTooLarge.into());
    }
    let head = RequestHead {
        method: asked.method,
        host: host.name,
        path: &path,
        query: asked.target.query,
        headers: &Seen(asked.fields),
        client: client.address(),
    };
    let snapshot = entry.view.snapshot();
    let table = &snapshot.entry_points[entry.index].table;
    let route = *table.find(&head).ok_or(Reason::RouteNotFound)?;
    let target = &snapshot.routes[route];
    let Some(endpoint) = entry.view.clusters()[target.cluster].pick() else {
        let counters = target.counters.of(client.worker().index());
        counters.refuse(Reason::NoHealthyBackend);
        counters.respond(Reason::NoHealthyBackend.status());
        return Err(Reason::NoHealthyBackend.into());
    };
    let exchange = Exchange::begin(ticket, Rc::clone(&entry), route, endpoint.begin());
    Ok(Accepted { exchange, host, path })
}
