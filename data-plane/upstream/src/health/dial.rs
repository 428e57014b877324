//! Opens a connection for a check, with TLS where that is spoken.
//!
//! What TLS needs is put together once for an endpoint. The certificates that the system trusts
//! are read once for the process, and on a thread that may wait for a disk.

use std::sync::{Arc, OnceLock};

use lb_model::{config::HealthCheck, value::Scheme};
use rustls::{
    ClientConfig, RootCertStore, client::WebPkiServerVerifier, crypto::aws_lc_rs::default_provider,
};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use super::prober::CheckFailed;
use crate::{connect::open, endpoint::Endpoint};

/// A connection, whatever is below it.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// How to reach what is checked.
pub(super) struct Dialer {
    endpoint: Arc<Endpoint>,
    port: u16,
    tls: Result<Option<Tls>, String>,
}

struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Dialer {
    /// Prepares for `host`, a name or address without a port. `protocols` are offered by ALPN.
    pub(super) async fn new(
        endpoint: &Arc<Endpoint>,
        check: &HealthCheck,
        host: &str,
        protocols: &[&[u8]],
    ) -> Self {
        let tls = if speaks_tls(endpoint, check) {
            client(&check.authorities, host, protocols).await.map(Some)
        } else {
            Ok(None)
        };
        Self { endpoint: Arc::clone(endpoint), port: port(endpoint, check), tls }
    }

    /// Opens a connection; the caller limits the time.
    pub(super) async fn dial(&self) -> Result<Box<dyn Stream>, CheckFailed> {
        let tls = self.tls.as_ref().map_err(|fault| CheckFailed::Setup(fault.clone()))?;
        let stream = open(&self.endpoint, self.port).await?;
        let Some(Tls { connector, name }) = tls else {
            return Ok(Box::new(stream));
        };
        let stream = connector.connect(name.clone(), stream).await.map_err(CheckFailed::Tls)?;
        Ok(Box::new(stream))
    }
}

/// Whether a check speaks TLS.
pub(super) fn speaks_tls(endpoint: &Endpoint, check: &HealthCheck) -> bool {
    check.tls.unwrap_or(matches!(endpoint.url().scheme(), Scheme::Https | Scheme::Grpcs))
}

/// The port a check asks.
pub(super) fn port(endpoint: &Endpoint, check: &HealthCheck) -> u16 {
    check.port.map_or(endpoint.url().port(), std::num::NonZeroU16::get)
}

/// A client that trusts `authorities`, or whom the system trusts.
async fn client(
    authorities: &[CertificateDer<'static>],
    host: &str,
    protocols: &[&[u8]],
) -> Result<Tls, String> {
    let roots = if authorities.is_empty() {
        let read = tokio::task::spawn_blocking(system_roots).await;
        read.map_err(|error| format!("could not read the system's certificates: {error}"))?
    } else {
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots
                .add(authority.clone())
                .map_err(|error| format!("an authority cannot be used: {error}"))?;
        }
        Arc::new(roots)
    };
    if roots.is_empty() {
        return Err("this system trusts no certificate; name an authority in ca_file".to_owned());
    }
    let text = |error: rustls::Error| format!("could not set up TLS: {error}");
    let provider = Arc::new(default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
        .build()
        .map_err(|error| format!("could not set up TLS: {error}"))?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(text)?
        .with_webpki_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| format!("`{host}` is no name that a certificate could be for"))?;
    Ok(Tls { connector: TlsConnector::from(Arc::new(config)), name })
}

fn system_roots() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let read = || {
        let found = rustls_native_certs::load_native_certs();
        for error in found.errors {
            tracing::warn!(%error, "could not read a certificate of the system");
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        Arc::new(roots)
    };
    Arc::clone(ROOTS.get_or_init(read))
}
