//! Slots and canaries that operators move beside the configuration, on a running fleet.

use std::time::{Duration, Instant};

use lb_model::{
    Version,
    api::{BlueGreenList, CanaryList, OverrideList},
};
use lb_tests::{
    backend::Backend, client::Connection, cluster::Cluster, eventually::eventually, load::Load,
};
use reqwest::Method;
use serde_json::Value;

use crate::lbctl::lbctl;

/// A time-out that a busy machine keeps.
const CHECK: &str = "health_check: { path: /healthz, interval: 1s, timeout: 900ms, \
                     healthy_threshold: 1, unhealthy_threshold: 3 }";

fn slots(blue: &Backend, green: &Backend, active: &str) -> String {
    format!(
        "entry_points: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         backends: {{ web1: {{ url: \"{}\" }}, web2: {{ url: \"{}\" }} }}\n\
         services:\n  shop:\n    backends: [web1, web2]\n    {CHECK}\n    traffic_management:\n      \
         blue_green: {{ enabled: true, blue_backends: [web1], green_backends: [web2], active_slot: \
         {active} }}\n",
        blue.url(),
        green.url()
    )
}

fn canary(stable: &Backend, new: &Backend, more: &str) -> String {
    format!(
        "entry_points: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         backends: {{ web1: {{ url: \"{}\" }} }}\n\
         services:\n  shop:\n    backends: [web1]\n    traffic_management:\n      canary:\n        \
         enabled: true\n        canary_backends: [{{ backend_id: new1, url: \"{}\" }}]\n        {more}\n",
        stable.url(),
        new.url()
    )
}

/// Who answers a hundred requests to a proxy.
async fn answers(cluster: &Cluster, proxy: usize, name: &str) -> usize {
    let mut connection = Connection::open(cluster.web(proxy).await).await.unwrap();
    let mut count = 0;
    for _ in 0..100 {
        count += usize::from(connection.get("a", "/").await.unwrap().backend() == name);
    }
    count
}

