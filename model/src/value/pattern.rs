//! Regular expressions as values: bounded in size, linear in time.

use std::{fmt, sync::Arc};

use regex::bytes::{Regex, RegexBuilder};

use super::InvalidValue;
use crate::diagnostic::code;

/// The most memory one compiled expression may take, in bytes.
const MOST: usize = 1 << 20;

/// A regular expression with its text, compiled once and shared by its clones; equal by text.
#[derive(Clone)]
pub struct Pattern(Arc<Regex>);

impl Pattern {
    /// Compiles `text`. A fault names the bytes of the text that it is about.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        let wrong = |message: String, help: &str, span| InvalidValue {
            code: code::INVALID_PATTERN,
            span,
            ..InvalidValue::new(message, help)
        };
        match RegexBuilder::new(text).size_limit(MOST).build() {
            Ok(regex) => Ok(Self(Arc::new(regex))),
            Err(regex::Error::CompiledTooBig(_)) => Err(wrong(
                "the regular expression needs more than 1 MiB once compiled".to_owned(),
                "lower its repetitions, such as `{1,1000}`, or split it into several",
                None,
            )),
            Err(_) => {
                let (reason, span) = fault(text);
                let help = "it is written as in Rust's `regex`: no look-around, no \
                            back-references; a literal `{` is `\\{`";
                Err(wrong(format!("the regular expression does not compile: {reason}"), help, span))
            }
        }
    }

    /// The text it was compiled from.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether it is found anywhere in `text`, in time linear in the length of `text`.
    pub fn is_match(&self, text: &[u8]) -> bool {
        self.0.is_match(text)
    }
}

/// What is wrong, and where.
fn fault(text: &str) -> (String, Option<std::ops::Range<usize>>) {
    let mut parser = regex_syntax::ParserBuilder::new().utf8(false).build();
    match parser.parse(text) {
        Err(regex_syntax::Error::Parse(error)) => {
            let span = error.span();
            (error.kind().to_string(), Some(span.start.offset..span.end.offset))
        }
        Err(regex_syntax::Error::Translate(error)) => {
            let span = error.span();
            (error.kind().to_string(), Some(span.start.offset..span.end.offset))
        }
        _ => ("it is not a regular expression".to_owned(), None),
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pattern").field(&self.as_str()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_shown_where_it_stands() {
        assert!(Pattern::parse("(?i)(union|select)").unwrap().is_match(b"SELECT"));
        let fault = Pattern::parse("ab(?=c)").unwrap_err();
        assert_eq!(fault.span, Some(2..5), "{fault:?}");
        assert_eq!(fault.code, code::INVALID_PATTERN);
        assert!(Pattern::parse("a[").unwrap_err().span.is_some());
    }

    #[test]
    fn a_program_that_would_fill_memory_is_refused() {
        let fault = Pattern::parse("(\\w{1,500}){1,500}").unwrap_err();
        assert!(fault.message.contains("1 MiB"), "{fault}");
    }
}
