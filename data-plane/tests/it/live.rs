//! Changes while traffic flows, and the end of it.

use std::{sync::Arc, time::Duration};

use tokio::{io::AsyncWriteExt, sync::Notify};

use crate::{
    client::{Client, get},
    origin::{Origin, Reply},
    proxy::{PATIENCE, Proxy, simple, until},
};

/// Answers with the first half of a body at once, and with the rest when told to.
async fn slow(go: &Arc<Notify>) -> Origin {
    let go = Arc::clone(go);
    Origin::start(move |_| {
        let go = Arc::clone(&go);
        Reply::take(|mut stream| async move {
            let half = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfirst";
            stream.write_all(half.as_bytes()).await.unwrap();
            go.notified().await;
            stream.write_all(b"other").await.unwrap_or_default();
        })
    })
    .await
}

async fn begin(proxy: &Proxy) -> Client {
    let mut client = Client::connect(proxy.web()).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.until(b"first").await;
    client
}

#[tokio::test]
async fn a_download_outlives_the_configuration_it_began_under() {
    let go = Arc::new(Notify::new());
    let (old, new) = (slow(&go).await, Origin::saying("new").await);
    let mut proxy = Proxy::start(&simple(old.address, "", "")).await;
    let address = proxy.web();
    let mut client = begin(&proxy).await;
    proxy.update(&simple(new.address, "", "")).await.unwrap();
    assert_eq!(proxy.web(), address, "an unchanged listener stays");
    assert_eq!(get(address, "/").await.body, "new");
    go.notify_one();
    assert_eq!(client.until(b"other").await, "other");
    // The same connection follows the new configuration from its next request on.
    assert_eq!(client.get("/").await.body, "new");
    assert_eq!(proxy.stats().routes[0].classes[1], 3, "the route is the same one");
}

fn two(origin: &Origin, admin: &str) -> String {
    simple(origin.address, "", "")
        .replace("backends:\n", &format!("  {admin}: {{ address: \"127.0.0.1:0\" }}\nbackends:\n"))
}

#[tokio::test]
async fn listeners_come_and_go_and_finish_what_they_began() {
    let go = Arc::new(Notify::new());
    let (slow, quick) = (slow(&go).await, Origin::saying("quick").await);
    let mut proxy = Proxy::start(&simple(slow.address, "", "")).await;
    let client = begin(&proxy).await;
    let web = proxy.web();

    proxy.update(&two(&quick, "extra")).await.unwrap();
    let extra = proxy.listener("extra").unwrap();
    assert_eq!(get(extra, "/").await.body, "quick");
    let mut idle = Client::connect(extra).await;
    assert_eq!(idle.get("/").await.body, "quick");

    proxy.update(&two(&quick, "other").replace("  web:", "  moved:")).await.unwrap();
    assert_eq!(proxy.listener("web"), None);
    assert_eq!(idle.rest().await, "", "an idle connection of a removed listener ends");
    until("nobody listens", || std::net::TcpStream::connect(web).is_err()).await;
    go.notify_one();
    assert_eq!(client.rest().await, "other", "a busy one ends when it is done");
}

#[tokio::test]
async fn a_port_in_use_changes_nothing() {
    let (old, new) = (Origin::saying("old").await, Origin::saying("new").await);
    let mut proxy = Proxy::start(&simple(old.address, "", "")).await;
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = held.local_addr().unwrap().to_string();
    let yaml = two(&new, "extra")
        .replace("extra: { address: \"127.0.0.1:0\"", &format!("extra: {{ address: \"{taken}\""));
    let error = proxy.update(&yaml).await.unwrap_err();
    assert_eq!(error.to_string(), format!("could not listen on {taken} for entry point `extra`"));
    assert_eq!(error.source.kind(), std::io::ErrorKind::AddrInUse);
    assert_eq!(get(proxy.web(), "/").await.body, "old");
    assert_eq!(proxy.stats().version, 1);
    drop(held);
}

#[tokio::test]
async fn limits_change_without_a_new_socket() {
    let origin = Origin::saying("ok").await;
    let mut proxy = Proxy::start(&simple(origin.address, "", "")).await;
    let mut client = Client::connect(proxy.web()).await;
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde";
    client.send(post).await;
    assert_eq!(client.answer().await.status(), 200);
    let tight = simple(origin.address, ", limits: { body: 4 }", "");
    proxy.update(&tight).await.unwrap();
    client.send(post).await;
    assert_eq!(client.answer().await.status(), 413, "on the same connection");
}

#[tokio::test]
async fn draining_answers_what_is_in_flight_and_takes_no_more() {
    let go = Arc::new(Notify::new());
    let origin = slow(&go).await;
    let mut proxy = Proxy::start(&simple(origin.address, "", "")).await;
    let web = proxy.web();
    let client = begin(&proxy).await;
    let idle = Client::connect(web).await;
    let handle = proxy.runtime.handle();
    let drained = tokio::spawn(async move { proxy.runtime.drain(Duration::ZERO, PATIENCE).await });
    until("nobody listens", || std::net::TcpStream::connect(web).is_err()).await;
    assert_eq!(idle.rest().await, "");
    until("only the busy one is left", || handle.stats().listeners[0].open == 1).await;
    assert!(!drained.is_finished());
    go.notify_one();
    assert_eq!(client.rest().await, "other");
    assert_eq!(drained.await.unwrap(), 0);
}

#[tokio::test]
async fn draining_ends_at_its_deadline() {
    let go = Arc::new(Notify::new());
    let origin = slow(&go).await;
    let mut proxy = Proxy::start(&simple(origin.address, "", "")).await;
    let client = begin(&proxy).await;
    let left = proxy.runtime.drain(Duration::ZERO, Duration::from_millis(50)).await;
    assert_eq!(left, 1);
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn a_busy_connection_survives_many_changes() {
    let (one, two) = (Origin::saying("one").await, Origin::saying("two").await);
    let mut proxy = Proxy::start(&simple(one.address, "", "")).await;
    let address = proxy.web();
    let load = tokio::spawn(async move {
        let mut client = Client::connect(address).await;
        for _ in 0..300 {
            assert_eq!(client.get("/").await.status(), 200);
        }
    });
    let mut turn = 0;
    while !load.is_finished() {
        turn += 1;
        let origin = if turn % 2 == 0 { &one } else { &two };
        proxy.update(&simple(origin.address, "", "")).await.unwrap();
        tokio::task::yield_now().await;
    }
    load.await.unwrap();
    let counted = proxy.stats().routes[0].classes;
    assert_eq!(counted, [0, 300, 0, 0, 0]);
}
