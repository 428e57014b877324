//! Requests that are tried again, and those that are not.

use lb_tests::{
    backend::{Backend, Behaviour, refused_address},
    client::{Connection, Response},
    cluster::Cluster,
    curl::curl,
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
