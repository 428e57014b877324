//! Which route takes a request, and which backend it belongs to where that follows from it.
//!
//! A [`RouteTable`] is built from parsed rules and answers [`RouteTable::find`] for the head of a
//! request, without I/O, lock, allocation or a regular expression compiled on the way (two
//! exceptions inside a single matcher: a query that must be decoded before an expression is run
//! on it, and the scratch space the `regex` crate keeps per expression and thread). The proxy
//! serves traffic by it; [`RouteTable::trace`] explains the same decision by the same code to the
//! person asking why.
//!
//! The answer is always that of reading all routes by priority (higher first, then by name) and
//! taking the first whose rule holds. An index over hosts and paths only leaves out routes that
//! cannot hold, so that ten thousand routes cost about what ten do.
//!
//! The table does not normalise: the caller passes the path in the form its rules are written for
//! ([`path::resolve`]), and the client's address as it should be seen.

//!
//! Behind the route, [`ask`] reads the part of a request that decides, [`arm`] its version,
//! [`levels`] who may be chosen and [`hash`] who is: pure, so that a proxy and [`explain()`] cannot
//! differ.
//!
//! [`explain()`]: explain::explain

pub mod arm;
pub mod ask;
mod condition;
pub mod explain;
pub mod hash;
mod index;
pub mod levels;
mod matcher;
pub mod path;
mod request;
mod table;

#[cfg(test)]
mod tests;

pub use ask::Ask;
pub use request::{Headers, RequestHead};
pub use table::{RouteEntry, RouteTable, Verdict};
