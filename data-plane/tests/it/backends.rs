//! Backends that fail, and what clients and counters see of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use lb_http::Reason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    client::{Client, get},
    origin::{Origin, Reply},
    proxy::{Proxy, simple, until},
};

#[tokio::test]
async fn a_refused_connection_is_a_502() {
    let gone = Origin::saying("").await.address;
    let proxy = Proxy::start(&simple(gone, "", "")).await;
    // The origin's listener is closed by its task, soon.
    until("nobody listens", || std::net::TcpStream::connect(gone).is_err()).await;
    let answer = get(proxy.web(), "/").await;
    assert_eq!((answer.status(), answer.code().as_str()), (502, "upstream_connect_error"));
    let stats = proxy.stats();
    assert_eq!(stats.backends[0].counts.connect_errors, 1);
    assert_eq!(stats.routes[0].classes[4], 1);
    assert_eq!(stats.routes[0].reasons, [(Reason::UpstreamConnectError, 1)]);
}

#[tokio::test]
async fn a_hanging_backend_is_a_504() {
    let origin = Origin::start(|_| Reply::hang()).await;
    let service = ", timeouts: { response_header: 100ms }";
    let proxy = Proxy::start(&simple(origin.address, "", service)).await;
    let mut client = Client::connect(proxy.web()).await;
    let answer = client.get("/").await;
    assert_eq!((answer.status(), answer.code().as_str()), (504, "upstream_timeout"));
    assert_eq!(proxy.stats().backends[0].counts.timeouts, 1);
    // The client's connection is as good as before.
    assert_eq!(client.get("/").await.status(), 504);
}

#[tokio::test]
async fn the_whole_exchange_has_a_limit_of_its_own() {
    let origin = Origin::start(|_| Reply::hang()).await;
    let service = ", timeouts: { total: 100ms }";
    let proxy = Proxy::start(&simple(origin.address, "", service)).await;
    assert_eq!(get(proxy.web(), "/").await.code(), "upstream_timeout");
}

#[tokio::test]
async fn a_connection_closed_without_an_answer_is_a_502() {
    let origin = Origin::start(|_| Reply::Close(Vec::new())).await;
    let proxy = Proxy::start(&simple(origin.address, "", "")).await;
    let answer = get(proxy.web(), "/").await;
    assert_eq!((answer.status(), answer.code().as_str()), (502, "upstream_reset"));
    assert_eq!(origin.seen().len(), 1, "it is not asked twice");
}

#[tokio::test]
async fn garbage_is_a_502() {
    let origin = Origin::start(|_| Reply::Close(b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec())).await;
    let proxy = Proxy::start(&simple(origin.address, "", "")).await;
    let answer = get(proxy.web(), "/").await;
    assert_eq!((answer.status(), answer.code().as_str()), (502, "upstream_invalid"));
    assert_eq!(proxy.stats().backends[0].counts.invalid, 1);
}

#[tokio::test]
async fn a_switch_nobody_asked_for_is_a_502() {
    let origin = Origin::start(|_| {
        let head = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
        Reply::Bytes(head.into())
    })
    .await;
    let proxy = Proxy::start(&simple(origin.address, "", "")).await;
    assert_eq!(get(proxy.web(), "/").await.code(), "upstream_invalid");
}

