//! How to find out whether a backend is well.

use std::{fmt, num::NonZeroU16};

use rustls_pki_types::CertificateDer;

use crate::{
    document::HeaderValue,
    rule::{HeaderName, MethodName},
    value::{Duration, Pattern, StatusRange, Url},
};

/// An active health check. It passes, within its time-out, or fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked, and which answer passes.
    pub probe: Probe,
    /// The port asked; the backend's own if there is none.
    pub port: Option<NonZeroU16>,
    /// Who is asked for, with a port perhaps; the backend's own name if there is none.
    pub host: Option<HeaderValue>,
    /// Whether TLS is spoken; as with the backend if nothing is said.
    pub tls: Option<bool>,
    /// Who may vouch for the backend; those that the proxy's system trusts when it is empty.
    pub authorities: Vec<CertificateDer<'static>>,
    /// From one check of a backend to the next.
    pub interval: Duration,
    /// The same, while the backend is ill.
    pub unhealthy_interval: Duration,
    /// For the whole check; shorter than the interval.
    pub timeout: Duration,
    /// Passes in a row that make a backend well again.
    pub healthy_threshold: u16,
    /// Failures in a row that make a backend ill.
    pub unhealthy_threshold: u16,
}

/// What a check asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// A request over HTTP/1.1.
    Http(HttpProbe),
    /// A connection, and a handshake where TLS is spoken.
    Tcp,
    /// A call of `grpc.health.v1.Health/Check`.
    Grpc(GrpcProbe),
}

/// A request and what passes as its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpProbe {
    /// The path, and perhaps a query.
    pub path: String,
    /// The method; not CONNECT.
    pub method: MethodName,
    /// Fields sent along, none of which [`HealthCheck::owns`].
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The codes that pass; never empty.
    pub status: Vec<StatusRange>,
    /// What the body must hold, as far as it is read.
    pub body: Option<Pattern>,
}

/// A call that asks for a server, or one service of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrpcProbe {
    /// The service; empty for the server as a whole.
    pub service: String,
    /// Metadata sent along, none of which [`HealthCheck::owns`].
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl HealthCheck {
    /// Whether a check writes this field itself, so that nobody else may.
    pub fn owns(field: &HeaderName) -> bool {
        const OWN: [&str; 10] = [
            "host",
            "connection",
            "content-length",
            "content-type",
            "expect",
            "keep-alive",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
        ];
        OWN.contains(&field.as_str())
    }

    /// Whether a text can stand in a `Host` field: a name or an address, perhaps with a port.
    pub fn is_host(text: &str) -> bool {
        !text.contains(['/', '?', '#', '@']) && Url::parse(&format!("http://{text}")).is_ok()
    }
}

impl HttpProbe {
    /// Whether a path can be asked for.
    pub fn is_path(text: &str) -> bool {
        text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic() && b != b'#')
    }

    /// Whether a method can be asked with: CONNECT opens a tunnel instead.
    pub fn is_method(method: &MethodName) -> bool {
        method.as_str() != "CONNECT"
    }

    /// Whether answers have a body to look at.
    pub fn has_body(method: &MethodName) -> bool {
        method.as_str() != "HEAD"
    }

    /// Whether an answer with this code passes.
    pub fn passes(&self, status: u16) -> bool {
        self.status.iter().any(|range| range.contains(status))
    }
}

/// What is asked, in a word or two: the path of a request, or the kind of check and of whom it
/// asks.
impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(probe) => f.write_str(&probe.path),
            Self::Tcp => f.write_str("tcp"),
            Self::Grpc(probe) if probe.service.is_empty() => f.write_str("grpc"),
            Self::Grpc(probe) => write!(f, "grpc {}", probe.service),
        }
    }
}
