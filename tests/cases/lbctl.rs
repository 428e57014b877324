//! The command line against real servers: what it says, and how it exits.

use std::process::Stdio;

use lb_model::Version;
use lb_tests::{
    backend::Backend, client, cluster::Cluster, eventually::eventually, process::binary,
    scratch::Scratch,
};
use serde_json::Value;
use tokio::{io::AsyncBufReadExt, net::TcpListener, process::Command};

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

pub(crate) async fn lbctl(server: &str, arguments: &[&str]) -> Ended {
    lbctl_as(server, None, arguments).await
}

/// As [`lbctl`], with a token in the environment.
pub(crate) async fn lbctl_as(server: &str, token: Option<&str>, arguments: &[&str]) -> Ended {
    let mut command = Command::new(binary("lbctl"));
    for name in ["LBCTL_TOKEN_FILE", "LBCTL_CA", "LBCTL_TOKEN", "LBCTL_CONTEXT"] {
        command.env_remove(name);
    }
    command.env("LBCTL_CONFIG", "/nonexistent/lbctl.yaml");
    command.envs(token.map(|token| ("LBCTL_TOKEN", token)));
    command.args(["--server", server]).args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ended {
        code: output.status.code().unwrap_or(-1),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}

fn document(backend: &Backend) -> String {
    format!(
        "entry_points: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         backends: {{ one: {{ url: \"{}\" }} }}\n",
        backend.url()
    )
}

#[tokio::test]
async fn a_document_is_checked_applied_shown_and_rolled_back() {
    let scratch = Scratch::new();
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let mut cluster = Cluster::start(2).await;
    let server = cluster.control_plane().url();
    let file = scratch.write("lb.yaml", document(&a)).display().to_string();

    let checked = lbctl(&server, &["check", &file]).await;
    assert_eq!(checked.code, 0, "{checked:?}");
    let apply = ["apply", "-f", &file, "-m", "first", "--wait", "--timeout", "10s"];
    let applied = lbctl(&server, &apply).await;
    assert_eq!(applied.code, 0, "{applied:?}");
    let said = format!("{}{}", applied.stdout, applied.stderr);
    assert!(said.contains("version 1") && said.contains("2 of 2"), "{said}");
    // Live when the command ends, so no waiting here.
    for proxy in 0..2 {
        let response = client::get(cluster.web(proxy).await, "a", "/").await;
        assert_eq!(response.backend(), "a");
    }
    assert_eq!(lbctl(&server, &["get"]).await.stdout, document(&a));

    scratch.write("lb.yaml", document(&b));
    let applied = lbctl(&server, &apply).await;
    assert_eq!(applied.code, 0, "{applied:?}");
    let rolled = lbctl(&server, &["rollback", "1", "-m", "b was bad", "--wait"]).await;
    assert_eq!(rolled.code, 0, "{rolled:?}");
    cluster.live_on_all(Version(3)).await;
    assert_eq!(client::get(cluster.web(0).await, "a", "/").await.backend(), "a");

    let history = lbctl(&server, &["history", "-o", "json"]).await.json();
    let versions = history["versions"].as_array().unwrap();
    let reasons: Vec<_> = versions.iter().map(|v| v["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["b was bad", "first", "first"]);
    let proxies = lbctl(&server, &["proxies", "-o", "json"]).await.json();
    let states: Vec<_> =
        proxies["proxies"].as_array().unwrap().iter().map(|p| &p["state"]).collect();
    assert_eq!(states, ["synced", "synced"]);
    let status = lbctl(&server, &["status", "-o", "json"]).await;
    assert_eq!((status.code, status.json()["health"]["status"].as_str()), (0, Some("healthy")));
}

#[tokio::test]
async fn what_changes_is_told_before_and_after() {
    let scratch = Scratch::new();
    let mut cluster = Cluster::start(0).await;
    let server = cluster.control_plane().url();
    let text =
        |weight: u16| format!("backends:\n  a: {{ url: \"http://a:1\", weight: {weight} }}\n");
    let file = scratch.write("lb.yaml", text(1)).display().to_string();
    assert_eq!(lbctl(&server, &["apply", "-f", &file, "-m", "begin"]).await.code, 0);

    scratch.write("lb.yaml", text(2));
    let planned = lbctl(&server, &["plan", "-f", &file, "--detailed-exitcode"]).await;
    assert_eq!(planned.code, 2, "{planned:?}");
    assert!(
        planned.stdout.starts_with("plan   1 → 2   1 changed, 0 added, 0 removed\n"),
        "{planned:?}"
    );
    assert!(planned.stdout.contains("~ backend/a\n      weight  1 → 2\n"), "{planned:?}");
    assert_eq!(cluster.control_plane().get("/api/v1/config").await["version"], 1);
    let set = ["plan", "-f", &file, "--set", "backends.a.weight=1", "--detailed-exitcode"];
    assert_eq!(lbctl(&server, &set).await.code, 0, "the flag takes the change back");

    let applied = lbctl(&server, &["apply", "-f", &file, "-m", "more"]).await;
    assert!(applied.stderr.contains("weight  1 → 2"), "{applied:?}");
    let shown = lbctl(&server, &["show", "2"]).await;
    for part in ["version  2\n", "reason   more\n", "weight  1 → 2\n", &text(2)] {
        assert!(shown.stdout.contains(part), "{part}: {shown:?}");
    }
    let other = scratch.write("other.yaml", text(3)).display().to_string();
    for (arguments, expected) in [
        (&["diff", "2"][..], "weight  1 → 2"),
        (&["diff", "2", "1"], "weight  2 → 1"),
        (&["diff", "1", &other], "weight  1 → 3"),
        (&["diff", &file, &other], "weight  2 → 3"),
    ] {
        let ended = lbctl(&server, arguments).await;
        assert!(ended.code == 0 && ended.stdout.contains(expected), "{arguments:?}: {ended:?}");
    }
    assert_eq!(lbctl(&server, &["diff", &other, "1"]).await.code, 64);
    assert_eq!(lbctl(&server, &["show", "9"]).await.code, 6);
    // Version 0 says nothing, so the first one adds all.
    assert!(lbctl(&server, &["diff", "1"]).await.stdout.contains("+ backend/a"));
}

#[tokio::test]
async fn every_value_says_where_it_comes_from() {
    let scratch = Scratch::new();
    let mut cluster = Cluster::start(0).await;
    let server = cluster.control_plane().url();
    let text = "backends:\n  a: { url: \"http://${LB_TEST_HOST:-a}:1\" }\n";
    let file = scratch.write("lb.yaml", text).display().to_string();
    let mut command = Command::new(binary("lbctl"));
    command.args(["--server", &server, "apply", "-f", &file]).stdin(Stdio::null());
    command.args(["--set", "services.s.strategy=p2c"]);
    command.env("LB_TEST_HOST", "shop.internal").env("LB_SERVICES__S__BACKENDS", "[a]");
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    let sources = lbctl(&server, &["config", "sources", "-o", "json"]).await;
    let values = sources.json()["values"].clone();
    let found: Vec<_> = values
        .as_array()
        .unwrap()
        .iter()
        .map(|v| [&v["path"], &v["value"], &v["origin"]].map(|v| v.as_str().unwrap().to_owned()))
        .collect();
    let expected = [
        ["backends.a.url", "http://${LB_TEST_HOST:-a}:1", &format!("{file}:2:13")],
        ["services.s.backends", "[a]", "environment variable LB_SERVICES__S__BACKENDS"],
        ["services.s.strategy", "p2c", "flag --set services.s.strategy"],
    ];
    assert_eq!(found, expected.map(|line| line.map(str::to_owned)));
    // Whoever reads the version sees that it has layers, and never what a variable says.
    let view = cluster.control_plane().get("/api/v1/config").await;
    assert_eq!(view["settings"][0]["path"], "services.s.backends");
    assert!(!view.to_string().contains("shop.internal"), "{view}");
}

#[tokio::test]
async fn a_request_is_explained_as_the_fleet_would_serve_it() {
    let scratch = Scratch::new();
    let (well, ill) = (Backend::start("well").await, Backend::start("ill").await);
    ill.set_healthy(false);
    let text = format!(
        "entry_points: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         backends: {{ well: {{ url: \"{}\" }}, ill: {{ url: \"{}\" }} }}\n\
         services: {{ s: {{ backends: [well, ill], health_check: {{ path: /healthz, interval: 100ms, timeout: 50ms }} }} }}\n\
         routes: {{ cart: {{ rule: PathPrefix(`/cart`) && Method(`GET`) }} }}\n",
        well.url(),
        ill.url()
    );
    let mut cluster = Cluster::serving(1, &text).await;
    let server = cluster.control_plane().url();
    let explained = eventually("the fleet reports", async || {
        let ended = lbctl(&server, &["explain", "http://shop/cart/1"]).await;
        if ended.stdout.contains("down on all of 1 proxies") {
            Ok(ended)
        } else {
            Err(format!("{ended:?}"))
        }
    })
    .await;
    for part in [
        "version 1, as the fleet runs it",
        "✓ route cart",
        "1 of 2 backends may be chosen",
        "✓ well",
        "✗ ill",
        "status 503",
    ] {
        assert!(explained.stdout.contains(part), "{part}: {explained:?}");
    }
    // What is explained is what happens.
    let web = cluster.web(0).await;
    assert_eq!(client::get(web, "shop", "/cart/1").await.backend(), "well");
    let other = lbctl(&server, &["explain", "-X", "POST", "http://shop/cart"]).await;
    assert_eq!(other.code, 1);
    assert!(other.stdout.contains("Method(`GET`) does not hold"), "{other:?}");
    assert!(other.stdout.contains("route_not_found"), "{other:?}");

    let changed = text.replace("PathPrefix(`/cart`)", "PathPrefix(`/other`)");
    let file = scratch.write("lb.yaml", &changed).display().to_string();
    let on_file = lbctl("http://127.0.0.1:1", &["explain", "http://shop/cart", "-f", &file]).await;
    assert!(
        on_file.code == 1 && on_file.stdout.contains("PathPrefix(`/other`) does not hold"),
        "{on_file:?}"
    );
    cluster.apply(&changed).await;
    let older =
        lbctl(&server, &["explain", "http://shop/cart", "--version", "1", "-o", "json"]).await;
    let older = older.json();
    assert_eq!((&older["version"], &older["live"]), (&1.into(), &false.into()));
    assert_eq!(older["entry_points"][0]["decision"]["route"], "cart");
    assert_eq!(lbctl(&server, &["explain", "http://shop/", "--version", "9"]).await.code, 6);
    assert_eq!(lbctl(&server, &["explain", "ftp://shop/"]).await.code, 1);
}

#[tokio::test]
async fn an_invalid_document_exits_with_3_and_is_never_sent() {
    let scratch = Scratch::new();
    let mut cluster = Cluster::start(0).await;
    let server = cluster.control_plane().url();
    let text = "backends: { a: { url: \"http://a:1\", wieght: 1 } }\n";
    let file = scratch.write("lb.yaml", text).display().to_string();
    for command in [&["check", &*file][..], &["apply", "-f", &file]] {
        let ended = lbctl(&server, command).await;
        assert_eq!(ended.code, 3, "{ended:?}");
        assert!(ended.stderr.contains("LB0101") && ended.stderr.contains("weight"), "{ended:?}");
    }
    assert_eq!(cluster.control_plane().get("/api/v1/config").await["version"], 0);
    assert_eq!(cluster.control_plane().metric("lb_config_commits_total", "").await, 0);
}

#[tokio::test]
async fn apply_exits_with_1_and_the_reason_when_a_proxy_refuses() {
    let scratch = Scratch::new();
    let backend = Backend::start("a").await;
    let mut cluster = Cluster::serving(1, &document(&backend)).await;
    let server = cluster.control_plane().url();
    let blocker = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = blocker.local_addr().unwrap().to_string();
    let file = scratch.write("lb.yaml", document(&backend).replace("127.0.0.1:0", &taken));
    let file = file.display().to_string();
    let apply = ["apply", "-f", &file, "--wait", "--timeout", "10s"];
    let refused = lbctl(&server, &apply).await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains(&taken) && refused.stderr.contains("proxy-0"), "{refused:?}");

    // The same again is how to try again.
    drop(blocker);
    let applied = lbctl(&server, &apply).await;
    assert_eq!(applied.code, 0, "{applied:?}");
    assert_eq!(cluster.web(0).await.to_string(), taken);
}

#[tokio::test]
async fn nobody_to_talk_to_a_conflict_and_a_missing_version_have_their_own_codes() {
    let scratch = Scratch::new();
    let backend = Backend::start("a").await;
    let mut cluster = Cluster::start(0).await;
    let server = cluster.control_plane().url();
    let file = scratch.write("lb.yaml", document(&backend)).display().to_string();
    assert_eq!(lbctl(&server, &["apply", "-f", &file]).await.code, 0);
    let missing = lbctl(&server, &["rollback", "9"]).await;
    assert_eq!(missing.code, 6, "{missing:?}");
    let conflict = lbctl(&server, &["apply", "-f", &file, "--if-version", "0"]).await;
    assert_eq!(conflict.code, 7, "{conflict:?}");
    cluster.control_plane().kill();
    let gone = lbctl(&server, &["status"]).await;
    assert_eq!(gone.code, 4, "{gone:?}");
    assert!(gone.stderr.contains(server.trim_start_matches("http://")), "{gone:?}");
}

#[tokio::test]
async fn files_travel_with_the_document_that_names_them() {
    let scratch = Scratch::new();
    let backend = Backend::start("a").await;
    let pair = lb_tests::certificate::Pair::new("shop.example.com");
    scratch.write("shop.crt", &pair.certificate);
    scratch.write("shop.key", &pair.key);
    let text = format!(
        "entry_points: {{ web: {{ address: \"127.0.0.1:0\", tls: {{}} }} }}\n\
         backends: {{ one: {{ url: \"{}\" }} }}\n\
         certificates: {{ default: {{ cert_file: shop.crt, key_file: ./shop.key }} }}\n",
        backend.url()
    );
    let file = scratch.write("lb.yaml", text).display().to_string();
    let mut cluster = Cluster::start(1).await;
    let server = cluster.control_plane().url();
    let applied = lbctl(&server, &["apply", "-f", &file, "--wait", "--timeout", "10s"]).await;
    assert_eq!(applied.code, 0, "{applied:?}");
    let port = cluster.web(0).await.port();
    let resolve = format!("shop.example.com:{port}:127.0.0.1");
    let ca = scratch.path().join("shop.crt").display().to_string();
    let url = format!("https://shop.example.com:{port}/");
    let answer = lb_tests::curl::curl(&["--cacert", &ca, "--resolve", &resolve, &url]).await;
    assert_eq!((answer.status, answer.http_version.as_str()), (200, "2"));
}

#[tokio::test]
async fn what_the_fleet_runs_is_listed_with_its_defaults() {
    let pair = lb_tests::certificate::Pair::new("shop.example.com");
    let indented = |pem: &str| format!("      {}\n", pem.trim_end().replace('\n', "\n      "));
    let text = format!(
        "entry_points: {{ web: {{ address: \"127.0.0.1:0\" }}, tls: {{ address: \"127.0.0.1:0\", tls: {{}} }} }}\n\
         backends: {{ one: {{ url: \"http://127.0.0.1:9\" }} }}\n\
         services: {{ shop: {{ backends: [one] }} }}\n\
         routes: {{ cart: {{ rule: PathPrefix(`/cart`) }}, all: {{ rule: PathPrefix(`/`), entry_points: [web] }} }}\n\
         certificates:\n  default:\n    cert: |\n{}    key: |\n{}",
        indented(&pair.certificate),
        indented(&pair.key)
    );
    let mut cluster = Cluster::serving(1, &text).await;
    let server = cluster.control_plane().url();
    let list = async |noun: &str| {
        let ended = lbctl(&server, &[noun, "-o", "json"]).await;
        assert_eq!(ended.code, 0, "{ended:?}");
        let list = ended.json();
        assert_eq!(list["version"], 1, "{list}");
        list["objects"].clone()
    };
    let routes = list("routes").await;
    assert_eq!((&routes[0]["name"], &routes[1]["name"]), (&"cart".into(), &"all".into()));
    assert_eq!(routes[0]["service"], "shop");
    assert_eq!(routes[0]["entry_points"], serde_json::json!(["tls", "web"]));
    let services = list("svc").await;
    assert_eq!(services[0]["strategy"], "round_robin");
    assert_eq!(services[0]["routes"], serde_json::json!(["all", "cart"]));
    let entry_points = list("ep").await;
    assert_eq!((&entry_points[0]["tls"], &entry_points[1]["routes"]), (&true.into(), &2.into()));
    let certificates = list("certs").await;
    assert_eq!(certificates[0]["names"][0], "shop.example.com");
    assert_eq!(certificates[0]["entry_points"], serde_json::json!(["tls"]));
    assert!(!certificates.to_string().contains("PRIVATE"), "{certificates}");
    let unknown = cluster.control_plane().request(reqwest::Method::GET, "/api/v1/objects/keys");
    assert_eq!(unknown.send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn doctor_tells_a_fleet_that_is_well_from_one_that_is_not() {
    let backend = Backend::start("a").await;
    let mut cluster = Cluster::serving(1, &document(&backend)).await;
    let server = cluster.control_plane().url();
    let of = |report: &Value, name: &str| {
        let checks = report["checks"].as_array().unwrap().iter();
        let found = checks
            .filter(|check| format!("{}/{}", str(check, "group"), str(check, "name")) == name);
        found.map(|check| str(check, "verdict")).collect::<Vec<_>>()
    };
    let healthy = eventually("the fleet reports", async || {
        let ended = lbctl(&server, &["doctor", "-o", "json"]).await;
        if ended.code == 0 { Ok(ended.json()) } else { Err(format!("{ended:?}")) }
    })
    .await;
    for name in ["client/server", "proxies/in sync", "proxies/software", "control plane/clock"] {
        assert_eq!(of(&healthy, name), ["ok"], "{healthy}");
    }
    assert_eq!(of(&healthy, "backends/health check"), ["warning"]);
    assert_eq!(of(&healthy, "control plane/access"), ["warning"]);
    // A proxy that refuses is a fault of the fleet.
    let blocker = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = blocker.local_addr().unwrap().to_string();
    cluster.put(&document(&backend).replace("127.0.0.1:0", &taken)).await;
    let ill = eventually("the proxy refuses", async || {
        let ended = lbctl(&server, &["doctor", "-o", "json"]).await;
        if ended.code == 1 { Ok(ended.json()) } else { Err(format!("{ended:?}")) }
    })
    .await;
    assert_eq!(of(&ill, "proxies/in sync"), ["failed"], "{ill}");
}

fn str(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_watch_outlives_a_restart_of_the_control_plane() {
    let mut cluster = Cluster::start(0).await;
    let server = cluster.control_plane().url();
    let mut command = Command::new(binary("lbctl"));
    command.args(["status", "-w", "--interval", "50ms", "-o", "json", "--server", &server]);
    command.env("LBCTL_CONFIG", "/nonexistent/lbctl.yaml").kill_on_drop(true);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut frames = tokio::io::BufReader::new(child.stdout.take().unwrap()).lines();
    let mut messages = tokio::io::BufReader::new(child.stderr.take().unwrap()).lines();
    let first: Value = serde_json::from_str(&frames.next_line().await.unwrap().unwrap()).unwrap();
    assert_eq!(first["health"]["snapshot"], 0);
    cluster.control_plane().kill();
    let message = messages.next_line().await.unwrap().unwrap();
    assert!(message.contains("waiting for it"), "{message}");
    cluster.control_plane().restart().await;
    let message = messages.next_line().await.unwrap().unwrap();
    assert!(message.contains("is back"), "{message}");
    let next: Value = serde_json::from_str(&frames.next_line().await.unwrap().unwrap()).unwrap();
    assert!(next["health"]["status"].is_string());
}
