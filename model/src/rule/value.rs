//! The values inside matchers, each with its parser and what it refuses.
//!
//! A value that exists is valid and in the one form that is compared: hosts and header names in
//! lower case, methods in upper case, networks without host bits. The help of [`InvalidValue`]
//! says what to write instead.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};
use regex::bytes::{Regex, RegexBuilder};

/// The most memory one compiled expression may take, in bytes.
const MAX_REGEX_SIZE: usize = 1 << 20;

/// A host name or address in lower case, without port or trailing dot; or `*.` and a name, which
/// takes any one label in place of the star.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPattern {
    name: Box<str>,
    is_wildcard: bool,
}

/// A path that begins with a slash and holds neither `?` nor `#`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UrlPath(Box<str>);

/// An HTTP method in upper case, registered or not.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MethodName(Box<str>);

/// A header's name in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HeaderName(Box<str>);

/// A regular expression with its text, compiled once and shared by its clones; equal by text.
#[derive(Clone)]
pub struct RegexPattern(Arc<Regex>);

/// Why a value was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InvalidValue {
    /// A host of no characters.
    #[error("the host is empty")]
    HostEmpty,
    /// A host, or an expression for hosts, outside ASCII.
    #[error("`{host}` is not ASCII, and hosts arrive in ASCII")]
    HostNotAscii {
        /// As written.
        host: String,
    },
    /// A host with a port.
    #[error("`{host}` has a port, and ports are left out before hosts are compared")]
    HostHasPort {
        /// As written.
        host: String,
    },
    /// A star elsewhere than in front of a name.
    #[error("`{host}` is not a wildcard host: the only form is `*.` and a name")]
    HostWildcard {
        /// As written.
        host: String,
    },
    /// A character that no host has.
    #[error("`{host}` is not a host: it holds `{character}`")]
    HostCharacter {
        /// As written.
        host: String,
        /// The first such character.
        character: char,
    },
    /// A label that is empty, longer than 63 bytes or has a hyphen at its end.
    #[error("`{host}` is not a host: a label is 1 to 63 characters and has no hyphen at its ends")]
    HostLabel {
        /// As written.
        host: String,
    },
    /// More than the 253 bytes of a host name.
    #[error("the host is {length} bytes long, and 253 is the most a host can have")]
    HostTooLong {
        /// Length in bytes.
        length: usize,
    },
    /// A path without its first slash.
    #[error("the path `{path}` does not begin with `/`")]
    PathNotAbsolute {
        /// As written.
        path: String,
    },
    /// A path with a query or a fragment.
    #[error("the path `{path}` holds `{character}`, which ends a path")]
    PathEnds {
        /// As written.
        path: String,
        /// `?` or `#`.
        character: char,
    },
    /// A method that is no token.
    #[error("`{method}` is not an HTTP method")]
    Method {
        /// As written.
        method: String,
    },
    /// A header name that is no token.
    #[error("`{name}` is not a header name")]
    HeaderName {
        /// As written.
        name: String,
    },
    /// A header value with a control character.
    #[error("a header value has no control characters")]
    HeaderValue,
    /// An expression that does not compile.
    #[error("the regular expression does not compile: {reason}")]
    Regex {
        /// What the compiler says.
        reason: String,
        /// Whether it looks like `{name:expression}`, as Traefik v2 had it.
        is_template: bool,
    },
    /// An expression whose program is too large.
    #[error("the regular expression needs more than 1 MiB once compiled")]
    RegexTooLarge,
    /// Neither an address nor a network.
    #[error("`{text}` is neither an IP address nor a network")]
    ClientIp {
        /// As written.
        text: String,
    },
}

impl InvalidValue {
    /// What to write instead, where that can be said.
    pub fn help(&self) -> Option<String> {
        let help = match self {
            Self::HostEmpty => "leave `Host` out to take every host".into(),
            Self::HostNotAscii { .. } => {
                "write the punycode form of each label, such as `xn--bcher-kva.example`".into()
            }
            Self::HostHasPort { host } => {
                let name = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name);
                format!("write Host(`{name}`); the entry point decides the port")
            }
            Self::HostWildcard { host } => match host.trim_start_matches(['*', '.']) {
                "" => "leave `Host` out to take every host".into(),
                name if name.contains('*') => "use HostRegexp for other forms".into(),
                name => format!(
                    "write Host(`*.{name}`) for one label, HostRegexp(`\\.{}$`) for any number",
                    name.replace('.', "\\.")
                ),
            },
            Self::HostCharacter {
                character: '{' | '}' | '(' | '[' | '^' | '$' | '|' | '+',
                ..
            } => "use HostRegexp for a regular expression".into(),
            Self::HostCharacter { character: '/', .. } => {
                "write the host alone, and the path in PathPrefix(`/…`)".into()
            }
            Self::HostCharacter { character: ',' | ' ', .. } => {
                "write one Host(`…`) for each, joined by `||`".into()
            }
            Self::PathNotAbsolute { path } => format!("write `/{path}`"),
            Self::PathEnds { character: '?', .. } => {
                "match the query with Query(`name`, `value`)".into()
            }
            Self::PathEnds { .. } => "leave the fragment out: clients do not send it".into(),
            Self::Regex { is_template: true, .. } => {
                "write the expression alone, without `{name:…}`, as `^[a-z]+\\.example\\.com$`"
                    .into()
            }
            Self::ClientIp { .. } => "write `192.0.2.7`, `192.0.2.0/24` or `2001:db8::/32`".into(),
            Self::HostCharacter { .. }
            | Self::HostLabel { .. }
            | Self::HostTooLong { .. }
            | Self::Method { .. }
            | Self::HeaderName { .. }
            | Self::HeaderValue
            | Self::Regex { .. }
            | Self::RegexTooLarge => return None,
        };
        Some(help)
    }
}

