//! The control plane: keeps the configuration, streams it to the proxies, answers operators.
//!
//! A change comes in through [`admin`], becomes a version in the store, is built into a snapshot
//! by [`pipeline`], and each proxy's session in [`sync`] leads its proxy there. What proxies say
//! of themselves comes back through [`report`] and [`sync::registry`].
//!
//! Who may connect is decided in [`identity`], and what rests on the disk is sealed by [`secrets`].
//!
//! Everything that decides is pure; sockets, clocks and the disk stand at the rim.

pub mod admin;
pub mod app;
pub mod audit;
pub mod backup;
pub mod checked;
pub mod config_file;
pub mod decisions;
pub mod deployments;
pub mod identity;
pub mod metrics;
pub mod overrides;
pub mod pipeline;
pub mod report;
pub mod scrub;
pub mod secrets;
pub mod settings;
pub mod snapshot;
pub mod sync;
