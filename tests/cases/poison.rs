//! A version that kills a proxy again and again is backed out of by that proxy.

use lb_model::{Version, api::SyncState};
use lb_tests::{backend::Backend, client, cluster::Cluster, eventually::eventually};

fn document(backend: &Backend, path: &str) -> String {
    format!(
        "entry_points: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         backends: {{ one: {{ url: \"{}\" }} }}\n\
         routes: {{ only: {{ rule: Path(`{path}`) }} }}\n",
        backend.url()
    )
}

/// Waits until a proxy serves a version by its own account.
async fn serves(cluster: &mut Cluster, proxy: usize, version: Version) {
    eventually(&format!("proxy {proxy} serves version {version}"), async || {
        let now = cluster.proxy(proxy).version().await;
        if now == Some(version.0) { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await;
}

/// A fleet of two, of which the first has died three times on version 2 and was started again.
async fn poisoned(backend: &Backend) -> Cluster {
    let mut cluster = Cluster::serving(2, &document(backend, "/first")).await;
    let version = cluster.apply(&document(backend, "/second")).await;
    for _ in 0..3 {
        serves(&mut cluster, 0, version).await;
        cluster.proxy(0).kill();
        cluster.proxy(0).restart().await;
    }
    serves(&mut cluster, 0, Version(1)).await;
    cluster
}

#[tokio::test]
async fn a_version_that_kills_a_proxy_is_backed_out_of() {
    let backend = Backend::start("a").await;
    let mut cluster = poisoned(&backend).await;
    let address = cluster.web(0).await;
    assert_eq!(client::get(address, "a", "/first").await.status, 200);
    assert_eq!(client::get(address, "a", "/second").await.status, 404);
    let said = cluster.proxy(0).process().said();
    assert!(said.contains("this proxy crashed on the version again and again"), "{said}");

    let list = eventually("operators see it", async || {
        let list = cluster.control_plane().proxies().await;
        let is_seen = list.proxies.iter().any(|proxy| proxy.state == SyncState::Rejected);
        if is_seen { Ok(list) } else { Err(format!("{list:?}")) }
    })
    .await;
    let [first, second] = &list.proxies[..] else { panic!("{list:?}") };
    assert_eq!((first.id.as_str(), first.state), ("proxy-0", SyncState::Rejected));
    assert_eq!((first.version, first.rejected_version), (Version(1), Some(Version(2))));
    assert_eq!(first.errors[0].code, "poisoned", "{first:?}");
    assert_eq!((second.state, second.version), (SyncState::Synced, Version(2)));
    let address = cluster.web(1).await;
    assert_eq!(client::get(address, "a", "/second").await.status, 200, "the other goes on");

    // An operator who has mended what was wrong asks for it again.
    let committed = cluster.put(&document(&backend, "/second")).await;
    assert!(!committed.changed, "the same content is no new version");
    cluster.live_on_all(Version(2)).await;
    let address = cluster.web(0).await;
    assert_eq!(client::get(address, "a", "/second").await.status, 200);
}

#[tokio::test]
async fn what_was_backed_out_of_stays_out_until_another_version_comes() {
    let backend = Backend::start("a").await;
    let mut cluster = poisoned(&backend).await;
    // Neither a restart of the proxy nor one of the control plane brings it back.
    cluster.proxy(0).kill();
    cluster.proxy(0).restart().await;
    cluster.control_plane().kill();
    cluster.control_plane().restart().await;
    eventually("the proxy is back and refuses", async || {
        let list = cluster.control_plane().proxies().await;
        let proxy = list.proxies.iter().find(|proxy| proxy.id == "proxy-0");
        let refuses = proxy.is_some_and(|proxy| proxy.state == SyncState::Rejected);
        if refuses { Ok(()) } else { Err(format!("{list:?}")) }
    })
    .await;
    assert_eq!(cluster.proxy(0).version().await, Some(1));
    let next = cluster.apply(&document(&backend, "/third")).await;
    assert_eq!(next, Version(3));
    let address = cluster.web(0).await;
    assert_eq!(client::get(address, "a", "/third").await.status, 200);
}
