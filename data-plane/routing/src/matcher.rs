//! Whether a rule holds for a request.
//!
//! One function answers for both serving and explaining: [`first_failure`] gives the part of the
//! rule that fails, and a rule without one holds. It recurses; the depth of a parsed rule is
//! bounded.

use std::borrow::Cow;

use lb_model::rule::{Expr, HostPattern, Matcher, RegexPattern};

use crate::request::Seen;

/// The first part of `expr`, in reading order, because of which it does not hold; `None` when it
/// holds. Of an `||` that fails, no single part is the reason, so the whole is given; likewise of
/// a `!`.
pub(crate) fn first_failure<'e>(expr: &'e Expr, seen: &Seen<'_>) -> Option<&'e Expr> {
    let is_held = match expr {
        Expr::And(parts) => return parts.iter().find_map(|part| first_failure(part, seen)),
        Expr::Or(parts) => parts.iter().any(|part| first_failure(part, seen).is_none()),
        Expr::Not(inner) => first_failure(inner, seen).is_some(),
        Expr::Match(matcher) => is_match(matcher, seen),
    };
    (!is_held).then_some(expr)
}

fn is_match(matcher: &Matcher, seen: &Seen<'_>) -> bool {
    let head = &seen.head;
    match matcher {
        Matcher::Host(pattern) => is_host(pattern, seen.host),
        Matcher::HostRegexp(pattern) => pattern.is_match(seen.host.as_bytes()),
        Matcher::Path(path) => head.path == path.as_str(),
        Matcher::PathPrefix(prefix) => is_below(prefix.as_str(), head.path),
        Matcher::PathRegexp(pattern) => pattern.is_match(head.path.as_bytes()),
        Matcher::Method(method) => head.method.as_str() == method.as_str(),
        // A header may stand on several lines, each a value of its own. They are not split at
        // commas: whether a comma separates depends on the header.
        Matcher::Header { name, value } => {
            head.headers.any(name.as_str(), &mut |line| line == value.as_bytes())
        }
        Matcher::HeaderRegexp { name, pattern } => {
            head.headers.any(name.as_str(), &mut |line| pattern.is_match(line))
        }
        Matcher::Query { name, value } => values(head.query, name)
            .any(|found| value.as_ref().is_none_or(|value| decoded(found).eq(value.bytes()))),
        Matcher::QueryRegexp { name, pattern } => {
            values(head.query, name).any(|found| is_match_decoded(pattern, found))
        }
        Matcher::ClientIp(network) => network.contains(&seen.client),
    }
}

fn is_host(pattern: &HostPattern, host: &str) -> bool {
    if pattern.is_wildcard() {
        wildcard_parent(host) == Some(pattern.name())
    } else {
        host == pattern.name()
    }
}

/// The name that a wildcard must have to take `host`: all but its first label.
pub(crate) fn wildcard_parent(host: &str) -> Option<&str> {
    host.split_once('.').filter(|(label, _)| !label.is_empty()).map(|(_, parent)| parent)
}

/// Whole segments, so that `/cart` does not take `/cartoon`. A prefix with a trailing slash asks
/// for that slash.
fn is_below(prefix: &str, path: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/'))
}

/// The values, still encoded, of the parameters called `name`. One without `=` has the empty value.
fn values<'q>(query: Option<&'q str>, name: &str) -> impl Iterator<Item = &'q str> {
    query.into_iter().flat_map(|query| query.split('&')).filter_map(move |pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (!pair.is_empty() && decoded(key).eq(name.bytes())).then_some(value)
    })
}

/// The bytes of `text` with `+` as a space and `%XX` as its byte. A `%` that begins no escape is
/// itself, as in the WHATWG URL standard.
fn decoded(text: &str) -> impl Iterator<Item = u8> {
    let mut rest = text.as_bytes();
    std::iter::from_fn(move || {
        let (byte, length) = match *rest {
            [] => return None,
            [b'+', ..] => (b' ', 1),
            [b'%', high, low, ..] => match (hex(high), hex(low)) {
                (Some(high), Some(low)) => (high << 4 | low, 3),
                _ => (b'%', 1),
            },
            [byte, ..] => (byte, 1),
        };
        rest = &rest[length..];
        Some(byte)
    })
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// Allocates only for a value that is encoded: an expression needs it in one piece.
fn is_match_decoded(pattern: &RegexPattern, value: &str) -> bool {
    let is_encoded = value.bytes().any(|b| matches!(b, b'%' | b'+'));
    let value: Cow<'_, [u8]> =
        if is_encoded { decoded(value).collect() } else { value.as_bytes().into() };
    pattern.is_match(&value)
}
