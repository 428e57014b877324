//! Where clients connect.

use ipnet::IpNet;

use super::Overload;
use crate::value::{ByteSize, CertificateName, Duration, ListenAddress};

/// An address, what is spoken there and within which limits.
#[derive(Debug, Clone, PartialEq)]
pub struct EntryPoint {
    /// The address and port; port 0 lets each proxy pick one.
    pub address: ListenAddress,
    /// TLS, with the certificate picked by server name; none means plain HTTP.
    pub tls: Option<Tls>,
    /// How long clients may take.
    pub timeouts: EntryPointTimeouts,
    /// How much clients may send.
    pub limits: Limits,
    /// How long a connection may be reused.
    pub keep_alive: KeepAlive,
    /// Peers whose `X-Forwarded-*` fields are believed; from anyone else they are dropped.
    pub trusted_ips: Vec<IpNet>,
    /// When requests are refused to protect the proxy.
    pub overload: Option<Overload>,
}

/// TLS on an entry point: versions 1.2 and 1.3, ALPN `h2` and `http/1.1`, certificates by server
/// name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// Which certificates clients may see, never empty, the first also without a matching server
    /// name; every one when absent.
    pub certificates: Option<Vec<CertificateName>>,
}

impl Tls {
    /// Whether clients may see a certificate.
    pub fn shows(&self, certificate: &CertificateName) -> bool {
        self.certificates.as_ref().is_none_or(|listed| listed.contains(certificate))
    }
}

/// How long clients of an entry point may take. Zero means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryPointTimeouts {
    /// From the first byte of a connection or request to the end of the request head, and the
    /// TLS handshake.
    pub header: Duration,
    /// How long a connection may wait for its next request.
    pub idle: Duration,
    /// The longest pause while a request body arrives, and while a client does not take the
    /// response.
    pub body: Duration,
}

impl Default for EntryPointTimeouts {
    fn default() -> Self {
        Self {
            header: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            body: Duration::from_secs(60),
        }
    }
}

/// How much clients of an entry point may send. Zero means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Open connections, over all workers of one proxy.
    pub connections: u64,
    /// The method, target and version of a request.
    pub request_line: ByteSize,
    /// All header fields of a request together.
    pub header_bytes: ByteSize,
    /// The number of header fields of a request.
    pub header_count: u16,
    /// A request body.
    pub body: ByteSize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 0,
            request_line: ByteSize(8 << 10),
            header_bytes: ByteSize(16 << 10),
            header_count: 100,
            body: ByteSize(0),
        }
    }
}

/// How long a client's connection may be reused. Zero means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepAlive {
    /// Requests on one connection before it is closed gracefully.
    pub max_requests: u64,
    /// Age of a connection before it is closed gracefully.
    pub max_time: Duration,
}

impl Default for KeepAlive {
    fn default() -> Self {
        Self { max_requests: 0, max_time: Duration::ZERO }
    }
}
