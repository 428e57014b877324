//! What keeps a backend, a route and the proxy itself from too much.

use std::time::Duration;

use lb_tests::{
    backend::{Backend, Behaviour},
    client::{Connection, Response},
    cluster::Cluster,
    eventually::{eventually, within},
};

use crate::lbctl::lbctl;

async fn open(cluster: &Cluster) -> Connection {
    Connection::open(cluster.web(0).await).await.unwrap()
}

async fn begin(cluster: &Cluster, fields: &str) -> Connection {
    let mut connection = open(cluster).await;
    connection.send(format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n")).await.unwrap();
    connection
}

async fn ask(cluster: &Cluster, fields: &str) -> Response {
    begin(cluster, fields).await.response().await.unwrap()
}

async fn has_requests(backend: &Backend, count: u64) {
    eventually(&format!("the backend has {count} requests"), async || {
        let requests = backend.requests();
        if requests == count { Ok(()) } else { Err(requests.to_string()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_gets_no_more_at_once_than_it_may_and_others_wait_for_a_while() {
    let backend = Backend::doing("a", Behaviour::Gated).await;
    let document = format!(
        "entry_points: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         services: {{ s: {{ backends: [a], pool: {{ max_connections: 2, \
         max_pending_requests: 1, queue_timeout: 10s }} }} }}\n\
         backends: {{ a: {{ url: \"{}\" }} }}\n",
        backend.url()
    );
    let mut cluster = Cluster::serving(1, &document).await;
    let mut served = [begin(&cluster, "").await, begin(&cluster, "").await];
    has_requests(&backend, 2).await;
    let mut waiting = begin(&cluster, "").await;
    let labels = "backend=\"a\",service=\"s\"";
    eventually("one waits", async || {
        match cluster.proxy(0).metric("lb_upstream_waiting_requests", labels).await {
            1 => Ok(()),
            count => Err(count.to_string()),
        }
    })
    .await;
    let refused = ask(&cluster, "").await;
    assert_eq!(refused.problem(), (503, "upstream_overflow".to_owned()));
    assert_eq!(backend.requests(), 2);
    backend.release();
    for connection in &mut served {
        assert_eq!(connection.response().await.unwrap().text(), "first half");
    }
    assert_eq!(waiting.response().await.unwrap().text(), "first half");
    cluster.apply(&document.replace("queue_timeout: 10s", "queue_timeout: 50ms")).await;
    backend.behave(Behaviour::Hang);
    let _stuck = [begin(&cluster, "").await, begin(&cluster, "").await];
    has_requests(&backend, 5).await;
    assert_eq!(ask(&cluster, "").await.problem().1, "upstream_overflow", "it waited in vain");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_takes_no_more_at_once_than_it_may_from_all_or_from_each() {
    let backend = Backend::doing("a", Behaviour::Hang).await;
    let document = format!(
        "entry_points: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         middlewares:\n  few: {{ in_flight: {{ amount: 3 }} }}\n  \
         fair: {{ in_flight: {{ amount: 2, source: \"header:X-User\" }} }}\n  \
         both: {{ chain: {{ middlewares: [few, fair] }} }}\n\
         routes: {{ all: {{ rule: \"PathPrefix(`/`)\", middlewares: [both] }} }}\n\
         backends: {{ a: {{ url: \"{}\" }} }}\n",
        backend.url()
    );
    let cluster = Cluster::serving(1, &document).await;
    let ann = [begin(&cluster, "x-user: ann\r\n").await, begin(&cluster, "x-user: ann\r\n").await];
    has_requests(&backend, 2).await;
    let refused = ask(&cluster, "x-user: ann\r\n").await;
    assert_eq!(refused.problem(), (429, "too_many_in_flight".to_owned()));
    let _bob = begin(&cluster, "x-user: bob\r\n").await;
    has_requests(&backend, 3).await;
    assert_eq!(ask(&cluster, "x-user: cid\r\n").await.status, 429, "three are all there may be");
    drop(ann);
    backend.behave(Behaviour::Echo);
    eventually("there is room again", async || {
        let answer = ask(&cluster, "x-user: ann\r\n").await;
        if answer.status == 200 { Ok(()) } else { Err(answer.status.to_string()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_is_late_refuses_a_part_and_goes_on_when_it_is_not() {
    let backend = Backend::start("a").await;
    let document = |delay: &str| {
        format!(
            "entry_points: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
             overload: {{ enabled: true, max_memory: 100GiB, max_delay: {delay} }}\n\
             backends: {{ a: {{ url: \"{}\" }} }}\n",
            backend.url()
        )
    };
    let mut cluster = Cluster::in_turn(&document("20ms")).await;
    let refused = eventually("a proxy that stood still refuses", async || {
        cluster.proxy(0).process().signal("STOP");
        std::thread::sleep(Duration::from_millis(400));
        cluster.proxy(0).process().signal("CONT");
        for _ in 0..20 {
            let answer = ask(&cluster, "").await;
            if answer.status != 200 {
                return Ok(answer);
            }
        }
        Err("it answered everything".to_owned())
    })
    .await;
    assert_eq!(refused.problem(), (503, "overload_shed".to_owned()));
    let server = cluster.control_plane().url();
    eventually("the doctor warns of it", async || {
        let doctor = lbctl(&server, &["doctor"]).await;
        let warns = doctor.stdout.contains("in time: proxy-0");
        if warns { Ok(()) } else { Err(format!("{doctor:?}")) }
    })
    .await;
    cluster.apply(&document("1h")).await;
    eventually("it answers everything", async || {
        for _ in 0..20 {
            let status = ask(&cluster, "").await.status;
            if status != 200 {
                return Err(status.to_string());
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_fails_again_and_again_is_out_for_a_while() {
    let (good, bad) = (Backend::start("good").await, Backend::start("bad").await);
    let document = format!(
        "entry_points: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         services: {{ s: {{ backends: [good, bad], passive_health_check: {{ \
         max_failed_attempts: 3, failure_window: 1m, ejection_time: 1s }} }} }}\n\
         backends: {{ good: {{ url: \"{}\" }}, bad: {{ url: \"{}\" }} }}\n",
        good.url(),
        bad.url()
    );
    let mut cluster = Cluster::in_turn(&document).await;
    bad.behave(Behaviour::Status(500));
    for _ in 0..6 {
        ask(&cluster, "").await;
    }
    assert_eq!(bad.requests(), 3);
    let labels = "backend=\"bad\",service=\"s\"";
    assert_eq!(cluster.proxy(0).metric("lb_backend_ejected", labels).await, 1);
    // The last one stays, whatever it answers.
    good.behave(Behaviour::Status(500));
    for _ in 0..6 {
        assert_eq!(ask(&cluster, "").await.status, 500);
    }
    good.behave(Behaviour::Echo);
    bad.behave(Behaviour::Echo);
    eventually("it is taken back", async || {
        ask(&cluster, "").await;
        if bad.requests() > 3 { Ok(()) } else { Err(bad.requests().to_string()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_is_too_large_refuses_everything_until_there_is_room() {
    let backend = Backend::start("a").await;
    let hanging = Backend::doing("b", Behaviour::Hang).await;
    // Bodies are kept to be sent again, which makes a proxy as large as a test likes.
    let document = format!(
        "entry_points: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         overload: {{ enabled: true, max_memory: 200MiB, max_delay: 1h }}\n\
         backends: {{ a: {{ url: \"{}\" }}, b: {{ url: \"{}\" }} }}\n\
         services: {{ a: {{ backends: [a] }}, b: {{ backends: [b], \
         retry: {{ attempts: 2, max_body_bytes: 512MiB }} }} }}\n\
         routes:\n  a: {{ rule: \"PathPrefix(`/`)\", service: a }}\n  \
         b: {{ rule: \"PathPrefix(`/b`)\", service: b }}\n",
        backend.url(),
        hanging.url()
    );
    let mut cluster = Cluster::serving(1, &document).await;
    assert_eq!(ask(&cluster, "").await.status, 200);
    let mut large = open(&cluster).await;
    let size = 256 << 20;
    let head = format!("POST /b HTTP/1.1\r\nhost: a\r\ncontent-length: {size}\r\n\r\n");
    large.send(head).await.unwrap();
    let part = vec![b'x'; 1 << 20];
    for _ in 0..256 {
        large.send(&part).await.unwrap();
    }
    let refused = eventually("everything is refused", async || {
        let mut all = Vec::new();
        for _ in 0..20 {
            all.push(ask(&cluster, "").await);
        }
        let refused = all.iter().filter(|answer| answer.status == 503).count();
        if refused == 20 { Ok(all.swap_remove(0)) } else { Err(refused.to_string()) }
    })
    .await;
    assert_eq!(refused.problem(), (503, "overload_shed".to_owned()));
    assert!(cluster.proxy(0).metric("lb_local_responses_total", "overload_shed").await >= 20);
    drop(large);
    // What is freed goes back to the system a second or two later.
    within(Duration::from_secs(30), "there is room again", async || {
        match ask(&cluster, "").await.status {
            200 => Ok(()),
            status => Err(status.to_string()),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_whose_answers_are_worse_than_those_of_others_is_out_for_a_while() {
    let backends = [
        Backend::start("web0").await,
        Backend::start("web1").await,
        Backend::start("web2").await,
        Backend::start("web3").await,
    ];
    let listed: Vec<_> = backends
        .iter()
        .enumerate()
        .map(|(index, backend)| format!("web{index}: {{ url: \"{}\" }}", backend.url()))
        .collect();
    let document = format!(
        "entry_points: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         services: {{ s: {{ backends: [web0, web1, web2, web3], passive_health_check: {{ \
         max_failed_attempts: 100000, ejection_time: 5m, success_rate: {{ interval: 500ms, \
         minimum_hosts: 4, request_volume: 5, stdev_factor: 1.5 }} }} }} }}\n\
         backends: {{ {} }}\n",
        listed.join(", ")
    );
    let mut cluster = Cluster::serving(1, &document).await;
    backends[2].behave(Behaviour::Status(500));
    let mut connection = open(&cluster).await;
    let labels = "backend=\"web2\",service=\"s\"";
    eventually("it is out", async || {
        for _ in 0..40 {
            connection.get("a", "/").await.unwrap();
        }
        match cluster.proxy(0).metric("lb_backend_ejected", labels).await {
            1 => Ok(()),
            count => Err(count.to_string()),
        }
    })
    .await;
    for _ in 0..20 {
        assert_eq!(connection.get("a", "/").await.unwrap().status, 200);
    }
    assert_eq!(cluster.proxy(0).metric("lb_backend_ejected", "service=\"s\"").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ejects_a_backend_is_not_what_its_breaker_counts() {
    let (good, bad) = (Backend::start("good").await, Backend::start("bad").await);
    let document = format!(
        "entry_points: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         traffic_management: {{ circuit_breaker: {{ enabled: true, failure_threshold: 1000, \
         failure_status: [429] }} }}\n\
         services: {{ s: {{ backends: [good, bad], passive_health_check: {{ \
         max_failed_attempts: 3, failure_window: 1m, ejection_time: 5m }} }} }}\n\
         backends: {{ good: {{ url: \"{}\" }}, bad: {{ url: \"{}\" }} }}\n",
        good.url(),
        bad.url()
    );
    let mut cluster = Cluster::in_turn(&document).await;
    let labels = "backend=\"bad\",service=\"s\"";
    bad.behave(Behaviour::Status(429));
    for _ in 0..20 {
        ask(&cluster, "").await;
    }
    assert_eq!(bad.requests(), 10, "a backend that is asked too much is not ill");
    assert_eq!(cluster.proxy(0).metric("lb_backend_ejected", labels).await, 0);
    bad.behave(Behaviour::Status(501));
    for _ in 0..20 {
        ask(&cluster, "").await;
    }
    assert_eq!(bad.requests(), 13, "any 5xx is a failure");
    assert_eq!(cluster.proxy(0).metric("lb_backend_ejected", labels).await, 1);
}
