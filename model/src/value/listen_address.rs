//! Where an entry point listens: `0.0.0.0:8000`, `[::]:8443`, `127.0.0.1:0` or `:8000`.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
};

use super::InvalidValue;

/// An address and port to listen on. Port 0 lets each proxy pick a free one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenAddress(pub SocketAddr);

impl ListenAddress {
    /// Reads `ADDRESS:PORT`, or `:PORT` for every IPv4 address.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        let text = text.trim();
        if let Some(port) = text.strip_prefix(':').and_then(|port| port.parse().ok()) {
            return Ok(Self((Ipv4Addr::UNSPECIFIED, port).into()));
        }
        text.parse().map(Self).map_err(|_| {
            InvalidValue::new(
                format!("`{text}` is not an address to listen on"),
                "write an IP address and a port, such as 0.0.0.0:8000, [::]:8443 or :8000",
            )
        })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_bare_ports_are_read() {
        for (text, canonical) in
            [("0.0.0.0:8000", "0.0.0.0:8000"), (":80", "0.0.0.0:80"), ("[::]:8443", "[::]:8443")]
        {
            assert_eq!(ListenAddress::parse(text).unwrap().to_string(), canonical);
        }
        for bad in ["", "8000", "localhost:80", "0.0.0.0", "1.2.3.4:99999", ":"] {
            assert!(ListenAddress::parse(bad).is_err(), "{bad}");
        }
    }
}
