//! HTTP/2 as bytes, the server's side (RFC 9113): pure, without a socket and without a clock.
//!
//! A [`Connection`] turns what a client sent into [`Event`]s and what streams answer into bytes.
//! Everything that a client may do wrong is answered in there: what ends a stream becomes a
//! `RST_STREAM`, what ends the connection a `GOAWAY`. A request is read straight into the form
//! that HTTP/1.1 has here ([`RequestHead`], whose fields are lines), so that what lies behind is
//! the same for both.
//!
//! Left out on purpose: pushes, which nobody uses, priorities, which RFC 9113 deprecates, and
//! `CONNECT` with a protocol (RFC 8441), which is never offered.

mod budget;
mod closed;
mod connection;
mod flow;
mod frame;
mod head;
pub mod hpack;
#[cfg(any(test, feature = "oracle"))]
pub mod oracle;
mod settings;

pub use connection::{Connection, Event, HeadWriter, Settings};
pub use frame::{ErrorCode, HEAD as FRAME_HEAD, LARGEST};
pub use head::{Fault, Limits, RequestHead};

/// How a client begins (RFC 9113, 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
