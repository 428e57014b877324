//! The same backend for the same client.
//!
//! Two ways to know a client, neither of which needs proxies to talk to each other:
//!
//! - [`cookie`]: the client itself carries which backend it had, sealed so that it can neither
//!   read nor choose it. Any proxy of the fleet opens what another one sealed.
//! - [`table`]: for clients that are known by a header. Its value chooses a backend by
//!   [`hash`](crate::hash), the same on every proxy; the table only remembers the choice, so
//!   that a backend that is added takes no client away from another.
//!
//! Whether the remembered backend may still be chosen is decided by whoever asks.

pub mod cookie;
pub mod table;

pub use cookie::{CookieKey, Session};
pub use table::Table;
