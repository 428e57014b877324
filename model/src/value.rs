//! Leaf values: each parses itself from text and cannot hold anything out of its range.
//!
//! A failure is an [`InvalidValue`]: what is wrong, and what to write instead. The document
//! reader adds where.

pub mod backend_url;
pub mod cookie_name;
pub mod domain;
pub mod duration;
pub mod file_path;
pub mod hash_source;
pub mod label;
pub mod listen_address;
pub mod name;
pub mod path_pattern;
pub mod pattern;
pub mod ratio;
pub mod secret;
pub mod size;
pub mod status_range;
pub mod url;
pub mod weight;

pub use backend_url::{BackendUrl, Scheme};
pub use cookie_name::CookieName;
pub use domain::{Domain, Email};
pub use duration::{Duration, PositiveDuration};
pub use file_path::FilePath;
pub use hash_source::HashSource;
pub use label::{Label, Labels};
pub use listen_address::ListenAddress;
pub use name::{
    BackendName, CertificateName, EntryPointName, MiddlewareName, RouteName, ServiceName,
    TlsOptionsName,
};
pub use path_pattern::PathPattern;
pub use pattern::Pattern;
pub use ratio::{Factor, Fraction, Percentage};
pub use secret::Secret;
pub use size::ByteSize;
pub use status_range::StatusRange;
pub use url::{Endpoint, Url};
pub use weight::Weight;

use std::ops::Range;

use crate::diagnostic::code;

/// A text that is not a value of its type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InvalidValue {
    /// What is wrong, naming the text.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
    /// The code of the finding that it becomes.
    pub code: &'static str,
    /// Which bytes of the text are meant, when not all of it.
    pub span: Option<Range<usize>>,
}

impl InvalidValue {
    pub(crate) fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        let (message, help) = (message.into(), Some(help.into()));
        Self { message, help, code: code::INVALID_VALUE, span: None }
    }
}
