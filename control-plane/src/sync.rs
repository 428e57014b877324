//! Leads every proxy to the newest version.
//!
//! [`session`] decides, one proxy at a time and without a socket; [`service`] moves its messages
//! over gRPC; [`transport`] knows who is at the other end; [`registry`] remembers how each proxy
//! stands.

pub mod registry;
pub mod resets;
pub mod service;
pub mod session;
pub mod transport;
