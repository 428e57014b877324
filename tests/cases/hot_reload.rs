//! A file holds the configuration: changes to it are seen, taken whole or not at all, and touch
//! nothing that they do not speak of.

use std::{fs, os::unix::fs::symlink, path::Path, time::Duration};

use lb_model::{Version, diagnostic::code};
use lb_tests::{
    backend::{Backend, Behaviour},
    certificate::Pair,
    client::{self, Connection},
    cluster::Cluster,
    control_plane::{ControlPlane, sample},
    eventually::eventually,
    process::binary,
    scratch::Scratch,
};
use serde_json::Value;
use tokio::process::Command;

const CONFIG: &str = "/api/v1/config";

fn document(port: u16) -> String {
    format!("backends:\n  one: {{ url: \"http://127.0.0.1:{port}\" }}\n")
}

/// A control plane whose configuration is held by a file or directory.
async fn held_by(path: &Path, scratch: &Scratch) -> ControlPlane {
    let path = path.display().to_string();
    // Looking again must not be what finds the change.
    let more = ["--config", &path, "--config-poll", "1h"];
    ControlPlane::start(scratch.path(), &more).await
}

/// Waits for a version whose documents contain `text`.
async fn says(control_plane: &ControlPlane, version: u64, text: &str) {
    eventually(&format!("version {version} says {text}"), async || {
        let view: Value = control_plane.get(CONFIG).await;
        let documents = view["documents"].to_string();
        if view["version"] == version && documents.contains(text) {
            Ok(())
        } else {
            Err(view.to_string())
        }
    })
    .await;
}

#[tokio::test]
async fn a_file_is_read_again_however_it_is_replaced() {
    let scratch = Scratch::new();
    let file = scratch.write("lb.yaml", document(1));
    let control_plane = held_by(&file, &scratch).await;
    says(&control_plane, 1, ":1").await;

    // Written over, as `cat > FILE` does.
    fs::write(&file, document(2)).unwrap();
    says(&control_plane, 2, ":2").await;

    // Written beside it and renamed over it, as editors do; twice, because a watch on the first
    // file would see the first time only.
    for version in [3, 4] {
        let new = scratch.write(".lb.yaml.swp", document(version));
        fs::rename(new, &file).unwrap();
        says(&control_plane, version.into(), &format!(":{version}")).await;
    }

    // Removed and made anew.
    fs::remove_file(&file).unwrap();
    eventually("the missing file is named", async || {
        let view: Value = control_plane.get(CONFIG).await;
        let detail = view["reload"]["failure"]["detail"].as_str().unwrap_or_default().to_owned();
        if detail.contains("could not read") { Ok(()) } else { Err(view.to_string()) }
    })
    .await;
    fs::write(&file, document(5)).unwrap();
    says(&control_plane, 5, ":5").await;
}

#[tokio::test]
async fn a_mounted_config_map_is_followed_through_its_links() {
    let scratch = Scratch::new();
    let mount = scratch.path().join("mount");
    let publish = |name: &str, port: u16| {
        let data = mount.join(name);
        fs::create_dir_all(&data).unwrap();
        fs::write(data.join("lb.yaml"), document(port)).unwrap();
        let link = mount.join("..data_tmp");
        symlink(name, &link).unwrap();
        fs::rename(link, mount.join("..data")).unwrap();
    };
    publish("..2026_01", 1);
    symlink("..data/lb.yaml", mount.join("lb.yaml")).unwrap();
    let control_plane = held_by(&mount.join("lb.yaml"), &scratch).await;
    says(&control_plane, 1, ":1").await;
    for (version, name, old) in [(2, "..2026_02", "..2026_01"), (3, "..2026_03", "..2026_02")] {
        publish(name, version);
        fs::remove_dir_all(mount.join(old)).unwrap();
        says(&control_plane, version.into(), &format!(":{version}")).await;
    }
}