#[tokio::test]
async fn a_response_that_breaks_off_breaks_off_for_the_client() {
    let origin = Origin::start(|_| {
        Reply::Close(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf".to_vec())
    })
    .await;
    let proxy = Proxy::start(&simple(origin.address, "", "")).await;
    let mut client = Client::connect(proxy.web()).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let all = client.rest().await;
    assert!(all.starts_with("HTTP/1.1 200") && all.ends_with("half"), "{all}");
    assert_eq!(proxy.count(Reason::UpstreamReset), 1);
}

#[tokio::test]
async fn a_response_that_stalls_is_given_up() {
    let origin = Origin::start(|_| {
        Reply::take(|mut stream| async move {
            let head = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf";
            stream.write_all(head.as_bytes()).await.unwrap();
            drop(stream.read_to_end(&mut Vec::new()).await);
        })
    })
    .await;
    let service = ", timeouts: { idle: 100ms }";
    let proxy = Proxy::start(&simple(origin.address, "", service)).await;
    let mut client = Client::connect(proxy.web()).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(client.rest().await.ends_with("half"));
    assert_eq!(proxy.count(Reason::UpstreamTimeout), 1);
}

#[tokio::test]
async fn a_dead_idle_connection_is_replaced_unnoticed() {
    // Each connection takes one request and then ends without announcing it.
    let origin = Origin::start(|_| {
        Reply::take(|mut stream| async move {
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            stream.write_all(answer).await.unwrap();
            // The next request is read and not answered.
            drop(stream.read(&mut [0; 4096]).await);
        })
    })
    .await;
    let proxy = Proxy::start(&simple(origin.address, "", "")).await;
    let mut client = Client::connect(proxy.web()).await;
    for _ in 0..3 {
        assert_eq!(client.get("/").await.body, "ok");
    }
    let counts = proxy.stats().backends[0].counts;
    assert_eq!((counts.resent, counts.connects), (2, 3));
    // What may do harm twice is not sent twice.
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi").await;
    assert_eq!(client.answer().await.code(), "upstream_reset");
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_request_with_it() {
    let left = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&left);
    let origin = Origin::start(move |_| {
        let told = Arc::clone(&told);
        Reply::take(|mut stream| async move {
            drop(stream.read_to_end(&mut Vec::new()).await);
            told.store(true, SeqCst);
        })
    })
    .await;
    let proxy = Proxy::start(&simple(origin.address, "", "")).await;
    let mut client = Client::connect(proxy.web()).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    until("the request arrived", || origin.seen().len() == 1).await;
    drop(client);
    until("the backend is left as well", || left.load(SeqCst)).await;
    proxy.until("it is counted", |stats| stats.backends[0].counts.aborted == 1).await;
    assert_eq!(proxy.stats().backends[0].counts.in_flight, 0);
}

fn three(addresses: [std::net::SocketAddr; 3], strategy: &str, service: &str) -> String {
    let [a, b, c] = addresses;
    format!(
        "entry_points:\n  web: {{ address: \"127.0.0.1:0\" }}\n\
         backends:\n  a: {{ url: \"http://{a}\", weight: 3 }}\n  \
         b: {{ url: \"http://{b}\", weight: 1 }}\n  c: {{ url: \"http://{c}\", weight: 0 }}\n\
         services:\n  s: {{ backends: [a, b, c], strategy: {strategy}{service} }}\n\
         routes:\n  all: {{ rule: \"PathPrefix(`/`)\", service: s }}\n"
    )
}

#[tokio::test]
async fn weights_are_kept_exactly_on_each_connection() {
    let origins = [Origin::saying("a").await, Origin::saying("b").await, Origin::saying("c").await];
    let addresses = [0, 1, 2].map(|i: usize| origins[i].address);
    let proxy = Proxy::start(&three(addresses, "round_robin", "")).await;
    let mut client = Client::connect(proxy.web()).await;
    let mut order = String::new();
    for _ in 0..8 {
        order += &client.get("/").await.body;
    }
    assert_eq!(order, "aabaaaba");
}

#[tokio::test]
async fn a_checked_backend_comes_and_goes_with_its_health() {
    let well = Arc::new(AtomicBool::new(false));
    let checks = Arc::new(AtomicUsize::new(0));
    let (asked, counted) = (Arc::clone(&well), Arc::clone(&checks));
    let origin = Origin::start(move |seen| {
        if seen.head.starts_with("GET /healthz ") {
            counted.fetch_add(1, SeqCst);
            if !asked.load(SeqCst) {
                let ill = "HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n";
                return Reply::Bytes(ill.into());
            }
        }
        Reply::ok("ok")
    })
    .await;
    let service = ", health_check: { path: /healthz, interval: 50ms, timeout: 40ms, \
                   healthy_threshold: 2, unhealthy_threshold: 2 }";
    let mut proxy = Proxy::start(&simple(origin.address, "", service)).await;
    until("a check was made", || checks.load(SeqCst) > 0).await;
    let answer = get(proxy.web(), "/").await;
    assert_eq!((answer.status(), answer.code().as_str()), (503, "no_healthy_backend"));

    well.store(true, SeqCst);
    proxy.until("it is up", |stats| stats.backends[0].health.up).await;
    assert_eq!(get(proxy.web(), "/").await.status(), 200);

    // A change elsewhere does not put it back to unknown.
    let elsewhere = simple(origin.address, ", limits: { header_count: 50 }", service);
    proxy.update(&elsewhere).await.unwrap();
    assert!(proxy.stats().backends[0].health.up);
    assert_eq!(get(proxy.web(), "/").await.status(), 200);

    well.store(false, SeqCst);
    proxy.until("it is down", |stats| !stats.backends[0].health.up).await;
    assert_eq!(get(proxy.web(), "/").await.status(), 503);
    let health = proxy.stats().backends[0].health.clone();
    let error = health.last_error.unwrap();
    assert_eq!(&*error, "status 500 Internal Server Error");

    well.store(true, SeqCst);
    proxy.until("it is up again", |stats| stats.backends[0].health.up).await;
    assert_eq!(get(proxy.web(), "/").await.status(), 200);
    for up in [true, false, true] {
        let change = proxy.health.recv().await.unwrap();
        assert_eq!((&*change.service, &*change.backend, change.health.up), ("s", "b", up));
    }
}

#[tokio::test]
async fn a_slow_upload_does_not_count_against_the_backend() {
    let origin = Origin::saying("ok").await;
    let service = ", timeouts: { response_header: 200ms }";
    let proxy = Proxy::start(&simple(origin.address, "", service)).await;
    let mut client = Client::connect(proxy.web()).await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n").await;
    for _ in 0..8 {
        // Slowness itself is what is tested.
        tokio::time::sleep(Duration::from_millis(60)).await;
        client.send("x").await;
    }
    assert_eq!(client.answer().await.status(), 200);
}
