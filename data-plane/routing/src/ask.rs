//! What of a request decides which backend gets it.

use std::net::IpAddr;

use lb_model::{config::Strategy, rule::HeaderName, value::HashSource};

use crate::hash;

/// A request, as far as a choice among backends looks at it. Nothing is looked at that is not
/// configured to decide something.
pub trait Ask {
    /// The first value of a header field.
    fn field<'s>(&'s self, name: &str) -> Option<&'s [u8]>;

    /// The value of a cookie.
    fn cookie<'s>(&'s self, name: &str) -> Option<&'s [u8]>;

    /// The path, without the query.
    fn path(&self) -> &str;

    /// The client's address.
    fn client(&self) -> IpAddr;

    /// Whether it came over TLS.
    fn is_secure(&self) -> bool;
}

/// What a field says that chooses, if one is configured and the request has it. What is no text
/// chooses nothing.
#[inline]
pub fn text<'a>(name: Option<&HeaderName>, ask: &'a dyn Ask) -> Option<&'a str> {
    Some(str::from_utf8(ask.field(name?.as_str())?).unwrap_or_default())
}

/// The key that decides among backends: by the strategy, or that of a `client` who is known by a
/// header. None where turns or load decide.
#[inline]
pub fn deciding(strategy: &Strategy, ask: &dyn Ask, client: Option<u64>) -> Option<u64> {
    match strategy {
        Strategy::Hash(source) => Some(key(source, ask)),
        _ => client,
    }
}

/// The key of a request by one of its parts; that of its client's address where it does not have
/// the part, so that requests without it do not all go to one backend.
#[inline]
pub fn key(source: &HashSource, ask: &dyn Ask) -> u64 {
    part(source, ask).unwrap_or_else(|| client(ask))
}

/// The key of a request by one of its parts, if it has it.
#[inline]
pub fn part(source: &HashSource, ask: &dyn Ask) -> Option<u64> {
    match source {
        HashSource::ClientIp => Some(client(ask)),
        HashSource::Path => Some(hash::key(ask.path().as_bytes())),
        HashSource::Header(name) => ask.field(name.as_str()).map(hash::key),
        HashSource::Cookie(name) => ask.cookie(name.as_str()).map(hash::key),
    }
}

/// The key of a client's address.
#[inline]
pub fn client(ask: &dyn Ask) -> u64 {
    match ask.client() {
        IpAddr::V4(address) => hash::key(&address.octets()),
        IpAddr::V6(address) => hash::key(&address.octets()),
    }
}

/// The value of a cookie in the fields that hold cookies (RFC 6265, 4.2.1).
pub fn cookie_in<'a>(fields: impl Iterator<Item = &'a [u8]>, name: &str) -> Option<&'a [u8]> {
    for field in fields {
        let mut rest = Some(field);
        while let Some(field) = rest {
            let end = memchr::memchr(b';', field);
            let pair = field[..end.unwrap_or(field.len())].trim_ascii_start();
            rest = end.map(|end| &field[end + 1..]);
            if let Some(value) = pair.strip_prefix(name.as_bytes())
                && let Some(value) = value.strip_prefix(b"=")
            {
                let value = value.trim_ascii_end();
                let inner = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
                return Some(inner.unwrap_or(value));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let fields = [&b"ab=1; a=2;b = 3"[..], b"c=\"4\"; d="];
        let find = |name| cookie_in(fields.iter().copied(), name);
        assert_eq!(find("a"), Some(&b"2"[..]));
        assert_eq!(find("ab"), Some(&b"1"[..]));
        assert_eq!(find("c"), Some(&b"4"[..]));
        assert_eq!(find("d"), Some(&b""[..]));
        assert_eq!(find("e"), None);
    }
}
