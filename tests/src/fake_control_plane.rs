//! A control plane that a proxy trusts and that sends whatever a test wants.

use std::{
    io,
    net::SocketAddr,
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use lb_data_plane::identity::material::{Keys, Material};
use lb_model::{Bundle, Config, ResourceSet, resource::HashKey, value::Secret, wire};
use lb_proto::v1::{
    self, Ack, FromProxy, Push, Stage, ToProxy, Welcome,
    config_sync_server::{ConfigSync, ConfigSyncServer},
    from_proxy, to_proxy,
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Server, server::Connected},
};

use crate::eventually::eventually;

/// What proxies expect the certificate of a control plane to be for.
const NAME: &str = "control-plane.lb.internal";
/// The lineage of its versions.
const LINEAGE: &str = "made-up";
/// The key of its hashes.
pub const HASH_KEY: HashKey = HashKey([5; 32]);

/// It listens until dropped.
#[derive(Debug)]
pub struct FakeControlPlane {
    address: SocketAddr,
    streams: mpsc::Receiver<Stream>,
    task: JoinHandle<()>,
}

/// A stream that a proxy opened.
#[derive(Debug)]
pub struct Stream {
    to: mpsc::Sender<Result<ToProxy, Status>>,
    from: Streaming<FromProxy>,
}

impl FakeControlPlane {
    /// Starts one, and makes the proxy with its data in `data` trust it.
    pub async fn start(data: &Path) -> Self {
        let made = rcgen::generate_simple_self_signed(vec![NAME.to_owned()]).expect("a pair");
        let (certificate, key) = (made.cert.der().to_vec(), made.signing_key.serialize_der());
        std::fs::create_dir_all(data).expect("a directory");
        let material = Material {
            name: "proxy-0".to_owned(),
            chain: vec![certificate.clone()],
            key: Secret::new(key.clone()),
            trust: vec![certificate.clone()],
            not_after: i64::MAX,
        };
        Keys::in_directory(data).save(&material).expect("a writable directory");

        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from(certificate)],
                PrivatePkcs8KeyDer::from(key).into(),
            )
            .expect("a pair that fits");
        config.alpn_protocols = vec![b"h2".to_vec()];
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let (ready, connections) = mpsc::channel(16);
        let (opened, streams) = mpsc::channel(16);
        let task = tokio::spawn(async move {
            let accept = async move {
                let acceptor = TlsAcceptor::from(Arc::new(config));
                while let Ok((stream, _)) = listener.accept().await {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        let _ = ready.send(io::Result::Ok(Connection(stream))).await;
                    }
                }
            };
            let service = ConfigSyncServer::new(Service(Mutex::new(opened)));
            let serve = Server::builder()
                .add_service(service)
                .serve_with_incoming(ReceiverStream::new(connections));
            let _ = tokio::join!(accept, serve);
        });
        Self { address, streams, task }
    }

    /// Where the proxy connects.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The next stream, welcomed.
    pub async fn stream(&mut self) -> Stream {
        let mut stream = self.streams.recv().await.expect("a server that runs");
        stream.hear().await;
        stream
            .say(to_proxy::Message::Welcome(Welcome {
                stream: "s".to_owned(),
                lineage: LINEAGE.to_owned(),
                hash_key: HASH_KEY.0.to_vec().into(),
                schema: wire::SCHEMA,
                ..Welcome::default()
            }))
            .await;
        stream
    }
}

impl Drop for FakeControlPlane {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Stream {
    /// Says something; whether the stream was still there.
    pub async fn say(&self, message: to_proxy::Message) -> bool {
        self.to.send(Ok(ToProxy { message: Some(message) })).await.is_ok()
    }

    /// What the proxy says next.
    pub async fn hear(&mut self) -> from_proxy::Message {
        let message = eventually("the proxy says something", async || {
            self.from.message().await.map_err(|status| status.to_string())
        })
        .await;
        message.and_then(|message| message.message).expect("something and not the end")
    }

    /// How the proxy decides about what it was sent.
    pub async fn decision(&mut self) -> Ack {
        loop {
            match self.hear().await {
                from_proxy::Message::Ack(ack) if ack.stage() == Stage::Validated => {}
                from_proxy::Message::Ack(ack) => return ack,
                other => panic!("not an acknowledgement: {other:?}"),
            }
        }
    }
}

/// The resources of a document that must be right.
pub fn resources(document: &str) -> ResourceSet {
    let parsed = Config::parse(&Bundle::of_text("lb.yaml", document), 0);
    wire::encode(&parsed.expect("a valid document").config, HASH_KEY)
}

/// A push of everything in one chunk.
pub fn push(version: u64, resources: &ResourceSet) -> Push {
    let upsert = resources.iter().map(|(key, resource)| v1::Resource {
        kind: key.kind.as_str().to_owned(),
        name: key.name.to_string(),
        hash: resource.hash().0.to_vec().into(),
        body: resource.body().clone(),
    });
    Push {
        nonce: format!("s:{version}"),
        version: Some(v1::Version { lineage: LINEAGE.to_owned(), number: version }),
        target_root: resources.root().0.to_vec().into(),
        last: true,
        upsert: upsert.collect(),
        ..Push::default()
    }
}

struct Service(Mutex<mpsc::Sender<Stream>>);

#[tonic::async_trait]
impl ConfigSync for Service {
    type SyncStream = ReceiverStream<Result<ToProxy, Status>>;

    async fn sync(
        &self,
        request: Request<Streaming<FromProxy>>,
    ) -> Result<Response<Self::SyncStream>, Status> {
        let (to, answers) = mpsc::channel(4);
        let stream = Stream { to, from: request.into_inner() };
        let opened = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        opened.send(stream).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}

/// TLS, as the server wants it.
struct Connection(TlsStream<TcpStream>);

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
