//! HTTP/1.1 from end to end.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use lb_data_plane::stats::RuntimeStats;

use crate::{
    client::{Client, get, raw},
    origin::{Origin, Reply},
    proxy::{Proxy, simple},
};

#[tokio::test]
async fn requests_on_one_connection_are_forwarded() {
    let origin = Origin::saying("hello").await;
    let proxy = Proxy::start(&simple(origin.address, "", "")).await;
    let mut client = Client::connect(proxy.web()).await;
    for path in ["/a?b=c", "/d"] {
        let answer = client.get(path).await;
        assert_eq!((answer.status(), answer.body.as_str()), (200, "hello"));
        assert!(answer.header("date").is_some());
        let line = format!("GET {path} HTTP/1.1\r\n");
        assert!(origin.last().head.starts_with(&line));
    }
    assert_eq!(origin.connections(), 1, "the connection to the backend is reused");
    let both = |stats: &RuntimeStats| {
        stats.routes[0].classes[1] == 2 && stats.backends[0].counts.in_flight == 0
    };
    proxy.until("both are over", both).await;
    let stats = proxy.stats();
    assert_eq!(stats.routes[0].bytes_sent, 10);
    assert_eq!(stats.backends[0].counts.connects, 1);
}

#[tokio::test]
async fn chunked_bodies_and_trailers_pass_both_ways() {
    let origin = Origin::start(|_| {
        Reply::Bytes(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
              3\r\nabc\r\n2\r\nde\r\n0\r\nx-sum: 7\r\n\r\n"
                .to_vec(),
        )
    })
    .await;
    let proxy = Proxy::start(&simple(origin.address, "", "")).await;
    let mut client = Client::connect(proxy.web()).await;
    client
        .send(
            "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n\
             4\r\nwxyz\r\n0\r\n\r\n",
        )
        .await;
    let head = client.until(b"\r\n\r\n").await;
    assert!(head.contains("transfer-encoding: chunked"), "{head}");
    let body = client.until(b"x-sum: 7\r\n\r\n").await;
    assert!(body.contains("abc") && body.contains("de"), "{body}");
    assert_eq!(origin.last().body, "4\r\nwxyz\r\n0\r\n\r\n");
    // The connection is still in step.
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi").await;
    client.until(b"\r\n\r\n").await;
    assert_eq!(origin.last().body, "hi");
}

#[tokio::test]
async fn a_length_without_a_body_survives() {
    let origin = Origin::start(|seen| {
        if seen.head.starts_with("HEAD") {
            Reply::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n".to_vec())
        } else {
            Reply::Bytes(b"HTTP/1.1 304 Not Modified\r\netag: \"x\"\r\n\r\n".to_vec())
        }
    })
    .await;
    let proxy = Proxy::start(&simple(origin.address, "", "")).await;
    let mut client = Client::connect(proxy.web()).await;
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let head = client.until(b"\r\n\r\n").await;
    assert!(head.contains("content-length: 1234"), "{head}");
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let head = client.until(b"\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 304") && head.contains("etag"), "{head}");
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn a_client_that_waits_for_continue_gets_it() {
    let origin = Origin::saying("ok").await;
    let proxy = Proxy::start(&simple(origin.address, "", "")).await;
    let mut client = Client::connect(proxy.web()).await;
    client
        .send("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        .await;
    let head = client.until(b"\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 100"), "{head}");
    client.send("hi").await;
    assert_eq!(client.answer().await.status(), 200);
    assert_eq!(origin.last().body, "hi");
}

#[tokio::test]
async fn hints_and_the_word_to_go_on_come_from_the_backend() {
    let origin = Origin::start(|seen| {
        // The origin reads the body before it answers, so it said so already if it was asked to.
        assert_eq!(seen.header("expect"), ["100-continue"]);
        Reply::Bytes(
            b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n\
              HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
                .to_vec(),
        )
    })
    .await;
    let proxy = Proxy::start(&simple(origin.address, "", "")).await;
    let mut client = Client::connect(proxy.web()).await;
    client
        .send("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi")
        .await;
    let hint = client.until(b"\r\n\r\n").await;
    assert_eq!(hint, "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n");
    assert_eq!(client.answer().await.body, "ok");
    // A client of HTTP/1.0 could not make anything of it.
    let answer = raw(proxy.web(), "PUT / HTTP/1.0\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi").await;
    assert!(!answer.contains("103"), "{answer}");
}

