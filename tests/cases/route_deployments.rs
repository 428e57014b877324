//! Slots and canaries of single routes, operated on a running fleet: what is decided about one route
//! leaves its service and the routes beside it alone.

use std::time::Duration;

use lb_model::api::{AuditList, CanaryList, CanaryView, OverrideList};
use lb_tests::{
    backend::{Backend, Behaviour},
    client::Connection,
    cluster::Cluster,
    eventually::within,
    load::Load,
};

use crate::lbctl::lbctl;

/// A service behind two routes, of which `/api` has `own` traffic management.
fn document(web: &Backend, service: &str, own: &str) -> String {
    format!(
        "entry_points: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         backends: {{ web1: {{ url: \"{}\" }} }}\n\
         services: {{ shop: {{ backends: [web1]{service} }} }}\n\
         routes:\n  all: {{ rule: PathPrefix(`/`), service: shop }}\n  \
         api: {{ rule: PathPrefix(`/api`), service: shop, traffic_management: {{ {own} }} }}\n",
        web.url()
    )
}

fn canary(id: &str, backend: &Backend, share: &str) -> String {
    let url = backend.url();
    format!(
        "canary: {{ enabled: true, canary_backends: [{{ backend_id: {id}, url: \"{url}\" }}], \
         {share} }}"
    )
}

/// How many of a hundred requests for a path each of two proxies has answered by a backend.
async fn answers(cluster: &Cluster, path: &str, name: &str) -> [usize; 2] {
    let mut counts = [0; 2];
    for (proxy, count) in counts.iter_mut().enumerate() {
        let mut connection = Connection::open(cluster.web(proxy).await).await.unwrap();
        for _ in 0..100 {
            let answer = connection.get("a", path).await.unwrap();
            assert_eq!(answer.status, 200, "{answer:?}");
            *count += usize::from(answer.backend() == name);
        }
    }
    counts
}

