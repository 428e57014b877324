//! Whom and what a request asks for, if it may be asked for at all.
//!
//! Two servers that read one request differently are an attacker's way around the rules of the
//! first. So what can be read in two ways is refused, except for dot segments, which clients do
//! send: they are resolved, and what was matched is what is forwarded.

use std::borrow::Cow;

use http::{Method, Version};
use lb_http::{Fields, Known, Reason};

/// What a request line asks for, before it is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'a> {
    /// Host and port, if the target names them; then they count, and not the field.
    pub authority: Option<&'a str>,
    /// The path, or `*`.
    pub path: &'a str,
    /// The query, without its question mark.
    pub query: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// Reads the target of an HTTP/1.1 request (RFC 9112, 3.2).
    pub fn parse(target: &'a str, method: &Method) -> Result<Self, Reason> {
        let is_asterisk = target == "*" && *method == Method::OPTIONS;
        let (authority, rest) = if target.starts_with('/') || is_asterisk {
            (None, target)
        } else if *method == Method::CONNECT {
            (Some(target), "")
        } else {
            let rest = strip_scheme(target).ok_or(Reason::BadRequest)?;
            let end = position(rest, |byte| matches!(byte, b'/' | b'?'));
            let (authority, rest) = rest.split_at(end);
            (Some(authority), rest)
        };
        let (path, query) = rest.split_at(position(rest, |byte| byte == b'?'));
        let query = query.get(1..);
        Ok(Self { authority, path: if path.is_empty() { "/" } else { path }, query })
    }

    /// The target of an HTTP/2 request, of which `authority` is a part of its own.
    pub fn of(
        authority: Option<&'a str>,
        target: &'a str,
        method: &Method,
    ) -> Result<Self, Reason> {
        if target == "*" && *method != Method::OPTIONS {
            return Err(Reason::BadRequest);
        }
        let (path, query) = target.split_at(position(target, |byte| byte == b'?'));
        let path = if path.is_empty() { "/" } else { path };
        Ok(Self { authority, path, query: query.get(1..) })
    }
}

/// The place of the first byte that is `wanted`, or the end.
fn position(text: &str, wanted: impl Fn(u8) -> bool) -> usize {
    text.bytes().position(wanted).unwrap_or(text.len())
}

fn strip_scheme(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_once("://")?;
    (scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")).then_some(rest)
}

/// Who is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Host<'a> {
    /// The name, without a port; empty when the request names none.
    pub name: &'a str,
    /// The name with its port, as it was written.
    pub authority: Option<&'a str>,
}

/// Reads the host of a request.
///
/// HTTP/1.1 needs exactly one valid `Host` field, whatever the request line says (RFC 9112,
/// 3.2). HTTP/2 may say it twice, but not differently (RFC 9113, 8.3.1).
pub fn host<'a>(
    target: &Target<'a>,
    fields: &'a Fields,
    version: Version,
) -> Result<Host<'a>, Reason> {
    let mut values = fields.values(Known::Host);
    let field = values.next();
    if values.next().is_some() || (version == Version::HTTP_11 && field.is_none()) {
        return Err(Reason::BadRequest);
    }
    let field = match field {
        Some(value) => {
            let text = str::from_utf8(value).map_err(|_| Reason::BadRequest)?;
            Some((text, name(text).ok_or(Reason::BadRequest)?))
        }
        None => None,
    };
    let Some(authority) = target.authority else {
        return Ok(Host {
            name: field.map_or("", |(_, name)| name),
            authority: field.map(|(text, _)| text),
        });
    };
    if version == Version::HTTP_2
        && field.is_some_and(|(text, _)| !text.eq_ignore_ascii_case(authority))
    {
        return Err(Reason::BadRequest);
    }
    Ok(Host { name: name(authority).ok_or(Reason::BadRequest)?, authority: Some(authority) })
}

/// The name in a `Host` field: what stands before the port, if all of it is well formed.
fn name(text: &str) -> Option<&str> {
    let (name, port) = if text.starts_with('[') {
        let (name, port) = text.split_at(text.find(']')? + 1);
        let inner = name.get(1..name.len() - 1)?;
        let is_address =
            inner.bytes().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'));
        if inner.is_empty() || !is_address {
            return None;
        }
        (name, port)
    } else {
        let (mut end, mut has_escapes) = (0, false);
        for byte in text.bytes() {
            match OF_NAMES[usize::from(byte)] {
                Part::No => break,
                Part::Escape => has_escapes = true,
                Part::Yes => {}
            }
            end += 1;
        }
        let (name, port) = text.split_at(end);
        if name.is_empty() || (has_escapes && !are_escapes_whole(name)) {
            return None;
        }
        (name, port)
    };
    let is_port = match port.strip_prefix(':') {
        Some(digits) => digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit()),
        None => port.is_empty(),
    };
    is_port.then_some(name)
}

/// Whether a byte may be in a name.
#[derive(Clone, Copy)]
enum Part {
    No,
    Yes,
    /// With two digits after it.
    Escape,
}

