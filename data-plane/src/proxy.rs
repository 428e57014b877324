//! A request's life: from a parsed head to the last byte of its response.
//!
//! [`handler`] finds the route and, by [`choose`], the backend for both fronts, [`forward`] sends
//! a request that may have to wait or be tried again, [`outgoing`] writes the request
//! as the backend gets it, [`answer`] the response as a client over HTTP/1 gets it and [`http2`]
//! the same for HTTP/2. [`exchange`] follows a request to its end, [`upgrade`] carries what
//! becomes a tunnel, [`mirror`] sends copies to others. Whatever fails comes back as a [`lb_http::Reason`], which [`answer`] and
//! [`http2`] turn into a response; [`rescue`] says what becomes of the connection.

pub mod answer;
pub mod choose;
pub mod client;
pub mod exchange;
pub mod forward;
pub mod handler;
pub mod http2;
pub mod in_flight;
pub mod mirror;
pub mod outgoing;
mod replay;
pub mod rescue;
pub mod target;
pub mod upgrade;
