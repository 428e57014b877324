//! Backends that fall ill, and what clients and operators see of it.

use std::net::SocketAddr;

use lb_model::api::BackendView;
use lb_tests::{
    backend::{Backend, Behaviour, HEALTH, refused_address},
    client::{self, Connection, Response},
    cluster::Cluster,
    eventually::eventually,
};

const WEB: &str = "entry_points: { web: { address: \"127.0.0.1:0\" } }\n";

/// A service with short time-outs over backends at these URLs, named `b0`, `b1`, ...
fn service(urls: &[String], more: &str) -> String {
    use std::fmt::Write;
    let mut text = format!("{WEB}backends:\n");
    for (index, url) in urls.iter().enumerate() {
        let _ = writeln!(text, "  b{index}: {{ url: \"{url}\" }}");
    }
    let names: Vec<_> = (0..urls.len()).map(|index| format!("b{index}")).collect();
    let _ = write!(
        text,
        "services:\n  shop:\n    backends: [{}]\n    \
         timeouts: {{ connect: 500ms, response_header: 300ms, idle: 300ms }}\n{more}",
        names.join(", ")
    );
    text
}

fn checked() -> String {
    format!(
        "    health_check: {{ path: {HEALTH}, interval: 100ms, timeout: 80ms, \
         healthy_threshold: 2, unhealthy_threshold: 2 }}\n"
    )
}

async fn views(cluster: &mut Cluster) -> Vec<BackendView> {
    let list = cluster.control_plane().get("/admin/backends").await;
    serde_json::from_value(list["backends"].clone()).unwrap()
}

async fn health_becomes(cluster: &mut Cluster, backend: usize, wanted: &str) -> BackendView {
    eventually(&format!("backend {backend} is {wanted}"), async || {
        let view = views(cluster).await.swap_remove(backend);
        let is_whole = view.reported_by == 2 && view.health == wanted;
        if is_whole { Ok(view) } else { Err(format!("{view:?}")) }
    })
    .await
}

#[tokio::test]
async fn a_failing_backend_is_taken_out_and_comes_back() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let mut cluster = Cluster::serving(2, &service(&[a.url(), b.url()], &checked())).await;
    health_becomes(&mut cluster, 0, "up").await;
    health_becomes(&mut cluster, 1, "up").await;

    a.set_healthy(false);
    let view = health_becomes(&mut cluster, 0, "down").await;
    assert_eq!((view.service.as_str(), view.id.as_str(), view.up_on), ("shop", "b0", 0));
    assert!(view.last_error.as_deref().unwrap_or_default().contains("503"), "{view:?}");
    assert!(view.last_check.is_some(), "{view:?}");
    let before = a.requests();
    for proxy in 0..2 {
        for _ in 0..20 {
            let response = client::get(cluster.web(proxy).await, "a", "/").await;
            assert_eq!((response.status, response.backend().as_str()), (200, "b"));
        }
        assert_eq!(cluster.proxy(proxy).metric("lb_backend_up", "backend=\"b0\"").await, 0);
        assert_eq!(cluster.proxy(proxy).metric("lb_backend_up", "backend=\"b1\"").await, 1);
    }
    assert_eq!(a.requests(), before, "a backend that is down gets no requests");
    let health = cluster.control_plane().get("/admin/health").await;
    assert_eq!(
        (health["status"].as_str(), health["backends"]["unhealthy"].as_u64()),
        (Some("degraded"), Some(1))
    );

    a.set_healthy(true);
    health_becomes(&mut cluster, 0, "up").await;
    eventually("it gets requests again", async || {
        let name = client::get(cluster.web(0).await, "a", "/").await.backend();
        if name == "a" { Ok(()) } else { Err(name) }
    })
    .await;
    assert!(a.checks() > 0);
}

#[tokio::test]
async fn without_a_backend_that_is_up_the_proxy_says_so() {
    let backend = Backend::start("a").await;
    backend.set_healthy(false);
    let mut cluster = Cluster::serving(1, &service(&[backend.url()], &checked())).await;
    let response = client::get(cluster.web(0).await, "a", "/").await;
    assert_eq!(response.problem(), (503, "no_healthy_backend".to_owned()));
    assert_eq!(cluster.proxy(0).metric("lb_local_responses_total", "no_healthy_backend").await, 1);
    assert_eq!(backend.requests(), 0);
}

#[tokio::test]
async fn a_backend_is_checked_before_a_change_sends_it_requests() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let cluster = Cluster::serving(1, &service(&[a.url()], &checked())).await;
    b.set_healthy(false);
    cluster.apply(&service(&[a.url(), b.url()], &checked())).await;
    let mut connection = Connection::open(cluster.web(0).await).await.unwrap();
    for _ in 0..20 {
        assert_eq!(connection.get("a", "/").await.unwrap().backend(), "a");
    }
    assert_eq!(b.requests(), 0);
}

/// One request to a fleet of one proxy before one backend.
async fn through(url: String) -> (Response, Cluster) {
    let cluster = Cluster::serving(1, &service(&[url], "")).await;
    let response = client::get(cluster.web(0).await, "a", "/").await;
    (response, cluster)
}

