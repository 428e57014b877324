//! Changes that reach every proxy while they serve, and those that must not.

use std::time::Duration;

use lb_model::{
    Version,
    api::{ProxyView, SyncState},
};
use lb_tests::{
    backend::{Backend, refused_address},
    certificate::Pair,
    client::{self, Connection},
    cluster::Cluster,
    curl::{curl, h2load},
    eventually::eventually,
    load::Load,
};
use tokio::net::TcpListener;

const WEB: &str = "entry_points: { web: { address: \"127.0.0.1:0\" } }\n";

/// Everything goes to one backend.
fn one(backend: &Backend) -> String {
    format!("{WEB}backends: {{ one: {{ url: \"{}\" }} }}\n", backend.url())
}

#[tokio::test]
async fn a_change_reaches_every_proxy() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let mut cluster = Cluster::serving(2, &one(&a)).await;
    let addresses = [cluster.web(0).await, cluster.web(1).await];
    let version = cluster.apply(&one(&b)).await;
    for address in addresses {
        assert_eq!(client::get(address, "a", "/").await.backend(), "b");
    }
    assert_eq!(a.requests(), 0);
    for index in 0..2 {
        assert_eq!(cluster.proxy(index).version().await, Some(version.0));
        let proxy = cluster.proxy(index);
        assert_eq!(proxy.metric("lb_config_version", "").await, version.0);
    }
    let list = cluster.control_plane().proxies().await;
    for ProxyView { state, propagation_ms, .. } in &list.proxies {
        assert_eq!(*state, SyncState::Synced);
        assert!(propagation_ms.is_some_and(|took| took < 5_000.0), "{list:?}");
    }
    // Of a second version only what changed travels.
    let control_plane = cluster.control_plane();
    assert_eq!(control_plane.metric("lb_snapshot_pushes_total", "delta").await, 2);
    assert_eq!(control_plane.metric("lb_root_mismatch_total", "").await, 0);
}

#[tokio::test]
async fn a_proxy_that_comes_later_serves_the_current_version() {
    let backend = Backend::start("a").await;
    let mut cluster = Cluster::serving(1, &one(&backend)).await;
    cluster.add_proxy(&[]).await;
    cluster.live_on_all(Version(1)).await;
    let address = cluster.web(1).await;
    assert_eq!(client::get(address, "a", "/").await.backend(), "a");
}

#[tokio::test]
async fn weights_of_three_to_one_are_kept_exactly_on_every_proxy() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let document = format!(
        "{WEB}backends:\n  a: {{ url: \"{}\", weight: 3 }}\n  b: {{ url: \"{}\" }}\n",
        a.url(),
        b.url()
    );
    let cluster = Cluster::serving(2, &document).await;
    for proxy in 0..2 {
        let before = (a.requests(), b.requests());
        let mut connection = Connection::open(cluster.web(proxy).await).await.unwrap();
        for _ in 0..400 {
            assert_eq!(connection.get("a", "/").await.unwrap().status, 200);
        }
        let served = (a.requests() - before.0, b.requests() - before.1);
        assert_eq!(served, (300, 100), "on proxy {proxy}");
    }
}

