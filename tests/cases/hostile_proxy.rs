//! Members of the fleet that break the rules, and the honest proxy beside them that notices
//! nothing.

use std::{
    fs,
    time::{Duration, Instant},
};

use lb_model::{Version, api::SyncState};
use lb_proto::v1::{
    self, Ack, BackendReport, Hello, Inventory, Key, ReportBatch, Stage, from_proxy::Message,
    to_proxy,
};
use lb_tests::{
    backend::Backend,
    client,
    cluster::Cluster,
    eventually::{eventually, within},
    member::{Member, Stream},
};

/// How much more memory the control plane may take, in KiB.
const MOST_MEMORY: u64 = 64 << 10;
/// How long a version takes to the honest proxy meanwhile.
const PROMPT: Duration = Duration::from_secs(1);
/// How long one that floods goes on.
const FLOOD: Duration = Duration::from_secs(3);

/// An honest proxy that serves, and a member that is not honest.
struct Fleet {
    cluster: Cluster,
    backend: Backend,
    member: Member,
    versions: u64,
}

fn document(backend: &Backend, version: u64) -> String {
    format!(
        "entry_points: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         backends: {{ one: {{ url: \"{}\" }} }}\n\
         routes: {{ only: {{ rule: Path(`/{version}`) }} }}\n",
        backend.url()
    )
}

impl Fleet {
    async fn start() -> Self {
        let backend = Backend::start("a").await;
        let mut cluster = Cluster::serving(1, &document(&backend, 1)).await;
        let member = Member::join(cluster.control_plane(), "mallory").await;
        Self { cluster, backend, member, versions: 1 }
    }

