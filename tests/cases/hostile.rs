//! Clients that break the rules, by mistake or on purpose, and those beside them who do not.

use lb_tests::{
    backend::Backend,
    client::{self, Connection},
    cluster::Cluster,
    eventually::eventually,
};

/// A proxy with small limits and short time-outs, and a backend that works.
async fn proxy() -> (Cluster, Backend) {
    let backend = Backend::start("a").await;
    let document = format!(
        "entry_points:\n  web:\n    address: \"127.0.0.1:0\"\n    \
         timeouts: {{ header: 300ms, idle: 2s, body: 300ms }}\n    \
         limits: {{ request_line: 512, header_bytes: 2KiB, header_count: 20, body: 1KiB }}\n\
         backends: {{ one: {{ url: \"{}\" }} }}\n",
        backend.url()
    );
    (Cluster::serving(1, &document).await, backend)
}

/// Sends `request` and expects an answer of the proxy, then the end of the connection.
async fn assert_refused(request: &[u8], status: u16, reason: &str) {
    let (mut cluster, backend) = proxy().await;
    let address = cluster.web(0).await;
    let mut connection = Connection::open(address).await.unwrap();
    connection.send(request).await.unwrap();
    let shown = String::from_utf8_lossy(&request[..request.len().min(60)]).into_owned();
    let response = connection.response().await;
    let response = response.unwrap_or_else(|error| panic!("{shown:?} got no answer: {error}"));
    assert_eq!(response.status, status, "{shown:?}: {response:?}");
    assert!(connection.is_closed().await, "{shown:?}: where the next request begins is unknown");
    assert_eq!(backend.requests(), 0, "{shown:?}: the backend saw nothing");
    eventually("the refusal is counted", async || {
        let label = format!("reason=\"{reason}\"");
        match cluster.proxy(0).metric("lb_local_responses_total", &label).await {
            1 => Ok(()),
            other => Err(format!("{shown:?} as {reason}: {other}")),
        }
    })
    .await;
    assert_eq!(client::get(address, "a", "/").await.status, 200, "others are served");
}

#[tokio::test]
async fn a_request_line_over_the_limit_is_a_414() {
    let request = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(600));
    assert_refused(request.as_bytes(), 414, "uri_too_long").await;
}

#[tokio::test]
async fn headers_over_the_limits_are_a_431() {
    let large = format!("GET / HTTP/1.1\r\nhost: a\r\nx-large: {}\r\n\r\n", "x".repeat(3_000));
    assert_refused(large.as_bytes(), 431, "header_too_large").await;
    let many = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: 1\r\n".repeat(30));
    assert_refused(many.as_bytes(), 431, "header_too_large").await;
}

#[tokio::test]
async fn a_length_beside_chunks_is_refused() {
    let smuggled = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\
                    transfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    assert_refused(smuggled.as_bytes(), 400, "bad_request").await;
    let other_way = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\
                     content-length: 4\r\n\r\n0\r\n\r\n";
    assert_refused(other_way.as_bytes(), 400, "bad_request").await;
}

#[tokio::test]
async fn framing_that_two_servers_read_differently_is_refused() {
    for fields in [
        "content-length: 4\r\ncontent-length: 5",
        "content-length: +4",
        "content-length: 4, 5",
        "transfer-encoding: identity",
        "transfer-encoding: chunked, identity",
        "content-length : 4",
        "content-length: 4\r\n folded: yes",
    ] {
        let request = format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\nbody");
        assert_refused(request.as_bytes(), 400, "bad_request").await;
    }
}

#[tokio::test]
async fn heads_with_forbidden_bytes_are_refused() {
    for request in [
        "GET / HTTP/1.1\r\nhost: a\r\nx: a\0b\r\n\r\n",
        "GET /\0 HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx y: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx: a\rb\r\n\r\n",
        "GET  / HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET / HTTP/9.9\r\nhost: a\r\n\r\n",
        "not a request at all\r\n\r\n",
    ] {
        assert_refused(request.as_bytes(), 400, "bad_request").await;
    }
}

#[tokio::test]
async fn a_request_has_exactly_one_host() {
    assert_refused(b"GET / HTTP/1.1\r\n\r\n", 400, "bad_request").await;
    let two = b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n";
    assert_refused(two, 400, "bad_request").await;
}