#[tokio::test]
async fn both_directions_flow_at_once() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let yaml = simple(listener.local_addr().unwrap(), "", "");
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 4096];
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") {
            let read = stream.read(&mut buffer).await.unwrap();
            seen.extend_from_slice(&buffer[..read]);
        }
        let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(head).await.unwrap();
        // Whatever chunk comes goes back as it is, the last one too.
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            stream.write_all(&buffer[..read]).await.unwrap();
        }
    });
    let proxy = Proxy::start(&yaml).await;
    let mut client = Client::connect(proxy.web()).await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    client.until(b"\r\n\r\n").await;
    for word in ["one", "two", "three"] {
        client.send(&format!("{:x}\r\n{word}\r\n", word.len())).await;
        client.until(word.as_bytes()).await;
    }
    client.send("0\r\n\r\n").await;
    assert!(client.rest().await.ends_with("0\r\n\r\n"), "and then the connection ends");
}

#[tokio::test]
async fn clients_of_http_1_0_get_what_they_understand() {
    let origin = Origin::start(|_| {
        Reply::Bytes(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n".to_vec(),
        )
    })
    .await;
    let proxy = Proxy::start(&simple(origin.address, "", "")).await;
    let ask = "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n";
    let answer = raw(proxy.web(), ask).await;
    assert!(answer.ends_with("connection: close\r\n\r\nhi"), "{answer}");
    assert!(!answer.contains("chunked"), "{answer}");
}

#[tokio::test]
async fn fields_of_the_connection_stay_on_it() {
    let origin = Origin::start(|_| {
        Reply::Bytes(
            b"HTTP/1.1 200 OK\r\nconnection: keep-alive, x-hop\r\nx-hop: 1\r\n\
              keep-alive: timeout=5\r\nx-kept: 1\r\ncontent-length: 0\r\n\r\n"
                .to_vec(),
        )
    })
    .await;
    let proxy = Proxy::start(&simple(origin.address, "", "")).await;
    let answer = raw(
        proxy.web(),
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, X-Mine\r\nX-Mine: 1\r\n\
         Proxy-Connection: x\r\nX-Kept: 1\r\n\r\n",
    )
    .await;
    let seen = origin.last();
    for gone in ["connection", "x-mine", "proxy-connection"] {
        assert_eq!(seen.header(gone), Vec::<String>::new(), "{}", seen.head);
    }
    assert_eq!(seen.header("x-kept"), ["1"]);
    assert!(answer.contains("x-kept: 1"), "{answer}");
    assert!(!answer.contains("x-hop") && !answer.contains("keep-alive"), "{answer}");
}

