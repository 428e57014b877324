//! The same backend for the same client, through any proxy of the fleet.

use std::collections::BTreeSet;

use lb_tests::{
    backend::Backend,
    client::{Connection, Response},
    cluster::Cluster,
    curl::curl,
    eventually::eventually,
};

pub(crate) const STICKY: &str = "traffic_management:\n  session_stickiness:\n    enabled: true\n    \
                      cookie_name: \"lb_session\"\n    header_name: \"X-Session-ID\"\n    \
                      ttl: 3600s\n";

pub(crate) fn document(backends: &[Backend], more: &str) -> String {
    let listed: Vec<_> = backends
        .iter()
        .enumerate()
        .map(|(index, backend)| format!("  web{index}: {{ url: \"{}\" }}\n", backend.url()))
        .collect();
    format!(
        "entry_points: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n{more}backends:\n{}",
        listed.concat()
    )
}

pub(crate) async fn several(count: usize) -> Vec<Backend> {
    let mut backends = Vec::new();
    for index in 0..count {
        backends.push(Backend::start(&format!("web{index}")).await);
    }
    backends
}

pub(crate) async fn ask(cluster: &Cluster, proxy: usize, fields: &str) -> Response {
    let mut connection = Connection::open(cluster.web(proxy).await).await.unwrap();
    let request = format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n");
    connection.send(request).await.unwrap();
    connection.response().await.unwrap()
}

