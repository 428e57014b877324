//! Turns what went wrong into what the client sees: the only place that does.
//!
//! Each answer is counted under its reason, for the proxy and for the route if there is one.

use http::{
    HeaderValue, Response,
    header::{ALLOW, CONTENT_TYPE},
};
use lb_http::{Body, Reason};

use super::{ProxyBody, client::Client};

/// The methods a client may use, as a refusal names them.
pub const ALLOWED: &str = "GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS, TRACE";

/// Whether the connection can serve another request after a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// It can.
    Stays,
    /// Where this request ends cannot be trusted.
    Closes,
}

/// A request that the proxy answers itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// What becomes of the connection.
    pub connection: Connection,
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        let connection = match reason {
            Reason::BadRequest | Reason::RequestTimeout | Reason::RequestTooLarge => {
                Connection::Closes
            }
            _ => Connection::Stays,
        };
        Self { reason, connection }
    }
}

/// The answer to a refused request, for HTTP/2: there the end of a request is never in doubt, so
/// the connection stays.
pub fn rescue(client: &Client, reason: Reason) -> Response<ProxyBody> {
    client.count(reason);
    let mut response = Response::new(Body::Full(reason.body()));
    *response.status_mut() = reason.status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, Reason::CONTENT_TYPE);
    if reason == Reason::MethodNotAllowed {
        headers.insert(ALLOW, HeaderValue::from_static(ALLOWED));
    }
    response
}
