//! A control plane that sends what nobody should: it is refused, and what ran serves on.

use std::{collections::BTreeMap, fs, time::Instant};

use bytes::Bytes;
use lb_model::{Resource, ResourceKey, ResourceKind, ResourceSet};
use lb_proto::v1::{self, ErrorCode, Push, Stage, to_proxy::Message};
use lb_tests::{
    backend::Backend,
    client,
    eventually::eventually,
    fake_control_plane::{FakeControlPlane, HASH_KEY, Stream, push, resources},
    proxy::Proxy,
    scratch::Scratch,
};
use prost::Message as _;

/// What a version may take on its way in, and as much again for what holds it.
const MOST_MEMORY: u64 = 2 * (256 << 10);

/// A proxy that serves version 5, and the control plane that sent it.
struct Besieged {
    proxy: Proxy,
    stream: Stream,
    good: ResourceSet,
    backend: Backend,
    _control_plane: FakeControlPlane,
    _scratch: Scratch,
}

impl Besieged {
    async fn start() -> Self {
        let backend = Backend::start("a").await;
        let scratch = Scratch::new();
        let mut control_plane = FakeControlPlane::start(&scratch.path().join("proxy-0")).await;
        let proxy = Proxy::start(scratch.path(), "proxy-0", &control_plane.url(), &[]).await;
        let stream = control_plane.stream().await;
        let good = resources(&format!(
            "entry_points: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
             backends: {{ one: {{ url: \"{}\" }} }}\n\
             routes: {{ only: {{ rule: PathPrefix(`/`) }} }}\n",
            backend.url()
        ));
        let mut besieged =
            Self { proxy, stream, good, backend, _control_plane: control_plane, _scratch: scratch };
        let first = push(5, &besieged.good);
        besieged.assert_taken(first).await;
        besieged
    }

    async fn send(&self, push: Push) {
        assert!(self.stream.say(Message::Push(push)).await, "the stream is there");
    }

    async fn assert_taken(&mut self, push: Push) {
        self.send(push).await;
        let ack = self.stream.decision().await;
        assert_eq!(ack.stage(), Stage::Active, "{ack:?}");
        self.assert_serves().await;
    }

    /// The proxy refuses what it was sent last, with this code, and names what it runs.
    async fn assert_refused(&mut self, code: ErrorCode, about: &str) {
        let ack = self.stream.decision().await;
        assert_eq!(ack.stage(), Stage::Rejected, "{ack:?}");
        let error = &ack.errors[0];
        assert_eq!((error.code(), error.kind.as_str()), (code, about), "{error:?}");
        assert_eq!(ack.running.as_ref().map(|version| version.number), Some(5), "{ack:?}");
        assert_eq!(ack.running_root[..], self.good.root().0, "{ack:?}");
        self.assert_serves().await;
    }

    async fn assert_serves(&self) {
        let address = self.proxy.entry_point("web").await;
        assert_eq!(client::get(address, "a", "/any").await.backend(), "a");
    }

    /// What runs, with some resources more or in other words.
    fn with(&self, more: impl IntoIterator<Item = (ResourceKind, String, Vec<u8>)>) -> ResourceSet {
        let mut all: BTreeMap<_, _> =
            self.good.iter().map(|(key, resource)| (key.clone(), resource.clone())).collect();
        for (kind, name, body) in more {
            let key = ResourceKey { kind, name: name.into() };
            let resource = Resource::new(&key, Bytes::from(body), &HASH_KEY);
            all.insert(key, resource);
        }
        ResourceSet::new(HASH_KEY, all)
    }

    /// The body of a route that is as the good one but for its rule.
    fn route(&self, rule: String) -> Vec<u8> {
        let key = ResourceKey { kind: ResourceKind::Route, name: "only".into() };
        let good = self.good.get(&key).unwrap();
        let route = v1::Route::decode(good.body().clone()).unwrap();
        v1::Route { rule, ..route }.encode_to_vec()
    }

    /// What the proxy takes of memory in KiB, by the name the system has for it.
    fn memory(&mut self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.proxy.process().id()));
        let status = status.unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_matches([':', '\t', ' ', 'k', 'B']).parse().unwrap()
    }

    /// The next good version is taken as if nothing had been.
    async fn assert_well(mut self) {
        let next =
            self.with([(ResourceKind::Route, "next".into(), self.route("Path(`/next`)".into()))]);
        self.assert_taken(push(6, &next)).await;
        assert_eq!(self.proxy.version().await, Some(6));
        let said = self.proxy.process().said();
        assert!(!said.contains("panicked"), "{said}");
        assert!(self.backend.requests() > 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_refused_with_its_code() {
    let mut besieged = Besieged::start().await;
    let next = besieged.with([]);

    let base_root = vec![7; 32].into();
    besieged.send(Push { base_root, ..push(6, &next) }).await;
    besieged.assert_refused(ErrorCode::BaseMismatch, "version").await;

    besieged.send(push(4, &next)).await;
    besieged.assert_refused(ErrorCode::VersionRegression, "version").await;

    let other = besieged.with([(ResourceKind::Backend, "two".into(), Vec::new())]);
    besieged.send(push(5, &other)).await;
    besieged.assert_refused(ErrorCode::VersionRegression, "version").await;

    besieged.send(Push { target_root: vec![7; 32].into(), ..push(6, &next) }).await;
    besieged.assert_refused(ErrorCode::RootMismatch, "version").await;

    besieged.send(Push { chunk: 3, ..push(6, &next) }).await;
    besieged.assert_refused(ErrorCode::Protocol, "version").await;

    let mut forged = push(6, &next);
    forged.upsert[0].hash = vec![7; 32].into();
    let kind = forged.upsert[0].kind.clone();
    besieged.send(forged).await;
    besieged.assert_refused(ErrorCode::Protocol, &kind).await;

    let mut unknown = push(6, &next);
    unknown.upsert[0].kind = "bomb".to_owned();
    besieged.send(unknown).await;
    besieged.assert_refused(ErrorCode::Unsupported, "version").await;
    besieged.assert_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resources_without_sense_are_refused_by_name() {
    let mut besieged = Besieged::start().await;
    let garbage = v1::Certificate {
        chain: vec![vec![0xff; 500].into()],
        key: vec![0xfe; 100].into(),
        is_default: true,
    };
    let long = format!("Path(`/{}`)", "x".repeat(9 << 10));
    let deep = format!("{}Path(`/`){}", "(".repeat(4_000), ")".repeat(4_000));
    for (kind, body) in [
        (ResourceKind::Certificate, garbage.encode_to_vec()),
        (ResourceKind::Route, besieged.route(long)),
        (ResourceKind::Route, besieged.route(deep)),
        (ResourceKind::Route, vec![0xff; 100]),
        (
            ResourceKind::Backend,
            v1::Backend { url: "file:///".into(), weight: 1, ..v1::Backend::default() }
                .encode_to_vec(),
        ),
    ] {
        let next = besieged.with([(kind, "bomb".to_owned(), body)]);
        besieged.send(push(6, &next)).await;
        besieged.assert_refused(ErrorCode::Invalid, kind.as_str()).await;
    }
    besieged.assert_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_without_an_end_is_refused_at_the_limit() {
    let mut besieged = Besieged::start().await;
    let before = besieged.memory("VmRSS");
    // Chunks with nothing in them take no room, so they may go on.
    for chunk in 0..10_000 {
        let (upsert, last) = (Vec::new(), false);
        let empty = Push { chunk, upsert, last, ..push(6, &besieged.good) };
        besieged.send(empty).await;
    }
    let body = Bytes::from(vec![0; 1 << 20]);
    let key = ResourceKey { kind: ResourceKind::Route, name: "bomb".into() };
    let hash: Bytes = Resource::new(&key, body.clone(), &HASH_KEY).hash().0.to_vec().into();
    let resource = v1::Resource { kind: "route".to_owned(), name: "bomb".to_owned(), hash, body };
    for chunk in 0..256 {
        let upsert = vec![resource.clone()];
        besieged.send(Push { chunk, upsert, last: false, ..push(7, &besieged.good) }).await;
    }
    besieged.assert_refused(ErrorCode::LimitExceeded, "version").await;
    let highest = besieged.memory("VmHWM").saturating_sub(before);
    assert!(highest < MOST_MEMORY, "the proxy took {highest} KiB more");
    eventually("the proxy gives the memory back", async || {
        let more = besieged.memory("VmRSS").saturating_sub(before);
        if more < MOST_MEMORY / 4 { Ok(()) } else { Err(format!("{more} KiB more")) }
    })
    .await;
    println!("at its highest the proxy took {highest} KiB more");
    besieged.assert_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_routes_are_taken_or_refused_while_others_serve() {
    let mut besieged = Besieged::start().await;
    let before = besieged.memory("VmRSS");
    let route = |number| {
        let body = besieged.route(format!("Path(`/{number}`)"));
        (ResourceKind::Route, format!("r{number}"), body)
    };
    let many = besieged.with((0..100_000).map(route));
    let whole = push(6, &many);
    let started = Instant::now();
    let chunks = whole.upsert.chunks(10_000);
    let count = chunks.len();
    for (chunk, upsert) in chunks.enumerate() {
        let (upsert, last) = (upsert.to_vec(), chunk + 1 == count);
        besieged.send(Push { chunk: chunk as u32, upsert, last, ..whole.clone() }).await;
    }
    besieged.assert_serves().await;
    let ack = besieged.stream.decision().await;
    println!("{:?} after {:?}", ack.stage(), started.elapsed());
    besieged.assert_serves().await;
    let highest = besieged.memory("VmHWM").saturating_sub(before);
    assert!(highest < MOST_MEMORY, "the proxy took {highest} KiB more");
    println!("at its highest the proxy took {highest} KiB more");
    let version = if ack.stage() == Stage::Active { 6 } else { 5 };
    assert_eq!(besieged.proxy.version().await, Some(version), "{ack:?}");
    let good = besieged.with([]);
    besieged.assert_taken(push(7, &good)).await;
}