#[tokio::test]
async fn documents_come_and_go_in_a_directory() {
    let scratch = Scratch::new();
    let directory = scratch.path().join("conf.d");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("a.yaml"), document(1)).unwrap();
    let control_plane = held_by(&directory, &scratch).await;
    says(&control_plane, 1, ":1").await;
    let more = "backends:\n  two: { url: \"http://127.0.0.1:2\" }\n";
    fs::write(directory.join("b.yaml"), more).unwrap();
    says(&control_plane, 2, "two").await;
    fs::remove_file(directory.join("b.yaml")).unwrap();
    eventually("the document is gone", async || {
        let view: Value = control_plane.get(CONFIG).await;
        if view["documents"].as_array().is_some_and(|all| all.len() == 1) {
            Ok(())
        } else {
            Err(view.to_string())
        }
    })
    .await;
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_is_seen_everywhere_until_it_is_mended() {
    let scratch = Scratch::new();
    let backend = Backend::start("a").await;
    let good = format!(
        "entry_points: {{ web: {{ address: \"127.0.0.1:0\" }} }}\nbackends:\n  one: {{ url: \"{}\" }}\n",
        backend.url()
    );
    let file = scratch.write("lb.yaml", &good);
    let path = file.display().to_string();
    let mut cluster = Cluster::start_with(1, &["--config", &path]).await;
    cluster.live_on_all(Version(1)).await;
    let web = cluster.web(0).await;

    fs::write(&file, good.replace("url", "ulr")).unwrap();
    let failure = eventually("the failure is shown", async || {
        let view: Value = cluster.control_plane().get(CONFIG).await;
        let failure = view["reload"]["failure"].clone();
        if failure.is_null() { Err(view.to_string()) } else { Ok(failure) }
    })
    .await;
    let found = failure["diagnostics"].as_array().unwrap();
    assert!(
        found.iter().any(|f| f["code"] == code::UNKNOWN_KEY && f["place"]["line"] == 3),
        "{failure}"
    );
    let control_plane = cluster.control_plane();
    assert_eq!(control_plane.get(CONFIG).await["version"], 1);
    let health = control_plane.get("/admin/health").await;
    assert_eq!(health["status"], "degraded");
    let said = health["components"]["configuration file"].as_str().unwrap().to_owned();
    assert!(said.contains("did you mean `url`?"), "{said}");
    assert_eq!(control_plane.metric("lb_config_reload_failing", "").await, 1);
    assert_eq!(control_plane.metric("lb_config_reloads_total", "result=\"failed\"").await, 1);
    let status = Command::new(binary("lbctl"))
        .args(["--server", &control_plane.url(), "status"])
        .output()
        .await
        .unwrap();
    let status = String::from_utf8(status.stdout).unwrap();
    assert!(status.contains("configuration file: ") && status.contains("ulr"), "{status}");
    assert_eq!(client::get(web, "x", "/").await.status, 200, "what was current still serves");

    // A restart with the bad file serves the version that is stored.
    cluster.control_plane().kill();
    cluster.control_plane().restart().await;
    let view: Value = cluster.control_plane().get(CONFIG).await;
    assert_eq!(view["version"], 1);
    assert!(!view["reload"]["failure"].is_null(), "{view}");

    fs::write(&file, good + "  two: { url: \"http://127.0.0.1:2\" }\n").unwrap();
    cluster.live_on_all(Version(2)).await;
    let control_plane = cluster.control_plane();
    assert!(control_plane.get(CONFIG).await["reload"]["failure"].is_null());
    assert_eq!(control_plane.metric("lb_config_reload_failing", "").await, 0);
    let metrics = control_plane.request(reqwest::Method::GET, "/metrics").send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(
        sample(&metrics, "lb_config_last_reload_success_timestamp_seconds", "") > 1_700_000_000
    );
}

#[tokio::test]
async fn a_certificate_that_is_renewed_on_the_disk_is_taken() {
    let scratch = Scratch::new();
    let (first, second) = (Pair::new("a.example"), Pair::new("a.example"));
    scratch.write("a.pem", &first.certificate);
    scratch.write("a-key.pem", &first.key);
    let text = document(1) + "certificates:\n  a: { cert_file: a.pem, key_file: a-key.pem }\n";
    let control_plane = held_by(&scratch.write("lb.yaml", text), &scratch).await;
    assert_eq!(control_plane.get(CONFIG).await["version"], 1);
    // In two steps, as tools do it. In between the key does not fit, which is no version.
    scratch.write("a.pem", &second.certificate);
    scratch.write("a-key.pem", &second.key);
    says(&control_plane, 2, "a.pem").await;
}