#[tokio::test]
async fn routes_choose_by_host_path_and_header() {
    let (shop, images) = (Backend::start("shop").await, Backend::start("images").await);
    let document = format!(
        "{WEB}backends:\n  shop: {{ url: \"{}\" }}\n  images: {{ url: \"{}\" }}\n\
         services:\n  shop: {{ backends: [shop] }}\n  images: {{ backends: [images] }}\n\
         routes:\n\
         \x20 shop: {{ rule: Host(`shop.example.com`), service: shop }}\n\
         \x20 images:\n    rule: Host(`shop.example.com`) && PathPrefix(`/images`)\n    service: images\n",
        shop.url(),
        images.url()
    );
    let mut cluster = Cluster::serving(1, &document).await;
    let address = cluster.web(0).await;
    assert_eq!(client::get(address, "shop.example.com", "/").await.backend(), "shop");
    assert_eq!(client::get(address, "SHOP.example.com", "/images/1").await.backend(), "images");
    let nowhere = client::get(address, "other.example.com", "/").await;
    assert_eq!(nowhere.problem(), (404, "route_not_found".to_owned()));
    let proxy = cluster.proxy(0);
    assert_eq!(proxy.metric("lb_requests_total", "route=\"images\"").await, 1);
    assert_eq!(proxy.metric("lb_local_responses_total", "route_not_found").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_routes_change() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let cluster = Cluster::serving(2, &one(&a)).await;
    let targets = vec![cluster.web(0).await, cluster.web(1).await];
    let load = Load::start(targets, "shop.example.com", "/", 200);
    for turn in 0..20 {
        let (to, routes) =
            if turn % 2 == 0 { (&b, "Host(`shop.example.com`)") } else { (&a, "Path(`/`)") };
        let document = format!("{}routes: {{ r{turn}: {{ rule: \"{routes}\" }} }}\n", one(to));
        cluster.apply(&document).await;
        load.good_more(20).await;
    }
    let report = load.stop().await;
    report.assert_clean();
    assert!(a.requests() > 100 && b.requests() > 100, "both served");
    let slow = report.quantile(0.99);
    assert!(slow < Duration::from_secs(1), "changes hold requests up: {slow:?}");
}

#[tokio::test]
async fn certificates_are_chosen_by_name_and_swapped_live() {
    let backend = Backend::start("a").await;
    let document = |shop: &Pair| {
        let (pair, rest) = (shop.entry("shop"), other().entry("default"));
        format!(
            "entry_points: {{ web: {{ address: \"127.0.0.1:0\", tls: {{}} }} }}\n\
             backends: {{ one: {{ url: \"{}\" }} }}\ncertificates:\n{pair}{rest}",
            backend.url()
        )
    };
    let (first, second) = (Pair::new("shop.example.com"), Pair::new("shop.example.com"));
    let mut cluster = Cluster::serving(1, &document(&first)).await;
    let port = cluster.web(0).await.port();

    async fn shown(port: u16, host: &str) -> (String, String) {
        let resolve = format!("{host}:{port}:127.0.0.1");
        let url = format!("https://{host}:{port}/");
        let arguments = [
            "--http2",
            "-k",
            "--resolve",
            &resolve,
            "--write-out",
            "%{certs}\n%{http_code} %{http_version}",
            &url,
        ];
        let answer = curl(&arguments).await;
        assert_eq!(answer.status, 200);
        (answer.http_version, answer.body.lines().filter(|line| !line.contains(':')).collect())
    }
    let (version, chain) = shown(port, "shop.example.com").await;
    assert_eq!(version, "2", "ALPN agrees on h2");
    assert!(chain.contains(&first.bare()), "{chain}");
    let (_, chain) = shown(port, "else.example.com").await;
    assert!(chain.contains(&other().bare()), "{chain}");

    cluster.apply(&document(&second)).await;
    assert_eq!(cluster.web(0).await.port(), port, "the listener stays");
    let (_, chain) = shown(port, "shop.example.com").await;
    assert!(chain.contains(&second.bare()) && !chain.contains(&first.bare()), "{chain}");
    let expiry = "lb_tls_cert_not_after_timestamp_seconds";
    assert!(cluster.proxy(0).metric(expiry, "certificate=\"shop\"").await > 1_000_000_000);
}

/// The same pair each time: what clients without a matching name see.
fn other() -> &'static Pair {
    static OTHER: std::sync::OnceLock<Pair> = std::sync::OnceLock::new();
    OTHER.get_or_init(|| Pair::new("other.example.com"))
}

