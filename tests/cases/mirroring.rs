//! Copies of requests, and that no client ever notices them.

use std::time::{Duration, Instant};

use lb_tests::{
    backend::{Backend, Behaviour, refused_address},
    client::{self, Connection},
    cluster::Cluster,
    curl::curl,
    eventually::eventually,
    recorder::Recorder,
    sighting::{Extent, Sighting},
};

/// One backend, whose requests are copied to `targets`.
fn mirrored(backend: &str, settings: &str, targets: &[String]) -> String {
    format!(
        "entry_points: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         backends: {{ a: {{ url: \"{backend}\" }} }}\n\
         traffic_management:\n  traffic_mirroring:\n    enabled: true\n    {settings}\n    \
         targets: [{}]\n",
        targets.join(", ")
    )
}

fn target(name: &str, url: &str, more: &str) -> String {
    format!("{{ name: {name}, url: \"{url}\"{more} }}")
}

fn at(recorder: &Recorder) -> String {
    format!("http://{}", recorder.address())
}

async fn outcomes(cluster: &mut Cluster, target: &str, outcome: &str) -> u64 {
    let labels = format!("outcome=\"{outcome}\",target=\"{target}\"");
    cluster.proxy(0).metric("lb_mirror_requests_total", &labels).await
}

async fn outcomes_become(cluster: &mut Cluster, target: &str, outcome: &str, wanted: u64) {
    eventually(&format!("{wanted} copies for {target} end with {outcome}"), async || {
        let count = outcomes(cluster, target, outcome).await;
        if count == wanted { Ok(()) } else { Err(count.to_string()) }
    })
    .await;
}

/// The copies that a target has seen, once there are so many.
async fn copies(recorder: &Recorder, count: usize) -> Vec<Sighting> {
    eventually(&format!("{count} copies"), async || {
        let seen = recorder.sightings();
        if seen.len() >= count { Ok(seen) } else { Err(format!("{seen:?}")) }
    })
    .await
}

fn field<'a>(copy: &'a Sighting, name: &str) -> Vec<&'a str> {
    let fields = copy.fields.as_ref().unwrap().iter();
    let named = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name));
    named.map(|(_, value)| value.as_str()).collect()
}

/// A request that is part of a trace.
const TRACE: &str = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// What curl is answered to a request with this body.
async fn post(address: std::net::SocketAddr, arguments: &[&str]) -> u16 {
    let url = format!("http://{address}/in?q=1");
    let fields = ["-H", "Authorization: Bearer x", "-H", "Host: shop.example", "-H", TRACE];
    let all = [&fields, arguments, &[&url]];
    curl(&all.concat()).await.status
}

#[tokio::test]
async fn every_target_gets_its_share_and_the_backend_all() {
    let backend = Backend::start("a").await;
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let targets = [target("one", &one.url(), ""), target("two", &two.url(), "")];
    let document = mirrored(&backend.url(), "sample_rate: 0.1", &targets);
    let mut cluster = Cluster::serving(1, &document).await;
    let mut connection = Connection::open(cluster.web(0).await).await.unwrap();
    for _ in 0..1_000 {
        let response = connection.get("shop.example", "/").await.unwrap();
        assert_eq!((response.status, response.backend().as_str()), (200, "a"));
    }
    outcomes_become(&mut cluster, "one", "2xx", 100).await;
    outcomes_become(&mut cluster, "two", "2xx", 100).await;
    assert_eq!((backend.requests(), one.requests(), two.requests()), (1_000, 100, 100));
}

