//! Whatever happens on the way, a proxy ends up with exactly what a full push would have given it.
//!
//! Both ends of the sync stream run here against each other without a socket: commits, lost, late
//! and repeated acknowledgements, refusals, cut streams, restarts of either side. After every
//! step what the proxy runs is, by its root, the content of the version that it names, and that
//! version never goes back. After the last interruption it arrives at the newest.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use lb_control_plane::{
    snapshot::{Differences, SnapshotCache, Target},
    sync::session::{self as control, Input as ControlInput, Output as ControlOutput},
};
use lb_data_plane::sync::session::{self as proxy, Input as ProxyInput, Output as ProxyOutput};
use lb_model::{
    Config, Resource, ResourceKey, ResourceKind, ResourceSet, Snapshot, Version, resource::HashKey,
};
use lb_proto::v1::{self, ErrorCode};
use proptest::prelude::*;

const KEY: HashKey = HashKey([9; 32]);

/// One step of a history.
#[derive(Debug, Clone)]
enum Step {
    /// A new version with these routes.
    Commit(Vec<(u8, u8)>),
    /// The proxy reads one message.
    ToProxy,
    /// The control plane reads one message.
    ToControl,
    /// The oldest message of the proxy is lost.
    Lose,
    /// The oldest message of the proxy arrives twice.
    Repeat,
    /// The oldest message of the proxy arrives last.
    Delay,
    /// The stream is cut and opened again.
    Reconnect,
    /// The control plane forgets everything but the newest version.
    RestartControl,
    /// The next version cannot be applied.
    FailNext,
    /// An operator asks to try again.
    Retry,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => proptest::collection::vec((0u8..8, 0u8..4), 0..6).prop_map(Step::Commit),
        8 => Just(Step::ToProxy),
        8 => Just(Step::ToControl),
        1 => Just(Step::Lose),
        1 => Just(Step::Repeat),
        1 => Just(Step::Delay),
        1 => Just(Step::Reconnect),
        1 => Just(Step::RestartControl),
        1 => Just(Step::FailNext),
        1 => Just(Step::Retry),
    ]
}

