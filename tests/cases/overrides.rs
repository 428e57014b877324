//! Backends that operators take out of service and put back, on a running fleet.

use std::time::{Duration, Instant};

use lb_model::{
    Version,
    api::{BackendChanged, BackendList, OverrideList, OverrideView},
    config::AdminState,
};
use lb_tests::{
    backend::{Backend, Behaviour},
    client::{self, Connection},
    cluster::Cluster,
    eventually::eventually,
    load::Load,
};
use reqwest::Method;
use serde_json::Value;

use crate::lbctl::lbctl;

fn document(backends: &[&Backend], more: &str) -> String {
    use std::fmt::Write;
    let mut text =
        format!("entry_points: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n{more}backends:\n");
    for (index, backend) in backends.iter().enumerate() {
        let _ = writeln!(text, "  web{index}: {{ url: \"{}\" }}", backend.url());
    }
    text
}

async fn decide(cluster: &mut Cluster, path: &str) -> BackendChanged {
    let answer = cluster.control_plane().post(&format!("/admin/backends/{path}")).await;
    serde_json::from_value(answer).unwrap()
}

/// What a decision is refused for.
async fn refused(cluster: &mut Cluster, path: &str) -> (u16, String, String) {
    let path = format!("/admin/backends/{path}");
    let response = cluster.control_plane().request(Method::POST, &path).send().await.unwrap();
    let status = response.status().as_u16();
    let problem: Value = response.json().await.unwrap();
    let text = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
    (status, text("code"), text("detail"))
}

async fn overrides(cluster: &mut Cluster) -> Vec<OverrideView> {
    let list = cluster.control_plane().get("/api/v1/overrides").await;
    serde_json::from_value::<OverrideList>(list).unwrap().overrides
}

async fn backends(cluster: &mut Cluster, query: &str) -> BackendList {
    let list = cluster.control_plane().get(&format!("/admin/backends{query}")).await;
    serde_json::from_value(list).unwrap()
}

/// Asks each proxy a dozen times, and says who answered.
async fn who_answers(cluster: &mut Cluster, proxies: usize) -> Vec<String> {
    let mut names = Vec::new();
    for proxy in 0..proxies {
        let mut connection = Connection::open(cluster.web(proxy).await).await.unwrap();
        for _ in 0..12 {
            names.push(connection.get("a", "/").await.unwrap().backend());
        }
    }
    names.sort();
    names.dedup();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decision_reaches_two_proxies_within_a_second_and_no_request_fails() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let mut cluster = Cluster::serving(2, &document(&[&a, &b], "")).await;
    let targets = vec![cluster.web(0).await, cluster.web(1).await];
    let load = Load::start(targets, "a", "/", 200);
    for _ in 0..5 {
        load.good_more(40).await;
        let started = Instant::now();
        let path = "web0/disable?reason=disk&author=ann&wait=true&timeout=10s";
        let disabled = decide(&mut cluster, path).await;
        let took = started.elapsed();
        assert!(took < Duration::from_secs(1), "{took:?}");
        assert_eq!((disabled.acked, disabled.total, disabled.changed), (2, 2, true));
        assert_eq!(disabled.admin_state, AdminState::Disabled);
        // What was on its way when the proxies switched has arrived by the time of more answers.
        load.good_more(10).await;
        let before = a.requests();
        load.good_more(40).await;
        assert_eq!(a.requests(), before, "a disabled backend gets no new request");

        let again = decide(&mut cluster, path).await;
        assert_eq!((again.version, again.changed), (disabled.version, false), "it is so already");
        assert_eq!(again.admin_state, AdminState::Disabled);

        let enabled = decide(&mut cluster, "web0/enable?wait=true").await;
        assert_eq!((enabled.admin_state, enabled.acked), (AdminState::Enabled, 2));
        assert_eq!(enabled.version, disabled.version.next());
        eventually("it gets requests again", async || match a.requests() {
            now if now > before => Ok(()),
            now => Err(now.to_string()),
        })
        .await;
    }
    load.stop().await.assert_clean();
    let history = cluster.control_plane().get("/api/v1/versions?limit=2").await;
    let of = |at: usize, key: &str| history["versions"][at][key].as_str().unwrap().to_owned();
    assert_eq!((of(1, "author"), of(1, "reason")), ("ann".into(), "web0 disabled: disk".into()));
    assert_eq!(of(0, "reason"), "web0 enabled");
}