#[tokio::test]
async fn http_1_and_http_2_share_a_plain_port() {
    let backend = Backend::start("a").await;
    let cluster = Cluster::serving(1, &one(&backend)).await;
    let url = format!("http://{}/x", cluster.web(0).await);
    let two = curl(&["--http2-prior-knowledge", &url]).await;
    assert_eq!((two.status, two.http_version.as_str()), (200, "2"));
    let one = curl(&["--http1.1", &url]).await;
    assert_eq!((one.status, one.http_version.as_str()), (200, "1.1"));
    let posted = curl(&["--http2-prior-knowledge", "--data", "a=b", &url]).await;
    assert!(posted.body.contains("\"body\":\"a=b\""), "{}", posted.body);
    assert_eq!(h2load(&url, 500, 4, 10).await, 500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listeners_come_and_go_beside_one_that_serves() {
    let backend = Backend::start("a").await;
    let with = |more: &str| {
        format!(
            "entry_points:\n  web: {{ address: \"127.0.0.1:0\" }}\n{more}\
             backends: {{ one: {{ url: \"{}\" }} }}\n",
            backend.url()
        )
    };
    let mut cluster = Cluster::serving(1, &with("")).await;
    let load = Load::start(vec![cluster.web(0).await], "a", "/", 100);
    let web = cluster.web(0).await;
    cluster.apply(&with("  more: { address: \"127.0.0.1:0\" }\n")).await;
    let more = cluster.proxy(0).entry_point("more").await;
    assert_eq!(client::get(more, "a", "/").await.status, 200);
    let mut kept = Connection::open(more).await.unwrap();
    assert_eq!(kept.get("a", "/").await.unwrap().status, 200);

    cluster.apply(&with("")).await;
    eventually("nobody listens there any more", async || {
        match client::try_get(more, "a", "/").await {
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert!(kept.is_closed().await, "idle connections of a listener end with it");
    assert_eq!(cluster.web(0).await, web, "the other one stays where it is");
    load.good_more(20).await;
    load.stop().await.assert_clean();
}

#[tokio::test]
async fn an_address_in_use_is_refused_and_can_be_tried_again() {
    let backend = Backend::start("a").await;
    let mut cluster = Cluster::serving(1, &one(&backend)).await;
    let web = cluster.web(0).await;
    let blocker = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = blocker.local_addr().unwrap();
    let document = format!(
        "entry_points:\n  web: {{ address: \"127.0.0.1:0\" }}\n  more: {{ address: \"{taken}\" }}\n\
         backends: {{ one: {{ url: \"{}\" }} }}\n",
        backend.url()
    );
    let version = cluster.put(&document).await.version;
    let view = eventually("the proxy rejects the version", async || {
        let list = cluster.control_plane().proxies().await;
        let view = list.proxies[0].clone();
        if view.state == SyncState::Rejected { Ok(view) } else { Err(format!("{view:?}")) }
    })
    .await;
    assert_eq!((view.version, view.rejected_version), (Version(1), Some(version)));
    let fault = &view.errors[0];
    assert_eq!((&*fault.kind, &*fault.name, &*fault.code), ("entry_point", "more", "bind_failed"));
    assert!(fault.message.contains(&taken.to_string()), "{fault:?}");
    let proxy = cluster.proxy(0);
    assert_eq!(proxy.metric("lb_config_apply_failures_total", "bind_failed").await, 1);
    assert_eq!(client::get(web, "a", "/").await.status, 200, "the old version serves on");
    let health = cluster.control_plane().get("/admin/health").await;
    assert_eq!(health["status"], "degraded");
    assert_eq!(health["proxies"]["rejected"], 1);

    drop(blocker);
    let again = cluster.put(&document).await;
    assert!(!again.changed);
    cluster.live_on_all(version).await;
    assert_eq!(client::get(taken, "a", "/").await.status, 200);
    assert_eq!(cluster.web(0).await, web);
}

#[tokio::test]
async fn two_proxies_on_one_machine_share_a_port_and_either_may_go() {
    let backend = Backend::start("a").await;
    let mut cluster = Cluster::serving(2, &one(&backend)).await;
    let fixed = refused_address().await;
    cluster.apply(&one(&backend).replace("127.0.0.1:0", &fixed.to_string())).await;
    assert_eq!([cluster.web(0).await, cluster.web(1).await], [fixed; 2]);
    assert_eq!(client::get(fixed, "a", "/").await.status, 200);
    for going in 0..2 {
        cluster.proxy(going).kill();
        let mut connections = Vec::new();
        for _ in 0..20 {
            let mut connection = Connection::open(fixed).await.unwrap();
            assert_eq!(connection.get("a", "/").await.unwrap().status, 200);
            connections.push(connection);
        }
        cluster.proxy(going).restart().await;
        assert_eq!(cluster.web(going).await, fixed);
    }
}

#[tokio::test]
async fn versions_in_quick_succession_end_with_the_newest_everywhere() {
    let backend = Backend::start("a").await;
    let mut cluster = Cluster::serving(2, &one(&backend)).await;
    let mut last = Version(1);
    for turn in 0..30 {
        let document =
            format!("{}routes: {{ r{turn}: {{ rule: Path(`/{turn}`) }} }}\n", one(&backend));
        last = cluster.put(&document).await.version;
    }
    cluster.live_on_all(last).await;
    for proxy in 0..2 {
        let address = cluster.web(proxy).await;
        assert_eq!(client::get(address, "a", "/29").await.status, 200);
        assert_eq!(client::get(address, "a", "/28").await.status, 404);
    }
    let roots = [cluster.proxy(0).get("/admin").await, cluster.proxy(1).get("/admin").await];
    assert_eq!(roots[0].as_ref().unwrap()["root"], roots[1].as_ref().unwrap()["root"]);
    tokio::time::timeout(Duration::from_secs(5), cluster.control_plane().stop()).await.unwrap();
}

#[tokio::test]
async fn a_version_that_needs_more_memory_than_a_proxy_gives_is_refused() {
    let backend = Backend::start("a").await;
    let mut cluster = Cluster::start(1).await;
    cluster.add_proxy(&["--memory-budget", "32KiB"]).await;
    let routes: Vec<String> =
        (0..50).map(|n| format!("  r{n}: {{ rule: Host(`h{n}.example`) }}")).collect();
    let routes = routes.join("\n");
    let document = format!(
        "entry_points: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         backends: {{ a: {{ url: \"{}\" }} }}\nroutes:\n{routes}\n",
        backend.url()
    );
    let committed = cluster.put(&document).await;
    let refused = eventually("one proxy refuses, the other serves", async || {
        let list = cluster.control_plane().proxies().await;
        let state = |state| list.proxies.iter().find(|proxy| proxy.state == state).cloned();
        match (state(SyncState::Synced), state(SyncState::Rejected)) {
            (Some(synced), Some(refused)) if synced.version == committed.version => Ok(refused),
            _ => Err(format!("{list:?}")),
        }
    })
    .await;
    assert_eq!(refused.errors[0].code, "limit_exceeded");
    assert!(refused.errors[0].message.contains("--memory-budget"), "{refused:?}");
}
