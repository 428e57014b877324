//! Streams of HTTP/2, frame by frame.

use std::{collections::HashMap, sync::Arc, time::Duration};

use lb_http::Reason;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Notify,
};

use crate::{
    frames::{ACK, DATA, END_STREAM, Frames, GO_AWAY, HEADERS, PING, RESET, WINDOW_UPDATE},
    origin::{Origin, Reply},
    proxy::{PATIENCE, Proxy, simple, until},
};

const PROTOCOL_ERROR: u8 = 1;
const INTERNAL_ERROR: u8 = 2;
const CANCEL: u8 = 8;
const ENHANCE_YOUR_CALM: u8 = 11;
const INITIAL_WINDOW_SIZE: u16 = 4;

/// A backend that sends these bytes and nothing more, and leaves the connection open.
async fn saying(bytes: &'static [u8]) -> Origin {
    Origin::start(move |_| Reply::Bytes(bytes.to_vec())).await
}

async fn proxy(origin: &Origin, web: &str) -> Proxy {
    Proxy::start(&simple(origin.address, web, "")).await
}

#[tokio::test]
async fn answers_before_the_last_one_pass() {
    let origin = saying(
        b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nConnection: x-one\r\nX-One: 1\r\n\r\n\
          HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Two: 2\r\n\r\nhi",
    )
    .await;
    let proxy = proxy(&origin, "").await;
    let mut client = Frames::connect(proxy.web(), &[]).await;
    client.ask(1, ("GET", "/"), &[], END_STREAM).await;
    let early = client.of(1).await;
    assert_eq!((early.status(), early.field("link")), ("103", Some("</a.css>")));
    assert!(early.field("x-one").is_none() && !early.ends());
    let last = client.of(1).await;
    assert_eq!((last.status(), last.field("x-two")), ("200", Some("2")));
    assert_eq!(last.field("content-length"), Some("2"));
    assert!(last.field("date").is_some() && last.field("connection").is_none());
    assert_eq!(client.body(1).await, b"hi");
}

#[tokio::test]
async fn a_client_that_waits_for_it_is_told_to_go_on() {
    // It reads the body before it says anything.
    let origin = Origin::saying("hello").await;
    let proxy = proxy(&origin, "").await;
    let mut client = Frames::connect(proxy.web(), &[]).await;
    client.ask(1, ("POST", "/"), &[("expect", "100-continue")], 0).await;
    assert_eq!(client.of(1).await.status(), "100");
    client.send(DATA, END_STREAM, 1, "hello").await;
    assert_eq!(client.of(1).await.status(), "200");
    assert_eq!(origin.last().header("expect"), ["100-continue"]);
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let origin = saying(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n",
    )
    .await;
    let proxy = proxy(&origin, "").await;
    let mut client = Frames::connect(proxy.web(), &[]).await;
    client.ask(1, ("POST", "/"), &[("te", "trailers")], 0).await;
    client.send(DATA, 0, 1, "abc").await;
    client.trailers(1, &[("x-in", "5")]).await;
    let head = client.of(1).await;
    assert_eq!((head.status(), head.field("transfer-encoding")), ("200", None));
    let data = client.of(1).await;
    assert_eq!((data.payload.as_slice(), data.ends()), (&b"hi"[..], false));
    let trailers = client.of(1).await;
    assert_eq!((trailers.kind, trailers.ends()), (HEADERS, true));
    assert_eq!(trailers.fields, [("x-sum".to_owned(), "7".to_owned())]);
    assert_eq!(origin.last().body, "3\r\nabc\r\n0\r\nx-in: 5\r\n\r\n");
    // Who does not ask for them gets none.
    client.ask(3, ("GET", "/"), &[], END_STREAM).await;
    assert_eq!(client.of(3).await.status(), "200");
    assert_eq!(client.body(3).await, b"hi");
}

#[tokio::test]
async fn answers_without_a_body_end_with_their_head() {
    let answer = b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\nETag: x\r\n\r\n";
    let origin = saying(answer).await;
    let proxy = proxy(&origin, "").await;
    let mut client = Frames::connect(proxy.web(), &[]).await;
    for (stream, method) in [(1, "GET"), (3, "HEAD")] {
        client.ask(stream, (method, "/"), &[], END_STREAM).await;
        let head = client.of(stream).await;
        assert_eq!((head.status(), head.ends()), ("304", true));
        assert_eq!(head.field("content-length"), Some("9"));
    }
    client.ask(5, ("HEAD", "/%00"), &[], END_STREAM).await;
    let refused = client.of(5).await;
    assert_eq!((refused.status(), refused.ends()), ("400", true));
    assert_eq!(origin.connections(), 1, "the backend's connection is used again");
}