async fn canaries(cluster: &mut Cluster) -> Vec<CanaryView> {
    let list = cluster.control_plane().get("/api/v1/canary").await;
    serde_json::from_value::<CanaryList>(list).unwrap().services
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_of_a_route_is_operated_by_the_name_of_the_route() {
    let (web, new) = (Backend::start("web").await, Backend::start("new").await);
    let own = canary("new1", &new, "traffic_split: 10");
    let mut cluster = Cluster::serving(2, &document(&web, "", &own)).await;
    let server = cluster.control_plane().url();
    let set = ["canary", "set", "100", "--route", "api", "-m", "release 7", "--wait"];
    let set = lbctl(&server, &set).await;
    assert_eq!(set.code, 0, "{set:?}");
    assert!(set.stdout.contains("route api: canary 10% → 100%, as version 2"), "{set:?}");
    assert!(set.stdout.contains("live on 2 of 2 proxies"), "{set:?}");
    assert_eq!(answers(&cluster, "/api", "new").await, [100, 100]);
    assert_eq!(answers(&cluster, "/", "web").await, [100, 100], "the other route stays");
    let labels = "arm=\"canary\",route=\"api\",service=\"shop\"";
    for proxy in 0..2 {
        assert_eq!(cluster.proxy(proxy).metric("lb_canary_requests_total", labels).await, 100);
    }
    let shown = lbctl(&server, &["canary"]).await;
    assert!(shown.stdout.contains("ROUTE") && shown.stdout.contains("100%"), "{shown:?}");
    let told = "route api: the canary gets 100% by decision of";
    assert!(shown.stdout.contains(told) && shown.stdout.contains("(release 7)"), "{shown:?}");
    let listed = canaries(&mut cluster).await;
    let [listed] = listed.as_slice() else { panic!("{listed:?}") };
    assert_eq!((listed.service.as_str(), listed.route.as_deref()), ("shop", Some("api")));
    assert_eq!((listed.split, listed.configured, listed.healthy), (100.0, 10.0, 1));
    let audit = cluster.control_plane().get("/api/v1/audit").await;
    let audit: AuditList = serde_json::from_value(audit).unwrap();
    let entry = &audit.entries[0].entry;
    assert_eq!(entry.path, "/api/v1/canary/routes/api/set");
    assert_eq!((entry.object.as_deref(), entry.status), (Some("api"), 200));
    // It is what was meant if nothing else has a canary.
    let abort = lbctl(&server, &["canary", "abort", "--wait"]).await;
    assert_eq!(abort.code, 0, "{abort:?}");
    assert_eq!(answers(&cluster, "/api", "web").await, [100, 100]);
    let overrides = cluster.control_plane().get("/api/v1/overrides").await;
    let overrides: OverrideList = serde_json::from_value(overrides).unwrap();
    let decided: Vec<_> =
        overrides.deployments.iter().map(|d| (d.route.as_deref(), d.value.as_str())).collect();
    assert_eq!(decided, [(Some("api"), "0")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_has_no_canary_is_refused_with_those_that_have() {
    let (web, new) = (Backend::start("web").await, Backend::start("new").await);
    let own = canary("new1", &new, "traffic_split: 10");
    let mut cluster = Cluster::serving(1, &document(&web, "", &own)).await;
    let server = cluster.control_plane().url();
    for (name, code, why) in [
        (&["shop"][..], 6, "`shop` has no canary of its own; ask for that of the route `api`"),
        (&["api"], 6, "no service `api` with a canary, but a route: ask for that"),
        (&["zzzzzz"], 6, "no service `zzzzzz` with a canary; only the route `api` has a canary"),
        (&["routes"], 6, "no service `routes` with a canary"),
        (&["--route", "all"], 6, "`all` has no canary of its own, nor has its service `shop`"),
        (&["--route", "apj"], 6, "no route `apj` with a canary of its own; did you mean `api`?"),
        (&["shop", "--route", "api"], 64, "cannot be used with"),
    ] {
        let refused = lbctl(&server, &[&["canary", "set", "50"][..], name].concat()).await;
        assert_eq!(refused.code, code, "{refused:?}");
        assert!(refused.stderr.contains(why), "{why}: {refused:?}");
    }
    let service =
        format!(", traffic_management: {{ {} }}", canary("new2", &new, "traffic_split: 5"));
    cluster.apply(&document(&web, &service, &own)).await;
    let several = lbctl(&server, &["canary", "set", "50"]).await;
    assert_eq!(several.code, 64, "{several:?}");
    assert!(several.stderr.contains("name one of shop, --route api"), "{several:?}");
    let other = lbctl(&server, &["canary", "set", "50", "--route", "all"]).await;
    assert!(other.stderr.contains("its service `shop` has; ask for that"), "{other:?}");
    assert_eq!(canaries(&mut cluster).await.len(), 2);
    // That of the service is not that of the route.
    let set = lbctl(&server, &["canary", "promote", "shop", "--wait"]).await;
    assert_eq!(set.code, 0, "{set:?}");
    let shares: Vec<_> = canaries(&mut cluster).await.iter().map(|view| view.split).collect();
    assert_eq!(shares, [100.0, 10.0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_of_a_route_are_taken_back_by_what_its_own_requests_were_answered() {
    let (web, new) = (Backend::start("web").await, Backend::start("new").await);
    let good = Backend::start("good").await;
    let service =
        format!(", traffic_management: {{ {} }}", canary("good1", &good, "traffic_split: 50"));
    let own = canary("new1", &new, "steps: [{ split: 20, for: 2s }, { split: 50, for: 1h }]");
    let mut cluster = Cluster::serving(2, &document(&web, &service, &own)).await;
    let targets = vec![cluster.web(0).await, cluster.web(1).await];
    // Many more requests go by the canary of the service, and are answered well.
    let others = Load::start(targets.clone(), "a", "/", 200);
    let load = Load::start(targets, "a", "/api", 100);
    let route = async |cluster: &mut Cluster| {
        let listed = canaries(cluster).await;
        listed.into_iter().find(|view| view.route.is_some()).unwrap()
    };
    let patience = Duration::from_secs(40);
    within(patience, "the second step begins", async || {
        let view = route(&mut cluster).await;
        if view.split.to_string() == "50" { Ok(()) } else { Err(format!("{view:?}")) }
    })
    .await;
    new.behave(Behaviour::Status(500));
    let view = within(patience, "the canary is taken back", async || {
        let view = route(&mut cluster).await;
        let schedule = view.decided.as_ref().and_then(|decided| decided.schedule.as_ref());
        match schedule {
            Some(schedule) if schedule.state == "aborted" => Ok(view),
            _ => Err(format!("{view:?}")),
        }
    })
    .await;
    assert_eq!(view.split.to_string(), "0");
    let why = view.decided.unwrap().schedule.unwrap().why;
    assert!(why.contains("requests failed"), "{why}");
    within(patience, "no request of the route gets there", async || {
        let before = new.requests();
        load.good_more(60).await;
        match new.requests() - before {
            0 => Ok(()),
            count => Err(count.to_string()),
        }
    })
    .await;
    drop(load);
    others.stop().await.assert_clean();
    let listed = canaries(&mut cluster).await;
    assert_eq!((listed[0].route.as_deref(), listed[0].split), (None, 50.0), "it goes on");
    let history = cluster.control_plane().get("/api/v1/versions?limit=1").await;
    let reason = history["versions"][0]["reason"].as_str().unwrap().to_owned();
    assert!(reason.starts_with("route api: the canary was aborted: "), "{reason}");
    let labels = "outcome=\"aborted\",route=\"api\",service=\"shop\"";
    assert_eq!(cluster.control_plane().metric("lb_canary_steps_total", labels).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_of_a_route_are_switched_and_back_by_the_name_of_the_route() {
    let (blue, green) = (Backend::start("blue").await, Backend::start("green").await);
    let slots = |active: &str| {
        format!(
            "blue_green: {{ enabled: true, blue_backends: [web1], green_backends: [web2], \
             active_slot: {active} }}"
        )
    };
    let service = format!(", traffic_management: {{ {} }}", slots("blue"));
    let document = document(&blue, &service, &slots("blue"))
        .replace("shop: { backends: [web1]", "shop: { backends: [web1, web2]")
        .replace("\nbackends: {", &format!("\nbackends: {{ web2: {{ url: \"{}\" }},", green.url()));
    let mut cluster = Cluster::serving(2, &document).await;
    let server = cluster.control_plane().url();
    let switch = lbctl(&server, &["bg", "switch", "green", "--route", "api", "--wait"]).await;
    assert_eq!(switch.code, 0, "{switch:?}");
    assert!(switch.stdout.contains("route api: blue → green, as version 2"), "{switch:?}");
    assert_eq!(answers(&cluster, "/api", "green").await, [100, 100]);
    assert_eq!(answers(&cluster, "/", "blue").await, [100, 100], "the other route stays");
    let labels = "route=\"api\",service=\"shop\",slot=\"green\"";
    assert_eq!(cluster.proxy(0).metric("lb_blue_green_requests_total", labels).await, 100);
    let names = lbctl(&server, &["bg", "-o", "name"]).await;
    assert_eq!(names.stdout, "shop\nshop/api\n", "{names:?}");
    let back = lbctl(&server, &["bg", "rollback", "--route", "api", "--wait"]).await;
    assert_eq!(back.code, 0, "{back:?}");
    assert_eq!(answers(&cluster, "/api", "blue").await, [100, 100]);
    // What is decided about the service leaves a route with slots of its own alone.
    let service = lbctl(&server, &["bg", "switch", "green", "shop", "--wait"]).await;
    assert_eq!(service.code, 0, "{service:?}");
    assert_eq!(answers(&cluster, "/", "green").await, [100, 100]);
    assert_eq!(answers(&cluster, "/api", "blue").await, [100, 100]);
}
