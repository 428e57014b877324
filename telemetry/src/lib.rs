//! How both planes speak to operators: logs, the names of metrics, and the word to stop.
//!
//! This crate knows nothing of configurations or planes, so that each of them may use it.

#![warn(missing_docs)]

pub mod addresses;
pub mod logging;
pub mod metric;
pub mod shutdown;

/// The version of this software, as it names itself to peers and operators.
pub const SOFTWARE_VERSION: &str = env!("CARGO_PKG_VERSION");