#[tokio::test]
async fn a_reset_ends_the_exchange_at_the_backend() {
    let gone = Arc::new(Notify::new());
    let seen = Arc::clone(&gone);
    let origin = Origin::start(move |_| {
        let gone = Arc::clone(&seen);
        Reply::take(|mut stream| async move {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nbegin").await.unwrap();
            drop(stream.read_to_end(&mut Vec::new()).await);
            gone.notify_one();
        })
    })
    .await;
    let proxy = proxy(&origin, "").await;
    let mut client = Frames::connect(proxy.web(), &[]).await;
    client.ask(1, ("GET", "/"), &[], END_STREAM).await;
    assert_eq!(client.of(1).await.status(), "200");
    assert_eq!(client.of(1).await.payload, b"begin");
    client.send(RESET, 0, 1, [0, 0, 0, CANCEL]).await;
    tokio::time::timeout(PATIENCE, gone.notified()).await.expect("the backend is told");
    until("it is counted", || proxy.count(Reason::ClientAborted) == 1).await;
    // The connection goes on.
    client.ask(3, ("GET", "/%00"), &[], END_STREAM).await;
    assert_eq!(client.of(3).await.status(), "400");
}

#[tokio::test]
async fn a_body_of_another_length_than_promised_is_refused() {
    let origin = Origin::start(|_| Reply::ok("never")).await;
    let proxy = proxy(&origin, "").await;
    let mut client = Frames::connect(proxy.web(), &[]).await;
    client.ask(1, ("POST", "/"), &[("content-length", "5")], 0).await;
    client.send(DATA, END_STREAM, 1, "four").await;
    let reset = client.of(1).await;
    assert_eq!((reset.kind, reset.code()), (RESET, PROTOCOL_ERROR));
    assert_eq!(origin.seen().len(), 0);
}

#[tokio::test]
async fn what_is_no_request_is_reset_and_counted() {
    let origin = Origin::saying("x").await;
    let proxy = proxy(&origin, "").await;
    let mut client = Frames::connect(proxy.web(), &[]).await;
    let websocket = [("connection", "upgrade"), ("upgrade", "websocket")];
    client.ask(1, ("GET", "/"), &websocket, END_STREAM).await;
    assert_eq!(client.of(1).await.code(), PROTOCOL_ERROR);
    client.ask(3, ("CONNECT", "/"), &[(":protocol", "websocket")], 0).await;
    assert_eq!(client.of(3).await.code(), PROTOCOL_ERROR);
    assert_eq!(proxy.count(Reason::BadRequest), 2);
    client.ask(5, ("GET", "/"), &[("host", "b")], END_STREAM).await;
    assert_eq!(client.of(5).await.status(), "400");
    client.ask(7, ("GET", "*"), &[], END_STREAM).await;
    assert_eq!(client.of(7).await.status(), "400");
    assert_eq!(origin.seen().len(), 0);
}

#[tokio::test]
async fn limits_on_heads_hold() {
    let origin = Origin::saying("x").await;
    let proxy = proxy(&origin, ", limits: { request_line: 256, header_bytes: 1024 }").await;
    let mut client = Frames::connect(proxy.web(), &[]).await;
    let path = format!("/{}", "a".repeat(300));
    client.ask(1, ("GET", &path), &[], END_STREAM).await;
    assert_eq!(client.of(1).await.status(), "414");
    client.ask(3, ("GET", "/"), &[("x", &"a".repeat(2000))], END_STREAM).await;
    assert_eq!(client.of(3).await.status(), "431");
    assert_eq!(proxy.count(Reason::HeaderTooLarge), 1);
    client.ask(5, ("GET", "/"), &[], END_STREAM).await;
    assert_eq!(client.of(5).await.status(), "200");
}

