//! Turns what went wrong into what the client sees: the only place that does.
//!
//! Each answer is counted under its reason, for the proxy and for the route if there is one.

use http::{
    HeaderValue, Response, Version,
    header::{ALLOW, CONNECTION, CONTENT_TYPE},
};
use lb_http::{Body, Reason};

use super::{ProxyBody, client::Client};

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

/// The answer to a refused request.
pub fn rescue(client: &Client, refusal: Refusal, version: Version) -> Response<ProxyBody> {
    let Refusal { reason, connection } = refusal;
    client.count(reason);
    let mut response = Response::new(Body::Full(reason.body()));
    *response.status_mut() = reason.status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, Reason::CONTENT_TYPE);
    if reason == Reason::MethodNotAllowed {
        const METHODS: &str = "GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS, TRACE";
        headers.insert(ALLOW, HeaderValue::from_static(METHODS));
    }
    // HTTP/2 ends requests by streams, which stay sound.
    if connection == Connection::Closes && version != Version::HTTP_2 {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