/// The cookie that an answer sets, without its attributes.
pub(crate) fn cookie(response: &Response) -> Option<String> {
    Some(response.header("set-cookie")?.split(';').next()?.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cookie_leads_to_the_same_backend_through_every_proxy() {
    let backends = several(4).await;
    let cluster = Cluster::serving(2, &document(&backends, STICKY)).await;
    let first = ask(&cluster, 0, "").await;
    let set = first.header("set-cookie").unwrap().to_owned();
    let (value, attributes) = set.split_once("; ").unwrap();
    assert!(value.starts_with("lb_session="), "{set}");
    assert_eq!(attributes, "Path=/; HttpOnly; SameSite=Lax; Max-Age=3600");
    for index in 0..100 {
        let again = ask(&cluster, index % 2, &format!("cookie: x=1; {value}\r\n")).await;
        assert_eq!(again.backend(), first.backend());
        assert_eq!(again.header("set-cookie"), None, "a fresh cookie is not sent again");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cookie_that_was_not_given_is_as_good_as_none() {
    let backends = several(3).await;
    let cluster = Cluster::serving(1, &document(&backends, STICKY)).await;
    let good = cookie(&ask(&cluster, 0, "").await).unwrap();
    let other = Cluster::serving(1, &document(&backends, STICKY)).await;
    let foreign = cookie(&ask(&other, 0, "").await).unwrap();
    let mut forged = good.clone().into_bytes();
    let last = forged.len() - 10;
    forged[last] = if forged[last] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).unwrap();
    for bad in
        [forged, foreign, "lb_session=".to_owned(), format!("lb_session={}", "x".repeat(9_000))]
    {
        let answer = ask(&cluster, 0, &format!("cookie: {bad}\r\n")).await;
        assert_eq!(answer.status, 200);
        let given = cookie(&answer).expect("it is replaced");
        assert_ne!(given, bad);
    }
    assert_eq!(cookie(&ask(&cluster, 0, &format!("cookie: {good}\r\n")).await), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_leads_to_the_same_backend_on_every_proxy_and_a_new_backend_moves_nobody() {
    let mut backends = several(4).await;
    let mut cluster = Cluster::serving(2, &document(&backends, STICKY)).await;
    let mut homes = Vec::new();
    for user in 0..40 {
        let field = format!("x-session-id: user-{user}\r\n");
        let here = ask(&cluster, 0, &field).await.backend();
        assert_eq!(ask(&cluster, 1, &field).await.backend(), here);
        homes.push(here);
    }
    let used: BTreeSet<_> = homes.iter().collect();
    assert_eq!(used.len(), 4, "sessions are spread");
    backends.push(Backend::start("web4").await);
    cluster.apply(&document(&backends, STICKY)).await;
    for (user, home) in homes.iter().enumerate() {
        let field = format!("x-session-id: user-{user}\r\n");
        for proxy in 0..2 {
            assert_eq!(ask(&cluster, proxy, &field).await.backend(), *home);
        }
    }
    let active = cluster.proxy(0).metric("lb_sticky_sessions_active", "service=\"default\"").await;
    assert_eq!(active, 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_whose_backend_is_gone_moves_and_its_cookie_with_it() {
    let mut backends = several(2).await;
    let check = "health_check: { path: /healthz, interval: 50ms, timeout: 40ms, \
                 unhealthy_threshold: 1 }\n";
    let more = format!("{STICKY}{check}");
    let cluster = Cluster::serving(1, &document(&backends, &more)).await;
    let first = ask(&cluster, 0, "").await;
    let value = cookie(&first).unwrap();
    let index = usize::from(first.backend() == "web1");
    backends[index].set_healthy(false);
    let moved = eventually("the session moves", async || {
        let again = ask(&cluster, 0, &format!("cookie: {value}\r\n")).await;
        if again.backend() == first.backend() { Err(again.backend()) } else { Ok(again) }
    })
    .await;
    let value = cookie(&moved).expect("the answer has the new cookie");
    backends.remove(index);
    assert_eq!(ask(&cluster, 0, &format!("cookie: {value}\r\n")).await.backend(), moved.backend());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_stay_while_their_backend_drains_and_no_new_one_goes_there() {
    let backends = several(2).await;
    let mut cluster = Cluster::serving(1, &document(&backends, STICKY)).await;
    let first = ask(&cluster, 0, "").await;
    let (home, value) = (first.backend(), cookie(&first).unwrap());
    let path = format!("/admin/backends/{home}/disable?drain=1h&wait=true&timeout=10s");
    cluster.control_plane().post(&path).await;
    for _ in 0..10 {
        assert_eq!(ask(&cluster, 0, &format!("cookie: {value}\r\n")).await.backend(), home);
        assert_ne!(ask(&cluster, 0, "").await.backend(), home);
    }
    let path = format!("/admin/backends/{home}/disable?wait=true&timeout=10s");
    cluster.control_plane().post(&path).await;
    assert_ne!(ask(&cluster, 0, &format!("cookie: {value}\r\n")).await.backend(), home);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_by_header_are_forgotten_when_their_time_is_over() {
    let backends = several(2).await;
    let short = "traffic_management: { session_stickiness: { enabled: true, \
                 header_name: X-Session-ID, ttl: 1s } }\n";
    let mut cluster = Cluster::serving(1, &document(&backends, short)).await;
    assert_eq!(ask(&cluster, 0, "x-session-id: a\r\n").await.header("set-cookie"), None);
    let labels = "service=\"default\"";
    assert_eq!(cluster.proxy(0).metric("lb_sticky_sessions_active", labels).await, 1);
    eventually("the session is forgotten", async || {
        match cluster.proxy(0).metric("lb_sticky_sessions_active", labels).await {
            0 => Ok(()),
            count => Err(count.to_string()),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_over_http_2_and_websockets_have_sessions_too() {
    let backends = several(3).await;
    let cluster = Cluster::serving(1, &document(&backends, STICKY)).await;
    let first = ask(&cluster, 0, "").await;
    let value = cookie(&first).unwrap();
    let url = format!("http://{}/", cluster.web(0).await);
    for _ in 0..6 {
        let field = format!("cookie: {value}");
        let answer = curl(&["--http2-prior-knowledge", "-H", &field, &url]).await;
        assert!(answer.body.contains(&format!("\"backend\":\"{}\"", first.backend())));
    }
    let fields = "connection: upgrade\r\nupgrade: echo\r\n";
    let switched = ask(&cluster, 0, fields).await;
    assert_eq!(switched.status, 101);
    assert!(cookie(&switched).is_some(), "a switch sets the cookie as any answer does");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_behind_one_host_have_a_cookie_each() {
    let backends = several(2).await;
    let services = "services: { one: { backends: [web0] }, two: { backends: [web1] } }\n\
                    routes: { one: { rule: \"PathPrefix(`/one`)\", service: one }, \
                    two: { rule: \"PathPrefix(`/`)\", service: two } }\n";
    let more = format!("{STICKY}{services}");
    let cluster = Cluster::serving(1, &document(&backends, &more)).await;
    let mut connection = Connection::open(cluster.web(0).await).await.unwrap();
    let one = cookie(&connection.get("a", "/one").await.unwrap()).unwrap();
    let two = cookie(&connection.get("a", "/").await.unwrap()).unwrap();
    assert!(one.starts_with("lb_session_one=") && two.starts_with("lb_session_two="));
    let both = format!("cookie: {one}; {two}\r\n");
    assert_eq!(cookie(&ask(&cluster, 0, &both).await), None);
}