#[tokio::test]
async fn a_client_that_never_takes_the_body_is_given_up() {
    let origin = Origin::saying("hello").await;
    let proxy = proxy(&origin, ", timeouts: { body: 1s }").await;
    let mut client = Frames::connect(proxy.web(), &[(INITIAL_WINDOW_SIZE, 0)]).await;
    client.ask(1, ("GET", "/"), &[], END_STREAM).await;
    assert_eq!(client.of(1).await.status(), "200");
    assert_eq!(client.of(1).await.code(), CANCEL);
    until("it is counted", || proxy.count(Reason::ClientAborted) == 1).await;
    // One that takes it later gets it.
    client.ask(3, ("GET", "/"), &[], END_STREAM).await;
    assert_eq!(client.of(3).await.status(), "200");
    client.open(3, 2).await;
    assert_eq!(client.of(3).await.payload, b"he");
    client.open(3, 3).await;
    assert_eq!(client.body(3).await, b"llo");
}

#[tokio::test]
async fn a_request_body_that_stops_is_a_408() {
    let origin = Origin::saying("x").await;
    let proxy = proxy(&origin, ", timeouts: { body: 200ms }").await;
    let mut client = Frames::connect(proxy.web(), &[]).await;
    client.ask(1, ("POST", "/"), &[], 0).await;
    client.send(DATA, 0, 1, "some").await;
    assert_eq!(client.of(1).await.status(), "408");
    assert!(client.body(1).await.ends_with(b"}\n"));
    // Nobody reads the rest.
    assert_eq!(client.of(1).await.code(), 0);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_taken_for_a_whole() {
    let origin =
        Origin::start(|_| Reply::Close(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf".into()));
    let origin = origin.await;
    let proxy = proxy(&origin, "").await;
    let mut client = Frames::connect(proxy.web(), &[]).await;
    client.ask(1, ("GET", "/"), &[], END_STREAM).await;
    assert_eq!(client.of(1).await.status(), "200");
    assert_eq!(client.of(1).await.payload, b"half");
    assert_eq!(client.of(1).await.code(), INTERNAL_ERROR);
}

#[tokio::test]
async fn large_bodies_pass_both_ways_beside_others() {
    const SIZE: usize = 3 << 20;
    let origin = Origin::start(|seen| Reply::ok(&seen.body)).await;
    let proxy = proxy(&origin, "").await;
    let mut client = Frames::connect(proxy.web(), &[]).await;
    // As much as the windows hold, for more than one stream.
    let piece = "0123456789abcdef".repeat(1024);
    for stream in [1, 3] {
        client.ask(stream, ("POST", "/"), &[("content-length", &SIZE.to_string())], 0).await;
    }
    let (mut window, mut sent, mut answered) = (65_535_usize, [0; 2], [0; 2]);
    let mut windows = [256 << 10, 256 << 10];
    client.open(0, 64 << 20).await;
    while answered.iter().any(|count| *count < SIZE) {
        let mut has_sent = false;
        for at in 0..2 {
            let from = sent[at] % 16;
            let room = window.min(windows[at]).min(SIZE - sent[at]).min(piece.len() - from);
            if room > 0 {
                has_sent = true;
                sent[at] += room;
                (window, windows[at]) = (window - room, windows[at] - room);
                let flags = if sent[at] == SIZE { END_STREAM } else { 0 };
                client.send(DATA, flags, 2 * at as u32 + 1, &piece[from..from + room]).await;
            }
        }
        if has_sent {
            continue;
        }
        let frame = client.window_or_next().await;
        let at = (frame.stream / 2) as usize;
        match frame.kind {
            WINDOW_UPDATE => {
                let by = u32::from_be_bytes(frame.payload[..4].try_into().unwrap()) as usize;
                if frame.stream == 0 { window += by } else { windows[at] += by }
            }
            HEADERS => {
                assert_eq!(frame.status(), "200");
                client.open(frame.stream, 16 << 20).await;
            }
            DATA => {
                for byte in frame.payload {
                    assert_eq!(byte, piece.as_bytes()[answered[at] % piece.len()]);
                    answered[at] += 1;
                }
            }
            _ => {}
        }
    }
    assert_eq!(sent, [SIZE; 2]);
}

#[tokio::test]
async fn a_hundred_streams_are_answered_at_a_time() {
    let size = 100_000;
    let origin = Origin::start(move |_| Reply::ok(&"x".repeat(size))).await;
    let proxy = proxy(&origin, "").await;
    let mut client = Frames::connect(proxy.web(), &[(INITIAL_WINDOW_SIZE, 1 << 20)]).await;
    client.send(WINDOW_UPDATE, 0, 0, (64_u32 << 20).to_be_bytes()).await;
    for round in 0..3 {
        let mut left: HashMap<u32, usize> = HashMap::new();
        for at in 0..100 {
            let stream = 200 * round + 2 * at + 1;
            client.ask(stream, ("GET", "/"), &[], END_STREAM).await;
            left.insert(stream, size);
        }
        let mut ended = 0;
        while ended < 100 {
            let frame = client.next().await.unwrap();
            if frame.kind == DATA {
                *left.get_mut(&frame.stream).unwrap() -= frame.payload.len();
            }
            ended += u32::from(frame.ends());
        }
        assert!(left.values().all(|left| *left == 0));
    }
}

#[tokio::test]
async fn requests_that_are_only_cancelled_end_the_connection() {
    let origin = Origin::start(|_| Reply::hang()).await;
    let proxy = proxy(&origin, "").await;
    let mut client = Frames::connect(proxy.web(), &[]).await;
    for at in 0..101 {
        client.ask(2 * at + 1, ("GET", "/"), &[], END_STREAM).await;
        client.send(RESET, 0, 2 * at + 1, [0, 0, 0, CANCEL]).await;
    }
    let last = client.next().await.unwrap();
    assert_eq!((last.kind, last.code()), (GO_AWAY, ENHANCE_YOUR_CALM));
    assert!(client.next().await.is_none());
    until("nothing is in flight", || proxy.stats().backends[0].counts.in_flight == 0).await;
}

#[tokio::test]
async fn a_connection_without_requests_ends() {
    let origin = Origin::saying("hello").await;
    let proxy = proxy(&origin, ", timeouts: { header: 1s, idle: 200ms }").await;
    for requests in 0..2 {
        let mut client = Frames::connect(proxy.web(), &[]).await;
        for at in 0..requests {
            client.ask(2 * at + 1, ("GET", "/"), &[], END_STREAM).await;
            assert_eq!(client.of(2 * at + 1).await.status(), "200");
            assert_eq!(client.body(2 * at + 1).await, b"hello");
        }
        let announced = client.next().await.unwrap();
        assert_eq!((announced.kind, announced.code()), (GO_AWAY, 0));
        // It does not say that it has heard.
        assert_eq!(client.next().await.unwrap().kind, PING);
        let last = client.next().await.unwrap();
        assert_eq!((last.kind, last.code()), (GO_AWAY, 0));
        assert!(client.next().await.is_none());
    }
    proxy.until("both are closed", |stats| stats.listeners[0].open == 0).await;
}

#[tokio::test]
async fn draining_loses_no_request() {
    let go = Arc::new(Notify::new());
    let waits = Arc::clone(&go);
    let origin = Origin::start(move |_| {
        let go = Arc::clone(&waits);
        Reply::take(|mut stream| async move {
            go.notified().await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await.unwrap();
        })
    })
    .await;
    let mut proxy = proxy(&origin, "").await;
    let mut client = Frames::connect(proxy.web(), &[]).await;
    client.ask(1, ("GET", "/"), &[], END_STREAM).await;
    until("the backend is asked", || origin.seen().len() == 1).await;
    let drained = tokio::spawn(async move { proxy.runtime.drain(Duration::ZERO, PATIENCE).await });
    let announced = client.next().await.unwrap();
    assert_eq!(
        (announced.kind, announced.payload[..4].to_vec()),
        (GO_AWAY, vec![127, 255, 255, 255])
    );
    // What was sent before this was heard is answered.
    client.ask(3, ("GET", "/"), &[], END_STREAM).await;
    let ping = client.next().await.unwrap();
    assert_eq!(ping.kind, PING);
    client.send(PING, ACK, 0, &ping.payload).await;
    let last = client.next().await.unwrap();
    assert_eq!((last.kind, last.payload[..4].to_vec()), (GO_AWAY, vec![0, 0, 0, 3]));
    client.ask(5, ("GET", "/"), &[], END_STREAM).await;
    until("the backend is asked", || origin.seen().len() == 2).await;
    go.notify_one();
    go.notify_one();
    let mut answers = 0;
    while let Some(frame) = client.next().await {
        assert_ne!(frame.stream, 5);
        answers += u32::from(frame.ends());
        go.notify_one();
    }
    assert_eq!((answers, drained.await.unwrap(), origin.seen().len()), (2, 0, 2));
}
