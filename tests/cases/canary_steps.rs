//! A canary that grows by itself, and one that is taken back.

use std::time::Duration;

use lb_model::api::{CanaryList, CanaryView};
use lb_tests::{
    backend::{Backend, Behaviour},
    cluster::Cluster,
    eventually::{eventually, within},
    load::Load,
};

use crate::lbctl::lbctl;

fn document(stable: &Backend, new: &Backend, steps: &str) -> String {
    format!(
        "entry_points: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         backends: {{ web1: {{ url: \"{}\" }} }}\n\
         services:\n  shop:\n    backends: [web1]\n    traffic_management:\n      canary:\n        \
         enabled: true\n        canary_backends: [{{ backend_id: new1, url: \"{}\" }}]\n        \
         steps: [{steps}]\n",
        stable.url(),
        new.url()
    )
}

async fn shop(cluster: &mut Cluster) -> CanaryView {
    let list = cluster.control_plane().get("/api/v1/canary").await;
    serde_json::from_value::<CanaryList>(list).unwrap().services.remove(0)
}

fn percent(view: &CanaryView) -> String {
    view.split.to_string()
}

/// Waits until the schedule is in a state.
async fn until(cluster: &mut Cluster, wanted: &str) -> CanaryView {
    let patience = Duration::from_secs(40);
    within(patience, &format!("the schedule is {wanted}"), async || {
        let view = shop(cluster).await;
        let schedule = view.decided.as_ref().and_then(|decided| decided.schedule.as_ref());
        match schedule.map(|schedule| schedule.state.as_str()) {
            Some(state) if state == wanted => Ok(view),
            _ => Err(format!("{view:?}")),
        }
    })
    .await
}

async fn reasons(cluster: &mut Cluster) -> Vec<String> {
    let history = cluster.control_plane().get("/api/v1/versions?limit=50").await;
    let versions = history["versions"].as_array().unwrap().iter();
    let own = versions.filter(|version| version["author"] == "canary");
    own.map(|version| version["reason"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_canary_takes_over_step_by_step() {
    let (stable, new) = (Backend::start("stable").await, Backend::start("new").await);
    let steps = "{ split: 20, for: 2s }, { split: 60, for: 2s }, { split: 100, for: 1s }";
    let mut cluster = Cluster::serving(2, &document(&stable, &new, steps)).await;
    let targets = vec![cluster.web(0).await, cluster.web(1).await];
    let load = Load::start(targets, "a", "/", 200);
    let view = until(&mut cluster, "finished").await;
    assert_eq!((view.split, view.configured), (100.0, 20.0), "{view:?}");
    let before = stable.requests();
    load.good_more(40).await;
    let after = stable.requests();
    load.stop().await.assert_clean();
    assert!(after - before <= 4, "the new version has all of it: {}", after - before);
    assert_eq!(
        reasons(&mut cluster).await,
        [
            "shop: the canary finished its steps, at 100%",
            "shop: canary at 100%, step 3 of 3",
            "shop: canary at 60%, step 2 of 3",
            "shop: canary at 20%, step 1 of 3",
        ]
    );
    let counted = cluster.control_plane().metric("lb_canary_steps_total", "advanced").await;
    assert_eq!(counted, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_that_begins_to_fail_is_taken_back_by_itself() {
    let (stable, new) = (Backend::start("stable").await, Backend::start("new").await);
    let steps = "{ split: 20, for: 2s }, { split: 50, for: 1h }";
    let mut cluster = Cluster::serving(2, &document(&stable, &new, steps)).await;
    let targets = vec![cluster.web(0).await, cluster.web(1).await];
    let load = Load::start(targets, "a", "/", 200);
    within(Duration::from_secs(40), "the second step begins", async || {
        let view = shop(&mut cluster).await;
        if percent(&view) == "50" { Ok(()) } else { Err(format!("{view:?}")) }
    })
    .await;
    // A control plane that comes back goes on where it was.
    cluster.control_plane().kill();
    cluster.control_plane().restart().await;
    new.behave(Behaviour::Status(500));
    let view = until(&mut cluster, "aborted").await;
    assert_eq!(percent(&view), "0");
    let schedule = view.decided.unwrap().schedule.unwrap();
    assert_eq!(schedule.step, 2);
    assert!(schedule.why.contains("requests failed"), "{}", schedule.why);
    eventually("the canary gets nothing on either proxy", async || {
        let before = new.requests();
        load.good_more(60).await;
        match new.requests() - before {
            0 => Ok(()),
            count => Err(count.to_string()),
        }
    })
    .await;
    drop(load);
    let server = cluster.control_plane().url();
    let status = lbctl(&server, &["canary"]).await;
    assert!(status.stdout.contains("aborted in step 2 of 2"), "{status:?}");
    // An operator has the last word.
    let set = lbctl(&server, &["canary", "set", "10", "--wait"]).await;
    assert_eq!(set.code, 0, "{set:?}");
    let view = until(&mut cluster, "stopped").await;
    assert_eq!(percent(&view), "10");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_that_answers_slowly_is_taken_back_by_itself() {
    let (stable, new) = (Backend::start("stable").await, Backend::start("new").await);
    new.behave(Behaviour::Slow(Duration::from_millis(300)));
    let steps = "{ split: 30, for: 1h }";
    let mut cluster = Cluster::serving(2, &document(&stable, &new, steps)).await;
    let targets = vec![cluster.web(0).await, cluster.web(1).await];
    let load = Load::start(targets, "a", "/", 200);
    let view = until(&mut cluster, "aborted").await;
    load.stop().await.assert_clean();
    assert_eq!(percent(&view), "0");
    let schedule = view.decided.unwrap().schedule.unwrap();
    assert!(schedule.why.contains("took"), "{}", schedule.why);
    let counted = cluster.control_plane().metric("lb_canary_steps_total", "aborted").await;
    assert_eq!(counted, 1);
}
