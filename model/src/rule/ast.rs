//! What a rule means, as a tree of typed matchers, and how that tree is printed.
//!
//! Printing a tree and parsing the text gives the same tree. The shape follows the parentheses as
//! written: nothing is flattened or reordered, because `explain` shows the parts to the person who
//! wrote them.

use std::fmt;

use ipnet::IpNet;

use super::value::{HeaderName, HostPattern, MethodName, RegexPattern, UrlPath};

/// A condition on a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expr {
    /// Holds when all of them do. At least two.
    And(Vec<Expr>),
    /// Holds when any of them does. At least two.
    Or(Vec<Expr>),
    /// Holds when the inner one does not.
    Not(Box<Expr>),
    /// Asks one thing of the request.
    Match(Matcher),
}

/// One question about a request, its values checked and compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Matcher {
    /// The host is this one, or one label below it.
    Host(HostPattern),
    /// The expression is found in the lower-case host.
    HostRegexp(RegexPattern),
    /// The path is exactly this one.
    Path(UrlPath),
    /// The path is this one or below it, by whole segments.
    PathPrefix(UrlPath),
    /// The expression is found in the path.
    PathRegexp(RegexPattern),
    /// The method is this one.
    Method(MethodName),
    /// A header of this name has exactly this value.
    Header {
        /// Name of the header.
        name: HeaderName,
        /// The value one of its lines has.
        value: Box<str>,
    },
    /// The expression is found in a header of this name.
    HeaderRegexp {
        /// Name of the header.
        name: HeaderName,
        /// Searched in each of its lines.
        pattern: RegexPattern,
    },
    /// A query parameter of this name is there, with this value if one is given.
    Query {
        /// Name of the parameter, decoded.
        name: Box<str>,
        /// The value, decoded; `None` takes any.
        value: Option<Box<str>>,
    },
    /// The expression is found in a query parameter of this name.
    QueryRegexp {
        /// Name of the parameter, decoded.
        name: Box<str>,
        /// Searched in each of its decoded values.
        pattern: RegexPattern,
    },
    /// The client's address is in this network.
    ClientIp(IpNet),
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Or(parts) => join(f, parts, " || ", |part| matches!(part, Self::Or(_))),
            Self::And(parts) => {
                join(f, parts, " && ", |part| matches!(part, Self::Or(_) | Self::And(_)))
            }
            Self::Not(inner) => match **inner {
                Self::And(_) | Self::Or(_) => write!(f, "!({inner})"),
                Self::Not(_) | Self::Match(_) => write!(f, "!{inner}"),
            },
            Self::Match(matcher) => write!(f, "{matcher}"),
        }
    }
}

fn join(
    f: &mut fmt::Formatter<'_>,
    parts: &[Expr],
    operator: &str,
    needs_parentheses: fn(&Expr) -> bool,
) -> fmt::Result {
    for (i, part) in parts.iter().enumerate() {
        if i > 0 {
            f.write_str(operator)?;
        }
        if needs_parentheses(part) {
            write!(f, "({part})")?;
        } else {
            write!(f, "{part}")?;
        }
    }
    Ok(())
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => write!(f, "Host({})", quote(&host.to_string())),
            Self::HostRegexp(pattern) => write!(f, "HostRegexp({})", quote(pattern.as_str())),
            Self::Path(path) => write!(f, "Path({})", quote(path.as_str())),
            Self::PathPrefix(path) => write!(f, "PathPrefix({})", quote(path.as_str())),
            Self::PathRegexp(pattern) => write!(f, "PathRegexp({})", quote(pattern.as_str())),
            Self::Method(method) => write!(f, "Method({})", quote(method.as_str())),
            Self::Header { name, value } => {
                write!(f, "Header({}, {})", quote(name.as_str()), quote(value))
            }
            Self::HeaderRegexp { name, pattern } => {
                let (name, pattern) = (quote(name.as_str()), quote(pattern.as_str()));
                write!(f, "HeaderRegexp({name}, {pattern})")
            }
            Self::Query { name, value: None } => write!(f, "Query({})", quote(name)),
            Self::Query { name, value: Some(value) } => {
                write!(f, "Query({}, {})", quote(name), quote(value))
            }
            Self::QueryRegexp { name, pattern } => {
                write!(f, "QueryRegexp({}, {})", quote(name), quote(pattern.as_str()))
            }
            Self::ClientIp(network) if network.prefix_len() == network.max_prefix_len() => {
                write!(f, "ClientIP(`{}`)", network.addr())
            }
            Self::ClientIp(network) => write!(f, "ClientIP(`{network}`)"),
        }
    }
}

/// Writes `value` as a rule would: in backticks, or in double quotes when it holds a backtick.
pub(super) fn quote(value: &str) -> String {
    if !value.contains('`') {
        return format!("`{value}`");
    }
    let mut text = String::with_capacity(value.len() + 2);
    text.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            _ => text.push(c),
        }
    }
    text.push('"');
    text
}
