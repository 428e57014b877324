//! One HTTP/1.1 connection, plain or over TLS, and a caller that keeps one.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, DigitallySignedStruct, NamedGroup, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// How long an answer may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

/// An open connection.
#[derive(Debug)]
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: StatusCode,
    /// Its fields.
    pub(crate) fields: HeaderMap,
    /// Its body.
    pub(crate) body: Bytes,
    /// Whether the server said that no other follows on this connection.
    pub(crate) is_last: bool,
}

impl Connection {
    /// Opens one.
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = connect(address).await?;
        Self::over(stream).await
    }

    /// Opens one over TLS.
    pub(crate) async fn open_tls(address: SocketAddr, tls: &TlsConnector) -> Result<Self> {
        let stream = connect(address).await?;
        let name = ServerName::try_from("bench.test").context("a server name")?;
        let handshake = tokio::time::timeout(LIMIT, tls.connect(name, stream));
        Self::over(handshake.await.context("the handshake took too long")??).await
    }

    /// Speaks HTTP/1.1 over a stream that stands.
    pub(crate) async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<Self> {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Its errors reach the requests; it ends with the sender.
        tokio::spawn(connection);
        Ok(Self { sender })
    }

    /// The connection, if it can take a request. Otherwise the server closed it while it was
    /// idle, which costs nobody a request.
    pub(crate) async fn if_open(mut self) -> Option<Self> {
        self.sender.ready().await.is_ok().then_some(self)
    }

    /// Sends a request and reads the answer.
    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Answer> {
        let exchange = async {
            let response = self.sender.send_request(request).await?;
            let (head, body) = response.into_parts();
            let closes = head.headers.get(header::CONNECTION);
            let is_last =
                closes.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"));
            let body = body.collect().await?.to_bytes();
            Ok(Answer { status: head.status, fields: head.headers, body, is_last })
        };
        match tokio::time::timeout(LIMIT, exchange).await {
            Ok(answer) => answer,
            Err(_) => bail!("no answer within {LIMIT:?}"),
        }
    }
}

/// A connection that sends at once what it is given.
pub(crate) async fn connect(address: SocketAddr) -> Result<TcpStream> {
    let connecting = tokio::time::timeout(LIMIT, TcpStream::connect(address));
    let stream = connecting.await.context("the connection took too long")?;
    let stream = stream.with_context(|| format!("could not connect to {address}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A GET request.
pub(crate) fn get(path: &str) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::default());
    if let Ok(uri) = path.parse() {
        *request.uri_mut() = uri;
    }
    request.headers_mut().insert(header::HOST, header::HeaderValue::from_static("bench.test"));
    request
}

/// A PUT request of a document, on top of whatever is current.
pub(crate) fn put(path: &str, document: String) -> Request<Full<Bytes>> {
    let mut request = get(path);
    *request.method_mut() = Method::PUT;
    let headers = request.headers_mut();
    headers.insert(header::IF_MATCH, header::HeaderValue::from_static("*"));
    let kind = header::HeaderValue::from_static(lb_model::api::YAML_TYPE);
    headers.insert(header::CONTENT_TYPE, kind);
    *request.body_mut() = Full::new(Bytes::from(document));
    request
}

/// A POST request of some JSON.
pub(crate) fn post(path: &str, json: String) -> Request<Full<Bytes>> {
    let mut request = get(path);
    *request.method_mut() = Method::POST;
    *request.body_mut() = Full::new(Bytes::from(json));
    request
}

/// Asks one server, over a connection that it keeps.
#[derive(Debug)]
pub(crate) struct Caller {
    address: SocketAddr,
    by_address: bool,
    connection: Option<Connection>,
}

impl Caller {
    /// Will ask the server at `address`.
    pub(crate) const fn new(address: SocketAddr) -> Self {
        Self { address, by_address: false, connection: None }
    }

    /// Will ask a server that takes requests for its own address only.
    pub(crate) const fn by_address(address: SocketAddr) -> Self {
        Self { address, by_address: true, connection: None }
    }

    /// Sends a request and reads the answer.
    pub(crate) async fn send(&mut self, mut request: Request<Full<Bytes>>) -> Result<Answer> {
        if self.by_address {
            let host = header::HeaderValue::from_str(&self.address.to_string())?;
            request.headers_mut().insert(header::HOST, host);
        }
        let kept = match self.connection.take() {
            Some(kept) => kept.if_open().await,
            None => None,
        };
        let mut connection = match kept {
            Some(kept) => kept,
            None => Connection::open(self.address).await?,
        };
        let answer = connection.send(request).await?;
        if !answer.is_last {
            self.connection = Some(connection);
        }
        Ok(answer)
    }

    /// The body at `path`, if the answer is a 200.
    pub(crate) async fn get(&mut self, path: &str) -> Result<Bytes> {
        let answer = self.send(get(path)).await?;
        if answer.status != StatusCode::OK {
            bail!("{path}: {}", answer.status);
        }
        Ok(answer.body)
    }
}

/// Speaks TLS with whoever answers: certificates change under way and are nobody's word here.
pub(crate) fn trusting_tls() -> Result<TlsConnector> {
    let provider = CryptoProvider::get_default().context("no cryptography was installed")?;
    let verifier = Arc::new(Trusting(Arc::clone(provider)));
    let config = ClientConfig::builder()
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The same, as every server can do it: TLS 1.3 with X25519, a whole handshake each time.
pub(crate) fn plain_tls13(protocols: &[&[u8]]) -> Result<ClientConfig> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.kx_groups.retain(|group| group.name() == NamedGroup::X25519);
    let provider = Arc::new(provider);
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting(provider)))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}

#[derive(Debug)]
struct Trusting(Arc<CryptoProvider>);

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
