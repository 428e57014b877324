//! What every HTTP front of the proxy shares, whatever protocol a client speaks.
//!
//! [`h1`] reads and writes HTTP/1.1 as bytes, [`h2`] does so for HTTP/2; [`fields`] holds header
//! fields; [`buffer`] and [`incoming`] bring bodies in and [`source`] hands them on where they
//! lie. [`hop_by_hop`] and [`forwarded`] decide what passes, [`clock`] measures pauses, [`reason`]
//! names everything the proxy itself can answer. Nothing here knows the configuration or a
//! backend.

pub mod buffer;
pub mod clock;
pub mod fields;
pub mod forwarded;
pub mod grpc;
pub mod h1;
pub mod h2;
pub mod hop_by_hop;
pub mod incoming;
pub mod reason;
pub mod source;

pub use buffer::{Buffer, Transport};
pub use clock::Clock;
pub use fields::{Field, Fields, Known};
pub use forwarded::Forwarded;
pub use incoming::{Incoming, ReadError};
pub use reason::Reason;
pub use source::{NoBody, Part, Source};
