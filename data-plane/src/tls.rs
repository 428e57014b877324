//! What clients see of TLS: one configuration for all entry points, certificates by name. An entry
//! point that shows some certificates only has a copy that knows no others.
//!
//! Versions 1.2 and 1.3, HTTP/2 preferred. Tickets are sealed with keys that all workers share,
//! so a client may resume at any of them; one ticket is sent and not none, because without one
//! the client's first request waits for a delayed acknowledgement.

pub mod resolver;

use std::sync::Arc;

use rustls::{ServerConfig, crypto::aws_lc_rs};

use resolver::{CertificateResolver, CertificateSet};

/// The configuration of every TLS entry point.
pub fn server_config(resolver: Arc<CertificateResolver>) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.send_tls13_tickets = 1;
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    Ok(config)
}

/// The same as `tls`, tickets included, with these certificates.
pub fn showing(tls: &ServerConfig, certificates: CertificateSet) -> Arc<ServerConfig> {
    let mut own = tls.clone();
    own.cert_resolver = Arc::new(certificates);
    Arc::new(own)
}
