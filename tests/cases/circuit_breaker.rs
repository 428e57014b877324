//! No requests for a backend that fails.

use lb_model::api::{BreakerList, CircuitState, ProxyBreaker};
use lb_tests::{
    backend::{Backend, Behaviour, refused_address},
    client::Connection,
    cluster::Cluster,
    eventually::eventually,
};

use crate::lbctl::lbctl;

fn document(backends: &[&Backend], more: &str) -> String {
    let listed: Vec<_> = backends
        .iter()
        .enumerate()
        .map(|(index, backend)| format!("  web{index}: {{ url: \"{}\" }}\n", backend.url()))
        .collect();
    format!(
        "entry_points: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         traffic_management:\n  circuit_breaker:\n    enabled: true\n    \
         failure_threshold: 5\n    success_threshold: 3\n    recovery_timeout: 500ms\n    \
         request_volume_threshold: 20\n{more}backends:\n{}",
        listed.concat()
    )
}

async fn ask(cluster: &Cluster) -> u16 {
    let mut connection = Connection::open(cluster.web(0).await).await.unwrap();
    connection.get("a", "/").await.unwrap().status
}

async fn state(cluster: &mut Cluster, backend: &str) -> u64 {
    let labels = format!("backend=\"{backend}\",service=\"default\"");
    cluster.proxy(0).metric("lb_circuit_breaker_state", &labels).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_fails_leaves_the_rotation_and_comes_back_by_itself() {
    let (good, bad) = (Backend::start("good").await, Backend::start("bad").await);
    let mut cluster = Cluster::serving(1, &document(&[&good, &bad], "")).await;
    bad.behave(Behaviour::Status(404));
    for _ in 0..60 {
        ask(&cluster).await;
    }
    assert_eq!(state(&mut cluster, "web1").await, 0, "4xx is no failure of a backend");
    bad.behave(Behaviour::Status(500));
    for _ in 0..60 {
        ask(&cluster).await;
    }
    let asked = bad.requests();
    for _ in 0..20 {
        assert_eq!(ask(&cluster).await, 200);
    }
    assert_eq!(bad.requests(), asked, "nobody asks it any more");
    bad.behave(Behaviour::Echo);
    eventually("it is asked again", async || {
        ask(&cluster).await;
        match state(&mut cluster, "web1").await {
            0 => Ok(()),
            state => Err(state.to_string()),
        }
    })
    .await;
    let before = bad.requests();
    for _ in 0..20 {
        assert_eq!(ask(&cluster).await, 200);
    }
    assert!(bad.requests() > before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_the_server_fails_is_a_failure_whatever_the_status_of_http() {
    for has_body in [false, true] {
        let (good, bad) = (Backend::start("good").await, Backend::start("bad").await);
        let document = document(&[&good, &bad], "").replace("500ms", "1h");
        let mut cluster = Cluster::serving(1, &document).await;
        // Not found, of an argument, and of the caller: none is the backend's failure.
        for code in [0, 3, 5, 16] {
            bad.behave(Behaviour::Call { code, has_body });
            for _ in 0..30 {
                assert_eq!(ask(&cluster).await, 200);
            }
        }
        assert_eq!(state(&mut cluster, "web1").await, 0, "{has_body}");
        bad.behave(Behaviour::Call { code: 14, has_body });
        eventually("the breaker opens", async || {
            ask(&cluster).await;
            match state(&mut cluster, "web1").await {
                2 => Ok(()),
                state => Err(state.to_string()),
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_nobody_left_the_answer_says_when_to_ask_again() {
    let bad = Backend::doing("bad", Behaviour::Reset).await;
    let document = document(&[&bad], "").replace("500ms", "1h");
    let mut cluster = Cluster::serving(1, &document).await;
    let mut connection = Connection::open(cluster.web(0).await).await.unwrap();
    let open = eventually("the breaker opens", async || {
        let answer = connection.get("a", "/").await.unwrap();
        if answer.status == 503 { Ok(answer) } else { Err(answer.status.to_string()) }
    })
    .await;
    assert_eq!(open.problem().1, "circuit_open");
    let seconds: u64 = open.header("retry-after").unwrap().parse().unwrap();
    assert!((3_500..=3_601).contains(&seconds), "{seconds}");
    assert_eq!(state(&mut cluster, "web0").await, 2);
    let asked = bad.requests();
    assert!((20..=21).contains(&asked), "it took the volume to open: {asked}");

    // A change elsewhere forgets nothing; another threshold is another breaker.
    let elsewhere = format!("{document}  other: {{ url: \"http://127.0.0.1:9\", weight: 0 }}\n");
    cluster.apply(&elsewhere).await;
    assert_eq!(connection.get("a", "/").await.unwrap().status, 503);
    assert_eq!(bad.requests(), asked);
    bad.behave(Behaviour::Echo);
    cluster.apply(&elsewhere.replace("failure_threshold: 5", "failure_threshold: 6")).await;
    assert_eq!(connection.get("a", "/").await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_keeps_a_backend_from_answering_opens_its_breaker_and_no_other() {
    let good = Backend::start("good").await;
    let dead = format!("http://{}", refused_address().await);
    for behaviour in [None, Some(Behaviour::Hang), Some(Behaviour::Close), Some(Behaviour::Garbage)]
    {
        let bad = Backend::start("bad").await;
        let limits = "services: { default: { backends: [web0, web1], \
                      timeouts: { response_header: 50ms } } }\n";
        let mut text = document(&[&good, &bad], limits).replace("500ms", "1h");
        match behaviour {
            Some(behaviour) => bad.behave(behaviour),
            None => text = text.replace(&bad.url(), &dead),
        }
        let mut cluster = Cluster::serving(1, &text).await;
        let mut failed = 0;
        eventually(&format!("it opens: {behaviour:?}"), async || {
            failed += usize::from(ask(&cluster).await >= 500);
            match state(&mut cluster, "web1").await {
                2 => Ok(()),
                state => Err(format!("{state} after {failed}")),
            }
        })
        .await;
        assert!((5..=21).contains(&failed), "{failed}: {behaviour:?}");
        for _ in 0..20 {
            assert_eq!(ask(&cluster).await, 200, "{behaviour:?}");
        }
        assert_eq!(state(&mut cluster, "web0").await, 0, "{behaviour:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_that_fails_opens_it_again_and_every_change_is_counted() {
    let bad = Backend::doing("bad", Behaviour::Status(500)).await;
    let mut cluster = Cluster::serving(1, &document(&[&bad], "")).await;
    let labels = "backend=\"web0\",service=\"default\"";
    let name = "lb_circuit_breaker_transitions_total";
    // Open, half-open and open again, and that once more.
    eventually("it has tried again twice", async || {
        ask(&cluster).await;
        match cluster.proxy(0).metric(name, labels).await {
            changes if changes >= 5 => Ok(()),
            changes => Err(changes.to_string()),
        }
    })
    .await;
    assert_eq!(state(&mut cluster, "web0").await, 2);
    let asked = bad.requests();
    assert_eq!(asked, 22, "twenty before it opened, and one each time");
    bad.behave(Behaviour::Echo);
    eventually("it closes", async || {
        ask(&cluster).await;
        match state(&mut cluster, "web0").await {
            0 => Ok(()),
            state => Err(state.to_string()),
        }
    })
    .await;
    assert_eq!(cluster.proxy(0).metric(name, labels).await, 7);
    let log = std::fs::read_to_string(cluster.directory().join("proxy-0.log")).unwrap();
    for (said, times) in [("breaker opened", 3), ("breaker half-open", 3), ("breaker closed", 1)] {
        assert_eq!(log.matches(said).count(), times, "{said} in {log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_breaker_of_a_route_is_its_own_and_operators_see_it_too() {
    let (good, bad) = (Backend::start("good").await, Backend::doing("bad", Behaviour::Reset).await);
    let breaker = |more: &str| {
        format!(
            "traffic_management: {{ circuit_breaker: {{ enabled: true, failure_threshold: 5, \
             request_volume_threshold: 5, recovery_timeout: 1h{more} }} }}"
        )
    };
    for of_service in ["", &breaker(", max_recovery_timeout: 2h")] {
        let text = format!(
            "entry_points: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
             backends: {{ web0: {{ url: \"{}\" }}, web1: {{ url: \"{}\" }} }}\n\
             services:\n  shop:\n    backends: [web0, web1]\n    {of_service}\n\
             routes:\n  all: {{ rule: \"PathPrefix(`/`)\" }}\n  \
             own:\n    rule: \"PathPrefix(`/own`)\"\n    {}\n",
            good.url(),
            bad.url(),
            breaker("")
        );
        let mut cluster = Cluster::serving(1, &text).await;
        let mut connection = Connection::open(cluster.web(0).await).await.unwrap();
        let labels = "backend=\"web1\",service=\"shop\"";
        eventually("the breaker of the route opens", async || {
            connection.get("a", "/own").await.unwrap();
            match cluster.proxy(0).metric("lb_circuit_breaker_state", labels).await {
                2 => Ok(()),
                state => Err(state.to_string()),
            }
        })
        .await;
        let asked = bad.requests();
        for _ in 0..10 {
            assert_eq!(connection.get("a", "/own").await.unwrap().status, 200);
        }
        assert_eq!(bad.requests(), asked);
        connection.get("a", "/").await.unwrap();
        connection.get("a", "/").await.unwrap();
        connection.get("a", "/").await.unwrap();
        assert!(bad.requests() > asked, "other routes go on asking it");
        eventually("it is reported", async || {
            let list = cluster.control_plane().get("/admin/circuit-breakers?state=open").await;
            let list: BreakerList = serde_json::from_value(list).unwrap();
            match list.breakers.as_slice() {
                [view] if view.id == "web1" && view.opened == 1 => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        let reset = cluster.control_plane().post("/admin/circuit-breakers/web1/reset").await;
        assert_eq!(reset["closed"], 1, "{reset}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_sees_and_closes_it_on_every_proxy() {
    let bad = Backend::doing("bad", Behaviour::Status(500)).await;
    let document = document(&[&bad], "").replace("500ms", "1h");
    let mut cluster = Cluster::serving(2, &document).await;
    for proxy in 0..2 {
        let mut connection = Connection::open(cluster.web(proxy).await).await.unwrap();
        eventually("the breaker opens", async || {
            match connection.get("a", "/").await.unwrap().status {
                503 => Ok(()),
                status => Err(status.to_string()),
            }
        })
        .await;
    }
    let view = eventually("both proxies report it open", async || {
        let list = cluster.control_plane().get("/admin/circuit-breakers?state=open").await;
        let list: BreakerList = serde_json::from_value(list).unwrap();
        let view = list.breakers.into_iter().next().ok_or("none is open")?;
        let is_open = |proxy: &ProxyBreaker| proxy.state == CircuitState::Open;
        let open = view.proxies.iter().filter(|proxy| is_open(proxy)).count();
        if open == 2 { Ok(view) } else { Err(format!("{view:?}")) }
    })
    .await;
    assert_eq!((view.id.as_str(), view.service.as_str(), view.opened), ("web0", "default", 2));
    assert!(view.opened_at.is_some() && view.next_attempt > view.opened_at, "{view:?}");
    let backends = cluster.control_plane().get("/api/v1/backends?q=web0").await;
    assert_eq!(backends["backends"][0]["circuit"], "open", "{backends}");

    let server = cluster.control_plane().url();
    let doctor = lbctl(&server, &["doctor"]).await;
    let warning = "! circuits";
    assert!(doctor.stdout.contains(warning), "{doctor:?}");
    assert!(doctor.stdout.contains("open, so that it gets no request: default/web0"), "{doctor:?}");
    bad.behave(Behaviour::Echo);
    let listed = lbctl(&server, &["cb", "--state", "open"]).await;
    assert!(listed.stdout.contains("web0") && listed.stdout.contains("2/2"), "{listed:?}");
    let wrong = lbctl(&server, &["circuit-breakers", "--state", "up"]).await;
    assert_eq!(wrong.code, 1, "{wrong:?}");
    assert!(wrong.stderr.contains("closed, half_open, open"), "{wrong:?}");
    let help = lbctl(&server, &["circuit-breakers", "--help"]).await;
    assert!(help.stdout.contains("closed, half_open or open"), "{help:?}");
    let reset = lbctl(&server, &["circuit-breakers", "reset", "web0"]).await;
    let said = (reset.code, reset.stdout.as_str());
    assert_eq!(said, (0, "web0: 2 breakers closed, on 2 of 2 proxies\n"));
    for proxy in 0..2 {
        let mut connection = Connection::open(cluster.web(proxy).await).await.unwrap();
        assert_eq!(connection.get("a", "/").await.unwrap().status, 200);
    }
    let again = cluster.control_plane().post("/api/v1/circuit-breakers/web0/reset").await;
    for proxy in 0..2 {
        let labels = "backend=\"web0\",service=\"default\"";
        let name = "lb_circuit_breaker_transitions_total";
        let changes = cluster.proxy(proxy).metric(name, labels).await;
        assert_eq!(changes, 2, "it opened and was closed, and the second time it was closed");
        let said = cluster.proxy(proxy).process().said();
        assert!(said.contains("circuit breaker closed by an operator"), "{said}");
    }
    assert_eq!((&again["closed"], &again["acked"]), (&0.into(), &2.into()), "{again}");
    let audit = cluster.control_plane().get("/api/v1/audit?limit=1").await;
    assert_eq!(audit["entries"][0]["object"], "web0", "{audit}");

    let unknown = lbctl(&server, &["circuit-breakers", "reset", "wbe0"]).await;
    assert_eq!(unknown.code, 6, "{unknown:?}");
    assert!(unknown.stderr.contains("did you mean `web0`"), "{unknown:?}");
}
