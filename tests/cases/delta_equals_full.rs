//! Whatever happens on the way, a proxy ends up with exactly what a full push would have given it.
//!
//! Both ends of the sync stream run here against each other without a socket: commits, lost, late
//! and repeated acknowledgements, refusals, cut streams, restarts of either side, a proxy that
//! joins anew with other labels. After every step what the proxy runs is, by its root, its share
//! of the version that it names, and that version never goes back. Nothing is ever sent that is
//! not in that share. After the last interruption it arrives at the newest.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use lb_control_plane::{
    snapshot::{Release, SnapshotCache},
    sync::session::{self as control, Input as ControlInput, Output as ControlOutput},
};
use lb_data_plane::sync::session::{self as proxy, Input as ProxyInput, Output as ProxyOutput};
use lb_model::{
    Config, ResourceSet, Version,
    resource::{Digest, HashKey},
    value::Labels,
    wire,
};
use lb_proto::v1::{self, ErrorCode, from_proxy, to_proxy};
use proptest::prelude::*;

use crate::groups::document::{self, Drawn};

const KEY: HashKey = HashKey([9; 32]);

/// One step of a history.
#[derive(Debug, Clone)]
enum Step {
    /// A new version with this document.
    Commit(Drawn),
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
    /// The proxy joins anew, with these labels and all it has.
    Rejoin(Labels),
    /// The next version cannot be applied.
    FailNext,
    /// An operator asks to try again.
    Retry,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => document::drawn().prop_map(Step::Commit),
        8 => Just(Step::ToProxy),
        8 => Just(Step::ToControl),
        1 => Just(Step::Lose),
        1 => Just(Step::Repeat),
        1 => Just(Step::Delay),
        1 => Just(Step::Reconnect),
        1 => Just(Step::RestartControl),
        1 => document::labels().prop_map(Step::Rejoin),
        1 => Just(Step::FailNext),
        1 => Just(Step::Retry),
    ]
}

