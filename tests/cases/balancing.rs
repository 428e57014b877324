//! Who takes the next request: strategies, services of services, levels, zones, slow start.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use lb_tests::{
    backend::{Backend, Behaviour},
    client::{Connection, Response},
    cluster::Cluster,
    curl::curl,
    eventually::eventually,
};

struct Pool(Vec<Backend>);

impl Pool {
    async fn start(count: usize) -> Self {
        let mut backends = Vec::new();
        for index in 0..count {
            backends.push(Backend::start(&format!("web{index}")).await);
        }
        Self(backends)
    }

    /// All of them, with `more` said of some.
    fn document(&self, services: &str, more: &[(usize, &str)]) -> String {
        let listed: Vec<_> = self
            .0
            .iter()
            .enumerate()
            .map(|(index, backend)| {
                let more = more.iter().find(|(of, _)| *of == index).map_or("", |(_, more)| more);
                format!("  web{index}: {{ url: \"{}\"{more} }}\n", backend.url())
            })
            .collect();
        format!(
            "entry_points: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n{services}backends:\n{}",
            listed.concat()
        )
    }
}

async fn open(cluster: &Cluster, proxy: usize) -> Connection {
    Connection::open(cluster.web(proxy).await).await.unwrap()
}

async fn ask(connection: &mut Connection, fields: &str) -> Response {
    connection.send(format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n")).await.unwrap();
    connection.response().await.unwrap()
}

/// Who answered how many of so many requests.
async fn shares(connection: &mut Connection, requests: usize) -> BTreeMap<String, usize> {
    let mut shares = BTreeMap::new();
    for _ in 0..requests {
        *shares.entry(ask(connection, "").await.backend()).or_default() += 1;
    }
    shares
}

fn counts(shares: &BTreeMap<String, usize>) -> Vec<usize> {
    shares.values().copied().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hash_leads_the_same_part_of_a_request_to_the_same_backend_everywhere() {
    let pool = Pool::start(5).await;
    for (source, field) in [("header:X-User", "x-user: "), ("cookie:sid", "cookie: a=b; sid=")] {
        let services = format!(
            "services: {{ s: {{ backends: [web0, web1, web2, web3, web4], strategy: hash, \
             hash_on: \"{source}\" }} }}\n"
        );
        let cluster = Cluster::serving(2, &pool.document(&services, &[])).await;
        let (mut one, mut two) = (open(&cluster, 0).await, open(&cluster, 1).await);
        let mut seen = BTreeMap::<String, usize>::new();
        for user in 0..50 {
            let field = format!("{field}user-{user}\r\n");
            let here = ask(&mut one, &field).await.backend();
            assert_eq!(ask(&mut two, &field).await.backend(), here);
            *seen.entry(here).or_default() += 1;
        }
        assert_eq!(seen.len(), 5, "{seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hash_of_the_address_or_the_path_is_the_same_everywhere_too() {
    let pool = Pool::start(4).await;
    for source in ["client_ip", "path"] {
        let services = format!(
            "services: {{ s: {{ backends: [web0, web1, web2, web3], strategy: hash, \
             hash_on: {source} }} }}\n"
        );
        let cluster = Cluster::serving(2, &pool.document(&services, &[])).await;
        let mut seen = BTreeMap::<String, usize>::new();
        for number in 1..=24 {
            let address = format!("127.0.0.{number}");
            let (path, from) = match source {
                "path" => (number.to_string(), "127.0.0.1"),
                _ => (String::new(), address.as_str()),
            };
            let mut homes = Vec::new();
            for proxy in [0, 1, 0] {
                // Neither the query nor the port of the client counts.
                let url = format!("http://{}/{path}?q={proxy}", cluster.web(proxy).await);
                let answer = curl(&["--interface", from, &url]).await;
                let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
                homes.push(body["backend"].as_str().unwrap().to_owned());
            }
            assert!(homes.iter().all(|home| *home == homes[0]), "{source} {number}: {homes:?}");
            *seen.entry(homes.swap_remove(0)).or_default() += 1;
        }
        assert_eq!(seen.len(), 4, "{source}: {seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weights_are_kept_exactly_and_turns_are_spread() {
    let pool = Pool::start(3).await;
    let more = [(0, ", weight: 5"), (1, ", weight: 1"), (2, ", weight: 1")];
    let cluster = Cluster::in_turn(&pool.document("", &more)).await;
    let mut connection = open(&cluster, 0).await;
    let mut turns = Vec::new();
    for _ in 0..70 {
        turns.push(ask(&mut connection, "").await.backend());
    }
    for cycle in turns.chunks(7) {
        let of = |name: &str| cycle.iter().filter(|each| *each == name).count();
        assert_eq!([of("web0"), of("web1"), of("web2")], [5, 1, 1], "{cycle:?}");
    }
    let heavy = |turn: &&[String]| turn.iter().all(|each| each == "web0");
    assert!(turns.windows(5).filter(heavy).count() == 0, "five in a row are a burst: {turns:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_least_busy_and_the_fastest_get_more() {
    let pool = Pool::start(2).await;
    for strategy in ["least_requests", "p2c", "peak_ewma"] {
        pool.0[0].behave(Behaviour::Echo);
        let services =
            format!("services: {{ s: {{ backends: [web0, web1], strategy: {strategy} }} }}\n");
        let cluster = Cluster::serving(1, &pool.document(&services, &[])).await;
        // A request gets stuck at one of them.
        pool.0[0].behave(Behaviour::Hang);
        let asked = || pool.0.iter().map(Backend::requests).sum::<u64>();
        let before = pool.0[0].requests();
        let mut stuck = Vec::new();
        while pool.0[0].requests() == before {
            let arrived = asked();
            let mut connection = open(&cluster, 0).await;
            connection.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
            stuck.push(connection);
            eventually("somebody has the request", async || {
                if asked() > arrived { Ok(()) } else { Err(arrived.to_string()) }
            })
            .await;
        }
        let mut connection = open(&cluster, 0).await;
        let before = pool.0[0].requests();
        for _ in 0..20 {
            assert_eq!(ask(&mut connection, "").await.backend(), "web1", "{strategy}");
        }
        assert_eq!(pool.0[0].requests(), before, "{strategy}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_of_services_share_by_weight_and_leave_out_those_without_backends() {
    let pool = Pool::start(3).await;
    let services = "services:\n  all: { weighted: [{ service: half, weight: 3 }, { service: c }] }\n  \
                    half: { weighted: [{ service: a }, { service: b, weight: 2 }] }\n  \
                    a: { backends: [web0] }\n  b: { backends: [web1] }\n  c: { backends: [web2] }\n\
                    health_check: { path: /healthz, interval: 50ms, timeout: 40ms, \
                    unhealthy_threshold: 1 }\n\
                    routes: { all: { rule: \"PathPrefix(`/`)\", service: all } }\n";
    let cluster = Cluster::serving(1, &pool.document(services, &[])).await;
    let mut connection = open(&cluster, 0).await;
    assert_eq!(counts(&shares(&mut connection, 120).await), [30, 60, 30]);
    pool.0[0].set_healthy(false);
    pool.0[1].set_healthy(false);
    eventually("all requests go to the third", async || {
        let shares = shares(&mut connection, 8).await;
        if counts(&shares) == [8] { Ok(()) } else { Err(format!("{shares:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_service_answers_while_one_cannot_or_answers_badly() {
    let pool = Pool::start(2).await;
    let services = "services:\n  main: { backends: [web0], failover: spare, \
                    failover_status: [502-504], \
                    health_check: { path: /healthz, interval: 50ms, timeout: 40ms, \
                    unhealthy_threshold: 1 } }\n  \
                    spare: { backends: [web1] }\n\
                    routes: { all: { rule: \"PathPrefix(`/`)\", service: main } }\n";
    let mut cluster = Cluster::serving(1, &pool.document(services, &[])).await;
    let mut connection = open(&cluster, 0).await;
    assert_eq!(ask(&mut connection, "").await.backend(), "web0");
    pool.0[0].behave(Behaviour::Status(503));
    let request = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello";
    connection.send(request).await.unwrap();
    let answer = connection.response().await.unwrap();
    assert_eq!(answer.backend(), "web1");
    assert_eq!(answer.json()["body"], "hello", "the body goes there, too");
    pool.0[0].behave(Behaviour::Status(500));
    assert_eq!(ask(&mut connection, "").await.status, 500, "which is not among the codes");
    pool.0[0].set_healthy(false);
    eventually("the other one answers", async || {
        let answer = ask(&mut connection, "").await;
        if answer.status == 200 { Ok(()) } else { Err(answer.status.to_string()) }
    })
    .await;
    let labels = "reason=\"failover\",service=\"main\"";
    assert!(cluster.proxy(0).metric("lb_fallbacks_total", labels).await >= 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lower_level_is_used_first_and_the_own_zone_before_others() {
    let pool = Pool::start(4).await;
    let more = [
        (0, ", zone: a"),
        (1, ", zone: b"),
        (2, ", priority: 1, zone: a"),
        (3, ", priority: 1, zone: b"),
    ];
    let services = "health_check: { path: /healthz, interval: 50ms, timeout: 40ms, \
                    unhealthy_threshold: 1, healthy_threshold: 1 }\n";
    let mut cluster = Cluster::start(0).await;
    cluster.add_proxy(&["--zone", "a"]).await;
    cluster.add_proxy(&["--zone", "b"]).await;
    cluster.add_proxy(&[]).await;
    cluster.apply(&pool.document(services, &more)).await;
    for (proxy, wanted) in [(0, &["web0"][..]), (1, &["web1"]), (2, &["web0", "web1"])] {
        let mut connection = open(&cluster, proxy).await;
        let shares = shares(&mut connection, 10).await;
        assert_eq!(shares.keys().collect::<Vec<_>>(), wanted);
    }
    pool.0[0].set_healthy(false);
    pool.0[1].set_healthy(false);
    let mut connection = open(&cluster, 0).await;
    eventually("the next level is used, in the own zone", async || {
        let shares = shares(&mut connection, 6).await;
        if shares.keys().eq(["web2"]) { Ok(()) } else { Err(format!("{shares:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_too_few_are_well_all_are_asked() {
    let pool = Pool::start(4).await;
    let check = "health_check: { path: /healthz, interval: 50ms, timeout: 40ms, \
                 unhealthy_threshold: 1 }";
    let services = format!(
        "services: {{ s: {{ backends: [web0, web1, web2, web3], panic_threshold: 50, {check} }} }}\n"
    );
    let mut cluster = Cluster::serving(1, &pool.document(&services, &[])).await;
    let mut connection = open(&cluster, 0).await;
    let all_used = async |connection: &mut Connection| shares(connection, 40).await.len();
    pool.0[0].set_healthy(false);
    eventually("the ill one is left out", async || match all_used(&mut connection).await {
        3 => Ok(()),
        used => Err(used.to_string()),
    })
    .await;
    pool.0[1].set_healthy(false);
    pool.0[2].set_healthy(false);
    eventually("all are asked", async || match all_used(&mut connection).await {
        4 => Ok(()),
        used => Err(used.to_string()),
    })
    .await;
    let labels = "reason=\"panic\",service=\"s\"";
    assert!(cluster.proxy(0).metric("lb_fallbacks_total", labels).await > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_came_up_gets_its_share_little_by_little() {
    const WINDOW: Duration = Duration::from_secs(6);
    let pool = Pool::start(2).await;
    let services = "services: { s: { backends: [web0, web1], slow_start: 6s, \
                    health_check: { path: /healthz, interval: 50ms, timeout: 40ms, \
                    unhealthy_threshold: 1, healthy_threshold: 1 } } }\n";
    let cluster = Cluster::in_turn(&pool.document(services, &[])).await;
    let mut connection = open(&cluster, 0).await;
    assert_eq!(counts(&shares(&mut connection, 20).await), [10, 10], "both are equally new");
    pool.0[1].set_healthy(false);
    let start = Instant::now();
    eventually("the other one is warm", async || {
        let passed = start.elapsed();
        if passed > WINDOW { Ok(()) } else { Err(format!("{passed:?}")) }
    })
    .await;
    assert_eq!(counts(&shares(&mut connection, 10).await), [10]);
    pool.0[1].set_healthy(true);
    let start = Instant::now();
    let web1 = |shares: BTreeMap<String, usize>| shares.get("web1").copied().unwrap_or(0);
    let (mut least, mut last) = (usize::MAX, 0);
    eventually("it has its whole share", async || {
        let count = web1(shares(&mut connection, 40).await);
        if count > 0 {
            least = least.min(count);
        }
        assert!(count <= 20, "never more than its share: {count}");
        assert!(count + 3 >= last, "a share that grows: {count} after {last}");
        last = count;
        if count == 20 { Ok(()) } else { Err(count.to_string()) }
    })
    .await;
    let took = start.elapsed();
    assert!(least <= 8, "it began with {least} of 40");
    assert!(took > WINDOW / 2, "it had its whole share after {took:?}");
}
