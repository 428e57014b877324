//! Two sets of backends, of which one serves.

use lb_tests::{
    backend::{Backend, Behaviour},
    client::{Connection, Response},
    cluster::Cluster,
    eventually::eventually,
    load::Load,
};

struct Pools {
    blue: [Backend; 2],
    green: [Backend; 2],
}

impl Pools {
    async fn start() -> Self {
        Self {
            blue: [Backend::start("web1").await, Backend::start("web2").await],
            green: [Backend::start("web3").await, Backend::start("web4").await],
        }
    }

    fn document(&self, active: &str, more: &str) -> String {
        let all = self.blue.iter().chain(&self.green).zip(1..);
        let backends: Vec<_> = all
            .map(|(it, number)| format!("  web{number}: {{ url: \"{}\" }}\n", it.url()))
            .collect();
        format!(
            "entry_points: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n{more}\
             traffic_management:\n  blue_green:\n    enabled: true\n    \
             blue_backends: [\"web1\", \"web2\"]\n    green_backends: [\"web3\", \"web4\"]\n    \
             active_slot: \"{active}\"\n    switch_header: \"X-Deployment-Slot\"\nbackends:\n{}",
            backends.concat()
        )
    }
}

fn slot(response: &Response) -> &'static str {
    match response.backend().as_str() {
        "web1" | "web2" => "blue",
        "web3" | "web4" => "green",
        other => panic!("{other} answered"),
    }
}

async fn ask(cluster: &Cluster, fields: &str) -> Response {
    let mut connection = Connection::open(cluster.web(0).await).await.unwrap();
    connection.send(format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n")).await.unwrap();
    connection.response().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_moves_every_new_request_and_fails_none() {
    let pools = Pools::start().await;
    let cluster = Cluster::serving(2, &pools.document("blue", "")).await;
    let targets = vec![cluster.web(0).await, cluster.web(1).await];
    let load = Load::start(targets, "a", "/", 300);
    load.good_more(100).await;
    for active in ["green", "blue", "green"] {
        let version = cluster.apply(&pools.document(active, "")).await;
        for _ in 0..8 {
            assert_eq!(slot(&ask(&cluster, "").await), active, "at version {version}");
        }
        load.good_more(50).await;
    }
    load.stop().await.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_on_their_way_finish_where_they_are() {
    let pools = Pools::start().await;
    let cluster = Cluster::serving(1, &pools.document("blue", "")).await;
    pools.blue.iter().for_each(|backend| backend.behave(Behaviour::Gated));
    let mut slow = Connection::open(cluster.web(0).await).await.unwrap();
    slow.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    eventually("blue has the request", async || {
        let requests: u64 = pools.blue.iter().map(Backend::requests).sum();
        if requests == 1 { Ok(()) } else { Err(requests.to_string()) }
    })
    .await;
    cluster.apply(&pools.document("green", "")).await;
    assert_eq!(slot(&ask(&cluster, "").await), "green");
    pools.blue.iter().for_each(Backend::release);
    assert_eq!(slow.response().await.unwrap().text(), "first half");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_chooses_the_slot_of_one_request() {
    let pools = Pools::start().await;
    let mut cluster = Cluster::serving(1, &pools.document("blue", "")).await;
    for (value, wanted) in
        [("green", "green"), ("GREEN", "green"), ("blue", "blue"), ("red", "blue")]
    {
        let answer = ask(&cluster, &format!("x-deployment-slot: {value}\r\n")).await;
        assert_eq!(slot(&answer), wanted, "{value}");
        assert_eq!(answer.json()["headers"]["x-deployment-slot"], value, "it is passed on");
    }
    let labels = "reason=\"header_ignored\",service=\"default\"";
    assert_eq!(cluster.proxy(0).metric("lb_fallbacks_total", labels).await, 1);
    let labels = "service=\"default\",slot=\"green\"";
    assert_eq!(cluster.proxy(0).metric("lb_blue_green_requests_total", labels).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_without_backends_answers_503_unless_the_other_may_stand_in() {
    let check = "health_check: { path: /healthz, interval: 50ms, timeout: 40ms, \
                 unhealthy_threshold: 1 }\n";
    let pools = Pools::start().await;
    let mut cluster = Cluster::serving(1, &pools.document("blue", check)).await;
    pools.blue.iter().for_each(|backend| backend.set_healthy(false));
    eventually("blue is down", async || match ask(&cluster, "").await.status {
        503 => Ok(()),
        status => Err(status.to_string()),
    })
    .await;
    assert_eq!(ask(&cluster, "").await.problem().1, "no_healthy_backend");
    let document =
        pools.document("blue", check).replace("switch_header", "fallback: true\n    switch_header");
    cluster.apply(&document).await;
    assert_eq!(slot(&ask(&cluster, "").await), "green");
    let labels = "reason=\"slot_down\",service=\"default\"";
    assert_eq!(cluster.proxy(0).metric("lb_fallbacks_total", labels).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_stays_where_it_is_over_a_switch() {
    let pools = Pools::start().await;
    let cluster = Cluster::serving(1, &pools.document("blue", "")).await;
    let mut tunnel = Connection::open(cluster.web(0).await).await.unwrap();
    let upgrade = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    tunnel.send(upgrade).await.unwrap();
    assert_eq!(tunnel.response().await.unwrap().status, 101);
    tunnel.send("before").await.unwrap();
    assert_eq!(tunnel.exactly(6).await.unwrap(), b"before");
    cluster.apply(&pools.document("green", "")).await;
    for _ in 0..4 {
        assert_eq!(slot(&ask(&cluster, "").await), "green");
    }
    tunnel.send("after").await.unwrap();
    assert_eq!(tunnel.exactly(5).await.unwrap(), b"after");
    let blue: u64 = pools.blue.iter().map(Backend::requests).sum();
    assert_eq!(blue, 1, "it is the tunnel, and nothing after it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_who_may_chooses_by_header() {
    let pools = Pools::start().await;
    let trusting = |networks: &str| {
        let more = format!("switch_header_trusted_ips: [{networks}]\n    switch_header");
        pools.document("blue", "").replace("switch_header", &more)
    };
    let mut cluster = Cluster::serving(1, &trusting("10.0.0.0/8, 192.0.2.1")).await;
    let field = "x-deployment-slot: green\r\n";
    assert_eq!(slot(&ask(&cluster, field).await), "blue");
    let labels = "reason=\"header_ignored\",service=\"default\"";
    assert_eq!(cluster.proxy(0).metric("lb_fallbacks_total", labels).await, 1);
    // Whatever a stranger claims about its address.
    let lying = format!("{field}x-forwarded-for: 10.0.0.1\r\n");
    assert_eq!(slot(&ask(&cluster, &lying).await), "blue");
    cluster.apply(&trusting("127.0.0.0/8")).await;
    assert_eq!(slot(&ask(&cluster, field).await), "green");
}
