//! The proxy.
pub mod sync;
