//! What becomes of a connection when the proxy answers a request itself.
//!
//! Each answer is counted under its reason, for the proxy and for the route if there is one.

use lb_http::Reason;

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
    /// After how many seconds it may be worth asking again.
    pub retry_after: Option<u32>,
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        let connection = match reason {
            Reason::BadRequest | Reason::RequestTimeout | Reason::RequestTooLarge => {
                Connection::Closes
            }
            _ => Connection::Stays,
        };
        Self { reason, connection, retry_after: None }
    }
}
