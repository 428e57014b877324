//! A request's life: from a parsed head to the last byte of its response.
//!
//! [`handler`] finds the route and the backend for both fronts, [`outgoing`] writes the request
//! as the backend gets it and [`answer`] the response as a client over HTTP/1 does; [`http2`]
//! does the same for streams of HTTP/2. [`exchange`] follows a request to its end, [`upgrade`]
//! carries what becomes a tunnel. Whatever fails comes back as a [`lb_http::Reason`], which
//! [`rescue`] and [`answer`] turn into a response.

pub mod answer;
pub mod client;
pub mod exchange;
pub mod handler;
pub mod http2;
pub mod outgoing;
pub mod rescue;
pub mod target;
pub mod upgrade;

/// The body of every response over HTTP/2.
pub type ProxyBody = lb_http::Body<http2::Transfer>;
