//! Requests that are tried again, and those that are not.

use std::time::{Duration, Instant};

use lb_tests::{
    backend::{Backend, Behaviour, refused_address},
    client::{Connection, Response},
    cluster::Cluster,
    curl::curl,
    eventually::eventually,
    load::Load,
    nginx::Nginx,
    scratch::Scratch,
};

fn document(urls: &[String], retry: &str) -> String {
    let listed: Vec<_> = urls
        .iter()
        .enumerate()
        .map(|(index, url)| format!("  web{index}: {{ url: \"{url}\" }}\n"))
        .collect();
    let names: Vec<_> = (0..urls.len()).map(|index| format!("web{index}")).collect();
    format!(
        "entry_points: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         services: {{ s: {{ backends: [{}], retry: {{ initial_interval: 1ms, {retry} }} }} }}\n\
         backends:\n{}",
        names.join(", "),
        listed.concat()
    )
}

async fn send(cluster: &Cluster, request: &str) -> Response {
    let mut connection = Connection::open(cluster.web(0).await).await.unwrap();
    connection.send(request).await.unwrap();
    connection.response().await.unwrap()
}

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello";

async fn retries(cluster: &mut Cluster, outcome: &str) -> u64 {
    let labels = format!("outcome=\"{outcome}\",service=\"s\"");
    cluster.proxy(0).metric("lb_retries_total", &labels).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_is_not_there_costs_nobody_an_answer() {
    let good = Backend::start("good").await;
    let dead = format!("http://{}", refused_address().await);
    let document = document(&[dead, good.url()], "attempts: 2, budget: 100");
    let mut cluster = Cluster::in_turn(&document).await;
    for _ in 0..10 {
        assert_eq!(send(&cluster, GET).await.backend(), "good");
        let answer = send(&cluster, POST).await;
        assert_eq!(answer.json()["body"], "hello", "no backend had begun with it");
    }
    assert_eq!(retries(&mut cluster, "sent").await, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_does_nothing_twice_is_sent_twice_unless_told() {
    let (good, bad) = (Backend::start("good").await, Backend::start("bad").await);
    let urls = [bad.url(), good.url()];
    for behaviour in [Behaviour::Status(503), Behaviour::Reset, Behaviour::Close] {
        bad.behave(behaviour);
        let retry = "attempts: 2, on: [reset, gateway_error], budget: 100";
        let cluster = Cluster::in_turn(&document(&urls, retry)).await;
        for _ in 0..6 {
            assert_eq!(send(&cluster, GET).await.status, 200, "{behaviour:?}");
        }
        let mut failed = 0;
        for _ in 0..6 {
            failed += usize::from(send(&cluster, POST).await.status >= 500);
        }
        assert_eq!(failed, 3, "{behaviour:?}: every second POST went to the bad one");
        let told = format!("{retry}, non_idempotent: true");
        cluster.apply(&document(&urls, &told)).await;
        for _ in 0..6 {
            assert_eq!(send(&cluster, POST).await.json()["body"], "hello", "{behaviour:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_is_sent_again_as_far_as_it_is_kept() {
    let (good, bad) = (Backend::start("good").await, Backend::start("bad").await);
    bad.behave(Behaviour::Status(503));
    let retry =
        "attempts: 2, status: 503, non_idempotent: true, max_body_bytes: 20KiB, budget: 100";
    let document = document(&[bad.url(), good.url()], retry);
    let cluster = Cluster::in_turn(&document).await;
    let url = format!("http://{}/", cluster.web(0).await);
    for (size, wanted) in [(20_000, [200, 200]), (30_000, [200, 503])] {
        let body = "x".repeat(size);
        for more in [
            &["--http1.1"][..],
            &["--http2-prior-knowledge"],
            &["-H", "Transfer-Encoding: chunked"],
        ] {
            let mut statuses = Vec::new();
            for _ in 0..2 {
                let all = [&["--data-binary", &body, "-H", "Expect:"], more, &[&url]].concat();
                let answer = curl(&all).await;
                assert!(answer.status != 200 || answer.body.contains(&body));
                statuses.push(answer.status);
            }
            statuses.sort_unstable();
            assert_eq!(statuses, wanted, "{size} {more:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_try_takes_no_longer_than_it_may() {
    let (good, slow) = (Backend::start("good").await, Backend::start("slow").await);
    slow.behave(Behaviour::Hang);
    let retry = "attempts: 2, on: [gateway_error], per_try_timeout: 100ms, budget: 100";
    let cluster = Cluster::in_turn(&document(&[slow.url(), good.url()], retry)).await;
    for _ in 0..4 {
        assert_eq!(send(&cluster, GET).await.backend(), "good");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_bounds_what_all_requests_together_try_again() {
    let bad = Backend::doing("bad", Behaviour::Status(503)).await;
    let document = document(&[bad.url()], "attempts: 4, on: [gateway_error], budget: 10");
    let mut cluster = Cluster::in_turn(&document).await;
    for _ in 0..400 {
        assert_eq!(send(&cluster, GET).await.status, 503);
    }
    let (sent, denied) =
        (retries(&mut cluster, "sent").await, retries(&mut cluster, "denied").await);
    assert!(denied > 0, "{sent} sent, {denied} denied");
    // A tenth of the requests, and a few each second for each worker.
    assert!(sent <= 40 + 3 * 10 * 2 + 60, "{sent} sent, {denied} denied");
    assert_eq!(bad.requests(), 400 + sent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_pause_between_tries_is_longer_than_the_one_before() {
    let bad = Backend::doing("bad", Behaviour::Status(503)).await;
    let document = document(&[bad.url()], "attempts: 4, on: [gateway_error], budget: 100")
        .replace("initial_interval: 1ms", "initial_interval: 200ms");
    let cluster = Cluster::in_turn(&document).await;
    let start = Instant::now();
    assert_eq!(send(&cluster, GET).await.status, 503);
    let took = start.elapsed();
    assert_eq!(bad.requests(), 4);
    // 200, 400 and 800 ms, of each half at least and all at most.
    assert!(took >= Duration::from_millis(700), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_tries_again_by_its_middleware_and_others_do_not() {
    let (good, bad) = (Backend::start("good").await, Backend::start("bad").await);
    bad.behave(Behaviour::Status(429));
    let document = format!(
        "entry_points: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         backends: {{ bad: {{ url: \"{}\" }}, good: {{ url: \"{}\" }} }}\n\
         services: {{ s: {{ backends: [bad, good] }} }}\n\
         middlewares: {{ again: {{ retry: {{ attempts: 2, status: 429, initial_interval: 1ms, \
         budget: 100 }} }} }}\n\
         routes:\n  again: {{ rule: \"PathPrefix(`/`)\", middlewares: [again] }}\n  \
         once: {{ rule: \"PathPrefix(`/once`)\" }}\n",
        bad.url(),
        good.url()
    );
    let cluster = Cluster::in_turn(&document).await;
    for _ in 0..6 {
        assert_eq!(send(&cluster, GET).await.status, 200);
    }
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(send(&cluster, "GET /once HTTP/1.1\r\nhost: a\r\n\r\n").await.status);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 429, 429, 429]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_but_connections_is_tried_again_where_nothing_else_is_said() {
    let (good, bad) = (Backend::start("good").await, Backend::start("bad").await);
    for (behaviour, wanted) in
        [(Behaviour::Status(503), 503), (Behaviour::Reset, 502), (Behaviour::Garbage, 502)]
    {
        bad.behave(behaviour);
        let document = document(&[bad.url(), good.url()], "attempts: 2, budget: 100");
        let mut cluster = Cluster::in_turn(&document).await;
        let mut statuses = Vec::new();
        for _ in 0..4 {
            statuses.push(send(&cluster, GET).await.status);
        }
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 200, wanted, wanted], "{behaviour:?}");
        assert_eq!(retries(&mut cluster, "sent").await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_nginx_that_is_killed_under_load_costs_nobody_an_answer() {
    let scratches = [Scratch::new(), Scratch::new()];
    let lasting = Nginx::start(&scratches[0]).await;
    let mortal = Nginx::start(&scratches[1]).await;
    let check = "health_check: { path: /up, interval: 100ms, timeout: 90ms, \
                 unhealthy_threshold: 2 }\n";
    let retry = "attempts: 3, on: [connect_failure, reset], budget: 100";
    let document = document(&[lasting.url(), mortal.url()], retry) + check;
    let mut cluster = Cluster::serving(2, &document).await;
    let targets = vec![cluster.web(0).await, cluster.web(1).await];
    let load = Load::start(targets, "a", "/", 200);
    load.good_more(100).await;
    drop(mortal);
    let labels = "backend=\"web1\",service=\"s\"";
    for proxy in 0..2 {
        let seen = cluster.proxy(proxy).metric("lb_upstream_requests_total", labels).await;
        assert!(seen > 0, "both have requests");
        eventually("it is seen to be down", async || {
            match cluster.proxy(proxy).metric("lb_backend_up", labels).await {
                0 => Ok(()),
                up => Err(up.to_string()),
            }
        })
        .await;
    }
    load.good_more(100).await;
    load.stop().await.assert_clean();
}
