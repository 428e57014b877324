//! TLS to the control plane, in its three situations: as a member, as a stranger with a token,
//! and as a member whose certificate has ended.

use std::{sync::Arc, time::Duration};

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::material::Material;

/// What the control plane's certificate is for, wherever it listens.
const SERVER_NAME: &str = "control-plane.lb.internal";
const CONNECT: Duration = Duration::from_secs(5);
const KEEPALIVE: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn roots(trust: &[Vec<u8>]) -> Result<RootCertStore, rustls::Error> {
    let mut roots = RootCertStore::empty();
    for der in trust {
        roots.add(CertificateDer::from(der.clone()))?;
    }
    Ok(roots)
}

/// As a member.
///
/// # Errors
///
/// When the certificate cannot be used.
pub fn member(material: &Material) -> Result<ClientConfig, rustls::Error> {
    let chain = material.chain.iter().cloned().map(CertificateDer::from).collect();
    let key = PrivatePkcs8KeyDer::from(material.key.expose_secret().clone()).into();
    ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots(&material.trust)?)
        .with_client_auth_cert(chain, key)
}

/// As a member whose certificate has ended: it would not be taken, so none is shown.
///
/// # Errors
///
/// When the authorities cannot be used.
pub fn lapsed(material: &Material) -> Result<ClientConfig, rustls::Error> {
    Ok(ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots(&material.trust)?)
        .with_no_client_auth())
}

/// As a stranger, who knows the fingerprint of the authority from its token.
///
/// # Errors
///
/// When TLS cannot be set up.
pub fn stranger(authority: [u8; 32]) -> Result<ClientConfig, rustls::Error> {
    let verifier = Arc::new(Pinned { authority, provider: provider() });
    Ok(ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth())
}

/// Opens a channel.
///
/// # Errors
///
/// When the other end is not there, or is not the control plane of this fleet.
pub async fn channel(
    control_plane: &str,
    mut config: ClientConfig,
) -> Result<Channel, tonic::transport::Error> {
    config.alpn_protocols = vec![b"h2".to_vec()];
    let tls = TlsConnector::from(Arc::new(config));
    let connector = tower_connector(tls);
    Endpoint::from_shared(control_plane.replacen("https://", "http://", 1))?
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .connect_with_connector(connector)
        .await
}

/// Connects and shakes hands, whatever the scheme says: there is no plain way to the control
/// plane.
fn tower_connector(
    tls: TlsConnector,
) -> impl tower_service::Service<
    Uri,
    Response = TokioIo<tokio_rustls::client::TlsStream<TcpStream>>,
    Error = std::io::Error,
    Future = impl Future<Output = std::io::Result<TokioIo<tokio_rustls::client::TlsStream<TcpStream>>>>
             + Send,
> + Send {
    tower::service_fn(move |uri: Uri| {
        let tls = tls.clone();
        async move {
            let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(443))).await?;
            stream.set_nodelay(true)?;
            let name = ServerName::try_from(SERVER_NAME).map_err(std::io::Error::other)?;
            Ok(TokioIo::new(tls.connect(name, stream).await?))
        }
    })
}

/// Takes a control plane whose chain ends in the authority with this fingerprint, and no other.
#[derive(Debug)]
struct Pinned {
    authority: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl Pinned {
    fn is_authority(&self, der: &CertificateDer<'_>) -> bool {
        X509Certificate::from_der(der).is_ok_and(|(_, certificate)| {
            let hash =
                aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate.public_key().raw);
            hash.as_ref() == self.authority
        })
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(authority) = intermediates.iter().find(|der| self.is_authority(der)) else {
            return Err(rustls::Error::General(
                "this is not the control plane that the join token is for".to_owned(),
            ));
        };
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let verifier = WebPkiServerVerifier::builder_with_provider(
            Arc::new(roots),
            Arc::clone(&self.provider),
        )
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))?;
        verifier.verify_server_cert(end_entity, &[], server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("only TLS 1.3 is spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
