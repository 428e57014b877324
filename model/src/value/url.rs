//! Addresses of services beside the backends: collectors, mirrors, registries.

use std::fmt;

use super::InvalidValue;

/// The longest address that is read, in bytes.
const MAX_LEN: usize = 2048;

/// An `http` or `https` URL with host, port, path and query. No credentials, no fragment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Url {
    is_secure: bool,
    host: Box<str>,
    port: u16,
    target: Box<str>,
}

/// A host and a port, with or without a scheme: `consul:8500`, `https://etcd:2379`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    is_secure: Option<bool>,
    authority: Box<str>,
    port: Option<u16>,
}

impl Url {
    /// Reads `http://HOST[:PORT][/PATH][?QUERY]`, or the same with `https`.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        let wrong = |why: &str| {
            InvalidValue::new(
                format!("`{text}` is not a URL: {why}"),
                "write a scheme, a host and perhaps a port and a path: http://collector:4318/v1",
            )
        };
        if text.len() > MAX_LEN {
            return Err(wrong("it is longer than 2048 bytes"));
        }
        if text.bytes().any(|b| !b.is_ascii_graphic()) {
            return Err(wrong("it holds a space or a character outside ASCII"));
        }
        let (is_secure, rest) = match text.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some(_) => return Err(wrong("its scheme is neither http nor https")),
            None => return Err(wrong("it has no scheme")),
        };
        if rest.contains('#') {
            return Err(wrong("a fragment is never sent"));
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let default = if is_secure { 443 } else { 80 };
        let (host, port) = split(authority).map_err(wrong)?;
        let target = if target.starts_with('/') { target.into() } else { format!("/{target}") };
        let port = port.unwrap_or(default);
        Ok(Self { is_secure, host: host.to_ascii_lowercase().into(), port, target: target.into() })
    }

    /// Whether TLS is spoken there.
    pub const fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// The host in lower case: a name or an address, IPv6 without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, also where none was written.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Path and query; `/` at least.
    pub fn target(&self) -> &str {
        &self.target
    }
}

impl Endpoint {
    /// Reads a host, perhaps with a scheme in front and a port behind.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        let wrong = |why: &str| {
            InvalidValue::new(
                format!("`{text}` is not an endpoint: {why}"),
                "write a host and a port, such as consul:8500 or https://consul:8501",
            )
        };
        let (is_secure, rest) = match text.split_once("://") {
            None => (None, text),
            Some(("http", rest)) => (Some(false), rest),
            Some(("https", rest)) => (Some(true), rest),
            Some(_) => return Err(wrong("its scheme is neither http nor https")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#']) {
            return Err(wrong("it has a path"));
        }
        let (_, port) = split(rest).map_err(wrong)?;
        Ok(Self { is_secure, authority: rest.to_ascii_lowercase().into(), port })
    }

    /// Host and port as written.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The port, if one was written.
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// Whether TLS is asked for, if a scheme says so.
    pub const fn is_secure(&self) -> Option<bool> {
        self.is_secure
    }
}

/// Host and port of an authority (RFC 3986 section 3.2), without user information.
fn split(authority: &str) -> Result<(&str, Option<u16>), &'static str> {
    if authority.contains('@') {
        return Err("credentials in a URL end up in logs");
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            let port = port.parse().map_err(|_| "its port is not a number up to 65535")?;
            (host, Some(port))
        }
        _ => (authority, None),
    };
    if port == Some(0) {
        return Err("its port is 0");
    }
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(inner) if inner.parse::<std::net::Ipv6Addr>().is_ok() => Ok((inner, port)),
        None if super::backend_url::is_host(host) => Ok((host, port)),
        _ => Err("its host is neither a name nor an address"),
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_secure { "https" } else { "http" };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{scheme}://{open}{}{close}:{}{}", self.host, self.port, self.target)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_secure {
            Some(true) => write!(f, "https://{}", self.authority),
            Some(false) => write!(f, "http://{}", self.authority),
            None => f.write_str(&self.authority),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_printed_whole() {
        for (text, canonical) in [
            ("http://jaeger:14268/api/traces", "http://jaeger:14268/api/traces"),
            ("https://Example.com", "https://example.com:443/"),
            ("http://[::1]:81?q=1", "http://[::1]:81/?q=1"),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!(url.to_string(), canonical);
            assert_eq!(Url::parse(canonical).unwrap(), url);
        }
        for text in ["", "a", "ftp://a", "http://", "http://u:p@a", "http://a:0", "http://a/#f"] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_endpoint_needs_no_scheme() {
        let consul = Endpoint::parse("consul:8500").unwrap();
        assert_eq!((consul.authority(), consul.port()), ("consul:8500", Some(8500)));
        assert_eq!(Endpoint::parse("https://etcd:2379/").unwrap().is_secure(), Some(true));
        for text in ["", "a/b", "tcp://a", "u@a", "a:x"] {
            assert!(Endpoint::parse(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in ".*") {
            let _ = (Url::parse(&text), Endpoint::parse(&text));
            let _ = Url::parse(&format!("http://{text}"));
        }
    }
}
