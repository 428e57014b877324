//! Sessions over time: kept as long as their client comes, and moved when their backend may not
//! be asked any more.

use std::time::{Duration, Instant};

use lb_tests::{
    backend::{Backend, Behaviour},
    client::Response,
    cluster::Cluster,
    eventually::eventually,
};

use crate::stickiness::{STICKY, ask, cookie, document, several};

/// A first answer of this backend, which has the cookie of a session there.
async fn session_at(cluster: &Cluster, backend: &str) -> Response {
    eventually(&format!("a session begins at {backend}"), async || {
        let answer = ask(cluster, 0, "").await;
        if answer.backend() == backend { Ok(answer) } else { Err(answer.backend()) }
    })
    .await
}

async fn sessions(cluster: &mut Cluster, outcome: &str) -> u64 {
    let labels = format!("outcome=\"{outcome}\",service=\"default\"");
    let mut sum = 0;
    for proxy in 0..2 {
        sum += cluster.proxy(proxy).metric("lb_sticky_sessions_total", &labels).await;
    }
    sum
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cookie_counts_before_a_header() {
    let backends = several(4).await;
    let cluster = Cluster::serving(2, &document(&backends, STICKY)).await;
    let first = ask(&cluster, 0, "").await;
    let value = cookie(&first).unwrap();
    let mut elsewhere = 0;
    for user in 0..20 {
        let field = format!("x-session-id: user-{user}\r\n");
        let by_header = ask(&cluster, 0, &field).await;
        assert_eq!(by_header.header("set-cookie"), None, "the header is enough to know it by");
        elsewhere += usize::from(by_header.backend() != first.backend());
        for proxy in 0..2 {
            let both = ask(&cluster, proxy, &format!("{field}cookie: {value}\r\n")).await;
            assert_eq!(both.backend(), first.backend());
        }
    }
    assert!(elsewhere > 0, "headers alone lead elsewhere");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_lasts_as_long_as_its_client_comes_and_no_longer() {
    let backends = several(2).await;
    let short = "traffic_management: { session_stickiness: { enabled: true, \
                 cookie_name: lb_session, ttl: 4s } }\n";
    let mut cluster = Cluster::serving(2, &document(&backends, short)).await;
    let first = ask(&cluster, 0, "").await;
    let stale = cookie(&first).unwrap();
    let (mut value, mut renewals, start) = (stale.clone(), 0, Instant::now());
    eventually("twice its time to live is over", async || {
        let answer = ask(&cluster, renewals % 2, &format!("cookie: {value}\r\n")).await;
        assert_eq!(answer.backend(), first.backend(), "after {:?}", start.elapsed());
        if let Some(next) = cookie(&answer) {
            (value, renewals) = (next, renewals + 1);
        }
        let passed = start.elapsed();
        if passed > Duration::from_secs(8) { Ok(()) } else { Err(format!("{passed:?}")) }
    })
    .await;
    // In the second half of four seconds, counted in whole ones.
    assert!((2..=6).contains(&renewals), "renewed {renewals} times in eight seconds");
    assert_eq!(
        (sessions(&mut cluster, "begun").await, sessions(&mut cluster, "moved").await),
        (1, 0)
    );
    let again = ask(&cluster, 1, &format!("cookie: {stale}\r\n")).await;
    assert!(cookie(&again).is_some_and(|given| given != stale), "what is too old is replaced");
    assert_eq!(sessions(&mut cluster, "begun").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_moves_when_its_backend_is_shut_out() {
    let breaker = "traffic_management: { session_stickiness: { enabled: true }, circuit_breaker: { \
                   enabled: true, failure_threshold: 2, request_volume_threshold: 2, \
                   recovery_timeout: 1h } }\n";
    let ejection = "traffic_management: { session_stickiness: { enabled: true } }\n\
                    services: { s: { backends: [web0, web1], passive_health_check: { \
                    max_failed_attempts: 2, failure_window: 1m, ejection_time: 5m } } }\n";
    for more in [breaker, ejection] {
        let backends = several(2).await;
        let cluster = Cluster::serving(1, &document(&backends, more)).await;
        let first = session_at(&cluster, "web0").await;
        let own = cookie(&first).unwrap();
        backends[0].behave(Behaviour::Status(500));
        let moved = eventually("the session moves", async || {
            let answer = ask(&cluster, 0, &format!("cookie: {own}\r\n")).await;
            if answer.status == 200 { Ok(answer) } else { Err(answer.status.to_string()) }
        })
        .await;
        assert_eq!(moved.backend(), "web1");
        let new = cookie(&moved).expect("the answer has the new cookie");
        backends[0].behave(Behaviour::Echo);
        for _ in 0..4 {
            let answer = ask(&cluster, 0, &format!("cookie: {new}\r\n")).await;
            assert_eq!((answer.backend().as_str(), cookie(&answer)), ("web1", None));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_moves_when_its_backend_is_not_configured_any_more() {
    let mut backends = several(3).await;
    let mut cluster = Cluster::serving(2, &document(&backends, STICKY)).await;
    let value = cookie(&session_at(&cluster, "web2").await).unwrap();
    let by_header = "x-session-id: ann\r\n";
    let home = ask(&cluster, 0, by_header).await.backend();
    let _removed: Backend = backends.pop().unwrap();
    cluster.apply(&document(&backends, STICKY)).await;
    for proxy in 0..2 {
        let moved = ask(&cluster, proxy, &format!("cookie: {value}\r\n")).await;
        assert_eq!(moved.status, 200);
        assert_ne!(moved.backend(), "web2");
        assert!(cookie(&moved).is_some(), "the answer has the new cookie");
        let by_header = ask(&cluster, proxy, by_header).await.backend();
        assert!(by_header == home || home == "web2", "others stay where they are");
    }
    assert_eq!(sessions(&mut cluster, "moved").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_backend_that_fails_keeps_no_session() {
    let more = "traffic_management: { session_stickiness: { enabled: true } }\n\
                services: { s: { backends: [web0, web1], passive_health_check: { \
                max_failed_attempts: 2, failure_window: 1m, ejection_time: 5m } } }\n";
    let backends = several(2).await;
    let mut cluster = Cluster::serving(1, &document(&backends, more)).await;
    let value = cookie(&session_at(&cluster, "web0").await).unwrap();
    let path = "/admin/backends/web0/disable?drain=1h&wait=true&timeout=10s";
    cluster.control_plane().post(path).await;
    let field = format!("cookie: {value}\r\n");
    assert_eq!(ask(&cluster, 0, &field).await.backend(), "web0");
    backends[0].behave(Behaviour::Status(500));
    eventually("the session leaves it", async || {
        let answer = ask(&cluster, 0, &field).await;
        if answer.backend() == "web1" { Ok(()) } else { Err(answer.status.to_string()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_of_protocols_goes_to_the_backend_of_the_session() {
    let backends = several(3).await;
    let cluster = Cluster::serving(1, &document(&backends, STICKY)).await;
    let value = cookie(&session_at(&cluster, "web1").await).unwrap();
    let before = backends[1].requests();
    for _ in 0..6 {
        let fields = format!("cookie: {value}\r\nconnection: upgrade\r\nupgrade: echo\r\n");
        assert_eq!(ask(&cluster, 0, &fields).await.status, 101);
    }
    assert_eq!(backends[1].requests() - before, 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_ends_with_its_slot_and_keeps_its_version() {
    let backends = several(5).await;
    let more = |active: &str| {
        format!(
            "services:\n  s:\n    backends: [web0, web1, web2, web3]\n    \
             traffic_management:\n      session_stickiness: {{ enabled: true }}\n      \
             blue_green: {{ enabled: true, blue_backends: [web0, web1], \
             green_backends: [web2, web3], active_slot: {active} }}\n      \
             canary: {{ enabled: true, canary_backends: [{{ backend_id: web4 }}], \
             traffic_split: 50 }}\n"
        )
    };
    let cluster = Cluster::serving(2, &document(&backends, &more("blue"))).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        let first = ask(&cluster, 0, "").await;
        clients.push((cookie(&first).unwrap(), first.backend()));
    }
    let is_new = |backend: &str| backend == "web4";
    let new = clients.iter().filter(|(_, home)| is_new(home)).count();
    assert_eq!(new, 10, "half of them see the new version");
    for (value, home) in &clients {
        assert_eq!(ask(&cluster, 1, &format!("cookie: {value}\r\n")).await.backend(), *home);
    }
    cluster.apply(&document(&backends, &more("green"))).await;
    for (value, home) in &clients {
        let moved = ask(&cluster, 0, &format!("cookie: {value}\r\n")).await;
        assert_eq!(is_new(&moved.backend()), is_new(home), "nobody changes the version");
        let is_green = ["web2", "web3"].contains(&moved.backend().as_str());
        assert!(is_green || is_new(home), "{home} → {}", moved.backend());
        let value = cookie(&moved).expect("what it said of the other slot is replaced");
        let again = ask(&cluster, 1, &format!("cookie: {value}\r\n")).await;
        assert_eq!((again.backend(), cookie(&again)), (moved.backend(), None));
    }
}
