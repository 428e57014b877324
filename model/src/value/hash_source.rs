//! What of a request decides where it goes: `client_ip`, `header:X-User`, `cookie:sid`, `path`.

use std::fmt;

use super::{CookieName, InvalidValue};
use crate::rule::HeaderName;

/// The part of a request that is hashed or counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashSource {
    /// The client's address.
    ClientIp,
    /// The value of a header.
    Header(HeaderName),
    /// The value of a cookie.
    Cookie(CookieName),
    /// The path without its query.
    Path,
}

impl HashSource {
    /// Reads the form shown above.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        let wrong = |why: &str| {
            InvalidValue::new(
                format!("`{text}` is not a part of a request: {why}"),
                "write client_ip, path, header:NAME or cookie:NAME",
            )
        };
        match text.split_once(':') {
            None if text == "client_ip" => Ok(Self::ClientIp),
            None if text == "path" => Ok(Self::Path),
            Some(("header", name)) => HeaderName::parse(name)
                .map(Self::Header)
                .map_err(|_| wrong("this is not the name of a header")),
            Some(("cookie", name)) => CookieName::parse(name)
                .map(Self::Cookie)
                .map_err(|_| wrong("this is not the name of a cookie")),
            _ => Err(wrong("it is not known")),
        }
    }
}

impl fmt::Display for HashSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientIp => f.write_str("client_ip"),
            Self::Header(name) => write!(f, "header:{}", name.as_str()),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::Path => f.write_str("path"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_read_and_printed() {
        for text in ["client_ip", "path", "header:x-user", "cookie:sid"] {
            assert_eq!(HashSource::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "ip", "header:", "header:a b", "cookie:=", "query:x"] {
            assert!(HashSource::parse(text).is_err(), "{text}");
        }
    }
}
