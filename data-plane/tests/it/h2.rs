//! HTTP/2, by prior knowledge and by TLS.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http2::SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use lb_model::{config::Tls, value::CertificateName};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    origin::Origin,
    proxy::{Proxy, config, simple},
};

type Sender = SendRequest<Full<Bytes>>;

async fn handshake<S>(stream: S) -> Sender
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    sender
}

async fn text(response: Response<Incoming>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn plain_http2_is_told_by_its_first_bytes() {
    let origin = Origin::saying("hello").await;
    let proxy = Proxy::start(&simple(origin.address, "", "")).await;
    let stream = TcpStream::connect(proxy.web()).await.unwrap();
    let mut sender = handshake(stream).await;
    let requests = (0..20).map(|i| {
        let request = Request::post(format!("http://shop.test/{i}"))
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .body(Full::new(Bytes::from_static(b"body")));
        sender.send_request(request.unwrap())
    });
    for response in futures_util::future::join_all(requests).await {
        let response = response.unwrap();
        assert_eq!(response.status(), 200);
        assert!(!response.headers().contains_key("connection"));
        assert_eq!(text(response).await, "hello");
    }
    let seen = origin.last();
    assert_eq!(seen.header("host"), ["shop.test"]);
    assert_eq!(seen.header("cookie"), ["a=1; b=2"]);
    assert_eq!(seen.body, "body");
    assert!(seen.head.contains(" HTTP/1.1\r\n") && seen.head.starts_with("POST /"));
    assert_eq!(origin.seen().len(), 20);
    assert_eq!(proxy.stats().listeners[0].accepted, 1);
}

#[tokio::test]
async fn refusals_and_missing_bodies_work_on_http2() {
    let origin = Origin::saying("x").await;
    let proxy = Proxy::start(&simple(origin.address, ", limits: { body: 3 }", "")).await;
    let stream = TcpStream::connect(proxy.web()).await.unwrap();
    let mut sender = handshake(stream).await;
    let mut ask = |method: &str, uri: &str, body: &'static str| {
        let body = Full::new(Bytes::from_static(body.as_bytes()));
        let request = Request::builder().method(method).uri(uri).body(body);
        sender.send_request(request.unwrap())
    };
    assert_eq!(ask("POST", "http://a/", "abcd").await.unwrap().status(), 413);
    assert_eq!(ask("GET", "http://a/%00", "").await.unwrap().status(), 400);
    assert_eq!(ask("GET", "http://a/", "").await.unwrap().status(), 200);
    let head = origin.last().head;
    assert!(!head.contains("transfer-encoding") && !head.contains("content-length"), "{head}");
}