#[tokio::test]
async fn what_is_on_its_way_finishes_and_checks_go_on() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let check = "services:\n  s:\n    backends: [web0, web1]\n    health_check: { path: /healthz, \
                 interval: 50ms, timeout: 40ms, healthy_threshold: 1, unhealthy_threshold: 1 }\n";
    let mut cluster = Cluster::serving(1, &document(&[&a, &b], check)).await;
    let address = cluster.web(0).await;
    // The other one is taken out first, so that everything begins at this one.
    decide(&mut cluster, "web1/disable?wait=true").await;
    let mut tunnel = Connection::open(address).await.unwrap();
    let upgrade = "GET /socket HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    tunnel.send(upgrade).await.unwrap();
    assert_eq!(tunnel.response().await.unwrap().status, 101);
    a.behave(Behaviour::Gated);
    let mut slow = Connection::open(address).await.unwrap();
    slow.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    eventually("the slow request is on its way", async || {
        let view = backends(&mut cluster, "?q=web0").await.backends.remove(0);
        if view.in_flight >= 1 { Ok(()) } else { Err(format!("{view:?}")) }
    })
    .await;
    decide(&mut cluster, "web1/enable?wait=true").await;
    let drained = decide(&mut cluster, "web0/disable?drain=10m&wait=true").await;
    assert_eq!(drained.admin_state, AdminState::Draining);
    assert_eq!(who_answers(&mut cluster, 1).await, ["b"]);

    tunnel.send("still here").await.unwrap();
    assert_eq!(tunnel.exactly(10).await.unwrap(), b"still here");
    a.release();
    assert_eq!(slow.response().await.unwrap().status, 200);
    let checks = a.checks();
    eventually("it is still checked", async || match a.checks() {
        now if now > checks + 1 => Ok(()),
        now => Err(now.to_string()),
    })
    .await;
    a.set_healthy(false);
    eventually("its health is seen and reported with its state", async || {
        let view = backends(&mut cluster, "?q=web0").await.backends.remove(0);
        let is_seen = view.health == "down" && view.admin_state_on == 1;
        if is_seen { Ok(()) } else { Err(format!("{view:?}")) }
    })
    .await;
    let health = cluster.control_plane().get("/admin/health").await;
    let counts = &health["backends"];
    assert_eq!((counts["draining"].as_u64(), counts["unhealthy"].as_u64()), (Some(1), Some(0)));
    assert_eq!(health["status"], "healthy", "who is not wanted need not be well: {health}");
    let metric = "backend=\"web0\",service=\"s\",state=\"draining\"";
    assert_eq!(cluster.proxy(0).metric("lb_backend_admin_state", metric).await, 1);
}

#[tokio::test]
async fn a_decision_survives_rollback_apply_and_kills() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let mut cluster = Cluster::serving(2, &document(&[&a, &b], "")).await;
    decide(&mut cluster, "web0/disable?reason=disk&author=ann&wait=true").await;
    let routes = "routes: { all: { rule: PathPrefix(`/`) } }\n";
    cluster.apply(&document(&[&a, &b], routes)).await;
    assert_eq!(who_answers(&mut cluster, 2).await, ["b"]);
    let restored = cluster.control_plane().post("/api/v1/versions/1/restore").await;
    cluster.live_on_all(Version(restored["version"].as_u64().unwrap())).await;
    assert_eq!(who_answers(&mut cluster, 2).await, ["b"]);

    // Without the control plane, a proxy that was killed comes back as it was.
    cluster.control_plane().kill();
    cluster.proxy(0).kill();
    cluster.proxy(0).restart().await;
    eventually("the proxy serves again", async || {
        let address = cluster.web(0).await;
        client::try_get(address, "a", "/").await.map(|_| ()).map_err(|error| error.to_string())
    })
    .await;
    assert_eq!(who_answers(&mut cluster, 2).await, ["b"]);
    cluster.control_plane().restart().await;
    cluster.live_on_all(Version(4)).await;
    let kept = overrides(&mut cluster).await.remove(0);
    assert_eq!((kept.backend.as_str(), kept.owner.as_str()), ("web0", "ann"));
    assert_eq!((kept.reason.as_str(), kept.dormant), ("disk", false));

    // A backend that goes away takes its override along, and finds it again.
    cluster
        .apply(&document(&[], &format!("backends: {{ web1: {{ url: \"{}\" }} }}\n#", b.url())))
        .await;
    assert!(overrides(&mut cluster).await[0].dormant);
    cluster.apply(&document(&[&a, &b], "")).await;
    assert!(!overrides(&mut cluster).await[0].dormant);
    assert_eq!(who_answers(&mut cluster, 2).await, ["b"]);
    decide(&mut cluster, "web0/enable?wait=true").await;
    assert_eq!(who_answers(&mut cluster, 2).await, ["a", "b"]);
    assert!(overrides(&mut cluster).await.is_empty());
}

