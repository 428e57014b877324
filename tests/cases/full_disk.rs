//! Disks without room: commits are refused, and whatever serves goes on.

use lb_model::Version;
use lb_tests::{
    backend::Backend, client, cluster::Cluster, control_plane::outcome, disk::Disk,
    eventually::eventually,
};
use reqwest::Method;

/// A document that answers `path`, and is too long for the rest of a page that is in use.
fn document(backend: &Backend, path: &str) -> String {
    format!(
        "entry_points: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         backends: {{ one: {{ url: \"{}\" }} }}\n\
         routes:\n  only: {{ rule: Path(`{path}`) }}\n  long: {{ rule: Path(`/{}`) }}\n# {}\n",
        backend.url(),
        "x".repeat(7_000),
        "x".repeat(20_000)
    )
}

#[tokio::test]
async fn a_control_plane_without_room_says_so_and_its_proxies_go_on() {
    let backend = Backend::start("a").await;
    let scratch = lb_tests::scratch::Scratch::new();
    let disk = Disk::at(&scratch.path().join("control-plane"), 16);
    let mut cluster = Cluster::start_in(scratch, 2).await;
    cluster.apply(&document(&backend, "/first")).await;
    let data = cluster.control_plane().data().display().to_string();
    disk.fill();
    for attempt in 0..3 {
        let problem =
            cluster.control_plane().put(&document(&backend, "/second")).await.unwrap_err();
        assert_eq!(
            (problem.status, problem.code.as_str()),
            (503, "store_unavailable"),
            "{attempt}"
        );
        let names_path = problem.detail.contains(&data);
        assert!(names_path && problem.detail.contains("free some space"), "{}", problem.detail);
    }
    // What was committed is served, over the same streams.
    cluster.live_on_all(Version(1)).await;
    for proxy in 0..2 {
        let address = cluster.web(proxy).await;
        assert_eq!(client::get(address, "a", "/first").await.backend(), "a");
        let name = "lb_control_plane_connected";
        assert_eq!(cluster.proxy(proxy).metric(name, "").await, 1);
    }
    let config = cluster.control_plane().get("/api/v1/config").await;
    assert_eq!(config["version"], 1);

    disk.free();
    assert_eq!(cluster.apply(&document(&backend, "/second")).await, Version(2));
    let address = cluster.web(0).await;
    assert_eq!(client::get(address, "a", "/second").await.backend(), "a");

    // And all of it is there after a crash on a disk that is full again.
    disk.fill();
    let request = cluster.control_plane().put_request(&document(&backend, "/third"));
    assert_eq!(outcome(request.send().await.unwrap()).await.unwrap_err().status, 503);
    cluster.control_plane().kill();
    disk.free();
    cluster.control_plane().restart().await;
    cluster.live_on_all(Version(2)).await;
    let answer = cluster.control_plane().request(Method::GET, "/api/v1/versions/2").send().await;
    assert!(answer.unwrap().text().await.unwrap().contains("/second"));
    let said = cluster.control_plane().process().said();
    assert!(!said.contains("panicked"), "{said}");
    // Before the directory, which could not be removed else.
    drop(disk);
}

#[tokio::test]
async fn a_proxy_without_room_serves_and_says_that_it_would_forget() {
    let backend = Backend::start("a").await;
    let mut cluster = Cluster::start(0).await;
    let disk = Disk::at(&cluster.directory().join("proxy-0"), 4);
    cluster.add_proxy(&[]).await;
    cluster.apply(&document(&backend, "/first")).await;
    let name = "lb_config_apply_failures_total";
    assert_eq!(cluster.proxy(0).metric(name, "not_persisted").await, 0);

    disk.fill();
    cluster.apply(&document(&backend, "/second")).await;
    let address = cluster.web(0).await;
    assert_eq!(client::get(address, "a", "/second").await.backend(), "a");
    assert_eq!(cluster.proxy(0).metric(name, "not_persisted").await, 1);
    let list = cluster.control_plane().proxies().await;
    assert!(!list.proxies[0].persisted, "operators see it too: {list:?}");
    let said = cluster.proxy(0).process().said();
    assert!(said.contains("would not survive a restart"), "{said}");
    let part = cluster.proxy(0).data().join("last-good/writing");
    assert!(!part.exists(), "a part of a version takes room and is worth nothing");

    disk.free();
    cluster.apply(&document(&backend, "/third")).await;
    assert_eq!(cluster.proxy(0).metric(name, "not_persisted").await, 1);
    assert!(cluster.control_plane().proxies().await.proxies[0].persisted);
    cluster.control_plane().kill();
    cluster.proxy(0).kill();
    cluster.proxy(0).restart().await;
    eventually("the newest version serves again", async || {
        let address = cluster.proxy(0).entry_point("web").await;
        let answer = client::try_get(address, "a", "/third").await.map_err(|e| e.to_string())?;
        if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    drop(disk);
}
