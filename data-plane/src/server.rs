//! From bytes to requests.
//!
//! [`http1`] reads and answers HTTP/1 itself; over [`http2`] hyper speaks, watched through
//! [`guard`], and [`connection`] keeps what is going on there.

pub mod connection;
pub mod guard;
pub mod http1;
pub mod http2;
