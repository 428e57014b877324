//! Tells backends who asked: `X-Forwarded-For`, `-Proto`, `-Host`, `-Port` and `X-Real-Ip`.
//!
//! What a client says of itself is worth nothing: inbound `X-Forwarded-*`, `X-Real-Ip` and
//! `Forwarded` are dropped unless the peer is trusted, then they are kept and the address of the
//! peer is appended. All that does not change on a connection is put together once for it.

use std::net::IpAddr;

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{Entry, FORWARDED},
};
use ipnet::IpNet;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Whether the client's side of the exchange is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proto {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

/// The values of one connection.
#[derive(Debug, Clone)]
pub struct Forwarded {
    address: HeaderValue,
    proto: HeaderValue,
    port: HeaderValue,
    trusted: bool,
}

impl Forwarded {
    /// Puts the values together for a connection from `peer` to `port` of the proxy.
    pub fn new(peer: IpAddr, port: u16, proto: Proto, trusted_ips: &[IpNet]) -> Self {
        let peer = peer.to_canonical();
        let value = |text: String| {
            HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
        };
        Self {
            address: value(peer.to_string()),
            proto: HeaderValue::from_static(match proto {
                Proto::Http => "http",
                Proto::Https => "https",
            }),
            port: value(port.to_string()),
            trusted: trusted_ips.iter().any(|net| net.contains(&peer)),
        }
    }

    /// Writes the fields of a request that named `host`.
    pub fn apply(&self, headers: &mut HeaderMap, host: Option<&HeaderValue>) {
        if self.trusted {
            self.append(headers, host);
            return;
        }
        while let Some(name) = headers.keys().find(|name| is_claim(name)).cloned() {
            headers.remove(name);
        }
        headers.insert(FOR, self.address.clone());
        headers.insert(PROTO, self.proto.clone());
        headers.insert(PORT, self.port.clone());
        headers.insert(REAL_IP, self.address.clone());
        if let Some(host) = host {
            headers.insert(HOST, host.clone());
        } else {
            headers.remove(HOST);
        }
    }

    fn append(&self, headers: &mut HeaderMap, host: Option<&HeaderValue>) {
        let chain = headers
            .get_all(FOR)
            .iter()
            .chain([&self.address])
            .map(HeaderValue::as_bytes)
            .collect::<Vec<_>>()
            .join(&b", "[..]);
        let chain = HeaderValue::from_bytes(&chain).unwrap_or_else(|_| self.address.clone());
        headers.insert(FOR, chain);
        let values = [
            (PROTO, Some(&self.proto)),
            (PORT, Some(&self.port)),
            (REAL_IP, Some(&self.address)),
            (HOST, host),
        ];
        for (name, value) in values {
            if let (Entry::Vacant(entry), Some(value)) = (headers.entry(name), value) {
                entry.insert(value.clone());
            }
        }
    }
}

/// Whether a field is a claim about the client that is not overwritten anyway.
fn is_claim(name: &HeaderName) -> bool {
    *name == FORWARDED
        || (name.as_str().starts_with("x-forwarded-") && ![FOR, PROTO, PORT, HOST].contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(trusted: &[&str]) -> HeaderMap {
        let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().unwrap()).collect();
        let peer = "::ffff:192.0.2.7".parse().unwrap();
        let forwarded = Forwarded::new(peer, 8443, Proto::Https, &trusted);
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-for", "10.0.0.2"),
            ("x-forwarded-proto", "gopher"),
            ("x-forwarded-server", "evil"),
            ("x-forwarded-prefix", "/evil"),
            ("x-real-ip", "10.0.0.1"),
            ("forwarded", "for=10.0.0.1"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        forwarded.apply(&mut headers, Some(&HeaderValue::from_static("shop:8443")));
        headers
    }

    fn sorted(headers: &HeaderMap) -> Vec<String> {
        let mut all: Vec<_> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        all.sort();
        all
    }

    #[test]
    fn claims_of_a_stranger_are_dropped() {
        assert_eq!(
            sorted(&request(&[])),
            [
                "x-forwarded-for: 192.0.2.7",
                "x-forwarded-host: shop:8443",
                "x-forwarded-port: 8443",
                "x-forwarded-proto: https",
                "x-real-ip: 192.0.2.7",
            ]
        );
    }

    #[test]
    fn claims_of_a_trusted_peer_are_kept_and_its_address_appended() {
        assert_eq!(
            sorted(&request(&["192.0.2.0/24"])),
            [
                "forwarded: for=10.0.0.1",
                "x-forwarded-for: 10.0.0.1, 10.0.0.2, 192.0.2.7",
                "x-forwarded-host: shop:8443",
                "x-forwarded-port: 8443",
                "x-forwarded-prefix: /evil",
                "x-forwarded-proto: gopher",
                "x-forwarded-server: evil",
                "x-real-ip: 10.0.0.1",
            ]
        );
    }
}
