//! The proxy: takes traffic, and keeps serving whatever becomes of the control plane.
//!
//! ```text
//!   configuration ── compile ──► CompiledSnapshot ── install ──► Runtime
//!                                                                  │ one snapshot, one number
//!   client ─ listener ─ server ─ proxy::handler ─ LocalCluster ─ backend   (N workers, alike)
//! ```
//!
//! Each worker is a thread with a runtime, listeners, connections and idle backend connections
//! of its own. A request touches its worker's view of the snapshot and its worker's counters,
//! and nothing that another thread writes; that is what keeps a core's throughput from depending
//! on how many cores there are. The [`runtime`] module is the door for whoever feeds
//! configurations in; [`stats`] for whoever reads what happened.

pub mod admin;
pub mod app;
pub mod apply;
pub mod boot;
pub mod budget;
pub mod drain;
pub mod identity;
pub mod listener;
pub mod metrics;
pub mod overload;
pub mod proxy;
pub mod report;
pub mod runtime;
pub mod server;
pub mod settings;
pub mod stats;
pub mod sync;
pub mod tls;
pub mod workers;

pub use runtime::{
    CompileContext, CompileError, CompiledSnapshot, InstallError, Runtime, RuntimeHandle,
    RuntimeOptions, compile,
};
