//! Disks that fail: nothing is acknowledged that is not safe, and whatever serves goes on.

use lb_model::Version;
use lb_tests::{
    backend::Backend,
    client,
    cluster::Cluster,
    faults::{Faults, files},
};

fn document(backend: &Backend, path: &str) -> String {
    format!(
        "entry_points: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         backends: {{ one: {{ url: \"{}\" }} }}\n\
         routes: {{ only: {{ rule: Path(`{path}`) }} }}\n",
        backend.url()
    )
}

/// The newest version and whether its document answers `path`.
async fn newest(cluster: &mut Cluster, path: &str) -> (u64, bool) {
    let config = cluster.control_plane().get("/api/v1/config").await;
    let version = config["version"].as_u64().expect("a version");
    (version, config.to_string().contains(path))
}

async fn a_failing_call_is_never_an_acknowledgement(calls: &str) {
    let backend = Backend::start("a").await;
    let mut cluster = Cluster::start(1).await;
    cluster.apply(&document(&backend, "/first")).await;
    let log = cluster.control_plane().data().join("log");
    let faults = Faults::inject(
        cluster.control_plane().process().id(),
        calls,
        "EIO",
        &files(&log),
        &cluster.directory().join("strace.log"),
    )
    .await;
    for attempt in 0..2 {
        let problem =
            cluster.control_plane().put(&document(&backend, "/second")).await.unwrap_err();
        let (status, code) = (problem.status, problem.code.as_str());
        assert_eq!((status, code), (503, "store_unavailable"), "{calls}, {attempt}: {problem:?}");
        let names_file = problem.detail.contains(&log.display().to_string());
        assert!(names_file, "{calls}: {}", problem.detail);
    }
    // What was acknowledged is what is said and what serves.
    assert_eq!(newest(&mut cluster, "/first").await, (1, true), "{calls}");
    cluster.live_on_all(Version(1)).await;
    let address = cluster.web(0).await;
    assert_eq!(client::get(address, "a", "/first").await.backend(), "a");
    drop(faults);

    // A commit that was refused may have reached the disk all the same, whole or not at all.
    cluster.control_plane().kill();
    cluster.control_plane().restart().await;
    let (version, is_first) = newest(&mut cluster, "/first").await;
    assert!(version == 1 && is_first || version == 2 && !is_first, "{calls}: {version}");
    let next = cluster.apply(&document(&backend, "/third")).await;
    assert_eq!(next, Version(version + 1), "{calls}");
    assert_eq!(client::get(address, "a", "/third").await.backend(), "a");
    let said = cluster.control_plane().process().said();
    assert!(!said.contains("panicked"), "{said}");
}

#[tokio::test]
async fn a_disk_that_cannot_write_acknowledges_nothing() {
    a_failing_call_is_never_an_acknowledgement("write,writev,pwrite64,pwritev").await;
}

#[tokio::test]
async fn a_disk_that_cannot_flush_acknowledges_nothing() {
    a_failing_call_is_never_an_acknowledgement("fsync,fdatasync").await;
}
