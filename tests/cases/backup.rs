//! What was saved can be brought back, and the fleet follows.

use std::{fs, process::Command};

use lb_model::Version;
use lb_tests::{backend::Backend, cluster::Cluster, load::Load, process::binary};

fn document(backend: &Backend, more: &str) -> String {
    format!(
        "entry_points: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         backends: {{ a: {{ url: \"{}\" }} }}\n{more}",
        backend.url()
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_follows_a_control_plane_that_was_restored() {
    let backend = Backend::start("a").await;
    let mut cluster = Cluster::serving(2, &document(&backend, "")).await;
    cluster.apply(&document(&backend, "# second\n")).await;
    let saved = cluster.directory().join("fleet.lbk");
    let lbctl = |arguments: &[&str]| {
        let output = Command::new(binary("lbctl")).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
    };
    let url = cluster.control_plane().url();
    lbctl(&["--server", &url, "backup", saved.to_str().unwrap()]);
    let load = Load::start(vec![cluster.web(0).await, cluster.web(1).await], "a", "/", 100);

    // The machine is lost; what is left is the backup and the key.
    cluster.control_plane().kill();
    let new = cluster.directory().join("restored");
    let old_key = cluster.directory().join("control-plane.key");
    fs::copy(old_key, new.with_extension("key")).unwrap();
    lbctl(&["restore", saved.to_str().unwrap(), "--data-dir", new.to_str().unwrap()]);
    cluster.control_plane().restart_on(&new).await;
    cluster.live_on_all(Version(2)).await;
    let version = cluster.apply(&document(&backend, "# third\n")).await;
    assert_eq!(version, Version(3), "numbers go on");
    load.good_more(20).await;
    load.stop().await.assert_clean();
}