    /// The honest proxy gets the next version in time.
    async fn assert_prompt(&mut self) {
        self.versions += 1;
        let committed = self.cluster.put(&document(&self.backend, self.versions)).await;
        let started = Instant::now();
        let proxy = self.cluster.proxy(0);
        within(PROMPT, "the honest proxy serves the next version", async || {
            match proxy.version().await {
                Some(version) if version == committed.version.0 => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        println!("the honest proxy had the next version after {:?}", started.elapsed());
    }

    /// What the control plane takes of memory in KiB, by the name the system has for it.
    fn memory(&mut self, name: &str) -> u64 {
        let process = self.cluster.control_plane().process().id();
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_matches([':', '\t', ' ', 'k', 'B']).parse().unwrap()
    }

    /// What it takes now; the highest is counted from here on.
    fn memory_before(&mut self) -> u64 {
        let process = self.cluster.control_plane().process().id();
        fs::write(format!("/proc/{process}/clear_refs"), "5").unwrap();
        self.memory("VmRSS")
    }

    /// Nobody took harm.
    async fn assert_well(mut self, before: u64) {
        let highest = self.memory("VmHWM").saturating_sub(before);
        assert!(highest < MOST_MEMORY, "the control plane took {highest} KiB more");
        self.assert_prompt().await;
        eventually("the control plane gives the memory back", async || {
            let more = self.memory("VmRSS").saturating_sub(before);
            if more < MOST_MEMORY / 2 { Ok(()) } else { Err(format!("{more} KiB more")) }
        })
        .await;
        println!("at its highest the control plane took {highest} KiB more");
        let versions = self.versions;
        let list = eventually("the honest proxy is in sync", async || {
            let list = self.cluster.control_plane().proxies().await;
            let honest = list.proxies.iter().find(|proxy| proxy.id == "proxy-0");
            let is_synced = honest.is_some_and(|proxy| {
                proxy.state == SyncState::Synced && proxy.version == Version(versions)
            });
            if is_synced { Ok(list) } else { Err(format!("{list:?}")) }
        })
        .await;
        assert!(list.proxies.len() <= 2, "names that nobody gave out: {list:?}");
        let address = self.cluster.web(0).await;
        let path = format!("/{versions}");
        assert_eq!(client::get(address, "a", &path).await.backend(), "a");
        let said = self.cluster.control_plane().process().said();
        assert!(!said.contains("panicked"), "{said}");
    }

    /// A stream on which the member runs something that nobody knows.
    async fn open_with_unknown_root(&self) -> Stream {
        let mut honest = self.member.open(Message::Hello(Box::new(self.member.hello()))).await;
        let Some(to_proxy::Message::Welcome(welcome)) = honest.next().await else {
            panic!("no welcome")
        };
        let running = v1::Version { lineage: welcome.lineage, number: 1 };
        let hello = Hello {
            running: Some(running),
            running_root: vec![7; 32].into(),
            ..self.member.hello()
        };
        let mut stream = self.member.open(Message::Hello(Box::new(hello))).await;
        assert!(matches!(stream.next().await, Some(to_proxy::Message::Welcome(_))));
        assert!(matches!(stream.next().await, Some(to_proxy::Message::Ask(_))));
        stream
    }
}

fn part(part: usize, keys: usize, name: &str, last: bool) -> Message {
    let key = |number| Key {
        kind: "route".to_owned(),
        name: format!("{name}-{part}-{number}"),
        hash: vec![9; 32].into(),
    };
    Message::Inventory(Inventory { keys: (0..keys).map(key).collect(), last })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_inventory_larger_than_any_configuration_ends_the_stream() {
    let mut fleet = Fleet::start().await;
    let before = fleet.memory_before();
    let stream = fleet.open_with_unknown_root().await;
    let mut said = 0;
    while said < 100 && stream.say(part(said, 20_000, "r", false)).await {
        said += 1;
        if said == 20 {
            fleet.assert_prompt().await;
        }
    }
    let rest = stream.rest().await;
    assert!(
        matches!(&rest[..], [.., to_proxy::Message::Refuse(refuse)] if refuse.message.contains("inventory")),
        "after {said} parts of two million keys: {rest:?}"
    );
    fleet.assert_well(before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_inventory_of_long_names_is_answered_with_everything() {
    let mut fleet = Fleet::start().await;
    let before = fleet.memory_before();
    let mut stream = fleet.open_with_unknown_root().await;
    let name = "x".repeat(8_000);
    // 160 MiB of names, of far fewer keys than there may be.
    for number in 0..50 {
        assert!(stream.say(part(number, 400, &name, number == 49)).await);
    }
    match stream.next().await {
        Some(to_proxy::Message::Push(push)) => assert!(push.base_root.is_empty(), "{push:?}"),
        other => panic!("{other:?}"),
    }
    fleet.assert_prompt().await;
    fleet.assert_well(before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_foreign_acknowledgements_says_nothing() {
    let mut fleet = Fleet::start().await;
    let before = fleet.memory_before();
    let stream = fleet.member.open(Message::Hello(Box::new(fleet.member.hello()))).await;
    let (started, mut said) = (Instant::now(), 0_u64);
    let flood = tokio::spawn(async move {
        while said < 1_000_000 && started.elapsed() < FLOOD {
            let ack = Ack { nonce: format!("nonsense:{said}"), ..Ack::default() };
            assert!(stream.say(Message::Ack(ack)).await, "they are ignored");
            said += 1;
        }
        (stream, said)
    });
    fleet.assert_prompt().await;
    let (_stream, said) = flood.await.unwrap();
    println!("{said} acknowledgements in {:?}", started.elapsed());
    assert!(said > 1_000, "that was no flood: {said}");
    let list = fleet.cluster.control_plane().proxies().await;
    let mallory = list.proxies.iter().find(|proxy| proxy.id == "mallory").unwrap();
    assert_eq!(mallory.state, SyncState::Applying, "it acknowledged nothing: {mallory:?}");
    fleet.assert_well(before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_name_is_replaced_by_that_of_the_certificate() {
    let mut fleet = Fleet::start().await;
    let before = fleet.memory_before();
    let hello = Hello { proxy: "proxy-0".to_owned(), ..fleet.member.hello() };
    let mut stream = fleet.member.open(Message::Hello(Box::new(hello))).await;
    assert!(matches!(stream.next().await, Some(to_proxy::Message::Welcome(_))));
    let Some(to_proxy::Message::Push(push)) = stream.next().await else { panic!("no push") };
    let mut ack = Ack { nonce: push.nonce, ..Ack::default() };
    ack.set_stage(Stage::Rejected);
    assert!(stream.say(Message::Ack(ack)).await);
    let list = eventually("the refusal is known", async || {
        let list = fleet.cluster.control_plane().proxies().await;
        let is_known = list.proxies.iter().any(|proxy| proxy.rejected_version.is_some());
        if is_known { Ok(list) } else { Err(format!("{list:?}")) }
    })
    .await;
    let state = |name: &str| list.proxies.iter().find(|proxy| proxy.id == name).unwrap().state;
    assert_eq!((state("mallory"), state("proxy-0")), (SyncState::Rejected, SyncState::Synced));
    fleet.assert_well(before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_versions_lead_nobody_astray() {
    let mut fleet = Fleet::start().await;
    let before = fleet.memory_before();
    let mut first = fleet.member.open(Message::Hello(Box::new(fleet.member.hello()))).await;
    let Some(to_proxy::Message::Welcome(welcome)) = first.next().await else {
        panic!("no welcome")
    };
    let claim = |lineage: &str, number, root: Vec<u8>| {
        let running = Some(v1::Version { lineage: lineage.to_owned(), number });
        let running_root = root.into();
        Message::Hello(Box::new(Hello { running, running_root, ..fleet.member.hello() }))
    };
    for number in [1_000_000, u64::MAX] {
        let ahead = fleet.member.open(claim(&welcome.lineage, number, vec![7; 32])).await;
        let rest = ahead.rest().await;
        assert!(
            matches!(&rest[..], [to_proxy::Message::Welcome(_), to_proxy::Message::Refuse(_)]),
            "{number}: {rest:?}"
        );
    }
    // Of another lineage, or with a root that is none: nothing to build on, so it gets everything.
    for hello in [claim("elsewhere", u64::MAX, vec![7; 32]), claim(&welcome.lineage, 1, vec![7; 5])]
    {
        let mut stream = fleet.member.open(hello).await;
        assert!(matches!(stream.next().await, Some(to_proxy::Message::Welcome(_))));
        match stream.next().await {
            Some(to_proxy::Message::Push(push)) => assert!(push.base_root.is_empty()),
            other => panic!("{other:?}"),
        }
    }
    let versions = fleet.cluster.control_plane().get("/api/v1/versions").await;
    assert_eq!(versions["current"], 1, "the history is the control plane's");
    fleet.assert_well(before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn talk_out_of_turn_ends_the_stream() {
    let mut fleet = Fleet::start().await;
    let before = fleet.memory_before();
    let inventory = || part(0, 1, "r", true);
    let silent = fleet.member.open(inventory()).await;
    let again = fleet.member.open(Message::Hello(Box::new(fleet.member.hello()))).await;
    assert!(again.say(Message::Hello(Box::new(fleet.member.hello()))).await);
    let unasked = fleet.member.open(Message::Hello(Box::new(fleet.member.hello()))).await;
    assert!(unasked.say(inventory()).await);
    for stream in [silent, again, unasked] {
        let rest = stream.rest().await;
        let is_refused = matches!(rest.last(), Some(to_proxy::Message::Refuse(_)));
        assert!(is_refused, "{rest:?}");
    }
    fleet.assert_well(before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_over_the_limit_ends_the_stream_before_it_is_read() {
    let mut fleet = Fleet::start().await;
    let before = fleet.memory_before();
    for _ in 0..10 {
        let hello = Hello { software_version: "x".repeat(5 << 20), ..fleet.member.hello() };
        let stream = fleet.member.open(Message::Hello(Box::new(hello))).await;
        assert_eq!(stream.rest().await, [], "not even a welcome");
    }
    // Below the limit it is taken, and remembered no longer than anyone reads.
    let hello = Hello { software_version: "x".repeat(3 << 20), ..fleet.member.hello() };
    let mut stream = fleet.member.open(Message::Hello(Box::new(hello))).await;
    assert!(matches!(stream.next().await, Some(to_proxy::Message::Welcome(_))));
    let list = fleet.cluster.control_plane().proxies().await;
    assert!(list.proxies.iter().all(|proxy| proxy.software_version.len() <= 2_000));
    fleet.assert_well(before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_never_reads_holds_up_nobody_and_not_the_end() {
    let mut fleet = Fleet::start().await;
    // More than the window of a stream holds, which has 2 MiB.
    let long = "x".repeat(7_000);
    let route = |number| format!("  r{number}: {{ rule: Path(`/{number}{long}`) }}\n");
    let routes = (0..500).map(route).collect::<Vec<_>>().concat();
    let base = format!(
        "entry_points: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         backends: {{ one: {{ url: \"{}\" }} }}\nroutes:\n{routes}",
        fleet.backend.url()
    );
    fleet.cluster.apply(&base).await;
    fleet.versions += 1;
    let before = fleet.memory_before();
    let mut deaf = Vec::new();
    for _ in 0..8 {
        deaf.push(fleet.member.open(Message::Hello(Box::new(fleet.member.hello()))).await);
    }
    let name = "lb_snapshot_pushes_total";
    // Each stream ends the one before it, which may be before anything was sent on that.
    eventually("it was sent what it does not read", async || {
        match fleet.cluster.control_plane().metric(name, "full").await {
            full if full >= 2 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
    for _ in 0..5 {
        fleet.assert_prompt().await;
    }
    let highest = fleet.memory("VmHWM").saturating_sub(before);
    assert!(highest < MOST_MEMORY, "the control plane took {highest} KiB more");
    fleet.cluster.control_plane().stop().await;
    drop(deaf);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_with_absurd_numbers_stay_numbers() {
    let mut fleet = Fleet::start().await;
    let before = fleet.memory_before();
    let other = Member::join(fleet.cluster.control_plane(), "trudy").await;
    let services = fleet.cluster.control_plane().get("/admin/backends").await;
    let shown = services["backends"][0].clone();
    let text = |name: &str| shown[name].as_str().unwrap_or_default().to_owned();
    for member in [&fleet.member, &other] {
        let report = BackendReport {
            service: text("service"),
            backend: text("id"),
            last_error: "x".repeat(1 << 20),
            in_flight: u64::MAX,
            requests: u64::MAX,
            failures: u64::MAX,
            checked_at_ms: i64::MAX,
            since_ms: i64::MIN,
            ..BackendReport::default()
        };
        let batch = |sequence| ReportBatch {
            instance: "1".to_owned(),
            sequence,
            backends: vec![report.clone()],
            open_connections: u64::MAX,
            uptime_ms: u64::MAX,
            ..ReportBatch::default()
        };
        member.report(vec![batch(1), batch(u64::MAX)]).await;
    }
    let shown = fleet.cluster.control_plane().get("/admin/backends").await.to_string();
    assert!(shown.contains(&u64::MAX.to_string()), "{}", &shown[..shown.len().min(500)]);
    assert!(shown.len() < 10_000, "an error is no longer than anyone reads: {}", shown.len());
    for path in ["/admin/health", "/api/v1/proxies"] {
        assert!(fleet.cluster.control_plane().get(path).await.is_object(), "{path}");
    }
    assert!(fleet.cluster.control_plane().metric("lb_config_version", "").await >= 1);
    fleet.assert_well(before).await;
}