struct World {
    history: Vec<Arc<ResourceSet>>,
    cache: SnapshotCache,
    control: control::Session,
    proxy: proxy::Session,
    to_proxy: VecDeque<v1::ToProxy>,
    to_control: VecDeque<v1::FromProxy>,
    streams: u64,
    fail_next: bool,
    open: bool,
    pushed_bytes: usize,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            history: Vec::new(),
            cache: SnapshotCache::default(),
            control: new_control(0),
            proxy: proxy::Session::new(identity(), None),
            to_proxy: VecDeque::new(),
            to_control: VecDeque::new(),
            streams: 0,
            fail_next: false,
            open: false,
            pushed_bytes: 0,
        };
        world.reconnect();
        world
    }

    fn commit(&mut self, routes: &[(u8, u8)]) {
        let resources: BTreeMap<_, _> = routes
            .iter()
            .map(|(name, body)| {
                let key =
                    ResourceKey { kind: ResourceKind::Route, name: format!("r{name}").into() };
                let resource = Resource::new(&key, vec![*body; 100].into(), &KEY);
                (key, resource)
            })
            .collect();
        self.history.push(Arc::new(ResourceSet::new(KEY, resources)));
        self.cache.set(self.newest_target());
        self.announce();
    }

    fn newest_target(&self) -> Target {
        Target {
            snapshot: Arc::new(Snapshot {
                lineage: "L".into(),
                version: Version(self.history.len() as u64),
                resources: Arc::clone(self.history.last().unwrap()),
            }),
            config: Arc::new(Config::default()),
            committed_at: "2026-01-01T00:00:00Z".parse().unwrap(),
            attempt: 0,
            differences: Differences::default(),
        }
    }

    fn announce(&mut self) {
        if let Some(target) = self.cache.newest() {
            self.control_handles(ControlInput::Target(target));
        }
    }

    fn reconnect(&mut self) {
        self.streams += 1;
        self.to_proxy.clear();
        self.to_control.clear();
        self.control = new_control(self.streams);
        self.proxy = proxy::Session::new(identity(), self.proxy.running().cloned());
        self.open = true;
        self.announce();
        self.proxy_handles(ProxyInput::Connected);
    }

    fn control_handles(&mut self, input: ControlInput) {
        if !self.open {
            return;
        }
        let cache = &self.cache;
        for output in self.control.handle(input, &|root| cache.by_root(root)) {
            match output {
                ControlOutput::Send(message) => self.to_proxy.push_back(message),
                ControlOutput::News(control::News::Pushed { bytes, .. }) => {
                    self.pushed_bytes += bytes;
                }
                ControlOutput::News(_) => {}
                ControlOutput::Close => self.open = false,
            }
        }
    }

    fn proxy_handles(&mut self, input: ProxyInput) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            for output in self.proxy.handle(input) {
                match output {
                    ProxyOutput::Send(message) => self.to_control.push_back(message),
                    ProxyOutput::Apply(_) if std::mem::take(&mut self.fail_next) => {
                        let mut error = v1::ResourceError::default();
                        error.set_code(ErrorCode::BindFailed);
                        inputs.push_back(ProxyInput::Failed(vec![error]));
                    }
                    ProxyOutput::Apply(_) => {
                        inputs.push_back(ProxyInput::Validated);
                        inputs.push_back(active());
                    }
                    ProxyOutput::Renumber(_) => inputs.push_back(active()),
                    ProxyOutput::Close(_) => self.open = false,
                }
            }
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Commit(routes) => self.commit(&routes),
            Step::ToProxy => {
                if let Some(message) = self.to_proxy.pop_front() {
                    self.proxy_handles(ProxyInput::Message(message));
                }
            }
            Step::ToControl => {
                if let Some(message) = self.to_control.pop_front() {
                    self.control_handles(ControlInput::Message(message));
                }
            }
            Step::Lose => drop(self.to_control.pop_front()),
            Step::Repeat => {
                if let Some(message) = self.to_control.front().cloned() {
                    self.to_control.push_back(message);
                }
            }
            Step::Delay => {
                if let Some(message) = self.to_control.pop_front() {
                    self.to_control.push_back(message);
                }
            }
            Step::Reconnect => self.reconnect(),
            Step::RestartControl => {
                self.cache = SnapshotCache::default();
                if !self.history.is_empty() {
                    self.cache.set(self.newest_target());
                }
                self.reconnect();
            }
            Step::FailNext => self.fail_next = true,
            Step::Retry => {
                self.cache.retry();
                self.announce();
            }
        }
    }

    fn settle(&mut self) {
        self.fail_next = false;
        self.reconnect();
        while !self.to_proxy.is_empty() || !self.to_control.is_empty() {
            self.step(Step::ToProxy);
            self.step(Step::ToControl);
        }
    }

    fn running(&self) -> Version {
        self.proxy.running().map_or(Version::NONE, |running| running.version)
    }
}

fn active() -> ProxyInput {
    ProxyInput::Active { persisted: true, listeners: vec![] }
}

fn new_control(stream: u64) -> control::Session {
    let identity = control::Identity { lineage: "L".into(), parent: None, hash_key: KEY };
    control::Session::new(identity, format!("stream-{stream}"))
}

fn identity() -> proxy::Identity {
    proxy::Identity {
        proxy: "p".into(),
        instance: "i".into(),
        admin_address: String::new(),
        adopt_lineage: false,
    }
}

/// How many histories are tried; `PROPTEST_CASES` asks for another number.
fn histories() -> ProptestConfig {
    const USUAL: u32 = 256;
    let config = ProptestConfig::default();
    let cases = if config.cases == USUAL { 10_000 } else { config.cases };
    ProptestConfig { cases, ..config }
}

proptest! {
    #![proptest_config(histories())]

    #[test]
    fn any_history_ends_with_what_a_full_push_gives(
        steps in proptest::collection::vec(step(), 0..60)
    ) {
        let mut world = World::new();
        let mut before = Version::NONE;
        for step in steps {
            world.step(step.clone());
            let version = world.running();
            prop_assert!(version >= before, "back from {} to {} by {:?}", before, version, step);
            before = version;
            if let Some(running) = world.proxy.running() {
                let full = &world.history[version.0 as usize - 1];
                prop_assert_eq!(running.resources.root(), full.root());
            }
        }
        world.settle();
        prop_assert!(world.open, "the stream holds");
        prop_assert_eq!(world.running().0, world.history.len() as u64);
        if let Some(running) = world.proxy.running() {
            let full: Vec<_> = world.history.last().unwrap().iter().collect();
            prop_assert_eq!(running.resources.iter().collect::<Vec<_>>(), full);
        }
        // Whoever runs the newest is sent none of it again.
        let sent = world.pushed_bytes;
        world.settle();
        prop_assert_eq!(world.pushed_bytes, sent);
    }
}