#[tokio::test]
async fn a_preface_in_pieces_is_still_http2_and_a_p_is_not() {
    let origin = Origin::saying("x").await;
    let proxy = Proxy::start(&simple(origin.address, "", "")).await;
    let mut stream = TcpStream::connect(proxy.web()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for piece in ["PRI * HT", "TP/2.0\r\n\r\nSM", "\r\n\r\n"] {
        stream.write_all(piece.as_bytes()).await.unwrap();
        tokio::task::yield_now().await;
    }
    stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    let mut frame = [0; 9];
    stream.read_exact(&mut frame).await.unwrap();
    assert_eq!(frame[3], 4, "the first frame is SETTINGS");

    let mut client = crate::client::Client::connect(proxy.web()).await;
    client.send("P").await;
    client.send("UT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(client.answer().await.status(), 200);
}

pub(crate) type Certified = rcgen::CertifiedKey<rcgen::KeyPair>;

pub(crate) fn certified(name: &str) -> Certified {
    rcgen::generate_simple_self_signed([name.to_owned()]).unwrap()
}

async fn connect(
    address: SocketAddr,
    name: &'static str,
    roots: &[&Certified],
    protocols: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut store = rustls::RootCertStore::empty();
    for root in roots {
        store.add(root.cert.der().clone()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(name).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

fn leaf(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone()
}

#[tokio::test]
async fn tls_picks_protocol_and_certificate() {
    let origin = Origin::saying("hello").await;
    let (one, two) = (certified("one.test"), certified("*.two.test"));
    let yaml = simple(origin.address, ", tls: {}", "");
    let mut proxy = Proxy::with(config(&yaml, &[("one", &one), ("two", &two)])).await;
    let both = [&one, &two];

    let stream = connect(proxy.web(), "one.test", &both, &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(leaf(&stream), *one.cert.der());
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut sender = handshake(stream).await;
    let request = Request::get("https://one.test/").body(Full::default()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(text(response).await, "hello");
    assert_eq!(origin.last().header("x-forwarded-proto"), ["https"]);

    let mut stream = connect(proxy.web(), "a.two.test", &both, &["http/1.1"]).await.unwrap();
    assert_eq!(leaf(&stream), *two.cert.der());
    let request = b"GET / HTTP/1.1\r\nHost: a.two.test\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("hello"), "{answer}");

    // A new certificate serves the next handshake; the port stays.
    let (address, new) = (proxy.web(), certified("one.test"));
    proxy.install(config(&yaml, &[("one", &new)])).await.unwrap();
    assert_eq!(proxy.web(), address);
    let stream = connect(address, "one.test", &[&new], &[]).await.unwrap();
    assert_eq!(leaf(&stream), *new.cert.der());

    // A name without a certificate gets the one that nobody trusts, and that is counted.
    assert!(connect(address, "other.test", &both, &[]).await.is_err());
    proxy.until("the failure is counted", |stats| stats.listeners[0].handshake_errors == 1).await;
}

#[tokio::test]
async fn an_entry_point_shows_only_the_certificates_it_names() {
    let origin = Origin::saying("hello").await;
    let (one, two) = (certified("one.test"), certified("two.test"));
    let yaml = simple(origin.address, ", tls: {}", "");
    let showing = |names: &[&str]| {
        let mut config = config(&yaml, &[("one", &one), ("two", &two)]);
        let names = names.iter().map(|name| CertificateName::parse(name).unwrap()).collect();
        let web = config.entry_points.values_mut().next().unwrap();
        Arc::make_mut(web).tls = Some(Tls { certificates: Some(names) });
        config
    };
    let mut proxy = Proxy::with(showing(&["two"])).await;
    let both = [&one, &two];
    let stream = connect(proxy.web(), "two.test", &both, &[]).await.unwrap();
    assert_eq!(leaf(&stream), *two.cert.der());
    // The first of the list is for those who ask for another.
    let error = connect(proxy.web(), "one.test", &both, &[]).await.unwrap_err();
    assert!(error.to_string().contains("not valid for name"), "{error}");

    // The list is part of the snapshot: the listener stays.
    let address = proxy.web();
    proxy.install(showing(&["one", "two"])).await.unwrap();
    assert_eq!(proxy.web(), address);
    let stream = connect(address, "one.test", &both, &[]).await.unwrap();
    assert_eq!(leaf(&stream), *one.cert.der());
}

/// Sends requests one after the other, over a new connection where the old one takes no more;
/// how many were answered.
async fn insist(address: SocketAddr, requests: usize, sender: &mut Sender) -> (usize, usize) {
    let (mut answered, mut connections) = (0, 0);
    while answered < requests {
        if sender.is_closed() || sender.ready().await.is_err() {
            *sender = handshake(TcpStream::connect(address).await.unwrap()).await;
            connections += 1;
            continue;
        }
        let request = Request::get("http://shop.test/").body(Full::default()).unwrap();
        match sender.send_request(request).await {
            Ok(response) => {
                assert_eq!(response.status(), 200);
                assert_eq!(text(response).await, "hello");
                answered += 1;
            }
            // It was not sent: the end of the connection had been announced.
            Err(error) => assert!(error.is_canceled(), "{error:?}"),
        }
    }
    (answered, connections)
}

#[tokio::test]
async fn connections_that_end_under_load_lose_no_request() {
    let origin = Origin::saying("hello").await;
    let web = ", keep_alive: { max_requests: 30 }";
    let proxy = Proxy::start(&simple(origin.address, web, "")).await;
    let sender = handshake(TcpStream::connect(proxy.web()).await.unwrap()).await;
    let lanes = (0..16).map(|_| {
        let mut sender = sender.clone();
        let address = proxy.web();
        async move { insist(address, 50, &mut sender).await }
    });
    let done = futures_util::future::join_all(lanes).await;
    assert_eq!(done.iter().map(|(answered, _)| answered).sum::<usize>(), 16 * 50);
    assert!(done.iter().map(|(_, connections)| connections).sum::<usize>() >= 16);
    assert_eq!(origin.seen().len(), 16 * 50);
}
