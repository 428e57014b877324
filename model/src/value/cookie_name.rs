//! Names of cookies.

use std::fmt;

use super::InvalidValue;

/// The name of a cookie: a token of RFC 9110 section 5.6.2, as RFC 6265 section 4.1.1 asks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CookieName(Box<str>);

impl CookieName {
    /// Reads a name; letter case counts.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        if !is_token(text) || text.len() > 128 {
            return Err(InvalidValue::new(
                format!("`{text}` is not the name of a cookie"),
                "use letters, digits, `-`, `_` and `.`, at most 128",
            ));
        }
        Ok(Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CookieName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// RFC 9110 section 5.6.2.
pub(super) fn is_token(text: &str) -> bool {
    let is_tchar = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(is_tchar)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_has_a_token_for_a_name() {
        assert_eq!(CookieName::parse("lb_session").unwrap().as_str(), "lb_session");
        for text in ["", "a b", "a=b", "a;b", "é", &"x".repeat(129)] {
            assert!(CookieName::parse(text).is_err(), "{text}");
        }
    }
}