async fn assert_counted(cluster: &mut Cluster, reason: &str) {
    let proxy = cluster.proxy(0);
    let reason = format!("reason=\"{reason}\"");
    assert_eq!(proxy.metric("lb_local_responses_total", &reason).await, 1);
    assert_eq!(proxy.metric("lb_upstream_failures_total", "backend=\"b0\"").await, 1);
    assert_eq!(proxy.metric("lb_requests_total", "class=\"5xx\"").await, 1);
    assert_eq!(proxy.metric("lb_upstream_in_flight_requests", "").await, 0);
}

#[tokio::test]
async fn a_backend_that_refuses_is_a_502() {
    let address: SocketAddr = refused_address().await;
    let (response, mut cluster) = through(format!("http://{address}")).await;
    assert_eq!(response.problem(), (502, "upstream_connect_error".to_owned()));
    assert_counted(&mut cluster, "upstream_connect_error").await;
}

#[tokio::test]
async fn a_backend_that_hangs_is_a_504() {
    let backend = Backend::doing("a", Behaviour::Hang).await;
    let (response, mut cluster) = through(backend.url()).await;
    assert_eq!(response.problem(), (504, "upstream_timeout".to_owned()));
    assert_counted(&mut cluster, "upstream_timeout").await;
}

#[tokio::test]
async fn a_backend_that_resets_is_a_502() {
    for behaviour in [Behaviour::Reset, Behaviour::Close] {
        let backend = Backend::doing("a", behaviour).await;
        let (response, mut cluster) = through(backend.url()).await;
        assert_eq!(response.problem(), (502, "upstream_reset".to_owned()), "{behaviour:?}");
        assert_counted(&mut cluster, "upstream_reset").await;
    }
}

#[tokio::test]
async fn a_backend_that_talks_nonsense_is_a_502() {
    let backend = Backend::doing("a", Behaviour::Garbage).await;
    let (response, mut cluster) = through(backend.url()).await;
    assert_eq!(response.problem(), (502, "upstream_invalid".to_owned()));
    assert_counted(&mut cluster, "upstream_invalid").await;
}

#[tokio::test]
async fn a_body_that_ends_early_or_stalls_ends_the_connection() {
    for behaviour in [Behaviour::Short, Behaviour::Gated] {
        let backend = Backend::doing("a", behaviour).await;
        let cluster = Cluster::serving(1, &service(&[backend.url()], "")).await;
        let mut connection = Connection::open(cluster.web(0).await).await.unwrap();
        let cut = connection.get("a", "/").await;
        assert!(cut.is_err(), "{behaviour:?}: half a body must not look whole: {cut:?}");
        // The next client is served all the same.
        backend.behave(Behaviour::Echo);
        let response = client::get(cluster.web(0).await, "a", "/").await;
        assert_eq!(response.status, 200);
    }
}

#[tokio::test]
async fn errors_of_a_backend_are_passed_on_as_they_are() {
    let backend = Backend::doing("a", Behaviour::Status(503)).await;
    let (response, mut cluster) = through(backend.url()).await;
    assert_eq!((response.status, response.text()), (503, String::new()));
    let proxy = cluster.proxy(0);
    assert_eq!(proxy.metric("lb_upstream_failures_total", "").await, 0);
    assert_eq!(proxy.metric("lb_requests_total", "class=\"5xx\"").await, 1);
    assert_eq!(proxy.metric("lb_local_responses_total", "").await, 0);
}

#[tokio::test]
async fn operators_see_the_requests_of_the_whole_fleet() {
    let backend = Backend::start("a").await;
    let mut cluster =
        Cluster::serving(2, &service(&[backend.url()], "").replace("300ms", "1h")).await;
    for proxy in 0..2 {
        let mut connection = Connection::open(cluster.web(proxy).await).await.unwrap();
        for _ in 0..50 {
            connection.get("a", "/").await.unwrap();
        }
    }
    let view = eventually("both proxies have reported", async || {
        let view = views(&mut cluster).await.swap_remove(0);
        if view.requests == 100 { Ok(view) } else { Err(format!("{view:?}")) }
    })
    .await;
    assert_eq!((view.failures, view.reported_by, view.health.as_str()), (0, 2, "unchecked"));
    assert_eq!((view.url.as_str(), view.admin_state.as_str()), (&*backend.url(), "enabled"));
    assert!(view.requests_per_second > 0.0 && view.error_percent == 0.0, "{view:?}");
    let latency = view.latency.as_ref().expect("there were requests");
    let quantiles = [latency.p50_ms, latency.p95_ms, latency.p99_ms];
    assert!(quantiles[0] > 0.0 && quantiles.is_sorted(), "{view:?}");
    assert_eq!((view.in_flight, view.source.as_str()), (0, "config"), "{view:?}");

    // A hundred of two hundred fail, and one is on its way.
    backend.behave(Behaviour::Status(500));
    for proxy in 0..2 {
        let mut connection = Connection::open(cluster.web(proxy).await).await.unwrap();
        for _ in 0..50 {
            connection.get("a", "/").await.unwrap();
        }
    }
    backend.behave(Behaviour::Gated);
    let mut slow = Connection::open(cluster.web(0).await).await.unwrap();
    slow.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    eventually("failures and what is on its way are seen", async || {
        let view = views(&mut cluster).await.swap_remove(0);
        let counts = (view.requests, view.server_errors, view.in_flight);
        let is_half = (40.0..60.0).contains(&view.error_percent);
        if counts == (201, 100, 1) && is_half { Ok(()) } else { Err(format!("{view:?}")) }
    })
    .await;
}
