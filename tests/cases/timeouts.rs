//! How long a proxy waits for a backend, that a route may have it otherwise, and how old
//! connections get.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use lb_tests::{
    backend::{Backend, Behaviour},
    client::Connection,
    cluster::Cluster,
    eventually::eventually,
    recorder::Recorder,
};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// A service whose limits are out of reach, with a route `/short` that has its own.
fn document(url: &str, short: &str) -> String {
    format!(
        "entry_points: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         backends: {{ a: {{ url: \"{url}\" }} }}\n\
         services: {{ s: {{ backends: [a], timeouts: {{ connect: 1h, response_header: 1h, \
         idle: 1h, total: 0 }} }} }}\n\
         routes:\n  all: {{ rule: \"PathPrefix(`/`)\" }}\n  \
         short: {{ rule: \"PathPrefix(`/short`)\", timeouts: {{ {short} }} }}\n"
    )
}

/// Sends a request on both routes, and waits for what becomes of the one with limits, which must
/// be before anything becomes of the other.
async fn race(cluster: &Cluster) -> (std::io::Result<lb_tests::client::Response>, Connection) {
    let mut patient = Connection::open(cluster.web(0).await).await.unwrap();
    patient.send("GET /long HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let start = Instant::now();
    let mut short = Connection::open(cluster.web(0).await).await.unwrap();
    let outcome = short.get("a", "/short").await;
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(195), "it waited for as long as it may: {took:?}");
    (outcome, patient)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_may_take_so_long_to_begin_its_answer() {
    let backend = Backend::doing("a", Behaviour::Hang).await;
    for limit in ["response_header: 200ms", "total: 200ms"] {
        let mut cluster = Cluster::serving(1, &document(&backend.url(), limit)).await;
        let (outcome, _patient) = race(&cluster).await;
        assert_eq!(outcome.unwrap().problem(), (504, "upstream_timeout".to_owned()), "{limit}");
        let in_flight = cluster.proxy(0).metric("lb_upstream_in_flight_requests", "").await;
        assert_eq!(in_flight, 1, "the other request still waits: {limit}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_may_pause_so_long_and_last_so_long() {
    for limit in ["idle: 200ms", "total: 200ms"] {
        let backend = Backend::doing("a", Behaviour::Gated).await;
        let cluster = Cluster::serving(1, &document(&backend.url(), limit)).await;
        let (outcome, mut patient) = race(&cluster).await;
        assert!(outcome.is_err(), "half a body must not look whole: {outcome:?}");
        backend.release();
        assert_eq!(patient.response().await.unwrap().text(), "first half", "{limit}");
    }
}

/// A server that takes no connection any more, and what keeps it so.
async fn full() -> (String, TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) =
        tokio::time::timeout(Duration::from_millis(500), TcpStream::connect(address)).await
    {
        waiting.push(stream.unwrap());
        assert!(waiting.len() < 100, "the queue of a listener has an end");
    }
    (format!("http://{address}"), listener, waiting)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_may_take_so_long_to_stand() {
    let (url, _listener, _waiting) = full().await;
    let mut cluster = Cluster::serving(1, &document(&url, "connect: 200ms")).await;
    let (outcome, _patient) = race(&cluster).await;
    assert_eq!(outcome.unwrap().problem(), (504, "upstream_timeout".to_owned()));
    let labels = "backend=\"a\",kind=\"connect\",service=\"s\"";
    assert_eq!(cluster.proxy(0).metric("lb_upstream_failures_total", labels).await, 1);
    assert_eq!(cluster.proxy(0).metric("lb_upstream_in_flight_requests", "").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_to_a_backend_gets_so_old() {
    for (limit, is_limited) in [("0", false), ("200ms", true)] {
        let backend = Recorder::start().await;
        let document = format!(
            "entry_points: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
             backends: {{ a: {{ url: \"http://{}\" }} }}\n\
             services: {{ s: {{ backends: [a], pool: {{ max_lifetime: {limit} }} }} }}\n",
            backend.address()
        );
        let cluster = Cluster::in_turn(&document).await;
        let mut client = Connection::open(cluster.web(0).await).await.unwrap();
        let (start, mut requests) = (Instant::now(), 0);
        let connections = eventually("it was asked for a second", async || {
            assert_eq!(client.get("a", "/").await.unwrap().status, 200);
            requests += 1;
            let made: BTreeSet<_> = backend.connections(0).into_iter().collect();
            let passed = start.elapsed();
            if passed > Duration::from_secs(1) {
                Ok(made.len())
            } else {
                Err(format!("{passed:?}"))
            }
        })
        .await;
        if is_limited {
            assert!((2..=6).contains(&connections), "{connections} for {requests} requests");
        } else {
            assert_eq!(connections, 1, "for {requests} requests");
        }
    }
}
