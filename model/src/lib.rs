//! What a configuration means.
//!
//! A configuration passes through four forms, and each has one type:
//!
//! | form | type | what it promises |
//! |---|---|---|
//! | written | [`Bundle`], read into a [`Document`] | nothing but syntax: optional fields, each with its place in the file |
//! | true | [`Config`] | every reference resolves, every value is in range, nothing is a string that has a type |
//! | shipped | [`Snapshot`] | the same objects as named, hashed resources of one version |
//! | running | `CompiledSnapshot` (in the proxy) | built beside the running one, swapped in whole |
//!
//! [`Config::parse`] is the only way from written to true. It gathers every fault instead of
//! stopping at the first, and each fault says where it is, what is wrong and what to write
//! instead. Both planes and the command line use this crate, so a configuration that one accepts
//! no other refuses.
//!
//! The crate is pure: no file, socket, clock or thread. Whoever calls passes file contents and
//! the time in.

pub mod api;
mod audience;
pub mod bundle;
pub mod config;
pub mod diagnostic;
pub mod difference;
pub mod document;
mod layers;
#[cfg(any(test, feature = "oracle"))]
pub mod oracle;
mod parse;
pub mod resource;
pub mod rule;
pub mod schema;
pub mod seal;
pub mod snapshot;
pub mod value;
#[cfg(feature = "wire")]
pub mod wire;
pub mod yaml;

pub use bundle::{Bundle, FileReference, Setting};
pub use config::{Config, Parsed};
pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use document::Document;
pub use resource::{Resource, ResourceKey, ResourceKind, ResourceSet};
pub use snapshot::{Snapshot, Version};
