//! How much servers log, changed while they run.

use std::time::Duration;

use lb_model::api::LogLevelView;
use lb_tests::{backend::Backend, client, cluster::Cluster, eventually::eventually};
use reqwest::{Method, Response};
use serde_json::Value;

use crate::lbctl::lbctl;

async fn put(cluster: &mut Cluster, path: &str, body: &str) -> Response {
    let request = cluster.control_plane().request(Method::PUT, path).body(body.to_owned());
    request.send().await.unwrap()
}

async fn level(cluster: &mut Cluster, path: &str) -> LogLevelView {
    serde_json::from_value(cluster.control_plane().get(path).await).unwrap()
}

/// Lines at DEBUG in the log of a proxy.
fn debug_lines(cluster: &Cluster) -> usize {
    let log = std::fs::read_to_string(cluster.directory().join("proxy-0.log")).unwrap();
    log.lines().filter(|line| line.contains("DEBUG")).count()
}

/// Sends the proxy's own endpoint what is no request, which is worth a line at DEBUG to it.
async fn provoke(cluster: &mut Cluster) {
    let url = cluster.proxy(0).url();
    let address = url.trim_start_matches("http://").parse().unwrap();
    let mut connection = client::Connection::open(address).await.unwrap();
    connection.send("BROKEN\r\n\r\n").await.unwrap();
    let _ = connection.response().await;
}

#[tokio::test]
async fn a_proxy_logs_more_for_a_while_and_goes_back_by_itself() {
    let backend = Backend::start("a").await;
    let document = format!("backends: {{ a: {{ url: \"{}\" }} }}\n", backend.url());
    let document = format!("entry_points: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n{document}");
    let mut cluster = Cluster::serving(1, &document).await;
    let path = "/api/v1/proxies/proxy-0/log-level";
    assert_eq!(level(&mut cluster, path).await, LogLevelView { level: "info".into(), until: None });
    provoke(&mut cluster).await;
    assert_eq!(debug_lines(&cluster), 0);

    let response = put(&mut cluster, path, r#"{"level":"debug","for_seconds":3}"#).await;
    assert_eq!(response.status(), 200);
    let view: LogLevelView = response.json().await.unwrap();
    assert!(view.level == "debug" && view.until.is_some(), "{view:?}");
    eventually("there are lines at DEBUG", async || {
        provoke(&mut cluster).await;
        match debug_lines(&cluster) {
            0 => Err("none".to_owned()),
            count => Ok(count),
        }
    })
    .await;
    eventually("the proxy says that it went back", async || {
        let view = level(&mut cluster, path).await;
        if view.level == "info" && view.until.is_none() { Ok(()) } else { Err(format!("{view:?}")) }
    })
    .await;
    let lines = debug_lines(&cluster);
    for _ in 0..5 {
        provoke(&mut cluster).await;
    }
    // Whatever these would have said is behind what a change of level says.
    put(&mut cluster, path, r#"{"level":"info","for_seconds":60}"#).await;
    assert_eq!(debug_lines(&cluster), lines, "no more of them");
    let text = std::fs::read_to_string(cluster.directory().join("proxy-0.log")).unwrap();
    assert!(text.contains("log level changed") && text.contains("level=\"debug\""), "{text}");
}

#[tokio::test]
async fn what_cannot_be_logged_is_refused_and_the_rest_is_audited() {
    let mut cluster = Cluster::start(1).await;
    for body in
        [r#"{"level":"loud"}"#, r#"{"level":"debug","for_seconds":0}"#, "[\"debug\",5]", "", "{}"]
    {
        let response = put(&mut cluster, "/api/v1/log-level", body).await;
        assert_eq!(response.status(), 400, "{body}");
    }
    let unknown =
        put(&mut cluster, "/api/v1/proxies/nobody/log-level", r#"{"level":"debug"}"#).await;
    assert_eq!(unknown.status(), 404);
    let server = cluster.control_plane().url();
    let set = lbctl(&server, &["log-level", "control-plane", "debug", "--for", "10m"]).await;
    assert!(set.code == 0 && set.stdout.starts_with("control-plane logs debug until "), "{set:?}");
    let own = level(&mut cluster, "/api/v1/log-level").await;
    assert_eq!(own.level, "debug");
    eventually("the proxy is connected and says what it logs", async || {
        let shown = lbctl(&server, &["log-level", "proxy-0"]).await;
        if shown.stdout == "proxy-0 logs info\n" { Ok(()) } else { Err(format!("{shown:?}")) }
    })
    .await;
    let audit = cluster.control_plane().get("/api/v1/audit?limit=1").await;
    assert_eq!(audit["entries"][0]["path"], "/api/v1/log-level");

    cluster.proxy(0).kill();
    eventually("the proxy is seen to be away", async || {
        let response =
            put(&mut cluster, "/api/v1/proxies/proxy-0/log-level", r#"{"level":"debug"}"#).await;
        let problem: Value = response.json().await.unwrap();
        if problem["code"] == "not_connected" { Ok(()) } else { Err(problem.to_string()) }
    })
    .await;
    // A restart forgets a level.
    cluster.proxy(0).restart().await;
    eventually("it logs what it was started with", async || {
        let response =
            cluster.control_plane().request(Method::GET, "/api/v1/proxies/proxy-0/log-level");
        let response = response.timeout(Duration::from_secs(5)).send().await.unwrap();
        let view: Value = response.json().await.unwrap();
        if view["level"] == "info" { Ok(()) } else { Err(view.to_string()) }
    })
    .await;
}
