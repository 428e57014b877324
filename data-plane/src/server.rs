//! From bytes to requests.
//!
//! [`http1`] and [`http2`] each drive a connection with all that is asked on it in one task;
//! [`connection`] keeps what is going on there.

pub mod connection;
pub mod http1;
pub mod http2;
