//! Leads every proxy to the newest version.
//!
//! [`session`] decides, one proxy at a time and without a socket; [`service`] moves its messages
//! over gRPC; [`registry`] remembers how each proxy stands.

pub mod registry;
pub mod service;
pub mod session;