struct World {
    history: Vec<Arc<Config>>,
    cache: SnapshotCache,
    /// What the proxy's certificate says.
    labels: Labels,
    /// What it was ever sent: what it may be told to remove.
    sent: BTreeSet<(String, String)>,
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
    fn new(labels: Labels) -> Self {
        let mut world = Self {
            history: Vec::new(),
            cache: SnapshotCache::default(),
            control: new_control(0, &labels),
            labels,
            sent: BTreeSet::new(),
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

    fn commit(&mut self, drawn: &Drawn) {
        self.history.push(Arc::new(drawn.config()));
        self.cache.set(self.newest());
        self.announce();
    }

    fn newest(&self) -> Release {
        let config = Arc::clone(self.history.last().unwrap());
        let committed_at = "2026-01-01T00:00:00Z".parse().unwrap();
        let version = Version(self.history.len() as u64);
        match self.cache.newest() {
            Some(before) => {
                Release::following(&before, version, Config::clone(&config), committed_at)
            }
            None => Release::new("L".into(), version, config, KEY, committed_at),
        }
    }

    fn announce(&mut self) {
        if let Some(release) = self.cache.newest() {
            let target = self.cache.target(&release, &self.labels);
            self.control_handles(ControlInput::Target(target));
        }
    }

    /// What a full push of a version gives to proxies with these labels.
    fn share(&self, version: Version, labels: &Labels) -> ResourceSet {
        share(&self.history[version.0 as usize - 1], labels)
    }

    /// Looks at what is sent to the proxy: nothing but its share, and no name that it did not
    /// have.
    fn inspect(&mut self, message: &v1::ToProxy) {
        let Some(to_proxy::Message::Push(push)) = &message.message else { return };
        let version = Version(push.version.as_ref().unwrap().number);
        assert_share(push, &self.share(version, &self.labels));
        for gone in &push.remove {
            let key = (gone.kind.clone(), gone.name.clone());
            assert!(self.sent.contains(&key), "{key:?} is not for {:?}", self.labels);
        }
        let upsert = push.upsert.iter();
        self.sent.extend(upsert.map(|resource| (resource.kind.clone(), resource.name.clone())));
    }

    fn reconnect(&mut self) {
        self.streams += 1;
        self.to_proxy.clear();
        self.to_control.clear();
        self.control = new_control(self.streams, &self.labels);
        self.proxy = proxy::Session::new(identity(), self.proxy.running().cloned());
        self.open = true;
        self.announce();
        self.proxy_handles(ProxyInput::Connected);
    }

    fn control_handles(&mut self, input: ControlInput) {
        if !self.open {
            return;
        }
        let (cache, labels) = (&self.cache, &self.labels);
        for output in self.control.handle(input, &|root| cache.by_root(root, labels)) {
            match output {
                ControlOutput::Send(message) => {
                    self.inspect(&message);
                    self.to_proxy.push_back(message);
                }
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
            Step::Commit(drawn) => self.commit(&drawn),
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
                    self.cache.set(self.newest());
                }
                self.reconnect();
            }
            Step::Rejoin(labels) => {
                self.labels = labels;
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

fn new_control(stream: u64, labels: &Labels) -> control::Session {
    let identity = control::Identity { lineage: "L".into(), parent: None, hash_key: KEY };
    control::Session::new(identity, format!("stream-{stream}"), labels.clone())
}

fn share(config: &Config, labels: &Labels) -> ResourceSet {
    wire::encode(&config.for_proxies(labels), KEY)
}

fn assert_share(push: &v1::Push, share: &ResourceSet) {
    assert_eq!(push.target_root[..], share.root().0);
    for sent in &push.upsert {
        let mut resources = share.iter();
        let known =
            resources.find(|(key, _)| key.kind.as_str() == sent.kind && *key.name == *sent.name);
        let (_, known) =
            known.unwrap_or_else(|| panic!("{} {} is for others", sent.kind, sent.name));
        assert_eq!(known.body(), &sent.body, "{} {}", sent.kind, sent.name);
    }
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
        labels in document::labels(),
        steps in proptest::collection::vec(step(), 0..60)
    ) {
        let mut world = World::new(labels);
        let mut before = Version::NONE;
        for step in steps {
            world.step(step.clone());
            let version = world.running();
            prop_assert!(version >= before, "back from {} to {} by {:?}", before, version, step);
            before = version;
            if let Some(running) = world.proxy.running() {
                let full = world.share(version, &running.labels);
                prop_assert_eq!(running.resources.root(), full.root());
            }
        }
        world.settle();
        prop_assert!(world.open, "the stream holds");
        prop_assert_eq!(world.running().0, world.history.len() as u64);
        if let Some(running) = world.proxy.running() {
            let full = world.share(running.version, &world.labels);
            prop_assert_eq!(running.resources.iter().collect::<Vec<_>>(), full.iter().collect::<Vec<_>>());
            prop_assert!(wire::decode(&full, None).is_ok(), "a share needs nothing beside it");
        }
        // Whoever runs the newest is sent none of it again.
        let sent = world.pushed_bytes;
        world.settle();
        prop_assert_eq!(world.pushed_bytes, sent);
    }

    #[test]
    fn what_goes_on_from_a_version_is_what_is_made_without_it(
        versions in proptest::collection::vec(document::drawn(), 2..5),
        labels in document::labels(),
    ) {
        let at = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut known: Option<(Arc<ResourceSet>, Config, Release)> = None;
        for (number, drawn) in (1..).zip(versions) {
            let config = drawn.config();
            let full = share(&config, &labels);
            let before = known.take();
            let release = match &before {
                Some((_, _, before)) => Release::following(before, Version(number), config, at),
                None => Release::new("L".into(), Version(number), Arc::new(config), KEY, at),
            };
            let set = Arc::clone(&release.target(&labels).snapshot.resources);
            prop_assert_eq!(set.root(), full.root());
            prop_assert!(set.iter().eq(full.iter()));
            let previous = before.as_ref().map(|(set, config, _)| (&**set, config));
            let decoded = wire::decode(&set, previous).unwrap();
            prop_assert_eq!(&decoded, &wire::decode(&full, None).unwrap());
            known = Some((set, decoded, release));
        }
    }

    #[test]
    fn whoever_claims_to_run_what_others_have_is_sent_nothing_of_it(
        drawn in document::drawn(),
        own in document::labels(),
        others in document::labels(),
        claims in proptest::collection::vec(any::<bool>(), 0..40),
        is_newer in any::<bool>(),
    ) {
        let cache = SnapshotCache::default();
        let config = Arc::new(drawn.config());
        let at = "2026-01-01T00:00:00Z".parse().unwrap();
        cache.set(Release::new("L".into(), Version(2), Arc::clone(&config), KEY, at));
        let release = cache.newest().unwrap();
        let theirs = cache.target(&release, &others).snapshot.resources.clone();
        let share = share(&config, &own);
        let mut session = new_control(1, &own);
        let mut sent = Vec::new();
        let mut told = BTreeSet::new();
        let mut say = |input: ControlInput, told: &BTreeSet<(String, String)>| {
            let outputs = session.handle(input, &|root| cache.by_root(root, &own));
            for output in outputs {
                let ControlOutput::Send(v1::ToProxy { message: Some(message) }) = output else { continue };
                if let to_proxy::Message::Push(push) = &message {
                    assert_share(push, &share);
                    for gone in &push.remove {
                        assert!(told.contains(&(gone.kind.clone(), gone.name.clone())), "{gone:?}");
                    }
                }
                sent.push(message);
            }
            sent.last().cloned()
        };
        say(ControlInput::Target(cache.target(&release, &own)), &told);
        let number = if is_newer { 2 } else { 1 };
        let hello = v1::Hello {
            proxy: "p".into(),
            schema_min: wire::SCHEMA,
            schema_max: wire::SCHEMA,
            running: Some(v1::Version { lineage: "L".into(), number }),
            running_root: theirs.root().0.to_vec().into(),
            ..v1::Hello::default()
        };
        let last = say(said(from_proxy::Message::Hello(Box::new(hello))), &told);
        if matches!(last, Some(to_proxy::Message::Ask(_))) {
            // Some of what the others have, some of it with hashes that nothing has.
            let mut keys = Vec::new();
            for ((key, resource), is_true) in theirs.iter().zip(claims) {
                let Digest(hash) = if is_true { resource.hash() } else { Digest([1; 32]) };
                let (kind, name) = (key.kind.as_str().to_owned(), key.name.to_string());
                told.insert((kind.clone(), name.clone()));
                keys.push(v1::Key { kind, name, hash: hash.to_vec().into() });
            }
            let inventory = v1::Inventory { keys, last: true };
            say(said(from_proxy::Message::Inventory(inventory)), &told);
        }
    }
}

fn said(message: from_proxy::Message) -> ControlInput {
    ControlInput::Message(v1::FromProxy { message: Some(message) })
}
