//! Where a backend is: `http://10.0.0.7:8080`.

use std::fmt;

use super::InvalidValue;

/// The protocol spoken to a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// HTTP/1.1 over plain TCP.
    Http,
}

impl Scheme {
    /// The scheme as written in a URL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
        }
    }
}

/// The scheme, host and port of one backend.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BackendUrl {
    scheme: Scheme,
    host: Box<str>,
    port: u16,
}

/// Schemes of the language that no proxy of this version speaks to a backend yet.
const LATER: [&str; 6] = ["https", "h2c", "grpc", "grpcs", "tcp", "udp"];

impl BackendUrl {
    /// Reads a URL of scheme, host and optional port.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        const FORM: &str = "write a scheme, a host and a port, such as http://10.0.0.7:8080";
        let wrong = |why: &str| {
            InvalidValue::new(format!("`{text}` is not the URL of a backend: {why}"), FORM)
        };
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(wrong("it has no scheme"));
        };
        let scheme = match scheme {
            "http" => Scheme::Http,
            later if LATER.contains(&later) => {
                return Err(InvalidValue::not_yet(
                    format!("this version does not speak `{later}` to a backend yet"),
                    "use http:// for now",
                ));
            }
            _ => return Err(wrong("its scheme is not known")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#']) {
            return Err(wrong(
                "a backend takes the path of the request, so it has none of its own",
            ));
        }
        if rest.contains('@') {
            return Err(wrong("credentials in a URL end up in logs"));
        }
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| wrong("its port is not a number up to 65535"))?)
            }
            _ => (rest, 80),
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
        Ok(Self { scheme, host: inner.unwrap_or(host).to_ascii_lowercase().into(), port })
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

    /// `host:port` as a `Host` field carries it, without the port where it is the scheme's own.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.to_string()
        };
        if self.port == 80 { host } else { format!("{host}:{}", self.port) }
    }
}

fn is_host(host: &str) -> bool {
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
        write!(f, "{}://{open}{}{close}:{}", self.scheme.as_str(), self.host, self.port)
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
        ] {
            assert_eq!(BackendUrl::parse(text).unwrap().to_string(), canonical);
        }
    }

    #[test]
    fn what_cannot_be_reached_is_refused_with_its_reason() {
        for (text, why) in [
            ("127.0.0.1:9001", "no scheme"),
            ("ftp://a", "not known"),
            ("https://a", "does not speak `https`"),
            ("http://a/path", "path of the request"),
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
