//! A share of the requests for a new version.

use lb_tests::{
    backend::{Backend, refused_address},
    client::{Connection, Response},
    cluster::Cluster,
    eventually::eventually,
};

struct Versions {
    stable: [Backend; 2],
    canary: [Backend; 2],
}

impl Versions {
    async fn start() -> Self {
        Self {
            stable: [Backend::start("web1").await, Backend::start("web2").await],
            canary: [Backend::start("canary1").await, Backend::start("canary2").await],
        }
    }

    fn document(&self, split: &str, more: &str) -> String {
        format!(
            "entry_points: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
             backends: {{ web1: {{ url: \"{}\" }}, web2: {{ url: \"{}\" }} }}\n\
             traffic_management:\n  canary:\n    enabled: true\n    canary_backends:\n      \
             - url: \"{}\"\n        backend_id: \"canary1\"\n        weight: 20\n      \
             - url: \"{}\"\n        backend_id: \"canary2\"\n        weight: 20\n    \
             traffic_split: {split}\n    split_header: \"X-Canary\"\n{more}",
            self.stable[0].url(),
            self.stable[1].url(),
            self.canary[0].url(),
            self.canary[1].url()
        )
    }
}

async fn ask(connection: &mut Connection, fields: &str) -> Response {
    connection.send(format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n")).await.unwrap();
    connection.response().await.unwrap()
}

fn is_canary(response: &Response) -> bool {
    response.backend().starts_with("canary")
}

async fn canaries(connection: &mut Connection, requests: usize) -> usize {
    let mut count = 0;
    for _ in 0..requests {
        count += usize::from(is_canary(&ask(connection, "").await));
    }
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenth_of_a_thousand_is_a_hundred_and_weights_divide_it() {
    let versions = Versions::start().await;
    let mut cluster = Cluster::serving(1, &versions.document("10", "")).await;
    let mut one = Connection::open(cluster.web(0).await).await.unwrap();
    let mut two = Connection::open(cluster.web(0).await).await.unwrap();
    let mut count = 0;
    for _ in 0..500 {
        count += canaries(&mut one, 1).await + canaries(&mut two, 1).await;
    }
    assert!((99..=101).contains(&count), "{count}");
    let [first, second] = versions.canary.each_ref().map(Backend::requests);
    assert!(first.abs_diff(second) <= 2, "{first} and {second}");
    let labels = "arm=\"canary\",route=\"\",service=\"default\"";
    assert_eq!(cluster.proxy(0).metric("lb_canary_requests_total", labels).await, count as u64);
    for (split, wanted) in [("0", 0), ("100", 100), ("12.5", 25)] {
        cluster.apply(&versions.document(split, "")).await;
        let requests = if wanted == 25 { 200 } else { 100 };
        let count = canaries(&mut one, requests).await;
        assert!(count.abs_diff(wanted) <= 1, "{count} at {split}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_chooses_the_version_or_a_backend_of_it() {
    let versions = Versions::start().await;
    let cluster = Cluster::serving(1, &versions.document("0", "")).await;
    let mut connection = Connection::open(cluster.web(0).await).await.unwrap();
    for value in ["true", "always", "1"] {
        assert!(is_canary(&ask(&mut connection, &format!("x-canary: {value}\r\n")).await));
    }
    for _ in 0..4 {
        let answer = ask(&mut connection, "x-canary: canary2\r\n").await;
        assert_eq!(answer.backend(), "canary2");
    }
    cluster.apply(&versions.document("100", "")).await;
    for value in ["false", "never", "0"] {
        assert!(!is_canary(&ask(&mut connection, &format!("x-canary: {value}\r\n")).await));
    }
    assert!(is_canary(&ask(&mut connection, "x-canary: perhaps\r\n").await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_stay_with_their_version_while_the_share_grows() {
    let versions = Versions::start().await;
    for more in [
        "    sticky: ip\n",
        "  session_stickiness: { enabled: true, cookie_name: lb_session }\n",
        "  session_stickiness: { enabled: true, header_name: X-User }\n",
    ] {
        let cluster = Cluster::serving(2, &versions.document("30", more)).await;
        let mut clients: Vec<(String, bool)> = Vec::new();
        let mut one = Connection::open(cluster.web(0).await).await.unwrap();
        for user in 0..60 {
            let field = format!("x-user: user-{user}\r\n");
            let first = ask(&mut one, &field).await;
            let cookie = first.header("set-cookie").and_then(|set| set.split(';').next());
            let fields = match cookie {
                Some(cookie) => format!("cookie: {cookie}\r\n"),
                None => field,
            };
            clients.push((fields, is_canary(&first)));
        }
        let mut two = Connection::open(cluster.web(1).await).await.unwrap();
        for split in ["30", "60", "100"] {
            cluster.apply(&versions.document(split, more)).await;
            for (fields, was_canary) in &mut clients {
                let is_now = is_canary(&ask(&mut two, fields).await);
                assert!(is_now || !*was_canary, "nobody goes back: {split} {more}");
                assert!(is_now == *was_canary || split != "30", "the other proxy agrees");
                *was_canary = is_now;
            }
        }
        assert!(clients.iter().all(|(_, is_canary)| *is_canary));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_that_nobody_runs_costs_nobody_an_answer() {
    let stable = Backend::start("web1").await;
    let dead = refused_address().await;
    let document = format!(
        "entry_points: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         health_check: {{ path: /healthz, interval: 50ms, timeout: 40ms, unhealthy_threshold: 1 }}\n\
         backends: {{ web1: {{ url: \"{}\" }} }}\n\
         traffic_management: {{ canary: {{ enabled: true, traffic_split: 50, \
         canary_backends: [{{ backend_id: c, url: \"http://{dead}\" }}] }} }}\n",
        stable.url()
    );
    let mut cluster = Cluster::serving(1, &document).await;
    let mut connection = Connection::open(cluster.web(0).await).await.unwrap();
    for _ in 0..20 {
        assert_eq!(ask(&mut connection, "").await.backend(), "web1");
    }
    let labels = "reason=\"canary_down\",service=\"default\"";
    eventually("what was meant for the canary is counted", async || {
        match cluster.proxy(0).metric("lb_fallbacks_total", labels).await {
            10 => Ok(()),
            count => Err(count.to_string()),
        }
    })
    .await;
}