#[tokio::test]
async fn sighup_reads_at_once() {
    let scratch = Scratch::new();
    let file = scratch.write("lb.yaml", document(1));
    let mut control_plane = held_by(&file, &scratch).await;
    let labels = "result=\"unchanged\"";
    let before = control_plane.metric("lb_config_reloads_total", labels).await;
    control_plane.process().signal("HUP");
    eventually("the file was read", async || {
        match control_plane.metric("lb_config_reloads_total", labels).await {
            count if count > before => Ok(()),
            count => Err(count.to_string()),
        }
    })
    .await;
    assert_eq!(control_plane.get(CONFIG).await["version"], 1, "the same again is no version");
}

/// How many reloads connections live through; `LB_RELOADS` asks for more.
fn reloads() -> u64 {
    let wanted = std::env::vars().find(|(name, _)| name == "LB_RELOADS");
    wanted.and_then(|(_, count)| count.parse().ok()).unwrap_or(100)
}

/// Resident memory of a process in KiB.
fn resident(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn a_websocket_and_a_slow_download_live_through_reloads_of_other_routes() {
    let slow = Backend::doing("slow", Behaviour::Gated).await;
    let echo = Backend::start("echo").await;
    // Every reload changes a route, a service, a backend and an entry point that they do not use.
    let document = |turn: u64| {
        let other =
            if turn.is_multiple_of(2) { "  other: { address: \"127.0.0.1:0\" }\n" } else { "" };
        format!(
            "entry_points:\n  web: {{ address: \"127.0.0.1:0\" }}\n{other}\
             backends:\n  slow: {{ url: \"{}\" }}\n  echo: {{ url: \"{}\" }}\n  \
             changing: {{ url: \"{}\", weight: {} }}\n\
             services:\n  slow: {{ backends: [slow] }}\n  echo: {{ backends: [echo] }}\n  \
             changing: {{ backends: [changing], strategy: {} }}\n\
             routes:\n  slow: {{ rule: Path(`/slow`), entry_points: [web], service: slow }}\n  \
             echo: {{ rule: Path(`/echo`), entry_points: [web], service: echo }}\n  \
             changing: {{ rule: Path(`/changing/{turn}`), service: changing }}\n",
            slow.url(),
            echo.url(),
            echo.url(),
            1 + turn % 1_000,
            if turn.is_multiple_of(2) { "p2c" } else { "round_robin" },
        )
    };
    let mut cluster = Cluster::serving(1, &document(0)).await;
    let web = cluster.web(0).await;
    let mut socket = Connection::open(web).await.unwrap();
    let upgrade = "GET /echo HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    socket.send(upgrade).await.unwrap();
    assert_eq!(socket.response().await.unwrap().status, 101);
    let mut download = Connection::open(web).await.unwrap();
    download.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();

    let count = reloads();
    let mut settled = 0;
    for turn in 1..=count {
        cluster.apply(&document(turn)).await;
        if turn % 10 == 0 {
            let message = format!("turn {turn}");
            socket.send(&message).await.unwrap();
            let back = socket.exactly(message.len()).await.unwrap();
            assert_eq!(back, message.as_bytes());
        }
        // What the first reloads allocate stays; what comes after must not.
        if turn == count / 2 {
            settled = resident(cluster.proxy(0).process().id());
        }
    }
    assert_eq!(client::get(web, "a", &format!("/changing/{count}")).await.status, 200);
    slow.release();
    let response = download.response().await.unwrap();
    assert_eq!((response.status, response.text().as_str()), (200, "first half"));
    socket.send("still here").await.unwrap();
    assert_eq!(socket.exactly(10).await.unwrap(), b"still here");
    let grown = resident(cluster.proxy(0).process().id()).saturating_sub(settled);
    println!("{count} reloads; {settled} KiB at half of them, {grown} KiB more at the end");
    assert!(grown < 2_048 + settled / 10, "{grown} KiB more than the {settled} KiB at half");
    tokio::time::timeout(Duration::from_secs(5), cluster.control_plane().stop()).await.unwrap();
}