async fn post(cluster: &mut Cluster, path: &str, body: &str) -> (u16, Value) {
    let request = cluster.control_plane().request(Method::POST, path).body(body.to_owned());
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn blue_green(cluster: &mut Cluster) -> BlueGreenList {
    let list = cluster.control_plane().get("/api/v1/blue-green").await;
    serde_json::from_value(list).unwrap()
}

async fn overrides(cluster: &mut Cluster) -> OverrideList {
    let list = cluster.control_plane().get("/api/v1/overrides").await;
    serde_json::from_value(list).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_moves_all_requests_of_three_proxies_and_none_fails() {
    let (blue, green) = (Backend::start("blue").await, Backend::start("green").await);
    let mut cluster = Cluster::serving(3, &slots(&blue, &green, "blue")).await;
    let targets = vec![cluster.web(0).await, cluster.web(1).await, cluster.web(2).await];
    let server = cluster.control_plane().url();
    let load = Load::start(targets, "a", "/", 200);
    load.good_more(40).await;
    let started = Instant::now();
    let wait = ["bg", "switch", "green", "-m", "release 7", "--author", "ann", "--wait"];
    let switched = lbctl(&server, &wait).await;
    let took = started.elapsed();
    assert_eq!(switched.code, 0, "{switched:?}");
    assert!(switched.stdout.contains("shop: blue → green, as version 2"), "{switched:?}");
    assert!(switched.stdout.contains("live on 3 of 3 proxies"), "{switched:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    load.good_more(20).await;
    let before = blue.requests();
    load.good_more(60).await;
    assert_eq!(blue.requests(), before, "all new requests go to green");
    let back = lbctl(&server, &["bg", "rollback", "--wait"]).await;
    assert_eq!(back.code, 0, "{back:?}");
    load.good_more(20).await;
    let before = green.requests();
    load.good_more(60).await;
    assert_eq!(green.requests(), before, "and back");
    load.stop().await.assert_clean();
    assert!(overrides(&mut cluster).await.deployments.is_empty(), "it is as configured again");
    let history = cluster.control_plane().get("/api/v1/versions?limit=2").await;
    let switch = &history["versions"][1];
    assert_eq!(
        (&switch["author"], &switch["reason"]),
        (&"ann".into(), &"shop: green serves: release 7".into())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_without_a_healthy_backend_is_refused_unless_forced() {
    let (blue, green) = (Backend::start("blue").await, Backend::start("green").await);
    green.set_healthy(false);
    let mut cluster = Cluster::serving(1, &slots(&blue, &green, "blue")).await;
    eventually("green is seen to be down", async || {
        let list = blue_green(&mut cluster).await;
        let [shop] = list.services.as_slice() else { return Err(format!("{list:?}")) };
        let healthy = (shop.blue.healthy, shop.green.healthy);
        if healthy == (1, 0) { Ok(()) } else { Err(format!("{shop:?}")) }
    })
    .await;
    let server = cluster.control_plane().url();
    let doctor = lbctl(&server, &["doctor", "-o", "json"]).await;
    assert_eq!(verdict(&doctor.json(), "idle slot"), "warning", "{doctor:?}");
    let refused = lbctl(&server, &["bg", "switch", "green"]).await;
    assert_eq!(refused.code, 7, "{refused:?}");
    assert!(refused.stderr.contains("none of the 1 backends"), "{refused:?}");
    let path = "/api/v1/blue-green/shop/switch";
    let (status, problem) = post(&mut cluster, path, r#"{"slot": "green"}"#).await;
    assert_eq!((status, &problem["code"]), (409, &"slot_unhealthy".into()));
    let (status, _) = post(&mut cluster, path, r#"{"slot": "red"}"#).await;
    assert_eq!(status, 400);
    let (status, problem) =
        post(&mut cluster, "/api/v1/blue-green/shpo/switch", r#"{"slot": "green"}"#).await;
    assert_eq!(status, 404);
    assert!(problem["detail"].as_str().unwrap().contains("did you mean `shop`"), "{problem}");
    let forced = lbctl(&server, &["bg", "switch", "green", "shop", "--force", "--wait"]).await;
    assert_eq!(forced.code, 0, "{forced:?}");
    assert_eq!(blue_green(&mut cluster).await.services[0].active, "green");
    let doctor = lbctl(&server, &["doctor", "-o", "json"]).await;
    assert_eq!(verdict(&doctor.json(), "active slot"), "failed", "{doctor:?}");
    assert_eq!(doctor.code, 1, "{doctor:?}");
}

/// What the doctor says of a check about deployments.
fn verdict(report: &Value, name: &str) -> String {
    let checks = report["checks"].as_array().unwrap();
    let is_it = |check: &&Value| check["group"] == "deployments" && check["name"] == name;
    let found = checks.iter().find(is_it).map(|check| check["verdict"].as_str().unwrap());
    found.unwrap_or("none").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_survives_apply_rollback_and_restarts_until_the_document_says_the_same() {
    let (blue, green) = (Backend::start("blue").await, Backend::start("green").await);
    let document = slots(&blue, &green, "blue");
    let mut cluster = Cluster::serving(1, &document).await;
    let (status, answer) = post(
        &mut cluster,
        "/api/v1/blue-green/shop/switch?author=ann&wait=true",
        r#"{"slot": "green", "reason": "release 7"}"#,
    )
    .await;
    assert_eq!((status, &answer["acked"], &answer["changed"]), (200, &1.into(), &true.into()));
    let again = post(&mut cluster, "/api/v1/blue-green/shop/switch", r#"{"slot": "green"}"#).await;
    assert_eq!((again.0, &again.1["changed"]), (200, &false.into()));
    cluster.apply(&format!("{document}# another\n")).await;
    assert_eq!(answers(&cluster, 0, "green").await, 100);
    cluster.control_plane().kill();
    cluster.proxy(0).kill();
    cluster.proxy(0).restart().await;
    cluster.control_plane().restart().await;
    cluster.live_on_all(Version(3)).await;
    assert_eq!(answers(&cluster, 0, "green").await, 100);
    let kept = overrides(&mut cluster).await.deployments.remove(0);
    assert_eq!((kept.value.as_str(), kept.owner.as_str()), ("green", "ann"));
    let server = cluster.control_plane().url();
    let status = lbctl(&server, &["status"]).await;
    assert!(status.stdout.contains("green serves by decision of ann (release 7)"), "{status:?}");
    let scratch = cluster.directory().join("next.yaml");
    std::fs::write(&scratch, format!("{document}routes: {{ all: {{ rule: PathPrefix(`/`) }} }}\n"))
        .unwrap();
    let plan = lbctl(&server, &["plan", "-f", &scratch.display().to_string()]).await;
    assert!(plan.stdout.contains("override: shop: green serves"), "{plan:?}");
    let diff = lbctl(&server, &["diff", "2"]).await;
    assert!(diff.stdout.contains("deployment") && diff.stdout.contains("green"), "{diff:?}");

    cluster.put(&slots(&blue, &green, "green")).await;
    eventually("the decision ends", async || {
        let left = overrides(&mut cluster).await.deployments;
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
    assert_eq!(answers(&cluster, 0, "green").await, 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_is_set_promoted_and_aborted_by_one_command_each() {
    let (stable, new) = (Backend::start("stable").await, Backend::start("new").await);
    let mut cluster = Cluster::serving(2, &canary(&stable, &new, "traffic_split: 10")).await;
    let server = cluster.control_plane().url();
    for (line, share) in [
        (&["canary", "set", "25", "--wait", "-m", "looks well"][..], 25),
        (&["canary", "promote", "shop", "--wait"], 100),
        (&["canary", "abort", "--wait"], 0),
    ] {
        let given = lbctl(&server, line).await;
        assert_eq!(given.code, 0, "{given:?}");
        assert!(given.stdout.contains("live on 2 of 2 proxies"), "{given:?}");
        for proxy in 0..2 {
            let count = answers(&cluster, proxy, "new").await;
            assert!(count.abs_diff(share) <= 1, "{count} for {line:?}");
        }
    }
    let list = cluster.control_plane().get("/api/v1/canary").await;
    let list: CanaryList = serde_json::from_value(list).unwrap();
    let shop = &list.services[0];
    assert_eq!((shop.split, shop.configured, shop.healthy), (0.0, 10.0, 1));
    eventually("both versions report what they did", async || {
        let list = cluster.control_plane().get("/api/v1/canary").await;
        let list: CanaryList = serde_json::from_value(list).unwrap();
        let shop = &list.services[0];
        let rates = [shop.stable.requests_per_second, shop.canary.requests_per_second];
        if rates.iter().all(|rate| *rate > 0.0) { Ok(()) } else { Err(format!("{shop:?}")) }
    })
    .await;
    let refused = lbctl(&server, &["canary", "set", "101"]).await;
    assert_eq!(refused.code, 64, "{refused:?}");
    let without = lbctl(&server, &["bg", "rollback"]).await;
    assert_eq!(without.code, 6, "{without:?}");
    for body in ["", "[]", "{\"split\": 101}", "{\"split\": 0.00001}", "{\"share\": 1}"] {
        assert_eq!(post(&mut cluster, "/api/v1/canary/shop/set", body).await.0, 400, "{body}");
    }
    // Another canary in its place is another canary.
    let next = canary(&stable, &new, "traffic_split: 10").replace("new1", "next1");
    cluster.apply(&next).await;
    let count = answers(&cluster, 0, "new").await;
    assert!(count.abs_diff(10) <= 1, "{count}");
}
