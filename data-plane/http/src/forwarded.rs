//! Tells backends who asked: `X-Forwarded-For`, `-Proto`, `-Host`, `-Port` and `X-Real-Ip`.
//!
//! What a client says of itself is worth nothing: inbound `X-Forwarded-*`, `X-Real-Ip` and
//! `Forwarded` are dropped unless the peer is trusted, then they are kept and the address of the
//! peer is appended. All that does not change on a connection is put together once for it.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::{
    fields::{Field, Fields, Known},
    h1::encode,
};

const FOR: &[u8] = b"x-forwarded-for";
const PROTO: &[u8] = b"x-forwarded-proto";
const HOST: &[u8] = b"x-forwarded-host";
const PORT: &[u8] = b"x-forwarded-port";
const REAL_IP: &[u8] = b"x-real-ip";

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
    address: Box<[u8]>,
    port: Box<[u8]>,
    proto: Proto,
    /// The lines for a peer that is not trusted, but for the host's.
    lines: Box<[u8]>,
    trusted: bool,
}

impl Forwarded {
    /// Puts the values together for a connection from `peer` to `port` of the proxy.
    pub fn new(peer: IpAddr, port: u16, proto: Proto, trusted_ips: &[IpNet]) -> Self {
        let peer = peer.to_canonical();
        let (address, port) = (peer.to_string().into_bytes(), port.to_string().into_bytes());
        let mut lines = Vec::new();
        for (name, value) in [
            (FOR, address.as_slice()),
            (PROTO, proto.as_bytes()),
            (PORT, port.as_slice()),
            (REAL_IP, address.as_slice()),
        ] {
            encode::field(&mut lines, name, value);
        }
        Self {
            address: address.into(),
            port: port.into(),
            proto,
            lines: lines.into(),
            trusted: trusted_ips.iter().any(|net| net.contains(&peer)),
        }
    }

    /// Whether a field of the client's passes as it is; [`Forwarded::write`] takes care of the
    /// others.
    pub const fn passes(&self, field: &Field<'_>) -> bool {
        match field.known {
            Known::XForwardedFor => false,
            Known::XForwardedProto
            | Known::XForwardedHost
            | Known::XForwardedPort
            | Known::XForwardedOther
            | Known::XRealIp
            | Known::Forwarded => self.trusted,
            _ => true,
        }
    }

    /// Writes the lines for a request that named `host` and had `fields`.
    pub fn write(&self, out: &mut Vec<u8>, fields: &Fields, host: Option<&[u8]>) {
        if self.trusted {
            return self.append(out, fields, host);
        }
        out.extend_from_slice(&self.lines);
        if let Some(host) = host {
            encode::field(out, HOST, host);
        }
    }

    fn append(&self, out: &mut Vec<u8>, fields: &Fields, host: Option<&[u8]>) {
        out.extend_from_slice(FOR);
        out.extend_from_slice(b": ");
        for value in fields.values(Known::XForwardedFor) {
            out.extend_from_slice(value);
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(&self.address);
        out.extend_from_slice(b"\r\n");
        for (known, name, value) in [
            (Known::XForwardedProto, PROTO, Some(self.proto.as_bytes())),
            (Known::XForwardedPort, PORT, Some(&*self.port)),
            (Known::XRealIp, REAL_IP, Some(&*self.address)),
            (Known::XForwardedHost, HOST, host),
        ] {
            if let Some(value) = value
                && !fields.has(known)
            {
                encode::field(out, name, value);
            }
        }
    }
}

impl Proto {
    const fn as_bytes(self) -> &'static [u8] {
        match self {
            Self::Http => b"http",
            Self::Https => b"https",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(trusted: &[&str]) -> Vec<String> {
        let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().unwrap()).collect();
        let peer = "::ffff:192.0.2.7".parse().unwrap();
        let forwarded = Forwarded::new(peer, 8443, Proto::Https, &trusted);
        let mut fields = Fields::new();
        for (name, value) in [
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-for", "10.0.0.2"),
            ("x-forwarded-proto", "gopher"),
            ("x-forwarded-server", "evil"),
            ("x-forwarded-prefix", "/evil"),
            ("x-real-ip", "10.0.0.1"),
            ("forwarded", "for=10.0.0.1"),
        ] {
            fields.push(name.as_bytes(), value.as_bytes());
        }
        let mut out = Vec::new();
        for field in fields.iter().filter(|field| forwarded.passes(field)) {
            encode::field(&mut out, field.name, field.value);
        }
        forwarded.write(&mut out, &fields, Some(b"shop:8443"));
        let text = String::from_utf8(out).unwrap();
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    #[test]
    fn claims_of_a_stranger_are_dropped() {
        assert_eq!(
            request(&[]),
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
            request(&["192.0.2.0/24"]),
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
