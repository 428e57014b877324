//! Judges a request and finds its route and a backend: all that is decided before anything is
//! sent.

use std::{borrow::Cow, rc::Rc};

use http::{Method, Version};
use lb_http::{Fields, Reason, h1::BodyLength};
use lb_routing::RequestHead;
use tokio::time::Instant;

use super::{
    choose::{Nobody, Seen, choose},
    client::{Client, Ticket},
    exchange::Exchange,
    in_flight::Passes,
    rescue::{Connection, Refusal},
    target::{self, Host, Target},
};
use crate::runtime::compiled::RouteTarget;

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
    if entry.sheds && client.worker().sheds() {
        return Err(Reason::OverloadShed.into());
    }
    if *asked.method == Method::CONNECT {
        let connection = Connection::Closes;
        return Err(Refusal { connection, ..Reason::MethodNotAllowed.into() });
    }
    let host = target::host(&asked.target, asked.fields, asked.version)?;
    let path = target::path(asked.target.path)?;
    if let (Some(max), BodyLength::Exact(length)) = (entry.max_body, asked.length)
        && length > max
    {
        return Err(Reason::RequestTooLarge.into());
    }
    let seen = Seen {
        fields: asked.fields,
        path: &path,
        client: client.address(),
        is_secure: client.is_secure(),
    };
    let head = RequestHead {
        method: asked.method,
        host: host.name,
        path: &path,
        query: asked.target.query,
        headers: &seen,
        client: seen.client,
    };
    let snapshot = entry.view.snapshot();
    let table = &snapshot.entry_points[entry.index].table;
    let route = *table.find(&head).ok_or(Reason::RouteNotFound)?;
    let target = &snapshot.routes[route];
    let refused = |nobody: Nobody| {
        let counters = target.counters.of(client.worker().index());
        counters.refuse(nobody.reason);
        counters.respond(nobody.reason.status());
        Refusal { retry_after: nobody.retry_after, ..nobody.reason.into() }
    };
    let passes = enter(target, &seen).map_err(refused)?;
    let now = Instant::now();
    let chosen = choose(&entry, target.cluster, &seen, &[], now).map_err(refused)?;
    let exchange = Exchange::begin(ticket, Rc::clone(&entry), route, (chosen, passes), now);
    Ok(Accepted { exchange, host, path })
}

/// Passes all gates of a route.
fn enter(target: &RouteTarget, seen: &Seen<'_>) -> Result<Passes, Nobody> {
    let mut passes = Passes::default();
    for gate in &target.in_flight {
        let Some(pass) = gate.enter(seen) else {
            return Err(Nobody { reason: Reason::TooManyInFlight, retry_after: None });
        };
        passes.push(pass);
    }
    Ok(passes)
}
