//! The rule of a route: which requests it takes, written as
//! ``Host(`shop.example.com`) && PathPrefix(`/cart`)``.
//!
//! The language is that of Traefik v3 for HTTP, so that rules can be carried over:
//! `Host`, `HostRegexp`, `Path`, `PathPrefix`, `PathRegexp`, `Method`, `Header`,
//! `HeaderRegexp`, `Query`, `QueryRegexp` and `ClientIP`, in any letter case, joined by `&&`,
//! `||`, `!` and parentheses (`!` binds tightest, then `&&`). A value stands in backticks, where
//! every character is itself, or in double quotes, where a backslash escapes.
//!
//! It departs from Traefik in these points, each on purpose:
//!
//! - ``PathPrefix(`/cart`)`` takes whole segments: `/cart` and `/cart/x`, never `/cartoon`. With a
//!   trailing slash, ``PathPrefix(`/cart/`)`` takes `/cart/` and everything below it, not `/cart`.
//! - ``Query(`k`)`` holds when `k` is there with any value, not only with an empty one.
//! - A value that could never match (a path with `?`, a host with a port) is a fault.
//! - Regular expressions are those of the `regex` crate: linear in time, unanchored, bounded in
//!   size. Go's `\Q..\E` and `{` as a literal are not in it; say `\{`.
//!
//! A [`Rule`] exists only parsed: its values are typed, its expressions compiled, its size and
//! depth bounded, so that whoever walks it may recurse. This module does not match requests; that
//! is the business of the routing crate.

mod ast;
mod lexer;
mod parser;
mod value;

#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

pub use ast::{Expr, Matcher};
pub use value::{HeaderName, HostPattern, InvalidValue, MethodName, RegexPattern, UrlPath};

/// The longest rule that is read, in bytes.
pub const MAX_LENGTH: usize = 8 * 1024;

/// How deep parentheses and `!` may nest.
pub const MAX_DEPTH: usize = 32;

/// How many matchers a rule may hold.
pub const MAX_TERMS: usize = 256;

/// A parsed rule, with the text it was parsed from.
///
/// Cloning is cheap: clones share the text, the tree and the compiled expressions.
#[derive(Clone)]
pub struct Rule {
    parsed: Arc<Parsed>,
}

struct Parsed {
    text: Box<str>,
    expr: Expr,
}

/// One fault in the text of a rule: where it is, what is wrong, what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InvalidRule {
    /// The faulty part, as byte offsets in the text; always on character boundaries.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What to write instead, where that can be said.
    pub help: Option<String>,
}

impl Rule {
    /// Parses `text`.
    ///
    /// # Errors
    ///
    /// Gives every fault it can tell apart, in the order of the text, up to a bound; never an
    /// empty list.
    pub fn parse(text: &str) -> Result<Self, Vec<InvalidRule>> {
        let expr = parser::parse(text)?;
        let text = text.into();
        Ok(Self { parsed: Arc::new(Parsed { text, expr }) })
    }

    /// The text as it was written.
    pub fn as_str(&self) -> &str {
        &self.parsed.text
    }

    /// What the text means.
    pub fn expr(&self) -> &Expr {
        &self.parsed.expr
    }

    /// The priority of a route that names none: the length of the text in bytes, so that the rule
    /// that says more goes first.
    pub fn default_priority(&self) -> i64 {
        i64::try_from(self.parsed.text.len()).unwrap_or(i64::MAX)
    }
}

/// By text: the text decides the tree, and also the default priority.
impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.parsed.text == other.parsed.text
    }
}

impl Eq for Rule {}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.parsed.text)
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rule").field(&self.parsed.text).finish()
    }
}
