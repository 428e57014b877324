//! Leaf values: each parses itself from text and cannot hold anything out of its range.
//!
//! A failure is an [`InvalidValue`]: what is wrong, and what to write instead. The document
//! reader adds where.

pub mod backend_url;
pub mod duration;
pub mod label;
pub mod listen_address;
pub mod name;
pub mod secret;
pub mod size;
pub mod weight;

pub use backend_url::{BackendUrl, Scheme};
pub use duration::Duration;
pub use label::{Label, Labels};
pub use listen_address::ListenAddress;
pub use name::{BackendName, CertificateName, EntryPointName, RouteName, ServiceName};
pub use secret::Secret;
pub use size::ByteSize;
pub use weight::Weight;

/// A text that is not a value of its type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InvalidValue {
    /// What is wrong, naming the text.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
    /// Whether the language has it and only this version does not run it.
    pub not_yet: bool,
}

impl InvalidValue {
    pub(crate) fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: Some(help.into()), not_yet: false }
    }

    pub(crate) fn not_yet(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { not_yet: true, ..Self::new(message, help) }
    }
}