#[tokio::test]
async fn backends_learn_who_asked_and_strangers_cannot_lie() {
    let origin = Origin::saying("").await;
    let lie = "GET / HTTP/1.1\r\nHost: shop:81\r\nX-Forwarded-For: 6.6.6.6\r\n\
               Forwarded: for=6.6.6.6\r\nX-Forwarded-Proto: https\r\nConnection: close\r\n\r\n";
    let proxy = Proxy::start(&simple(origin.address, "", "")).await;
    raw(proxy.web(), lie).await;
    let seen = origin.last();
    assert_eq!(seen.header("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.header("x-forwarded-proto"), ["http"]);
    assert_eq!(seen.header("x-forwarded-host"), ["shop:81"]);
    let port = proxy.web().port().to_string();
    assert_eq!(seen.header("x-forwarded-port"), [port]);
    assert_eq!(seen.header("x-real-ip"), ["127.0.0.1"]);
    assert_eq!(seen.header("forwarded"), Vec::<String>::new());
    assert_eq!(seen.header("host"), ["shop:81"]);

    let trusting = simple(origin.address, ", trusted_ips: [127.0.0.0/8]", "");
    let proxy = Proxy::start(&trusting).await;
    raw(proxy.web(), lie).await;
    let seen = origin.last();
    assert_eq!(seen.header("x-forwarded-for"), ["6.6.6.6, 127.0.0.1"]);
    assert_eq!(seen.header("x-forwarded-proto"), ["https"]);
    assert_eq!(seen.header("forwarded"), ["for=6.6.6.6"]);
}

#[tokio::test]
async fn a_backend_may_be_asked_by_its_own_name() {
    let origin = Origin::saying("").await;
    let yaml = simple(origin.address, "", ", pass_host_header: false");
    let proxy = Proxy::start(&yaml).await;
    get(proxy.web(), "/").await;
    assert_eq!(origin.last().header("host"), [origin.address.to_string()]);
    assert_eq!(origin.last().header("x-forwarded-host"), ["a"]);
}

#[tokio::test]
async fn an_upgrade_becomes_a_tunnel() {
    let origin = Origin::start(|seen| {
        assert_eq!(seen.header("upgrade"), ["echo"]);
        Reply::take(|mut stream| async move {
            let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
                          upgrade: echo\r\n\r\nwelcome";
            stream.write_all(switch.as_bytes()).await.unwrap();
            let mut buffer = [0; 64];
            while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                stream.write_all(&buffer[..read]).await.unwrap();
            }
        })
    })
    .await;
    let proxy = Proxy::start(&simple(origin.address, "", "")).await;
    let mut client = Client::connect(proxy.web()).await;
    client
        .send("GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        .await;
    let head = client.until(b"\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert!(head.contains("upgrade: echo"), "{head}");
    client.until(b"welcome").await;
    // Nothing that passes is taken for HTTP any more.
    let line = format!("{}!", "x".repeat(100_000));
    client.send(&line).await;
    assert_eq!(client.until(b"!").await, line);
    assert_eq!(proxy.stats().backends[0].counts.in_flight, 1);
    assert_eq!(proxy.stats().listeners[0].open, 1);
    drop(client);
    proxy
        .until("the tunnel is closed", |stats| {
            stats.backends[0].counts.in_flight == 0 && stats.listeners[0].open == 0
        })
        .await;
}

#[tokio::test]
async fn a_connection_ends_after_its_last_request() {
    let origin = Origin::saying("x").await;
    let yaml = simple(origin.address, ", keep_alive: { max_requests: 2 }", "");
    let proxy = Proxy::start(&yaml).await;
    let mut client = Client::connect(proxy.web()).await;
    assert_eq!(client.get("/").await.header("connection"), None);
    assert_eq!(client.get("/").await.header("connection"), Some("close"));
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn routes_are_chosen_by_rule() {
    let (one, two) = (Origin::saying("one").await, Origin::saying("two").await);
    let yaml = format!(
        "entry_points:\n  web: {{ address: \"127.0.0.1:0\" }}\n\
         backends:\n  one: {{ url: \"http://{}\" }}\n  two: {{ url: \"http://{}\" }}\n\
         services:\n  one: {{ backends: [one] }}\n  two: {{ backends: [two] }}\n\
         routes:\n  one: {{ rule: \"PathPrefix(`/one`)\", service: one }}\n  \
         two: {{ rule: \"Host(`two.test`)\", service: two }}\n",
        one.address, two.address
    );
    let proxy = Proxy::start(&yaml).await;
    let mut client = Client::connect(proxy.web()).await;
    assert_eq!(client.get("/one/x").await.body, "one");
    let answer = client.get("/other").await;
    assert_eq!((answer.status(), answer.code().as_str()), (404, "route_not_found"));
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!(client.get("/x/../one/y").await.body, "one");
    assert!(one.last().head.starts_with("GET /one/y "), "what was matched is what is sent");
    // The request line goes before the field.
    client.send("GET http://TWO.test:80/ HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(client.answer().await.body, "two");
    assert_eq!(two.last().header("host"), ["TWO.test:80"]);
    assert!(two.last().head.starts_with("GET / "));
}
