//! Proxies serve without their control plane, over restarts of either, and end in order.

use std::{
    fs,
    path::Path,
    path::PathBuf,
    time::{Duration, Instant},
};

use lb_model::{
    Version,
    api::{ProxyView, SyncState},
};
use lb_tests::{
    backend::{Backend, Behaviour},
    client::{self, Connection},
    cluster::Cluster,
    eventually::eventually,
    load::Load,
    process::{Process, binary},
};

fn document(backend: &Backend) -> String {
    format!(
        "entry_points: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         backends: {{ one: {{ url: \"{}\" }} }}\n",
        backend.url()
    )
}

/// The same with a route that only answers `path`.
fn with_path(backend: &Backend, path: &str) -> String {
    format!("{}routes: {{ only: {{ rule: Path(`{path}`) }} }}\n", document(backend))
}

/// The files of the last good versions, oldest first.
fn snapshots(cluster: &mut Cluster) -> Vec<PathBuf> {
    let directory = cluster.proxy(0).data().join("last-good");
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|each| each == "snap")).collect();
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_when_the_control_plane_dies_and_comes_back() {
    let backend = Backend::start("a").await;
    let mut cluster = Cluster::serving(2, &document(&backend)).await;
    let load = Load::start(vec![cluster.web(0).await, cluster.web(1).await], "a", "/", 200);
    load.good_more(50).await;
    cluster.control_plane().kill();
    eventually("the proxies notice", async || {
        let proxy = cluster.proxy(0);
        match proxy.metric("lb_control_plane_connected", "").await {
            0 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
    load.good_more(300).await;
    assert_eq!(cluster.proxy(0).ask("/readyz").await.unwrap().0, 200);
    cluster.control_plane().restart().await;
    cluster.live_on_all(Version(1)).await;
    load.good_more(50).await;

    // It is followed again.
    let version = cluster.apply(&with_path(&backend, "/")).await;
    assert_eq!(version, Version(2), "the history goes on");
    load.good_more(50).await;
    load.stop().await.assert_clean();
}

#[tokio::test]
async fn a_proxy_restarted_alone_serves_its_last_good_version_at_once() {
    let backend = Backend::start("a").await;
    let mut cluster = Cluster::serving(1, &document(&backend)).await;
    cluster.control_plane().kill();
    cluster.proxy(0).kill();
    let started = Instant::now();
    cluster.proxy(0).restart().await;
    let address = cluster.web(0).await;
    assert_eq!(client::get(address, "a", "/").await.backend(), "a");
    let took = started.elapsed();
    assert!(took < Duration::from_secs(1), "it took {took:?}");
    assert_eq!(cluster.proxy(0).ask("/readyz").await.unwrap().0, 200);
}

#[tokio::test]
async fn a_control_plane_with_the_same_data_sends_nothing_again() {
    let backend = Backend::start("a").await;
    let mut cluster = Cluster::serving(2, &document(&backend)).await;
    assert!(cluster.control_plane().metric("lb_snapshot_push_bytes_total", "").await > 0);
    cluster.control_plane().kill();
    cluster.control_plane().restart().await;
    cluster.live_on_all(Version(1)).await;
    let control_plane = cluster.control_plane();
    assert_eq!(control_plane.metric("lb_snapshot_push_bytes_total", "").await, 0);
    assert_eq!(control_plane.metric("lb_snapshot_pushes_total", "").await, 0);
}

#[tokio::test]
async fn operators_see_where_proxies_listen_after_a_restart_of_either() {
    let backend = Backend::start("a").await;
    let mut cluster = Cluster::serving(2, &document(&backend)).await;
    cluster.proxy(0).kill();
    cluster.proxy(0).restart().await;
    shows_listeners(&mut cluster).await;
    cluster.control_plane().kill();
    cluster.control_plane().restart().await;
    shows_listeners(&mut cluster).await;
}

async fn shows_listeners(cluster: &mut Cluster) {
    let listening = [cluster.web(0).await, cluster.web(1).await].map(|address| address.to_string());
    eventually("the control plane knows where both listen", async || {
        let proxies = cluster.control_plane().proxies().await.proxies;
        let known: Vec<_> = proxies
            .iter()
            .map(|proxy| proxy.listeners.first().map(|each| each.address.clone()))
            .collect();
        let is_known = known == listening.clone().map(Some);
        if is_known { Ok(()) } else { Err(format!("{known:?} instead of {listening:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_proxy_restarted_beside_its_control_plane_is_sent_nothing_again() {
    let backend = Backend::start("a").await;
    let mut cluster = Cluster::serving(1, &document(&backend)).await;
    let name = "lb_snapshot_push_bytes_total";
    let before = cluster.control_plane().metric(name, "").await;
    let since = cluster.control_plane().proxies().await.proxies[0].since.clone();
    cluster.proxy(0).kill();
    cluster.proxy(0).restart().await;
    eventually("the proxy is back", async || {
        let proxy = cluster.control_plane().proxies().await.proxies[0].clone();
        let is_back = proxy.since != since && proxy.state == SyncState::Synced;
        if is_back { Ok(()) } else { Err(format!("{proxy:?}")) }
    })
    .await;
    // Anything that is sent from here on comes after whatever it was sent for coming back.
    let version = cluster.apply(&document(&backend).replace('\n', "\n\n")).await;
    assert_eq!(version, Version(2), "other bytes, the same meaning");
    assert_eq!(cluster.control_plane().metric(name, "").await, before);
    let name = "lb_snapshot_pushes_total";
    assert_eq!(cluster.control_plane().metric(name, "up_to_date").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_without_the_history_is_declined() {
    let backend = Backend::start("a").await;
    let mut cluster = Cluster::serving(2, &document(&backend)).await;
    let load = Load::start(vec![cluster.web(0).await, cluster.web(1).await], "a", "/", 100);
    // It knows the fleet, but not the versions: they were lost.
    let known = cluster.directory().join("control-plane");
    let empty = cluster.directory().join("another-control-plane");
    cluster.control_plane().kill();
    std::fs::create_dir(&empty).unwrap();
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .args([known.join("identity"), empty.join("identity")])
        .status();
    assert!(copied.unwrap().success());
    let key = |directory: &Path| directory.with_extension("key");
    std::fs::copy(key(&known), key(&empty)).unwrap();
    cluster.control_plane().restart_on(&empty).await;
    let other = Backend::start("other").await;
    cluster.put(&document(&other)).await;
    let declined = |proxies: &[ProxyView]| {
        proxies.len() == 2 && proxies.iter().all(|proxy| proxy.state == SyncState::Declined)
    };
    let list = eventually("both proxies decline", async || {
        let list = cluster.control_plane().proxies().await;
        if declined(&list.proxies) { Ok(list) } else { Err(format!("{list:?}")) }
    })
    .await;
    for proxy in &list.proxies {
        assert!(proxy.errors[0].message.contains("--adopt-lineage"), "{proxy:?}");
    }
    load.good_more(50).await;
    load.stop().await.assert_clean();
    assert_eq!(other.requests(), 0);

    // The one they know is followed again.
    cluster.control_plane().kill();
    cluster.control_plane().restart_on(&known).await;
    cluster.live_on_all(Version(1)).await;
}

#[tokio::test]
async fn a_damaged_last_good_file_gives_way_to_the_one_before() {
    let backend = Backend::start("a").await;
    let mut cluster = Cluster::serving(1, &with_path(&backend, "/first")).await;
    cluster.apply(&with_path(&backend, "/second")).await;
    cluster.control_plane().kill();
    cluster.proxy(0).kill();
    let files = snapshots(&mut cluster);
    assert!(files.len() >= 2, "{files:?}");
    let newest = files.last().unwrap();
    let mut bytes = fs::read(newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    let modified = fs::metadata(newest).unwrap().modified().unwrap();
    fs::write(newest, bytes).unwrap();
    fs::File::options().write(true).open(newest).unwrap().set_modified(modified).unwrap();

    cluster.proxy(0).restart().await;
    let address = cluster.web(0).await;
    assert_eq!(client::get(address, "a", "/first").await.status, 200);
    assert_eq!(client::get(address, "a", "/second").await.status, 404);
    assert_eq!(cluster.proxy(0).version().await, Some(1));
    let said = cluster.proxy(0).process().said();
    assert!(said.contains("last good snapshot not used"), "{said}");
}

#[tokio::test]
async fn a_proxy_with_nothing_but_damaged_files_waits_for_its_control_plane() {
    let backend = Backend::start("a").await;
    let mut cluster = Cluster::serving(1, &document(&backend)).await;
    cluster.proxy(0).kill();
    for file in snapshots(&mut cluster) {
        fs::write(file, "not a snapshot").unwrap();
    }
    cluster.proxy(0).restart().await;
    cluster.live_on_all(Version(1)).await;
    let address = cluster.web(0).await;
    assert_eq!(client::get(address, "a", "/").await.status, 200);
}

#[tokio::test]
async fn a_version_that_cannot_be_written_is_served_and_counted() {
    let backend = Backend::start("a").await;
    let mut cluster = Cluster::serving(1, &with_path(&backend, "/first")).await;
    let directory = cluster.proxy(0).data().join("last-good");
    fs::remove_dir_all(&directory).unwrap();
    fs::write(&directory, "in the way").unwrap();

    cluster.apply(&with_path(&backend, "/second")).await;
    let address = cluster.web(0).await;
    assert_eq!(client::get(address, "a", "/second").await.status, 200);
    let name = "lb_config_apply_failures_total";
    assert_eq!(cluster.proxy(0).metric(name, "not_persisted").await, 1);
    let said = cluster.proxy(0).process().said();
    assert!(said.contains("would not survive a restart"), "{said}");
    let list = cluster.control_plane().proxies().await;
    assert!(!list.proxies[0].persisted, "operators see it too: {list:?}");
    // Also those of a control plane that was told nothing but a hello.
    cluster.control_plane().kill();
    cluster.control_plane().restart().await;
    cluster.live_on_all(Version(2)).await;
    let list = cluster.control_plane().proxies().await;
    assert!(!list.proxies[0].persisted, "the proxy says so when it comes back: {list:?}");

    // Once there is room again the next version is kept.
    fs::remove_file(&directory).unwrap();
    fs::create_dir(&directory).unwrap();
    cluster.apply(&with_path(&backend, "/third")).await;
    assert_eq!(cluster.proxy(0).metric(name, "not_persisted").await, 1);
    cluster.control_plane().kill();
    cluster.proxy(0).kill();
    cluster.proxy(0).restart().await;
    let address = cluster.web(0).await;
    assert_eq!(client::get(address, "a", "/third").await.status, 200);
}

#[tokio::test]
async fn two_proxies_do_not_share_a_data_directory() {
    let backend = Backend::start("a").await;
    let mut cluster = Cluster::serving(1, &document(&backend)).await;
    let data = cluster.proxy(0).data().display().to_string();
    let arguments = ["--data-dir", &data, "--admin-addr", "127.0.0.1:0"].map(str::to_owned);
    let log = cluster.directory().join("second.log");
    let mut second =
        Process::start("a second proxy", binary("lb-data-plane"), arguments.to_vec(), log);
    assert!(!second.ended().await.success());
    let said = second.said();
    assert!(said.contains("is used by another proxy; give each its own --data-dir"), "{said}");
    let address = cluster.web(0).await;
    assert_eq!(client::get(address, "a", "/").await.status, 200, "the first one goes on");
}

#[tokio::test]
async fn a_proxy_that_is_told_to_end_finishes_what_it_has_begun() {
    let backend = Backend::doing("a", Behaviour::Gated).await;
    let mut cluster = Cluster::serving(1, &document(&backend)).await;
    let address = cluster.web(0).await;
    let mut busy = Connection::open(address).await.unwrap();
    busy.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    eventually("the request is on its way", async || {
        if backend.requests() == 1 { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;

    cluster.proxy(0).terminate();
    eventually("the proxy says that it drains", async || {
        let (status, body) = cluster.proxy(0).ask("/readyz").await?;
        if status == 503 && body.contains("draining") { Ok(()) } else { Err(body) }
    })
    .await;
    eventually("new connections are refused", async || match Connection::open(address).await {
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert!(cluster.proxy(0).process().is_running(), "it waits for the response");
    backend.release();
    let response = busy.response().await.unwrap();
    assert_eq!((response.status, response.text()), (200, "first half".to_owned()));
    let status = cluster.proxy(0).process().ended().await;
    assert_eq!(status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_a_proxy_costs_no_request_of_those_who_stop_sending_in_time() {
    let backend = Backend::start("a").await;
    let mut cluster = Cluster::start(0).await;
    cluster.add_proxy(&["--drain-accept-grace", "500ms"]).await;
    cluster.apply(&document(&backend)).await;
    let load = Load::start(vec![cluster.web(0).await], "a", "/", 100);
    load.good_more(50).await;
    cluster.proxy(0).terminate();
    eventually("the proxy says that it drains", async || {
        match cluster.proxy(0).ask("/readyz").await?.0 {
            503 => Ok(()),
            status => Err(status.to_string()),
        }
    })
    .await;
    // Requests are still taken until whoever balances over proxies has noticed.
    load.good_more(10).await;
    load.stop().await.assert_clean();
    assert_eq!(cluster.proxy(0).process().ended().await.code(), Some(0));
}