#[tokio::test]
async fn a_drain_and_an_override_end_by_themselves_also_while_nobody_is_there() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let mut cluster = Cluster::serving(1, &document(&[&a, &b], "")).await;
    decide(&mut cluster, "web0/disable?drain=300ms&for=1500ms&reason=kernel").await;
    for wanted in [AdminState::Disabled, AdminState::Enabled] {
        eventually(&format!("web0 is {}", wanted.as_str()), async || {
            let view = backends(&mut cluster, "").await.backends.remove(0);
            if view.admin_state == wanted { Ok(()) } else { Err(format!("{view:?}")) }
        })
        .await;
    }
    cluster.live_on_all(Version(4)).await;
    assert_eq!(who_answers(&mut cluster, 1).await, ["a", "b"]);
    let history = cluster.control_plane().get("/api/v1/versions?limit=2").await;
    let authors: Vec<_> =
        history["versions"].as_array().unwrap().iter().map(|v| v["author"].clone()).collect();
    assert_eq!(authors, ["expiry", "expiry"]);
    eventually("both ends are in the audit log", async || {
        let audit = cluster.control_plane().get("/api/v1/audit?limit=2").await;
        let text = |key: &str| {
            let entries = audit["entries"].as_array().unwrap().iter();
            entries.map(|entry| entry[key].to_string()).collect::<Vec<_>>().join(" ")
        };
        let (who, paths) = (text("who"), text("path"));
        let wanted = "\"/admin/backends/web0/enable\" \"/admin/backends/web0/disable\"";
        let is_there = who == "\"expiry\" \"expiry\"" && paths == wanted;
        if is_there { Ok(()) } else { Err(format!("{audit}")) }
    })
    .await;

    // What ends while the control plane is away ends when it comes back.
    decide(&mut cluster, "web0/disable?for=200ms&wait=true").await;
    cluster.control_plane().kill();
    assert_eq!(who_answers(&mut cluster, 1).await, ["b"]);
    cluster.control_plane().restart().await;
    eventually("the proxies are told", async || {
        let names = who_answers(&mut cluster, 1).await;
        if names == ["a", "b"] { Ok(()) } else { Err(format!("{names:?}")) }
    })
    .await;
    assert!(overrides(&mut cluster).await.is_empty());
}

#[tokio::test]
async fn what_cannot_be_decided_is_refused_with_the_reason() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let mut cluster = Cluster::serving(1, &document(&[&a, &b], "")).await;
    let (status, code, detail) = refused(&mut cluster, "wbe0/disable").await;
    assert_eq!((status, code.as_str()), (404, "not_found"));
    assert!(detail.contains("did you mean `web0`"), "{detail}");
    assert_eq!(refused(&mut cluster, "nobody-at-all/enable").await.0, 404);
    for query in ["drain=soon", "for=0s", "forced=true", "timeout=2h", "drain=-1s"] {
        let (status, code, _) = refused(&mut cluster, &format!("web0/disable?{query}")).await;
        assert_eq!((status, code.as_str()), (400, "invalid_query"), "{query}");
    }
    assert_eq!(refused(&mut cluster, "web0/enable?for=1h").await.0, 400);

    decide(&mut cluster, "web0/disable?wait=true").await;
    let (status, code, detail) = refused(&mut cluster, "web1/disable").await;
    assert_eq!((status, code.as_str()), (409, "would_empty_pool"));
    assert!(detail.contains("default") && detail.contains("force=true"), "{detail}");
    assert_eq!(client::get(cluster.web(0).await, "a", "/").await.status, 200);
    decide(&mut cluster, "web1/disable?force=true&wait=true").await;
    let response = client::get(cluster.web(0).await, "a", "/").await;
    assert_eq!(response.problem(), (503, "backend_disabled".to_owned()));
    let health = cluster.control_plane().get("/admin/health").await;
    assert_eq!(health["status"], "degraded");
    assert!(health["components"]["overrides"].as_str().unwrap().contains("default"), "{health}");
}

