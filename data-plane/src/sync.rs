//! Follows the control plane, and does without it.
//!
//! [`session`] decides what to do with what the control plane says; [`client`] carries the
//! messages and finds its way back after every interruption; [`last_good`] keeps what serves on
//! disk, so that the proxy starts without anyone.

pub mod client;
pub mod last_good;
pub mod seal;
pub mod session;
