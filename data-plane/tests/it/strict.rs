//! What is refused on the wire, and that the connection ends with it.

use std::time::{Duration, Instant};

use lb_http::Reason;

use crate::{
    client::{Client, get, raw},
    origin::{Origin, Reply},
    proxy::{Proxy, simple, until},
};

#[tokio::test]
async fn two_lengths_are_refused_and_nothing_behind_them_is_read() {
    let origin = Origin::saying("ok").await;
    let proxy = Proxy::start(&simple(origin.address, "", "")).await;
    for fields in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
        "transfer-encoding:\tchunked\r\nCONTENT-LENGTH:4",
    ] {
        let answer = raw(
            proxy.web(),
            format!(
                "POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n0\r\n\r\n\
                 GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
            ),
        )
        .await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{fields}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
        assert!(answer.contains("\"code\":\"bad_request\""), "{answer}");
    }
    assert_eq!(origin.seen().len(), 0);
    assert_eq!(proxy.count(Reason::BadRequest), 3);
}

#[tokio::test]
async fn two_lengths_are_seen_behind_other_requests() {
    let origin = Origin::saying("ok").await;
    let proxy = Proxy::start(&simple(origin.address, "", "")).await;
    let answer = raw(
        proxy.web(),
        "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
         POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n\
         POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n\
         0\r\n\r\n",
    )
    .await;
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 2, "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 400").count(), 1, "{answer}");
    assert_eq!(origin.seen().len(), 2);
}

#[tokio::test]
async fn what_can_be_misread_is_refused() {
    let origin = Origin::saying("ok").await;
    let proxy = Proxy::start(&simple(origin.address, "", "")).await;
    for request in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost:\r\n\r\n",
        "GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /../etc HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
        "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "\x16\x03\x01 is not HTTP\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        let before = proxy.count(Reason::BadRequest);
        let answer = raw(proxy.web(), request).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{request:?}: {answer}");
        until("it is counted", || proxy.count(Reason::BadRequest) > before).await;
    }
    let answer = raw(proxy.web(), "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    assert_eq!(origin.seen().len(), 0);
}

#[tokio::test]
async fn long_heads_are_refused_by_name() {
    let origin = Origin::saying("ok").await;
    let limits = ", limits: { request_line: 256, header_bytes: 256, header_count: 5 }";
    let proxy = Proxy::start(&simple(origin.address, limits, "")).await;
    let long = "x".repeat(200_000);
    let many = "X: 1\r\n".repeat(6);
    for (request, status, code) in [
        (format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 414, "uri_too_long"),
        (format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", &long[..256]), 414, "uri_too_long"),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"), 431, "header_too_large"),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", &long[..256]), 431, "header_too"),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"), 431, ""),
    ] {
        let mut client = Client::connect(proxy.web()).await;
        client.send(&request).await;
        let answer = client.rest().await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer:?}");
        assert!(answer.contains(code), "{answer:?}");
    }
    until("all are counted", || {
        proxy.count(Reason::UriTooLong) == 2 && proxy.count(Reason::HeaderTooLarge) == 3
    })
    .await;
    assert_eq!(get(proxy.web(), "/short").await.status(), 200);
}

#[tokio::test]
async fn large_bodies_are_refused_whether_announced_or_not() {
    let origin = Origin::saying("ok").await;
    let proxy = Proxy::start(&simple(origin.address, ", limits: { body: 5 }", "")).await;
    for request in [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabcdef",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n",
    ] {
        let mut client = Client::connect(proxy.web()).await;
        client.send(request).await;
        let answer = client.answer().await;
        assert_eq!((answer.status(), answer.code().as_str()), (413, "request_too_large"));
    }
    let mut client = Client::connect(proxy.web()).await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde").await;
    assert_eq!(client.answer().await.status(), 200);
    assert_eq!(proxy.count(Reason::RequestTooLarge), 2);
}

#[tokio::test]
async fn slow_and_silent_clients_are_let_go() {
    let origin = Origin::saying("ok").await;
    let timeouts = ", timeouts: { header: 150ms, idle: 400ms }";
    let proxy = Proxy::start(&simple(origin.address, timeouts, "")).await;

    let start = Instant::now();
    assert_eq!(raw(proxy.web(), "").await, "", "a silent one hears nothing");
    assert!(start.elapsed() < Duration::from_secs(2));

    let answer = raw(proxy.web(), "GET / HTT").await;
    assert!(answer.starts_with("HTTP/1.1 408"), "a slow one is told: {answer:?}");

    let mut client = Client::connect(proxy.web()).await;
    assert_eq!(client.get("/").await.status(), 200);
    let start = Instant::now();
    assert_eq!(client.rest().await, "");
    let waited = start.elapsed();
    assert!(waited >= Duration::from_millis(350), "idling is allowed longer: {waited:?}");
}

#[tokio::test]
async fn connections_over_the_limit_are_closed_and_counted() {
    let origin = Origin::saying("ok").await;
    let proxy = Proxy::start(&simple(origin.address, ", limits: { connections: 2 }", "")).await;
    let mut first = Client::connect(proxy.web()).await;
    let mut second = Client::connect(proxy.web()).await;
    assert_eq!(first.get("/").await.status(), 200);
    assert_eq!(second.get("/").await.status(), 200);
    assert_eq!(Client::connect(proxy.web()).await.rest().await, "");
    assert_eq!(proxy.stats().listeners[0].over_limit, 1);
    drop(first);
    proxy.until("one has left", |stats| stats.listeners[0].open == 1).await;
    assert_eq!(get(proxy.web(), "/").await.status(), 200);
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_let_go() {
    let origin = Origin::start(|_| {
        let length = 32 << 20;
        let mut bytes = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").into_bytes();
        bytes.resize(bytes.len() + length, b'x');
        Reply::Bytes(bytes)
    })
    .await;
    let proxy = Proxy::start(&simple(origin.address, ", timeouts: { body: 200ms }", "")).await;
    let mut client = Client::connect(proxy.web()).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.until(b"\r\n\r\n").await;
    proxy
        .until("it is let go", |stats| {
            stats.listeners[0].open == 0 && stats.backends[0].counts.aborted == 1
        })
        .await;
}

#[tokio::test]
async fn a_body_that_stops_coming_is_given_up() {
    let origin = Origin::saying("ok").await;
    let proxy = Proxy::start(&simple(origin.address, ", timeouts: { body: 200ms }", "")).await;
    let mut client = Client::connect(proxy.web()).await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf").await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.code().as_str()), (408, "request_timeout"));
    assert_eq!(client.rest().await, "");
}
