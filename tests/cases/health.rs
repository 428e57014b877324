//! Health checks of every kind, each against a server that knows nothing of us.

use std::net::SocketAddr;

use lb_model::{
    Bundle,
    api::{BUNDLE_TYPE, BackendView},
};
use lb_tests::{
    backend::{Backend, Behaviour, HEALTH},
    certificate::Pair,
    client,
    cluster::Cluster,
    control_plane::outcome,
    eventually::eventually,
    nginx::Nginx,
    scratch::Scratch,
};
use reqwest::Method;
use tokio::net::{TcpListener, TcpSocket};
use tokio_stream::wrappers::TcpListenerStream;
use tonic_health::{ServingStatus, pb::health_server::HealthServer, server::HealthReporter};

/// A service with one backend at `url`, and how it is checked.
fn checked(url: &str, check: &str) -> String {
    format!(
        "entry_points: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         backends: {{ a: {{ url: \"{url}\" }} }}\n\
         health_check: {{ interval: 100ms, timeout: 90ms, unhealthy_interval: 20ms, {check} }}\n"
    )
}

/// Commits a document that names files, and waits until every proxy serves it.
async fn apply_with_files(cluster: &mut Cluster, document: &str) {
    let mut bundle = Bundle::of_text("lb.yaml", document);
    bundle.gather(|file| std::fs::read(&file.path));
    let request = cluster.control_plane().request(Method::PUT, "/api/v1/config");
    let request = request.header("if-match", "*").header("content-type", BUNDLE_TYPE);
    let response = request.body(serde_json::to_vec(&bundle).unwrap()).send().await.unwrap();
    let committed = outcome(response).await.expect("a document that is right");
    cluster.live_on_all(committed.version).await;
}

/// Waits until both proxies say so, and gives what operators see then.
async fn becomes(cluster: &mut Cluster, wanted: &str, error: &str) -> BackendView {
    eventually(&format!("the backend is {wanted} ({error})"), async || {
        let list = cluster.control_plane().get("/admin/backends").await;
        let view: BackendView = serde_json::from_value(list["backends"][0].clone()).unwrap();
        let said = view.last_error.clone().unwrap_or_default();
        let is_so = view.reported_by == 2 && view.health == wanted && said.contains(error);
        if is_so { Ok(view) } else { Err(format!("{view:?}")) }
    })
    .await
}

#[tokio::test]
async fn a_request_is_made_and_judged_as_the_document_says() {
    let backend = Backend::start("a").await;
    let check = "path: /ready, method: OPTIONS, host: shop.example, headers: { X-Probe: one }, \
                 body: '\"host\":\"shop.example\".*\"x-probe\":\"one\".*\"OPTIONS\",\"path\":\"/ready\"'";
    let mut cluster = Cluster::serving(2, &checked(&backend.url(), check)).await;
    becomes(&mut cluster, "up", "").await;
    assert_eq!(client::get(cluster.web(0).await, "a", "/").await.backend(), "a");

    backend.behave(Behaviour::Status(204));
    becomes(&mut cluster, "down", "does not match").await;

    let check = "path: /ready, status: [200, 5xx]";
    cluster.apply(&checked(&backend.url(), check)).await;
    becomes(&mut cluster, "down", "status 204").await;
    backend.behave(Behaviour::Status(503));
    becomes(&mut cluster, "up", "").await;
}

#[tokio::test]
async fn the_port_that_is_asked_may_be_another() {
    let (backend, beside) = (Backend::start("a").await, Backend::start("beside").await);
    let port = beside.url().rsplit(':').next().unwrap().to_owned();
    let check = format!("path: {HEALTH}, port: {port}");
    let mut cluster = Cluster::serving(2, &checked(&backend.url(), &check)).await;
    becomes(&mut cluster, "up", "").await;
    beside.set_healthy(false);
    becomes(&mut cluster, "down", "status 503").await;
    assert_eq!(backend.checks(), 0);
    beside.set_healthy(true);
    becomes(&mut cluster, "up", "").await;
}