#[tokio::test]
async fn a_bad_chunk_ends_the_request_and_reaches_nobody_whole() {
    let (mut cluster, backend) = proxy().await;
    let address = cluster.web(0).await;
    let mut connection = Connection::open(address).await.unwrap();
    let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    connection.send(format!("{head}5\r\nhello\r\nzz\r\n")).await.unwrap();
    let response = connection.response().await.unwrap();
    assert_eq!(response.problem(), (400, "bad_request".to_owned()));
    assert!(connection.is_closed().await);
    assert_eq!(backend.requests(), 0, "no request arrived whole");
    assert_eq!(cluster.proxy(0).metric("lb_local_responses_total", "bad_request").await, 1);
    assert_eq!(client::get(address, "a", "/").await.status, 200);
}

#[tokio::test]
async fn a_body_over_the_limit_is_a_413() {
    let (mut cluster, backend) = proxy().await;
    let address = cluster.web(0).await;
    let announced = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2000\r\n\r\n".to_owned();
    let body = "x".repeat(2_000);
    let counted = format!(
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n7d0\r\n{body}\r\n"
    );
    for request in [announced, counted] {
        let mut connection = Connection::open(address).await.unwrap();
        connection.send(&request).await.unwrap();
        let response = connection.response().await.unwrap();
        assert_eq!(response.problem(), (413, "request_too_large".to_owned()));
        assert!(connection.is_closed().await);
    }
    assert_eq!(backend.requests(), 0, "no request arrived whole");
    assert_eq!(cluster.proxy(0).metric("lb_local_responses_total", "request_too_large").await, 2);
    assert_eq!(client::get(address, "a", "/").await.status, 200);
}

#[tokio::test]
async fn half_a_request_is_waited_for_only_so_long() {
    let (mut cluster, backend) = proxy().await;
    let address = cluster.web(0).await;
    for half in ["GET / HT", "GET / HTTP/1.1\r\nhost: a\r\nx-more"] {
        let mut connection = Connection::open(address).await.unwrap();
        connection.send(half).await.unwrap();
        // Others are served meanwhile.
        assert_eq!(client::get(address, "a", "/").await.status, 200);
        let response = connection.response().await.unwrap();
        assert_eq!(response.problem(), (408, "request_timeout".to_owned()));
        assert!(connection.is_closed().await);
    }
    let mut silent = Connection::open(address).await.unwrap();
    assert!(silent.is_closed().await, "a client that says nothing is let go");
    let before = backend.requests();
    let mut slow = Connection::open(address).await.unwrap();
    slow.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf").await.unwrap();
    let response = slow.response().await.unwrap();
    assert_eq!(response.problem(), (408, "request_timeout".to_owned()));
    assert_eq!(backend.requests(), before);
    assert_eq!(cluster.proxy(0).metric("lb_local_responses_total", "request_timeout").await, 3);
}

#[tokio::test]
async fn a_client_that_leaves_harms_nobody() {
    let (mut cluster, _backend) = proxy().await;
    let address = cluster.web(0).await;
    for start in [
        "",
        "GET",
        "GET / HTTP/1.1\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nab",
    ] {
        for _ in 0..10 {
            let mut connection = Connection::open(address).await.unwrap();
            connection.send(start).await.unwrap();
        }
    }
    assert_eq!(client::get(address, "a", "/").await.status, 200);
    eventually("nothing is left open", async || {
        let proxy = cluster.proxy(0);
        let open = proxy.metric("lb_open_connections", "").await;
        let busy = proxy.metric("lb_upstream_in_flight_requests", "").await;
        if open + busy == 0 { Ok(()) } else { Err(format!("{open} open, {busy} busy")) }
    })
    .await;
}

#[tokio::test]
async fn requests_in_one_packet_are_answered_in_order() {
    let (cluster, _backend) = proxy().await;
    let mut connection = Connection::open(cluster.web(0).await).await.unwrap();
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
    connection.send([request("/1"), request("/2"), request("/3")].concat()).await.unwrap();
    for path in ["/1", "/2", "/3"] {
        assert_eq!(connection.response().await.unwrap().json()["path"], path);
    }
}

#[tokio::test]
async fn forged_forwarding_fields_are_dropped() {
    let (cluster, _backend) = proxy().await;
    let mut connection = Connection::open(cluster.web(0).await).await.unwrap();
    let forged = "GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 8.8.8.8\r\n\
                  x-forwarded-proto: https\r\nconnection: x-real-ip\r\n\r\n";
    connection.send(forged).await.unwrap();
    let seen = connection.response().await.unwrap().json();
    assert_eq!(seen["headers"]["x-forwarded-for"], "127.0.0.1", "{seen}");
    assert_eq!(seen["headers"]["x-forwarded-proto"], "http", "{seen}");
}