/// reg-name of RFC 3986, 3.2.2, looked up: every request has one.
const OF_NAMES: [Part; 256] = {
    let marks = b"-._~!$&'()*+,;=";
    let mut parts = [Part::No; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        if byte.is_ascii_alphanumeric() {
            parts[byte as usize] = Part::Yes;
        }
        byte += 1;
    }
    let mut at = 0;
    while at < marks.len() {
        parts[marks[at] as usize] = Part::Yes;
        at += 1;
    }
    parts[b'%' as usize] = Part::Escape;
    parts
};

/// Whether every percent sign begins an encoded byte.
fn are_escapes_whole(text: &str) -> bool {
    let is_hex = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_hexdigit());
    let bytes = text.as_bytes();
    let mut percents = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'%');
    percents.all(|(at, _)| is_hex(bytes.get(at + 1).copied()) && is_hex(bytes.get(at + 2).copied()))
}

/// The path to match and to forward; see [`lb_routing::path::resolve`].
pub fn path(given: &str) -> Result<Cow<'_, str>, Reason> {
    lb_routing::path::resolve(given).map_err(|_| Reason::BadRequest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn host_of(target: &str, lines: &[&str], version: Version) -> Result<String, Reason> {
        let mut fields = Fields::new();
        for line in lines {
            fields.push(b"Host", line.as_bytes());
        }
        let target = Target::parse(target, &Method::GET)?;
        host(&target, &fields, version).map(|host| host.name.to_owned())
    }

    #[test]
    fn a_target_is_taken_apart() {
        let parse = |text| Target::parse(text, &Method::OPTIONS);
        let target = |authority, path, query| Ok(Target { authority, path, query });
        assert_eq!(parse("/a?b?c"), target(None, "/a", Some("b?c")));
        assert_eq!(parse("*"), target(None, "*", None));
        assert_eq!(parse("http://a:1/b"), target(Some("a:1"), "/b", None));
        assert_eq!(parse("HTTPS://a?q"), target(Some("a"), "/", Some("q")));
        for bad in ["a", "a:443", "ftp://a/", "", "?q", "http:/a"] {
            assert_eq!(parse(bad), Err(Reason::BadRequest), "{bad}");
        }
        assert!(Target::parse("*", &Method::GET).is_err());
        assert_eq!(Target::parse("a:443", &Method::CONNECT), target(Some("a:443"), "/", None));
    }

    #[test]
    fn a_valid_host_is_its_name_without_the_port() {
        for (field, name) in [
            ("shop.example.com", "shop.example.com"),
            ("shop:8080", "shop"),
            ("[2001:db8::1]:443", "[2001:db8::1]"),
            ("10.0.0.1:", "10.0.0.1"),
        ] {
            assert_eq!(host_of("/", &[field], Version::HTTP_11).as_deref(), Ok(name));
        }
    }

    /// RFC 3986, 3.2.2, word for word.
    fn by_grammar(text: &str) -> Option<&str> {
        let end = match text.strip_prefix('[') {
            Some(rest) => 2 + rest.find(']')?,
            None => text.find(':').unwrap_or(text.len()),
        };
        let (name, port) = text.split_at(end);
        let inner = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
        let is_name = if let Some(inner) = inner {
            inner.chars().all(|c| c.is_ascii_hexdigit() || ":.".contains(c))
        } else {
            let mut pieces = name.split('%');
            let is_plain = |piece: &str| {
                piece.chars().all(|c| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=".contains(c))
            };
            pieces.next().is_some_and(is_plain)
                && pieces.all(|piece| {
                    let (digits, rest) = piece.split_at_checked(2).unwrap_or(("", "%"));
                    digits.chars().all(|c| c.is_ascii_hexdigit()) && is_plain(rest)
                })
        };
        let is_digits =
            |digits: &str| digits.len() <= 5 && digits.chars().all(|c| c.is_ascii_digit());
        let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(is_digits);
        (is_name && is_port && !name.is_empty() && name != "[]").then_some(name)
    }

    proptest! {
        #[test]
        fn a_name_is_of_the_grammar(text in "[a%0:f\\[\\]é./ -]{0,12}") {
            prop_assert_eq!(name(&text), by_grammar(&text));
        }
    }

    #[test]
    fn a_host_that_can_be_misread_is_refused() {
        for fields in [
            &[][..],
            &[""],
            &["a", "a"],
            &["a b"],
            &["a/b"],
            &["user@a"],
            &["a:b"],
            &["a:1:2"],
            &["[::1"],
            &["[]"],
            &["a, b@c"],
            &["a%zz"],
            &["a%4"],
        ] {
            let found = host_of("/", fields, Version::HTTP_11);
            assert_eq!(found, Err(Reason::BadRequest), "{fields:?}");
        }
    }

    #[test]
    fn the_request_line_goes_before_the_field() {
        assert_eq!(host_of("http://a:81/x", &["b"], Version::HTTP_11).as_deref(), Ok("a"));
        assert_eq!(host_of("http://a/", &[], Version::HTTP_2).as_deref(), Ok("a"));
        assert_eq!(host_of("/", &[], Version::HTTP_10).as_deref(), Ok(""));
        assert!(host_of("http://a/", &["b"], Version::HTTP_2).is_err());
        assert!(host_of("http://u@a/", &["a"], Version::HTTP_11).is_err());
        assert!(host_of("http:///x", &["a"], Version::HTTP_11).is_err());
    }
}
