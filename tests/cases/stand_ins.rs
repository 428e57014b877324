//! Services that stand in for others: which part of several is asked, and which is left out.

use std::collections::BTreeMap;

use lb_tests::{
    backend::{Backend, Behaviour, refused_address},
    client::Connection,
    cluster::Cluster,
    eventually::eventually,
};

use crate::stickiness::{ask, cookie, document, several};

const CHECK: &str = "health_check: { path: /healthz, interval: 50ms, timeout: 40ms, \
                     unhealthy_threshold: 1, healthy_threshold: 1 }\n";
const ROUTE: &str = "routes: { all: { rule: \"PathPrefix(`/`)\", service: all } }\n";

async fn open(cluster: &Cluster) -> Connection {
    Connection::open(cluster.web(0).await).await.unwrap()
}

/// Who answers how many of so many requests; an answer without a backend counts by its status.
async fn shares(connection: &mut Connection, requests: usize) -> BTreeMap<String, usize> {
    let mut shares = BTreeMap::new();
    for _ in 0..requests {
        let answer = connection.get("a", "/").await.unwrap();
        let name = answer.backend();
        let name = if name.is_empty() { answer.status.to_string() } else { name };
        *shares.entry(name).or_default() += 1;
    }
    shares
}

async fn becomes(connection: &mut Connection, wanted: &[(&str, usize)]) {
    let wanted: BTreeMap<_, _> = wanted.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
    let requests = wanted.values().sum();
    eventually(&format!("the shares are {wanted:?}"), async || {
        let shares = shares(connection, requests).await;
        if shares == wanted { Ok(()) } else { Err(format!("{shares:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_whose_active_slot_is_down_is_left_out() {
    let backends = several(3).await;
    let services = |fallback: bool| {
        format!(
            "services:\n  all: {{ weighted: [{{ service: slots }}, {{ service: plain }}] }}\n  \
             slots: {{ backends: [web0, web1], traffic_management: {{ blue_green: {{ enabled: true, \
             blue_backends: [web0], green_backends: [web1], fallback: {fallback} }} }} }}\n  \
             plain: {{ backends: [web2] }}\n{CHECK}{ROUTE}"
        )
    };
    let cluster = Cluster::in_turn(&document(&backends, &services(false))).await;
    let mut connection = open(&cluster).await;
    becomes(&mut connection, &[("web0", 5), ("web2", 5)]).await;
    backends[0].set_healthy(false);
    becomes(&mut connection, &[("web2", 10)]).await;
    cluster.apply(&document(&backends, &services(true))).await;
    becomes(&mut connection, &[("web1", 5), ("web2", 5)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_that_has_only_its_canary_left_is_left_out() {
    let backends = several(3).await;
    let services = |split: u8| {
        format!(
            "services:\n  all: {{ weighted: [{{ service: new }}, {{ service: plain }}] }}\n  \
             new: {{ backends: [web0], traffic_management: {{ canary: {{ enabled: true, \
             canary_backends: [{{ backend_id: web1 }}], traffic_split: {split} }} }} }}\n  \
             plain: {{ backends: [web2] }}\n{CHECK}{ROUTE}"
        )
    };
    let cluster = Cluster::in_turn(&document(&backends, &services(20))).await;
    let mut connection = open(&cluster).await;
    becomes(&mut connection, &[("web0", 8), ("web1", 2), ("web2", 10)]).await;
    backends[0].set_healthy(false);
    becomes(&mut connection, &[("web2", 20)]).await;
    // With all requests the canary is all that its part needs.
    cluster.apply(&document(&backends, &services(100))).await;
    becomes(&mut connection, &[("web1", 10), ("web2", 10)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nobody_seems_well_the_parts_that_panic_answer() {
    let backends = several(3).await;
    let services = format!(
        "services:\n  all: {{ weighted: [{{ service: one }}, {{ service: two }}] }}\n  \
         one: {{ backends: [web0, web1], panic_threshold: 50 }}\n  \
         two: {{ backends: [web2] }}\n{CHECK}{ROUTE}"
    );
    let cluster = Cluster::in_turn(&document(&backends, &services)).await;
    let mut connection = open(&cluster).await;
    becomes(&mut connection, &[("web0", 5), ("web1", 5), ("web2", 10)]).await;
    for backend in &backends[..2] {
        backend.set_healthy(false);
    }
    becomes(&mut connection, &[("web2", 20)]).await;
    backends[2].set_healthy(false);
    becomes(&mut connection, &[("web0", 10), ("web1", 10)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_tried_again_at_another_part() {
    let good = Backend::start("good").await;
    let dead = refused_address().await;
    let written = format!(
        "entry_points: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         backends: {{ dead: {{ url: \"http://{dead}\" }}, good: {{ url: \"{}\" }} }}\n\
         services:\n  all: {{ weighted: [{{ service: one, weight: 3 }}, {{ service: two }}], \
         retry: {{ attempts: 2, initial_interval: 1ms, budget: 100 }} }}\n  \
         one: {{ backends: [dead] }}\n  two: {{ backends: [good] }}\n{ROUTE}",
        good.url()
    );
    let cluster = Cluster::in_turn(&written).await;
    let mut connection = open(&cluster).await;
    becomes(&mut connection, &[("good", 20)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_service_after_the_other_stands_in() {
    let backends = several(3).await;
    let services = format!(
        "services:\n  all: {{ backends: [web0], failover: second, failover_status: [503] }}\n  \
         second: {{ backends: [web1], failover: third, failover_status: [503] }}\n  \
         third: {{ backends: [web2] }}\n{CHECK}{ROUTE}"
    );
    let cluster = Cluster::in_turn(&document(&backends, &services)).await;
    let mut connection = open(&cluster).await;
    becomes(&mut connection, &[("web0", 10)]).await;
    backends[0].behave(Behaviour::Status(503));
    backends[1].set_healthy(false);
    becomes(&mut connection, &[("web2", 10)]).await;
    backends[0].set_healthy(false);
    backends[1].set_healthy(true);
    backends[1].behave(Behaviour::Status(503));
    becomes(&mut connection, &[("web2", 10)]).await;
}

/// Three backends behind services of services, with sessions.
fn nested(backends: &[Backend], sessions: &str, weight: u8) -> String {
    let services = format!(
        "services:\n  all: {{ weighted: [{{ service: half, weight: {weight} }}, {{ service: c }}] }}\n  \
         half: {{ weighted: [{{ service: a }}, {{ service: b }}] }}\n  \
         a: {{ backends: [web0] }}\n  b: {{ backends: [web1] }}\n  c: {{ backends: [web2] }}\n\
         traffic_management: {{ session_stickiness: {{ enabled: true, {sessions} }} }}\n\
         {CHECK}{ROUTE}"
    );
    document(backends, &services)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_by_cookie_stays_in_its_part_however_deep() {
    let backends = several(3).await;
    let cluster = Cluster::serving(2, &nested(&backends, "cookie_name: sid", 2)).await;
    let mut homes = BTreeMap::<String, String>::new();
    for _ in 0..12 {
        let first = ask(&cluster, 0, "").await;
        homes.insert(first.backend(), cookie(&first).unwrap());
    }
    assert_eq!(homes.len(), 3, "{homes:?}");
    for (home, value) in &homes {
        for turn in 0..8 {
            let again = ask(&cluster, turn % 2, &format!("cookie: {value}\r\n")).await;
            assert_eq!((&again.backend(), cookie(&again)), (home, None));
        }
    }
    backends[0].set_healthy(false);
    let field = format!("cookie: {}\r\n", homes["web0"]);
    eventually("the session moves", async || {
        let again = ask(&cluster, 0, &field).await;
        let has_new = cookie(&again).is_some();
        if again.status == 200 && again.backend() != "web0" && has_new {
            Ok(())
        } else {
            Err(again.backend())
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_by_header_has_the_same_part_on_every_proxy_and_stays_there() {
    let backends = several(3).await;
    let cluster = Cluster::serving(2, &nested(&backends, "header_name: X-User", 2)).await;
    let field = |user: usize| format!("x-user: user-{user}\r\n");
    let mut homes = Vec::new();
    for user in 0..60 {
        let home = ask(&cluster, 0, &field(user)).await.backend();
        for turn in 0..4 {
            assert_eq!(ask(&cluster, turn % 2, &field(user)).await.backend(), home, "{user}");
        }
        homes.push(home);
    }
    let share = |name: &str| homes.iter().filter(|home| *home == name).count();
    assert!(share("web0") >= 8 && share("web1") >= 8 && share("web2") >= 8, "{homes:?}");
    // Other weights are for those who are not known yet.
    cluster.apply(&nested(&backends, "header_name: X-User", 100)).await;
    for (user, home) in homes.iter().enumerate() {
        assert_eq!(ask(&cluster, 0, &field(user)).await.backend(), *home);
    }
}