impl HostPattern {
    /// Parses `text`; letter case and one trailing dot do not count, an IPv6 address may stand in
    /// brackets.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        let host = || text.to_owned();
        if !text.is_ascii() {
            return Err(InvalidValue::HostNotAscii { host: host() });
        }
        let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = bare.parse::<Ipv6Addr>() {
            let name = address.to_string().into();
            return Ok(Self { name, is_wildcard: false });
        }
        let (is_wildcard, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        let name = name.strip_suffix('.').unwrap_or(name);
        if name.is_empty() && !is_wildcard {
            return Err(InvalidValue::HostEmpty);
        }
        if name.is_empty() || name.contains('*') {
            return Err(InvalidValue::HostWildcard { host: host() });
        }
        if name.len() > 253 {
            return Err(InvalidValue::HostTooLong { length: name.len() });
        }
        let has_port = |(_, port): (&str, &str)| port.bytes().all(|b| b.is_ascii_digit());
        if name.rsplit_once(':').is_some_and(has_port) {
            return Err(InvalidValue::HostHasPort { host: host() });
        }
        // Underscores are in no host name, yet names with them are in use inside clusters.
        let is_foreign = |c: &char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
        if let Some(character) = name.chars().find(is_foreign) {
            return Err(InvalidValue::HostCharacter { host: host(), character });
        }
        let is_label = |label: &str| {
            (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
        };
        if !name.split('.').all(is_label) {
            return Err(InvalidValue::HostLabel { host: host() });
        }
        Ok(Self { name: name.to_ascii_lowercase().into(), is_wildcard })
    }

    /// The name, without the `*.` of a wildcard.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether one more label stands in front of the name.
    pub fn is_wildcard(&self) -> bool {
        self.is_wildcard
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_wildcard { "*." } else { "" })?;
        f.write_str(&self.name)
    }
}

impl UrlPath {
    /// Parses `text`, which is kept as it is.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        if !text.starts_with('/') {
            return Err(InvalidValue::PathNotAbsolute { path: text.into() });
        }
        if let Some(character) = text.chars().find(|c| matches!(c, '?' | '#')) {
            return Err(InvalidValue::PathEnds { path: text.into(), character });
        }
        Ok(Self(text.into()))
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl MethodName {
    /// Parses `text` in any letter case.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        if !is_token(text) {
            return Err(InvalidValue::Method { method: text.into() });
        }
        Ok(Self(text.to_ascii_uppercase().into()))
    }

    /// GET.
    pub fn get() -> Self {
        Self("GET".into())
    }

    /// The method, in upper case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl HeaderName {
    /// Parses `text` in any letter case.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        if !is_token(text) {
            return Err(InvalidValue::HeaderName { name: text.into() });
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }

    /// The name, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl RegexPattern {
    /// Compiles `text`.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        match RegexBuilder::new(text).size_limit(MAX_REGEX_SIZE).build() {
            Ok(regex) => Ok(Self(Arc::new(regex))),
            Err(regex::Error::CompiledTooBig(_)) => Err(InvalidValue::RegexTooLarge),
            Err(error) => {
                // The compiler draws the pattern with a caret over several lines; its last line
                // is the reason.
                let drawn = error.to_string();
                let reason = drawn.lines().last().unwrap_or_default();
                let reason = reason.trim_start_matches("error: ").to_owned();
                let is_template = text.contains('{') && text.contains(':');
                Err(InvalidValue::Regex { reason, is_template })
            }
        }
    }

    /// The text it was compiled from.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether it is found anywhere in `text`, in time linear in the length of `text`.
    ///
    /// Takes bytes, since header values and decoded queries need not be UTF-8.
    pub fn is_match(&self, text: &[u8]) -> bool {
        self.0.is_match(text)
    }
}

impl PartialEq for RegexPattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for RegexPattern {}

impl fmt::Debug for RegexPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RegexPattern").field(&self.as_str()).finish()
    }
}

/// An expression for hosts: ASCII, as hosts are.
pub(super) fn host_regex(text: &str) -> Result<RegexPattern, InvalidValue> {
    if !text.is_ascii() {
        return Err(InvalidValue::HostNotAscii { host: text.into() });
    }
    RegexPattern::parse(text)
}

/// The value of a header, as it is compared.
pub(super) fn header_value(text: &str) -> Result<Box<str>, InvalidValue> {
    if text.chars().any(|c| c.is_ascii_control() && c != '\t') {
        return Err(InvalidValue::HeaderValue);
    }
    Ok(text.into())
}

/// An address, as the network of that address alone, or a network; IPv4 in IPv6 becomes IPv4, as
/// clients' addresses do.
pub(super) fn client_ip(text: &str) -> Result<IpNet, InvalidValue> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address.to_canonical()));
    }
    let invalid = || InvalidValue::ClientIp { text: text.into() };
    let network = text.parse::<IpNet>().map_err(|_| invalid())?.trunc();
    match mapped(network) {
        Some((address, length)) => {
            Ok(Ipv4Net::new(address, length).map_err(|_| invalid())?.trunc().into())
        }
        None => Ok(network),
    }
}

fn mapped(network: IpNet) -> Option<(Ipv4Addr, u8)> {
    let IpNet::V6(network) = network else {
        return None;
    };
    let length = network.prefix_len().checked_sub(96)?;
    Some((network.addr().to_ipv4_mapped()?, length))
}

/// RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    let is_tchar = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(is_tchar)
}
