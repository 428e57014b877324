//! Where a backend is: `http://10.0.0.7:8080`.

use std::fmt;

use super::InvalidValue;

/// The protocol spoken to a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// HTTP/1.1 over plain TCP.
    Http,
    /// HTTP over TLS.
    Https,
    /// HTTP/2 over plain TCP, by prior knowledge.
    H2c,
    /// gRPC over plain TCP.
    Grpc,
    /// gRPC over TLS.
    Grpcs,
    /// Bytes over TCP.
    Tcp,
    /// Datagrams.
    Udp,
}

impl Scheme {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Http, Self::Https, Self::H2c, Self::Grpc, Self::Grpcs, Self::Tcp, Self::Udp];

    /// The scheme as written in a URL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::H2c => "h2c",
            Self::Grpc => "grpc",
            Self::Grpcs => "grpcs",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }

    /// The port of a URL without one; there is none for bare TCP and UDP.
    const fn port(self) -> Option<u16> {
        match self {
            Self::Http | Self::H2c | Self::Grpc => Some(80),
            Self::Https | Self::Grpcs => Some(443),
            Self::Tcp | Self::Udp => None,
        }
    }
}

/// The scheme, host and port of one backend, and the path that precedes those of requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BackendUrl {
    scheme: Scheme,
    host: Box<str>,
    port: u16,
    path: Box<str>,
}

impl BackendUrl {
    /// Reads a URL of scheme, host, optional port and optional path.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        const FORM: &str = "write a scheme, a host and a port, such as http://10.0.0.7:8080";
        let wrong = |why: &str| {
            InvalidValue::new(format!("`{text}` is not the URL of a backend: {why}"), FORM)
        };
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(wrong("it has no scheme"));
        };
        let scheme = Scheme::ALL.into_iter().find(|known| known.as_str() == scheme);
        let scheme = scheme.ok_or_else(|| wrong("its scheme is not known"))?;
        if rest.contains(['?', '#']) {
            return Err(wrong("a backend takes the query of the request, so it has none"));
        }
        let (rest, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let path = path.strip_suffix('/').unwrap_or(path);
        if path.bytes().any(|b| !b.is_ascii_graphic()) {
            return Err(wrong("its path holds a space or a character outside ASCII"));
        }
        if rest.contains('@') {
            return Err(wrong("credentials in a URL end up in logs"));
        }
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| wrong("its port is not a number up to 65535"))?)
            }
            _ => (rest, scheme.port().ok_or_else(|| wrong("it has no port"))?),
        };
        if port == 0 {
            return Err(wrong("its port is 0"));
        }
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let fits = match inner {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => is_host(host),
        };
        if !fits {
            return Err(wrong("its host is neither a name nor an address"));
        }
        let host = inner.unwrap_or(host).to_ascii_lowercase().into();
        Ok(Self { scheme, host, port, path: path.into() })
    }

    /// The protocol.
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host: a name or an address, IPv6 without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The path without a slash at its end; empty where there is none.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// `host:port` as a `Host` field carries it, without the port where it is the scheme's own.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.to_string()
        };
        if self.scheme.port() == Some(self.port) { host } else { format!("{host}:{}", self.port) }
    }
}

/// Whether a text is a name or an IPv4 address.
pub(super) fn is_host(host: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    host.len() <= 253 && host.strip_suffix('.').unwrap_or(host).split('.').all(label)
}

impl fmt::Display for BackendUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        let Self { scheme, host, port, path } = self;
        write!(f, "{}://{open}{host}{close}:{port}{path}", scheme.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_printed_with_their_port() {
        for (text, canonical) in [
            ("http://127.0.0.1:9001", "http://127.0.0.1:9001"),
            ("http://Canary1", "http://canary1:80"),
            ("http://[::1]:81/", "http://[::1]:81"),
            ("https://a/base/", "https://a:443/base"),
            ("grpcs://a", "grpcs://a:443"),
            ("h2c://a", "h2c://a:80"),
            ("udp://a:53", "udp://a:53"),
        ] {
            assert_eq!(BackendUrl::parse(text).unwrap().to_string(), canonical);
        }
    }

    #[test]
    fn what_cannot_be_reached_is_refused_with_its_reason() {
        for (text, why) in [
            ("127.0.0.1:9001", "no scheme"),
            ("ftp://a", "not known"),
            ("tcp://a", "no port"),
            ("http://a?q", "query of the request"),
            ("http://a/b c", "holds a space"),
            ("http://u:p@a", "credentials"),
            ("http://a:0", "port is 0"),
            ("http://a:99999", "not a number"),
            ("http://", "neither a name"),
            ("http://a b", "neither a name"),
            ("http://[::1", "neither a name"),
        ] {
            let message = BackendUrl::parse(text).unwrap_err().message;
            assert!(message.contains(why), "{text}: {message}");
        }
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in ".*") {
            let _ = BackendUrl::parse(&text);
            let _ = BackendUrl::parse(&format!("http://{text}"));
        }
    }
}
