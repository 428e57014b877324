//! From a configuration to workers that serve it.
//!
//! [`compile()`] builds a whole [`CompiledSnapshot`] beside the running one; [`Runtime::install`]
//! makes it the running one in a single step, or says why not and changes nothing. What did not
//! change is carried over: health, counters, idle connections, listeners.

pub mod compile;
pub mod compiled;
pub mod diff;
pub mod health;
mod mirrors;
pub mod swap;
pub mod sweep;

pub use compile::{CompileContext, CompileError, compile};
pub use compiled::CompiledSnapshot;
pub use swap::{InstallError, Runtime, RuntimeHandle, RuntimeOptions, StartError};