#[tokio::test]
async fn backends_are_filtered_and_come_by_pages() {
    let all: Vec<_> = started(5).await;
    let mut cluster = Cluster::serving(1, &document(&all.iter().collect::<Vec<_>>(), "")).await;
    decide(&mut cluster, "web3/disable?wait=true&author=ann").await;
    let ids = |list: &BackendList| list.backends.iter().map(|b| b.id.clone()).collect::<Vec<_>>();
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = backends(&mut cluster, &format!("?limit=2{cursor}")).await;
        seen.extend(ids(&page));
        let Some(next) = page.next else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, ["web0", "web1", "web2", "web3", "web4"]);
    let disabled = backends(&mut cluster, "?state=disabled").await;
    assert_eq!(ids(&disabled), ["web3"]);
    assert_eq!(disabled.backends[0].overridden.as_ref().unwrap().owner, "ann");
    assert_eq!(ids(&backends(&mut cluster, "?state=enabled").await).len(), 4);
    assert_eq!(ids(&backends(&mut cluster, "?pool=default&q=WEB4").await), ["web4"]);
    assert!(backends(&mut cluster, "?pool=other").await.backends.is_empty());
    for query in ["?state=well", "?limit=0", "?page=2"] {
        let request =
            cluster.control_plane().request(Method::GET, &format!("/admin/backends{query}"));
        assert_eq!(request.send().await.unwrap().status(), 400, "{query}");
    }
}

async fn started(count: usize) -> Vec<Backend> {
    let mut all = Vec::new();
    for index in 0..count {
        all.push(Backend::start(&index.to_string()).await);
    }
    all
}

#[tokio::test]
async fn the_command_line_takes_a_backend_out_and_puts_it_back() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let mut cluster = Cluster::serving(2, &document(&[&a, &b], "")).await;
    let server = cluster.control_plane().url();
    let drain =
        ["backends", "drain", "web0", "--for", "30m", "-m", "kernel", "--author", "ann", "--wait"];
    let ended = lbctl(&server, &drain).await;
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (0, "web0 is draining: version 2, on 2 of 2 proxies\n")
    );
    assert_eq!(who_answers(&mut cluster, 2).await, ["b"]);
    let status = lbctl(&server, &["status"]).await;
    assert!(status.stdout.contains("1 draining") && status.stdout.contains("kernel"), "{status:?}");
    assert!(
        status.stdout.contains("ann")
            && [" 29m ", " 30m "].iter().any(|time| status.stdout.contains(time)),
        "{status:?}"
    );
    let listed = lbctl(&server, &["backends", "--state", "draining", "-o", "name"]).await;
    assert_eq!(listed.stdout, "default/web0\n");
    let overrides = lbctl(&server, &["overrides", "-o", "json"]).await.json();
    assert_eq!(overrides["overrides"][0]["state"], "draining");

    // A plan says that it stays, and its version what it decided.
    let file = cluster.directory().join("lb.yaml");
    std::fs::write(&file, document(&[&a, &b], "")).unwrap();
    let file = file.display().to_string();
    let planned = lbctl(&server, &["plan", "-f", &file, "-o", "json"]).await.json();
    assert_eq!(planned["overrides"][0]["backend"], "web0");
    std::fs::write(&file, document(&[&a, &b], "").replace("web1:", "web2:")).unwrap();
    let planned = lbctl(&server, &["plan", "-f", &file]).await;
    assert!(planned.stdout.contains("override: web0 stays draining by ann\n"), "{planned:?}");
    let shown = lbctl(&server, &["show", "2"]).await;
    assert!(shown.stdout.contains("+ override/web0"), "{shown:?}");
    assert!(shown.stdout.contains("state        draining"), "{shown:?}");

    let last = lbctl(&server, &["backends", "disable", "web1"]).await;
    assert_eq!(last.code, 7, "{last:?}");
    let unknown = lbctl(&server, &["backends", "disable", "wbe1"]).await;
    assert_eq!(unknown.code, 6, "{unknown:?}");
    assert!(unknown.stderr.contains("did you mean `web1`"), "{unknown:?}");
    let enabled = lbctl(&server, &["backends", "enable", "web0", "--wait", "-o", "json"]).await;
    assert_eq!(enabled.json()["admin_state"], "enabled");
    assert_eq!(who_answers(&mut cluster, 2).await, ["a", "b"]);
}
