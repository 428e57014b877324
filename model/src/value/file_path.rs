//! Files that a document names.

use std::fmt;

use super::InvalidValue;

/// A path as written, relative to the document that names it. Whoever reads the document reads
/// the file and ships its content.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilePath(Box<str>);

impl FilePath {
    /// Takes any path but an empty one.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        if text.is_empty() || text.contains('\0') {
            return Err(InvalidValue::new(
                "this names no file",
                "write a path relative to the document, such as ./certs/server.crt",
            ));
        }
        Ok(Self(text.into()))
    }

    /// The path as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