#[tokio::test]
async fn nginx_is_asked_over_tls_and_only_trusted_with_a_certificate_that_is() {
    let scratch = Scratch::new();
    let (pair, other) = (Pair::new("shop.example"), Pair::new("shop.example"));
    let (nginx, port) = Nginx::with_tls(&scratch, &pair).await;
    let trusted = scratch.write("trusted.pem", &pair.certificate);
    let untrusted = scratch.write("untrusted.pem", &other.certificate);
    let document = |authority: &str, more: &str| {
        let check = format!("tls: true, port: {port}, {authority}{more}");
        checked(&nginx.url(), &check)
    };
    let of = |path: &std::path::Path| format!("ca_file: '{}', ", path.display());
    let named = "host: shop.example, path: /up, body: \"^nginx shop.example shop.example /up\"";

    let mut cluster = Cluster::start(2).await;
    apply_with_files(&mut cluster, &document(&of(&trusted), named)).await;
    becomes(&mut cluster, "up", "").await;
    apply_with_files(&mut cluster, &document(&of(&untrusted), named)).await;
    becomes(&mut cluster, "down", "TLS: invalid peer certificate").await;
    // The certificate is right, but for somebody else.
    apply_with_files(&mut cluster, &document(&of(&trusted), "host: other.example")).await;
    becomes(&mut cluster, "down", "not valid for name").await;
    // A handshake is enough for a bare connection.
    apply_with_files(&mut cluster, &document(&of(&trusted), "host: shop.example, type: tcp")).await;
    becomes(&mut cluster, "up", "").await;
    // Nobody of the system vouches for it.
    apply_with_files(&mut cluster, &document("", "host: shop.example")).await;
    becomes(&mut cluster, "down", "").await;
}

#[tokio::test]
async fn a_grpc_server_says_itself_which_of_its_services_are_well() {
    let (reporter, server) = tonic_health::server::health_reporter();
    let (address, _running) = grpc(server).await;
    set(&reporter, "shop.Cart", ServingStatus::Serving).await;
    let url = format!("http://{address}");
    let mut cluster = Cluster::serving(2, &checked(&url, "type: grpc, service: shop.Cart")).await;
    becomes(&mut cluster, "up", "").await;
    set(&reporter, "shop.Cart", ServingStatus::NotServing).await;
    becomes(&mut cluster, "down", "NOT_SERVING").await;
    set(&reporter, "shop.Cart", ServingStatus::Serving).await;
    becomes(&mut cluster, "up", "").await;

    cluster.apply(&checked(&url, "type: grpc, service: shop.Search")).await;
    becomes(&mut cluster, "down", "gRPC status 5").await;
    // The server as a whole.
    cluster.apply(&checked(&url, "type: grpc")).await;
    becomes(&mut cluster, "up", "").await;
}

#[tokio::test]
async fn what_does_not_speak_grpc_is_not_well() {
    let backend = Backend::start("a").await;
    let mut cluster = Cluster::serving(2, &checked(&backend.url(), "type: grpc")).await;
    becomes(&mut cluster, "down", "no").await;
}

#[tokio::test]
async fn a_port_that_goes_away_and_comes_back_is_noticed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut cluster =
        Cluster::serving(2, &checked(&format!("http://{address}"), "type: tcp")).await;
    becomes(&mut cluster, "up", "").await;
    drop(listener);
    becomes(&mut cluster, "down", "could not connect").await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    let _listener = socket.listen(64).unwrap();
    becomes(&mut cluster, "up", "").await;
}

/// Runs the health service of tonic; it ends with what is given back.
async fn grpc<S>(server: HealthServer<S>) -> (SocketAddr, tokio::task::JoinSet<()>)
where
    S: tonic_health::pb::health_server::Health,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut running = tokio::task::JoinSet::new();
    running.spawn(async move {
        let router = tonic::transport::Server::builder().add_service(server);
        router.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
    });
    (address, running)
}

async fn set(reporter: &HealthReporter, service: &str, status: ServingStatus) {
    reporter.set_service_status(service, status).await;
}
