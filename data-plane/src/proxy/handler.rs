//! Takes a request, finds its route and a backend, and sees to an answer.

use std::{convert::Infallible, rc::Rc};

use http::{Method, Request, Response};
use hyper::body::{Body as _, Incoming};
use lb_http::Reason;
use lb_routing::RequestHead;

pub use super::client::Client;
use super::{
    ProxyBody,
    client::Ticket,
    exchange::Exchange,
    forward::{Prepared, forward},
    rescue::{Connection, Refusal, rescue},
    target,
};

/// Answers a request, whatever happens.
pub async fn handle(
    client: Rc<Client>,
    request: Request<Incoming>,
) -> Result<Response<ProxyBody>, Infallible> {
    let version = request.version();
    let ticket = client.begin();
    let answer = match accept(&client, ticket, request) {
        Ok((exchange, prepared)) => forward(exchange, prepared).await,
        Err(refusal) => Err(refusal),
    };
    Ok(answer.unwrap_or_else(|refusal| rescue(&client, refusal, version)))
}

/// All that is decided before anything is sent.
fn accept(
    client: &Rc<Client>,
    ticket: Ticket,
    mut request: Request<Incoming>,
) -> Result<(Exchange, Prepared), Refusal> {
    let entry = client.entry();
    if entry.max_requests.is_some_and(|max| ticket.number() >= max) {
        client.state().close();
    }
    if client.state().is_ambiguous(ticket.number()) {
        return Err(Reason::BadRequest.into());
    }
    if request.method() == Method::CONNECT {
        return Err(Refusal { reason: Reason::MethodNotAllowed, connection: Connection::Closes });
    }
    let host = target::host(request.uri(), request.headers(), request.version())?;
    let resolved = target::path(request.uri())?;
    if entry.max_body.is_some_and(|max| request.body().size_hint().lower() > max) {
        return Err(Reason::RequestTooLarge.into());
    }
    let head = RequestHead {
        method: request.method(),
        host: host.name,
        path: resolved.as_ref().map_or_else(|| request.uri().path(), |resolved| resolved.path()),
        query: request.uri().query(),
        headers: request.headers(),
        client: client.address(),
    };
    let snapshot = entry.view.snapshot();
    let table = &snapshot.entry_points[entry.index].table;
    let route = *table.find(&head).ok_or(Reason::RouteNotFound)?;
    let is_host_in_target = host.is_in_target;
    let target = &snapshot.routes[route];
    let Some(endpoint) = entry.view.clusters()[target.cluster].pick() else {
        let counters = target.counters.of(client.worker().index());
        counters.refuse(Reason::NoHealthyBackend);
        counters.respond(Reason::NoHealthyBackend.status());
        return Err(Reason::NoHealthyBackend.into());
    };
    let exchange = Exchange::begin(ticket, Rc::clone(&entry), route, endpoint.begin());
    if let Some(resolved) = resolved {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.path_and_query = Some(resolved);
        *request.uri_mut() = parts.try_into().map_err(|_| Reason::BadRequest)?;
    }
    let prepared = Prepared::new(request, &entry, client, is_host_in_target);
    Ok((exchange, prepared))
}
