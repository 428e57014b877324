//! The name under which a value is kept: a short ASCII path.
//!
//! The alphabet is narrow on purpose. A key is part of index rows, log records, messages and
//! perhaps one day of a remote store's key space; none of them should have to quote it.

use std::{fmt, sync::Arc};

use thiserror::Error;

/// Names a value, for example `config/bundle`.
///
/// One to 255 bytes: parts of ASCII letters, digits, `-`, `_` and `.`, joined by single slashes.
/// The parts `.` and `..` are refused.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

/// Tells why a text is not a [`Key`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidKey {
    /// The text is empty.
    #[error("a key must not be empty; write a path such as `config/bundle`")]
    Empty,
    /// The text is longer than [`Key::MAX_LENGTH`].
    #[error("a key of {length} bytes is too long; use at most {} bytes", Key::MAX_LENGTH)]
    TooLong {
        /// How many bytes the text has.
        length: usize,
    },
    /// The text holds a character outside the alphabet.
    #[error(
        "key {key:?} holds {character:?}; use only ASCII letters, digits, `-`, `_`, `.` and `/`"
    )]
    Character {
        /// The refused text.
        key: String,
        /// The first character that is not allowed.
        character: char,
    },
    /// A part between slashes is empty, `.` or `..`.
    #[error("key {key:?} has the part {part:?}; name every part between slashes")]
    Part {
        /// The refused text.
        key: String,
        /// The first part that is not allowed.
        part: String,
    },
}

impl Key {
    /// How many bytes a key may have.
    pub const MAX_LENGTH: usize = 255;

    /// Reads a key from its text.
    ///
    /// # Errors
    ///
    /// [`InvalidKey`] says which rule the text breaks.
    pub fn new(text: &str) -> Result<Self, InvalidKey> {
        if text.is_empty() {
            return Err(InvalidKey::Empty);
        }
        if text.len() > Self::MAX_LENGTH {
            return Err(InvalidKey::TooLong { length: text.len() });
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
        if let Some(character) = text.chars().find(|c| !allowed(*c)) {
            return Err(InvalidKey::Character { key: text.to_owned(), character });
        }
        if let Some(part) = text.split('/').find(|part| matches!(*part, "" | "." | "..")) {
            return Err(InvalidKey::Part { key: text.to_owned(), part: part.to_owned() });
        }
        Ok(Self(text.into()))
    }

    /// Returns the key of the configuration bundle.
    pub fn config() -> Self {
        Self("config/bundle".into())
    }

    /// Returns the key of what operators decided about single backends.
    pub fn overrides() -> Self {
        Self("operations/overrides".into())
    }

    /// Returns the key of what was decided about the deployments of services.
    pub fn deployments() -> Self {
        Self("operations/deployments".into())
    }

    /// Returns the key of an entry of the audit log.
    pub fn audit() -> Self {
        Self("audit/entry".into())
    }

    /// Returns the text of the key.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_named_keys_obey_the_rules() {
        for key in [Key::config(), Key::overrides(), Key::deployments(), Key::audit()] {
            assert_eq!(Key::new(key.as_str()), Ok(key));
        }
    }

    #[test]
    fn a_path_of_plain_parts_is_a_key() {
        for text in ["a", "config/bundle", "tls/Account_1.example-2", "a/.b/c."] {
            assert_eq!(Key::new(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn a_text_that_breaks_a_rule_is_refused_with_the_rule() {
        assert_eq!(Key::new(""), Err(InvalidKey::Empty));
        assert_eq!(Key::new(&"k".repeat(256)), Err(InvalidKey::TooLong { length: 256 }));
        for (text, character) in [("a b", ' '), ("a\0b", '\0'), ("käse", 'ä'), ("a\\b", '\\')] {
            assert_eq!(Key::new(text), Err(InvalidKey::Character { key: text.into(), character }));
        }
        for (text, part) in [("/a", ""), ("a/", ""), ("a//b", ""), ("a/../b", ".."), (".", ".")] {
            assert_eq!(
                Key::new(text),
                Err(InvalidKey::Part { key: text.into(), part: part.into() })
            );
        }
    }
}
