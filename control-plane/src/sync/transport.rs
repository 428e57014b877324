//! TLS between the control plane and its proxies.
//!
//! TLS 1.3 only. A proxy shows its certificate on every connection but the one on which it joins;
//! what may be asked without one is decided call by call, and the default is nothing. The
//! configuration follows the authorities, so that a rotation needs no restart.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use lb_model::value::Secret;
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc, watch},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

use crate::identity::{
    authority::{Pair, ProxyCertificate, SERVER_NAME, read_proxy},
    ledger::{Authorities, Ledger},
};

/// How long a handshake may take.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(10);
/// The most handshakes at once.
pub(crate) const HANDSHAKES: usize = 256;
/// How long the control plane's own certificate lives; it makes another at half of that.
pub(crate) const SERVER_LIFE: Duration = Duration::from_hours(7 * 24);

/// Who is at the other end.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Where it is.
    pub address: SocketAddr,
    /// Its certificate, which an authority of the fleet signed.
    pub proxy: Option<ProxyCertificate>,
}

/// A connection with a known other end.
pub struct Connection {
    stream: TlsStream<TcpStream>,
    peer: Peer,
}

/// TLS that could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The authority failed.
    #[error(transparent)]
    Authority(#[from] crate::identity::authority::AuthorityError),
    /// The certificates do not fit together.
    #[error("the certificates of the fleet cannot be used")]
    Tls(#[from] rustls::Error),
    /// No authority can be trusted.
    #[error("the authorities of the fleet cannot be used")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// How the control plane speaks TLS with these authorities.
///
/// # Errors
///
/// When they cannot be used.
pub fn server_config(authorities: &Authorities) -> Result<Arc<ServerConfig>, TransportError> {
    let mut roots = RootCertStore::empty();
    for der in authorities.trust()? {
        roots.add(CertificateDer::from(der))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()?;
    let Pair { chain, key } = authorities.server_pair(vec![SERVER_NAME.to_owned()], SERVER_LIFE)?;
    let chain = chain.into_iter().map(CertificateDer::from).collect();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, private_key(&key))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

pub(crate) fn private_key(key: &Secret<Vec<u8>>) -> PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(key.expose_secret().clone()).into()
}

/// Accepts connections until told to stop. Handshakes run beside each other, so that a slow one
/// holds nobody up.
pub fn accept(
    listener: TcpListener,
    first: Arc<ServerConfig>,
    ledger: Arc<Ledger>,
    stop: CancellationToken,
) -> ReceiverStream<io::Result<Connection>> {
    let (ready, connections) = mpsc::channel(16);
    let (configs, config) = watch::channel(first);
    tokio::spawn(follow(configs, ledger, stop.clone()));
    tokio::spawn(async move {
        let places = Arc::new(Semaphore::new(HANDSHAKES));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a proxy's connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let acceptor = TlsAcceptor::from(Arc::clone(&config.borrow()));
            let ready = ready.clone();
            tokio::spawn(async move {
                let _ = stream.set_nodelay(true);
                let handshake = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await;
                drop(place);
                match handshake {
                    Ok(Ok(stream)) => {
                        let chain = stream.get_ref().1.peer_certificates();
                        let proxy = chain.and_then(|chain| read_proxy(chain.first()?));
                        let peer = Peer { address, proxy };
                        let _ = ready.send(Ok(Connection { stream, peer })).await;
                    }
                    Ok(Err(error)) => {
                        tracing::warn!(%address, %error, "a TLS handshake failed");
                    }
                    Err(_) => tracing::warn!(%address, "a TLS handshake took too long"),
                }
            });
        }
    });
    ReceiverStream::new(connections)
}

/// Makes a new configuration when the authorities change, and before its certificate ends.
async fn follow(
    configs: watch::Sender<Arc<ServerConfig>>,
    ledger: Arc<Ledger>,
    stop: CancellationToken,
) {
    let mut changes = ledger.watch();
    let mut generation = ledger.state().authorities.generation;
    loop {
        let renew = tokio::select! {
            () = stop.cancelled() => return,
            () = configs.closed() => return,
            changed = changes.changed() => if changed.is_err() { return } else { false },
            () = tokio::time::sleep(SERVER_LIFE / 2) => true,
        };
        let state = ledger.state();
        if !renew && state.authorities.generation == generation {
            continue;
        }
        match server_config(&state.authorities) {
            Ok(config) => {
                generation = state.authorities.generation;
                configs.send_replace(config);
            }
            Err(error) => tracing::error!(%error, "the certificate was not renewed"),
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
