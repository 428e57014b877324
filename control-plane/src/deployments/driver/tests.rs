use lb_model::{Bundle, Version, config::Slot};
use lb_proto::v1::{ArmReport, ReportBatch, ServiceReport};
use lb_store::{Commit, Key, MemoryStore};

use super::*;
use crate::{
    decisions::Decisions,
    deployments::{Decided, SlotChoice},
    pipeline,
};

const DOCUMENT: &str = "
backends:
  a: { url: \"http://127.0.0.1:1\" }
  b: { url: \"http://127.0.0.1:2\" }
services:
  shop:
    backends: [a]
    traffic_management:
      canary: { enabled: true, canary_backends: [{ backend_id: b }], STEPS }
routes:
  all: { rule: PathPrefix(`/`), service: shop }
  own:
    rule: PathPrefix(`/own`)
    service: shop
    traffic_management:
      canary: { enabled: true, canary_backends: [{ backend_id: b }], OWN }
";
/// Of the canary that is not looked at.
const STILL: &str = "traffic_split: 1";
const STEPS: &str = "steps: [{ split: 5, for: 10s }, { split: 50, for: 10s }]";

struct Bench {
    driver: Driver,
    watching: Watching,
    unnoted: Vec<AuditEntry>,
    sequence: u64,
    counted: [u64; 3],
    /// Whether it is the canary of the route that is looked at.
    route: bool,
}

impl Bench {
    async fn new(steps: &str) -> Self {
        Self::of(steps, false).await
    }

    async fn of(steps: &str, route: bool) -> Self {
        let driver = Driver {
            store: Arc::new(MemoryStore::new()),
            cache: Arc::default(),
            reports: Arc::default(),
            metrics: Arc::new(Metrics::new().unwrap()),
            audit: Arc::new(Audit::new(Arc::new(MemoryStore::new()))),
        };
        let (watching, sequence, counted) = (Watching::new(), 0, [0; 3]);
        let mut bench = Self { driver, watching, unnoted: Vec::new(), sequence, counted, route };
        bench.apply(steps).await;
        bench.count([0; 3]);
        bench
    }

    async fn apply(&mut self, steps: &str) {
        let (of_service, of_route) = if self.route { (STILL, steps) } else { (steps, STILL) };
        let text = DOCUMENT.replace("STEPS", of_service).replace("OWN", of_route);
        let bundle = Bundle::of_text("lb.yaml", &text);
        let commit = Commit {
            author: "ann".into(),
            reason: String::new(),
            time: at(0),
            puts: vec![(Key::config(), serde_json::to_vec(&bundle).unwrap().into())],
            removes: vec![],
        };
        let head = self.driver.store.head().await.unwrap();
        self.driver.store.commit(head, commit).await.unwrap();
        self.build().await;
    }

    async fn build(&self) {
        let Driver { store, cache, .. } = &self.driver;
        let head = store.head().await.unwrap();
        let built = pipeline::build(&**store, head, std::iter::empty().collect(), cache).await;
        cache.set(built.unwrap());
    }

    /// A proxy counts more requests: of the stable version, of the canary, and of the canary in
    /// vain.
    fn count(&mut self, more: [u64; 3]) {
        self.sequence += 1;
        for (counted, more) in self.counted.iter_mut().zip(more) {
            *counted += more;
        }
        let [stable, canary, failed] = self.counted;
        let arm = |requests, server_errors| {
            Some(ArmReport { requests, server_errors, ..ArmReport::default() })
        };
        let report = |route: &str, stable_arm, canary_arm| ServiceReport {
            service: "shop".into(),
            route: route.into(),
            stable_arm,
            canary_arm,
            ..ServiceReport::default()
        };
        // What the other of the two counts is well, and plenty.
        let well = (arm(self.sequence * 10_000, 0), arm(self.sequence * 10_000, 0));
        let own = (arm(stable, 0), arm(canary, failed));
        let (of_service, of_route) = if self.route { (well, own) } else { (own, well) };
        let batch = ReportBatch {
            proxy: "p".into(),
            instance: "1".into(),
            sequence: self.sequence,
            services: vec![
                report("", of_service.0, of_service.1),
                report("own", of_route.0, of_route.1),
            ],
            ..ReportBatch::default()
        };
        self.driver.reports.take(batch, at(0));
    }

    /// Looks at a moment, and builds what came of it.
    async fn look(&mut self, second: i64) -> bool {
        let release = self.driver.cache.newest().unwrap();
        let memory = (&mut self.watching, &mut self.unnoted);
        let again = self.driver.look(&release, memory, at(second)).await.unwrap();
        self.build().await;
        again
    }

    fn split(&self) -> String {
        let release = self.driver.cache.newest().unwrap();
        let of_service = &release.config.services["shop"].traffic_management;
        let of_route = release.config.routes["own"].traffic_management.as_ref().unwrap();
        let (own, other) = if self.route { (of_route, of_service) } else { (of_service, of_route) };
        let split = |traffic: &lb_model::config::TrafficManagement| {
            traffic.canary.as_ref().unwrap().traffic_split.to_string()
        };
        assert_eq!(split(other), "1", "nobody decided about that");
        split(own)
    }

    async fn said(&self) -> (u64, String, String) {
        let head = self.driver.store.head().await.unwrap();
        let record = self.driver.store.record(head).await.unwrap();
        (head.0, record.author, record.reason)
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn said(version: u64, author: &str, reason: &str) -> (u64, String, String) {
    (version, author.into(), reason.into())
}

#[tokio::test]
async fn a_good_canary_grows_by_versions_of_its_own_and_stays() {
    let mut bench = Bench::new(STEPS).await;
    assert!(bench.look(0).await);
    assert_eq!(bench.said().await, said(2, "canary", "shop: canary at 5%, step 1 of 2"));
    bench.look(1).await;
    bench.look(11).await;
    assert_eq!(bench.said().await.0, 2, "nothing to judge by");
    bench.count([1_000, 50, 0]);
    bench.look(12).await;
    assert_eq!(bench.said().await, said(3, "canary", "shop: canary at 50%, step 2 of 2"));
    assert_eq!(bench.split(), "50");
    bench.look(13).await;
    bench.count([1_000, 1_000, 0]);
    bench.look(22).await;
    let finished = said(4, "canary", "shop: the canary finished its steps, at 50%");
    assert_eq!(bench.said().await, finished);
    assert!(!bench.look(23).await, "there is nothing left to look at");
    assert_eq!((bench.split(), bench.said().await.0), ("50".into(), 4));
    assert!(bench.watching.is_empty());
    let noted: Vec<_> = bench.unnoted.iter().map(|entry| entry.version.unwrap().0).collect();
    assert_eq!(noted, [2, 3, 4]);
    assert_eq!(bench.unnoted[0].path, "/api/v1/canary/shop/set");
    let text = bench.driver.metrics.render();
    assert!(text.contains("outcome=\"finished\",route=\"\",service=\"shop\"} 1"), "{text}");
}

#[tokio::test]
async fn a_bad_canary_gets_nothing_and_stays_so_until_there_are_other_steps() {
    let mut bench = Bench::new(STEPS).await;
    bench.look(0).await;
    bench.look(1).await;
    bench.count([1_000, 60, 30]);
    bench.look(3).await;
    let (version, author, reason) = bench.said().await;
    assert_eq!((version, author.as_str(), bench.split().as_str()), (3, "canary", "0"));
    assert!(reason.contains("aborted: 50.0% of its 60 requests failed"), "{reason}");
    // The same document again changes nothing; another one begins anew.
    bench.apply(STEPS).await;
    bench.look(4).await;
    assert_eq!((bench.split().as_str(), bench.said().await.1.as_str()), ("0", "ann"));
    bench.apply("steps: [{ split: 7, for: 10s }]").await;
    bench.look(5).await;
    assert_eq!(bench.said().await.1, "expiry");
    bench.look(6).await;
    assert_eq!((bench.split().as_str(), bench.said().await.1.as_str()), ("7", "canary"));
}

#[tokio::test]
async fn whoever_comes_later_goes_on_where_it_was() {
    let mut bench = Bench::new(STEPS).await;
    bench.look(0).await;
    bench.count([1_000, 900, 800]);
    // Another process: it has not seen what was counted before it.
    bench.driver.reports = Arc::default();
    bench.watching = Watching::new();
    bench.count([0; 3]);
    bench.look(11).await;
    assert_eq!((bench.split().as_str(), bench.said().await.0), ("5", 2));
    bench.count([1_000, 50, 0]);
    bench.look(12).await;
    assert_eq!(bench.split(), "50", "the time of the step is not begun anew");
}

#[tokio::test]
async fn what_the_configuration_says_by_itself_is_no_decision_any_more() {
    let mut bench = Bench::new("traffic_split: 10").await;
    let release = bench.driver.cache.newest().unwrap();
    let canary = release.config.services["shop"].traffic_management.canary.clone().unwrap();
    let by = Decided { owner: "ann".into(), reason: String::new(), since: at(0) };
    let mut decided = Deployments::default();
    let id = canary_id(&canary, &release.config.backends);
    let shop = Scope::Service("shop".into());
    decided.change(&shop, |decided| {
        let split = lb_model::value::Percentage::parse("40").unwrap();
        decided.split = Some(SplitChoice { split, canary: id, by: by.clone(), schedule: None });
        decided.slot = Some(SlotChoice { slot: Slot::Green, by });
    });
    decided.commit(&*bench.driver.store, Version(1), ("ann", ""), at(0)).await.unwrap();
    bench.build().await;
    assert!(!bench.look(1).await);
    assert_eq!((bench.split().as_str(), bench.said().await.0), ("40", 2));
    bench.apply("traffic_split: 40").await;
    bench.look(2).await;
    let reason = "the decided split of shop ended: the configuration says the same";
    assert_eq!(bench.said().await, said(4, "expiry", reason));
    let left = Decisions::at(&*bench.driver.store, Version(4)).await.unwrap();
    assert!(left.deployments.0[&shop].split.is_none() && left.deployments.0[&shop].slot.is_some());
}

#[tokio::test]
async fn the_canary_of_a_route_is_judged_by_the_requests_of_that_route() {
    let mut bench = Bench::of(STEPS, true).await;
    bench.look(0).await;
    assert_eq!(bench.said().await, said(2, "canary", "route own: canary at 5%, step 1 of 2"));
    bench.look(1).await;
    // The service's own canary is well, and has many more requests.
    bench.count([1_000, 60, 30]);
    bench.look(3).await;
    let (version, author, reason) = bench.said().await;
    assert_eq!((version, author.as_str(), bench.split().as_str()), (3, "canary", "0"));
    let why = "route own: the canary was aborted: 50.0% of its 60 requests failed";
    assert!(reason.starts_with(why), "{reason}");
    let noted = &bench.unnoted[1];
    assert_eq!(noted.path, "/api/v1/canary/routes/own/set");
    assert_eq!(noted.object.as_deref(), Some("own"));
    let text = bench.driver.metrics.render();
    assert!(text.contains("outcome=\"aborted\",route=\"own\",service=\"shop\"} 1"), "{text}");
}
