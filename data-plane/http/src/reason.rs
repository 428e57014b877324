//! Why the proxy itself answered, or gave up on, a request.
//!
//! One word a case, the same in metrics, logs and error bodies, so that an operator can search
//! for what a client saw. The answers are problem documents (RFC 9457) built at compile time:
//! refusing a request costs no formatting. How an answer is sent is not decided here.

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $status:literal, $title:literal;)*) => {
        /// Why the proxy answered a request itself.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// Every reason, in the order of [`Reason::index`].
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The word used in metrics, logs and error bodies.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $code,)*
                }
            }

            const fn code(self) -> u16 {
                match self {
                    $(Self::$name => $status,)*
                }
            }

            const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => concat!(
                        "{\"type\":\"about:blank\",\"title\":\"", $title,
                        "\",\"status\":", $status, ",\"code\":\"", $code, "\"}\n",
                    ),)*
                }
            }
        }
    };
}

reasons! {
    /// The request is malformed or ambiguous.
    BadRequest = "bad_request", 400, "The request is malformed";
    /// CONNECT: this proxy does not tunnel for clients.
    MethodNotAllowed = "method_not_allowed", 405, "The method is not allowed";
    /// No route matches.
    RouteNotFound = "route_not_found", 404, "No route matches the request";
    /// The client took too long to send its request.
    RequestTimeout = "request_timeout", 408, "The request took too long to arrive";
    /// The request body is larger than the entry point allows.
    RequestTooLarge = "request_too_large", 413, "The request body is too large";
    /// The request line is longer than the entry point allows.
    UriTooLong = "uri_too_long", 414, "The request target is too long";
    /// The header fields are more or larger than the entry point allows.
    HeaderTooLarge = "header_too_large", 431, "The header fields are too large";
    /// The proxy failed in a way it should not.
    Internal = "internal", 500, "The proxy failed";
    /// No connection to the backend could be made.
    UpstreamConnectError = "upstream_connect_error", 502, "The backend could not be reached";
    /// The backend closed the connection before it answered.
    UpstreamReset = "upstream_reset", 502, "The backend closed the connection";
    /// The backend's answer is not HTTP.
    UpstreamInvalid = "upstream_invalid", 502, "The backend sent an invalid response";
    /// Every backend of the service is down or takes no traffic.
    NoHealthyBackend = "no_healthy_backend", 503, "No backend is available";
    /// An operator took every backend of the service out.
    BackendDisabled = "backend_disabled", 503, "The backends are out of service";
    /// Every backend that might answer fails so often that none is asked for a while.
    CircuitOpen = "circuit_open", 503, "The backends fail too often";
    /// As many requests are on their way to the backends as may be, and no place became free.
    UpstreamOverflow = "upstream_overflow", 503, "The backends have too many requests";
    /// As many requests of the route, or of the client, are on their way as may be.
    TooManyInFlight = "too_many_in_flight", 429, "Too many requests at once";
    /// The proxy is about to stop.
    ShuttingDown = "shutting_down", 503, "The proxy is shutting down";
    /// The proxy refused the request to protect itself.
    OverloadShed = "overload_shed", 503, "The proxy is overloaded";
    /// The backend took too long.
    UpstreamTimeout = "upstream_timeout", 504, "The backend took too long";
    /// The client went away before the response was complete.
    ClientAborted = "client_aborted", 499, "The client went away";
}

impl Reason {
    /// The media type of [`Reason::body`].
    pub const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/problem+json");

    /// A dense number from 0, for tables of counters.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The status of the answer.
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The problem document.
    pub const fn body(self) -> Bytes {
        Bytes::from_static(self.text().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_word_and_a_body_that_repeats_it() {
        let mut seen = std::collections::HashSet::new();
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), index);
            assert!(seen.insert(reason.as_str()));
            let body = String::from_utf8(reason.body().to_vec()).unwrap();
            assert!(body.contains(&format!("\"code\":\"{}\"", reason.as_str())));
            assert!(body.contains(&format!("\"status\":{}", reason.status().as_u16())));
        }
    }
}
