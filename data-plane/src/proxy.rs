//! A request's life: from a parsed head to the last byte of its response.
//!
//! [`handler`] finds the route and the backend, [`forward`] turns the client's request into the
//! backend's and back, [`exchange`] follows it to its end, [`upgrade`] carries what becomes a
//! tunnel. Whatever fails comes back as a [`lb_http::Reason`], and [`rescue`] is the only place
//! that turns one into a response.

pub mod client;
pub mod exchange;
pub mod forward;
pub mod handler;
pub mod rescue;
pub mod target;
pub mod upgrade;

/// The body of every response.
pub type ProxyBody = lb_http::Body<exchange::Exchange>;
