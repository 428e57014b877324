//! What sessions look like to clients, and what clients can make of their keys.

use std::{fmt::Write, fs};

use lb_tests::{certificate::Pair, client::Connection, cluster::Cluster, curl::curl};

use crate::stickiness::{STICKY, ask, cookie, document, several};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cookie_has_the_attributes_of_the_document_and_is_secure_over_tls() {
    let backends = several(1).await;
    let pair = Pair::new("shop.example.com");
    let written = |more: &str| {
        let text = document(&backends, "").replace(
            "entry_points: {",
            "entry_points: { secure: { address: \"127.0.0.1:0\", tls: {} },",
        );
        format!(
            "{text}certificates:\n{}traffic_management: {{ session_stickiness: {{ enabled: true, \
             cookie_name: sid{more} }} }}\n",
            pair.entry("shop")
        )
    };
    let mut cluster = Cluster::serving(1, &written("")).await;
    for (more, plain, secure) in [
        (
            "",
            "; Path=/; HttpOnly; SameSite=Lax; Max-Age=3600",
            "; Path=/; HttpOnly; SameSite=Lax; Max-Age=3600; Secure",
        ),
        (
            ", ttl: 1m, path: /shop, domain: shop.example.com, http_only: false, same_site: strict",
            "; Path=/shop; Domain=shop.example.com; SameSite=Strict; Max-Age=60",
            "; Path=/shop; Domain=shop.example.com; SameSite=Strict; Max-Age=60; Secure",
        ),
        (
            ", same_site: none, secure: true",
            "; Path=/; HttpOnly; SameSite=None; Max-Age=3600; Secure",
            "; Path=/; HttpOnly; SameSite=None; Max-Age=3600; Secure",
        ),
        (
            ", secure: false",
            "; Path=/; HttpOnly; SameSite=Lax; Max-Age=3600",
            "; Path=/; HttpOnly; SameSite=Lax; Max-Age=3600",
        ),
    ] {
        cluster.apply(&written(more)).await;
        let web = format!("http://{}/", cluster.web(0).await);
        let over_tls = format!("https://{}/", cluster.proxy(0).entry_point("secure").await);
        for (url, wanted) in [(&web, plain), (&over_tls, secure)] {
            for version in ["--http1.1", "--http2"] {
                let seen = curl(&["--insecure", "--include", version, url]).await;
                let set = seen.body.lines().find_map(|line| {
                    let (name, value) = line.split_once(": ")?;
                    name.eq_ignore_ascii_case("set-cookie").then(|| value.trim_end().to_owned())
                });
                let set = set.unwrap_or_else(|| panic!("{more}: no cookie in {seen:?}"));
                let attributes = &set[set.find(';').unwrap()..];
                assert!(set.starts_with("sid=") && attributes == wanted, "{more} {url}: {set}");
            }
        }
    }
}

/// The memory of a process, in bytes.
fn resident(process: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_ten_megabytes_is_refused_and_one_that_fits_works() {
    let backends = several(4).await;
    let by_hash = "services: { s: { backends: [web0, web1, web2, web3], strategy: hash, \
                   hash_on: \"header:X-Session-ID\" } }\n";
    for more in [STICKY, by_hash] {
        let mut cluster = Cluster::serving(2, &document(&backends, more)).await;
        ask(&cluster, 0, "").await;
        let process = cluster.proxy(0).process().id();
        let before = resident(process);
        let huge = "x".repeat(10 << 20);
        for field in ["x-session-id: ", "cookie: lb_session="] {
            let mut connection = Connection::open(cluster.web(0).await).await.unwrap();
            let head = format!("GET / HTTP/1.1\r\nhost: a\r\n{field}{huge}\r\n\r\n");
            // The proxy answers long before the end, and need not take the rest.
            let _ = connection.send(head).await;
            assert_eq!(connection.response().await.unwrap().problem().1, "header_too_large");
        }
        let grown = resident(process).saturating_sub(before);
        assert!(grown < 5 << 20, "the proxy grew by {grown} bytes");
        let long = "y".repeat(15_000);
        let field = format!("x-session-id: {long}\r\n");
        let home = ask(&cluster, 0, &field).await;
        assert_eq!(home.status, 200);
        for proxy in [0, 1, 0] {
            assert_eq!(ask(&cluster, proxy, &field).await.backend(), home.backend());
        }
        // Another key that only differs at its end is another client.
        let mut others = Vec::new();
        for end in 0..16 {
            let field = format!("x-session-id: {long}{end}\r\n");
            others.push(ask(&cluster, 0, &field).await.backend());
        }
        assert!(others.iter().any(|other| *other != home.backend()), "{others:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_clients_are_remembered_than_there_is_room_for() {
    const MOST: u64 = 100_000;
    const AT_ONCE: usize = 500;
    let backends = several(2).await;
    let mut cluster = Cluster::serving(1, &document(&backends, STICKY)).await;
    // Whoever is known comes all the time.
    let known = "x-session-id: known\r\n";
    let home = ask(&cluster, 0, known).await.backend();
    let value = cookie(&ask(&cluster, 0, "").await).unwrap();
    let mut connection = Connection::open(cluster.web(0).await).await.unwrap();
    for batch in 0..210 {
        let mut requests = String::new();
        for each in 0..AT_ONCE {
            let _ = write!(
                requests,
                "GET / HTTP/1.1\r\nhost: a\r\nx-session-id: {batch}-{each}\r\n\r\n"
            );
        }
        connection.send(requests).await.unwrap();
        for _ in 0..AT_ONCE {
            assert_eq!(connection.response().await.unwrap().status, 200);
        }
        assert_eq!(ask(&cluster, 0, known).await.backend(), home);
    }
    let labels = "service=\"default\"";
    let active = cluster.proxy(0).metric("lb_sticky_sessions_active", labels).await;
    assert!((MOST / 2..=MOST).contains(&active), "{active} are remembered");
    // Cookies need no room.
    assert_eq!(cookie(&ask(&cluster, 0, &format!("cookie: {value}\r\n")).await), None);
}