#[tokio::test]
async fn a_copy_says_what_it_is_and_carries_the_body_or_says_that_it_has_none() {
    let backend = Backend::start("a").await;
    let (whole, bare) = (Recorder::start().await, Recorder::start().await);
    let targets = [
        target("whole", &at(&whole), ""),
        target("bare", &format!("{}/shadow", at(&bare)), ", ignore_body: true"),
    ];
    let document = mirrored(&backend.url(), "strip_headers: [Authorization]", &targets);
    let cluster = Cluster::serving(1, &document).await;
    let web = cluster.web(0).await;
    let long = "x".repeat(100_000);
    let mut seen = 0;
    for more in [
        &["--data-binary", "hello"][..],
        &["--data-binary", &long],
        &["--data-binary", &long, "-H", "Transfer-Encoding: chunked"],
        &["--data-binary", &long, "--http2-prior-knowledge"],
        &["--data-binary", "hello", "--http2-prior-knowledge", "-H", "X-Request-Id: mine"],
        &["--request", "DELETE"],
    ] {
        assert_eq!(post(web, more).await, 200, "{more:?}");
        seen += 1;
        let body = if more[0] == "--data-binary" { more[1] } else { "" };
        let copy = copies(&whole, seen).await.pop().unwrap();
        assert!(copy.extent == Extent::Whole && copy.body == body, "{more:?}: {copy:?}");
        assert_eq!(copy.target, "/in?q=1");
        assert_eq!(field(&copy, "host"), ["shop.example"]);
        assert_eq!(field(&copy, "x-shadow"), ["true"]);
        assert_eq!(field(&copy, "traceparent"), [TRACE.split_once(": ").unwrap().1]);
        assert!(field(&copy, "authorization").is_empty());
        let id = field(&copy, "x-request-id");
        let is_given = more.contains(&"X-Request-Id: mine");
        assert!(id.len() == 1 && (id == ["mine"]) == is_given, "{id:?}");

        let copy = copies(&bare, seen).await.pop().unwrap();
        assert!(copy.extent == Extent::Whole && copy.body.is_empty(), "{more:?}: {copy:?}");
        assert_eq!(copy.target, "/shadow/in?q=1");
        assert_eq!(field(&copy, "content-length"), ["0"]);
        assert!(field(&copy, "transfer-encoding").is_empty());
    }
    assert_eq!(backend.requests(), seen as u64);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_left_out_or_cut() {
    let backend = Backend::start("a").await;
    let mirror = Recorder::start().await;
    let settings = "max_body_bytes: 5000";
    let targets = [target("m", &at(&mirror), "")];
    let mut cluster = Cluster::serving(1, &mirrored(&backend.url(), settings, &targets)).await;
    let long = "x".repeat(100_000);
    let known = &["--data-binary", long.as_str()][..];
    let chunked = &["--data-binary", long.as_str(), "-H", "Transfer-Encoding: chunked"][..];
    let web = cluster.web(0).await;
    for more in [known, chunked] {
        assert_eq!(post(web, more).await, 200);
    }
    outcomes_become(&mut cluster, "m", "too_large", 2).await;
    assert!(mirror.sightings().iter().all(|copy| copy.extent != Extent::Whole));

    let settings = "max_body_bytes: 5000, on_large_body: truncate".replace(", ", "\n    ");
    cluster.apply(&mirrored(&backend.url(), &settings, &targets)).await;
    let before = mirror.sightings().len();
    for (count, more) in [known, chunked].into_iter().enumerate() {
        assert_eq!(post(web, more).await, 200);
        let copy = copies(&mirror, before + count + 1).await.pop().unwrap();
        assert_eq!((copy.extent, copy.body.len()), (Extent::Whole, 5_000));
    }
    assert_eq!(backend.requests(), 4);
}

#[tokio::test]
async fn no_mirror_delays_or_changes_an_answer() {
    let backend = Backend::start("a").await;
    let hanging = Backend::doing("hanging", Behaviour::Hang).await;
    let failing = Backend::doing("failing", Behaviour::Status(500)).await;
    let resetting = Backend::doing("resetting", Behaviour::Reset).await;
    let dead = format!("http://{}", refused_address().await);
    let targets = [
        target("hanging", &hanging.url(), ", timeout: 1s"),
        target("failing", &failing.url(), ""),
        target("resetting", &resetting.url(), ""),
        target("dead", &dead, ""),
    ];
    let bare = mirrored(&backend.url(), "sample_rate: 0", &targets);
    let mut cluster = Cluster::serving(1, &bare).await;
    let without = p99(&cluster).await;
    cluster.apply(&mirrored(&backend.url(), "sample_rate: 1", &targets)).await;
    let with = p99(&cluster).await;
    // Copies cost work, and this machine does others'. That none is waited for is what shows: the
    // hanging one alone takes a second.
    assert!(with < without + Duration::from_millis(100), "{with:?}, without {without:?}");
    for (target, outcome) in [("failing", "5xx"), ("resetting", "error"), ("dead", "connect_error")]
    {
        outcomes_become(&mut cluster, target, outcome, 2_000).await;
    }
    // What hangs is bounded; the rest is counted and forgotten.
    eventually("all copies that hang have ended", async || {
        let (late, dropped) = (
            outcomes(&mut cluster, "hanging", "timeout").await,
            outcomes(&mut cluster, "hanging", "dropped").await,
        );
        if late + dropped == 2_000 { Ok(()) } else { Err(format!("{late} and {dropped}")) }
    })
    .await;
    assert_eq!(cluster.proxy(0).metric("lb_mirror_in_flight_requests", "").await, 0);
}

/// The 99th percentile of two thousand requests, each of which must be answered by the backend.
async fn p99(cluster: &Cluster) -> Duration {
    let mut connection = Connection::open(cluster.web(0).await).await.unwrap();
    let mut took = Vec::new();
    for _ in 0..2_000 {
        let begin = Instant::now();
        let response = connection.get("shop.example", "/").await.unwrap();
        took.push(begin.elapsed());
        assert_eq!((response.status, response.backend().as_str()), (200, "a"));
    }
    took.sort();
    took[1_980]
}

#[tokio::test]
async fn copies_that_hang_are_bounded_and_the_newest_are_left_out() {
    let backend = Backend::start("a").await;
    let hanging = Backend::doing("hanging", Behaviour::Hang).await;
    let targets = [target("hanging", &hanging.url(), ", timeout: 30s")];
    let mut cluster = Cluster::serving(1, &mirrored(&backend.url(), "async: true", &targets)).await;
    let web = cluster.web(0).await;
    let mut connection = Connection::open(web).await.unwrap();
    for _ in 0..1_500 {
        assert_eq!(connection.get("shop.example", "/").await.unwrap().status, 200);
    }
    let in_flight = cluster.proxy(0).metric("lb_mirror_in_flight_requests", "").await;
    let dropped = outcomes(&mut cluster, "hanging", "dropped").await;
    assert_eq!((in_flight, in_flight + dropped), (256, 1_500));
}

#[tokio::test]
async fn clients_wait_for_copies_where_the_document_says_so_and_get_the_same_answer() {
    let backend = Backend::start("a").await;
    let hanging = Backend::doing("hanging", Behaviour::Hang).await;
    let failing = Backend::doing("failing", Behaviour::Status(500)).await;
    let targets = [
        target("hanging", &hanging.url(), ", timeout: 300ms"),
        target("failing", &failing.url(), ""),
    ];
    let cluster = Cluster::serving(1, &mirrored(&backend.url(), "async: false", &targets)).await;
    let web = cluster.web(0).await;
    let begin = Instant::now();
    let response = client::get(web, "shop.example", "/").await;
    assert!(begin.elapsed() >= Duration::from_millis(300), "{:?}", begin.elapsed());
    assert_eq!((response.status, response.backend().as_str()), (200, "a"));
    let begin = Instant::now();
    assert_eq!(post(web, &["--data-binary", "hello", "--http2-prior-knowledge"]).await, 200);
    assert!(begin.elapsed() >= Duration::from_millis(300), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_mirror_that_leads_back_to_the_proxy_makes_no_loop() {
    let backend = Backend::start("a").await;
    let document = |url: &str| mirrored(&backend.url(), "sample_rate: 1", &[target("m", url, "")]);
    let mut cluster = Cluster::serving(1, &document("http://127.0.0.1:9")).await;
    let web = cluster.web(0).await;
    cluster.apply(&document(&format!("http://{web}"))).await;
    assert_eq!(cluster.web(0).await, web);
    for _ in 0..10 {
        assert_eq!(client::get(web, "shop.example", "/").await.status, 200);
    }
    outcomes_become(&mut cluster, "m", "2xx", 10).await;
    assert_eq!(backend.requests(), 20, "each request, and one copy of it");
}

#[tokio::test]
async fn requests_to_switch_protocols_are_not_copied() {
    let (backend, mirror) = (Backend::start("a").await, Recorder::start().await);
    let document = mirrored(&backend.url(), "sample_rate: 1", &[target("m", &at(&mirror), "")]);
    let cluster = Cluster::serving(1, &document).await;
    let web = cluster.web(0).await;
    let mut connection = Connection::open(web).await.unwrap();
    let upgrade = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nhello";
    connection.send(upgrade).await.unwrap();
    assert_eq!(connection.response().await.unwrap().status, 101);
    assert_eq!(connection.exactly(5).await.unwrap(), b"hello");
    assert_eq!(client::get(web, "a", "/plain").await.status, 200);
    let seen = copies(&mirror, 1).await;
    assert_eq!((seen.len(), seen[0].target.as_str()), (1, "/plain"));
}
