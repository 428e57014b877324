//! One proxy's stream as a state machine: messages and targets in, messages and news out.
//!
//! It keeps at most one push on its way. Versions committed meanwhile merge: when the
//! acknowledgement arrives, one difference leads from what the proxy runs to the newest target,
//! so numbers may jump but never repeat or go back. What a proxy refused is not sent again until
//! its content changes or an operator asks for it: a refusal must not become a loop.
//!
//! No socket, clock or state that others see, but for the differences that a target keeps for
//! all streams: the service feeds it and does what it says.

use std::sync::Arc;

use lb_model::{
    ResourceKey, ResourceKind, ResourceSet, Snapshot, Version,
    api::{ListenerView, ResourceFault},
    resource::{Delta, Digest, Inventory},
    value::Labels,
};
use lb_proto::v1::{self, from_proxy, to_proxy};

use crate::snapshot::Target;

/// The most bytes of resources in one chunk of a push. Small, because memory taken for a large
/// message stays with its stream: with 1 MiB, a full push of 5,000 routes left 1 MiB for each.
const CHUNK: usize = 32 << 10;
/// The most keys a proxy may name in its inventory.
const MOST_KEYS: usize = 1_000_000;
/// The most bytes of an inventory that are kept. Past that a difference is not worth its memory.
const MOST_INVENTORY: usize = 24 << 20;
/// What a key takes beside its name.
const KEY: usize = 128;
/// The longest text taken from a proxy into memory.
const MOST_TEXT: usize = 2_000;
/// The most faults kept of one refusal.
const MOST_FAULTS: usize = 100;

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// The proxy said something.
    Message(v1::FromProxy),
    /// There is a newer snapshot, or an operator asks to try the newest again.
    Target(Arc<Target>),
}

/// What to do.
#[derive(Debug, PartialEq)]
pub enum Output {
    /// Send this to the proxy.
    Send(v1::ToProxy),
    /// Remember this about the proxy.
    News(News),
    /// Close the stream.
    Close,
}

/// What became known about a proxy.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// It introduced itself.
    Hello(Box<Introduction>),
    /// A push is on its way to it: how many bytes of resources, and whether all or a difference.
    Pushed {
        /// The version.
        version: Version,
        /// Bytes of resource bodies.
        bytes: usize,
        /// How the version travels.
        kind: PushKind,
    },
    /// It runs a version.
    Active {
        /// The version.
        version: Version,
        /// Where its entry points listen.
        listeners: Vec<ListenerView>,
        /// Whether it would serve the version after a restart on its own.
        persisted: bool,
    },
    /// It read and compiled a version.
    Validated(Version),
    /// It refused a version and runs what it ran.
    Rejected {
        /// The refused version.
        version: Version,
        /// What it runs.
        running: Version,
        /// Why.
        errors: Vec<ResourceFault>,
    },
    /// What it runs is not what the control plane computes for that version.
    RootMismatch,
    /// It and this control plane cannot go on together.
    Declined(String),
}

/// How a version travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushKind {
    /// All resources.
    Full,
    /// The difference to what the proxy runs.
    Delta,
    /// Only the number: the proxy runs the content already.
    UpToDate,
}

/// How a proxy introduces itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Introduction {
    /// Who it is.
    pub proxy: String,
    /// Which run of it.
    pub instance: String,
    /// Its software.
    pub software_version: String,
    /// Where its admin endpoint answers.
    pub admin_address: String,
    /// Where its entry points listen.
    pub listeners: Vec<ListenerView>,
    /// What it runs.
    pub running: Version,
    /// Whether it would serve that after a restart on its own.
    pub persisted: bool,
}

/// What this control plane says of itself.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The lineage of its versions.
    pub lineage: Arc<str>,
    /// The lineage that this one came from.
    pub parent: Option<Arc<str>>,
    /// The key of its hashes.
    pub hash_key: lb_model::resource::HashKey,
}

/// What a proxy runs.
#[derive(Debug, Clone, PartialEq)]
struct Running {
    version: Version,
    root: Digest,
}

#[derive(Debug)]
struct InFlight {
    nonce: String,
    target: Arc<Target>,
    full: bool,
}

/// The parts of an inventory that arrived.
#[derive(Debug)]
struct Asked {
    /// What they name, as long as it is not too much.
    inventory: Option<Inventory>,
    keys: usize,
    bytes: usize,
}

#[derive(Debug)]
enum Phase {
    /// Nothing was said yet.
    Silent,
    /// The proxy introduced itself and waits.
    Ready,
    /// The proxy was asked what it runs.
    Asked(Asked),
    /// A push is on its way.
    Pushing(InFlight),
    /// The stream is over.
    Closed,
}

/// Finds a recent set by its root.
pub type ByRoot<'a> = &'a dyn Fn(Digest) -> Option<Arc<ResourceSet>>;

/// The state of one stream.
#[derive(Debug)]
pub struct Session {
    identity: Identity,
    labels: Labels,
    stream: String,
    counter: u64,
    phase: Phase,
    running: Option<Running>,
    /// The hashes behind `running`, when no recent set has its root.
    inventory: Option<Inventory>,
    target: Option<Arc<Target>>,
    refused: Option<(Digest, u64)>,
    /// The proxy's base is in doubt: the next push carries everything.
    full_next: bool,
    out: Vec<Output>,
}

impl Session {
    /// A new stream with a name that no other stream of this control plane had, of a proxy that
    /// holds `labels`. Its targets are the share of such proxies.
    pub fn new(identity: Identity, stream: String, labels: Labels) -> Self {
        Self {
            identity,
            labels,
            stream,
            counter: 0,
            phase: Phase::Silent,
            running: None,
            inventory: None,
            target: None,
            refused: None,
            full_next: false,
            out: Vec::new(),
        }
    }

    /// Takes what happened and says what to do, in order.
    pub fn handle(&mut self, input: Input, by_root: ByRoot<'_>) -> Vec<Output> {
        match input {
            Input::Target(target) => self.target = Some(target),
            Input::Message(message) => self.message(message),
        }
        self.pump(by_root);
        std::mem::take(&mut self.out)
    }

    fn message(&mut self, message: v1::FromProxy) {
        use from_proxy::Message;
        match (message.message, &self.phase) {
            (_, Phase::Closed) => {}
            (Some(Message::Hello(hello)), Phase::Silent) => self.hello(*hello),
            (Some(Message::Inventory(part)), Phase::Asked(_)) => self.inventory(part),
            (Some(Message::Ack(ack)), _) => self.ack(ack),
            (Some(Message::Decline(decline)), _) => {
                self.news(News::Declined(clip(decline.message)));
                self.close();
            }
            // A peer that talks out of turn is not one of ours.
            _ => self.refuse("the message does not fit the state of the stream"),
        }
    }

    fn hello(&mut self, hello: v1::Hello) {
        if hello.proxy.is_empty() || hello.proxy.len() > 128 {
            return self.refuse("a proxy names itself with 1 to 128 bytes");
        }
        let schema = lb_model::wire::SCHEMA;
        if !(hello.schema_min..=hello.schema_max).contains(&schema) {
            let (min, max) = (hello.schema_min, hello.schema_max);
            return self.refuse(&format!(
                "this control plane writes schema {schema}, the proxy reads {min} to {max}; \
                 bring both to the same release"
            ));
        }
        self.running = hello.running.as_ref().and_then(|version| {
            // What runs from another lineage was hashed with another key: nothing to build on.
            let root = Digest::from_slice(&hello.running_root)?;
            (*version.lineage == *self.identity.lineage)
                .then_some(Running { version: Version(version.number), root })
        });
        self.news(News::Hello(Box::new(Introduction {
            proxy: hello.proxy,
            instance: clip(hello.instance),
            software_version: clip(hello.software_version),
            admin_address: clip(hello.admin_address),
            listeners: views(hello.listeners),
            running: self.running.as_ref().map_or(Version::NONE, |running| running.version),
            // Proxies did not always say so.
            persisted: hello.persisted.unwrap_or(true),
        })));
        self.poisoned(hello.poisoned, &hello.poisoned_root, hello.poison_reason);
        self.send(to_proxy::Message::Welcome(v1::Welcome {
            stream: self.stream.clone(),
            lineage: self.identity.lineage.to_string(),
            parent_lineage: self.identity.parent.as_deref().unwrap_or_default().to_owned(),
            hash_key: self.identity.hash_key.0.to_vec().into(),
            schema,
            labels: self.labels.to_strings(),
        }));
        self.phase = Phase::Ready;
    }

    /// Takes in what the proxy backed out of by itself: for this stream that is a refusal.
    fn poisoned(&mut self, version: Option<v1::Version>, root: &[u8], reason: String) {
        let (Some(version), Some(root)) = (version, Digest::from_slice(root)) else { return };
        let attempt = self.target.as_ref().map_or(0, |target| target.attempt);
        self.refused = Some((root, attempt));
        self.news(News::Rejected {
            version: Version(version.number),
            running: self.running.as_ref().map_or(Version::NONE, |running| running.version),
            errors: vec![ResourceFault {
                kind: "version".to_owned(),
                name: version.number.to_string(),
                code: code(v1::ErrorCode::Poisoned).to_owned(),
                message: clip(reason),
            }],
        });
    }

    fn inventory(&mut self, part: v1::Inventory) {
        let Phase::Asked(asked) = &mut self.phase else { return };
        asked.keys += part.keys.len();
        if asked.keys > MOST_KEYS {
            return self.refuse("the inventory is larger than any configuration");
        }
        for key in part.keys {
            let (Some(kind), Some(hash)) =
                (ResourceKind::parse(&key.kind), Digest::from_slice(&key.hash))
            else {
                return self.refuse("the inventory names what this control plane does not know");
            };
            asked.bytes += key.name.len() + KEY;
            if asked.bytes > MOST_INVENTORY {
                asked.inventory = None;
            } else if let Some(inventory) = &mut asked.inventory {
                inventory.insert(ResourceKey { kind, name: key.name.into() }, hash);
            }
        }
        if part.last {
            self.inventory = asked.inventory.take();
            // Without one there is nothing to build a difference on.
            self.full_next |= self.inventory.is_none();
            self.phase = Phase::Ready;
        }
    }

    fn ack(&mut self, ack: v1::Ack) {
        // Late, repeated, or of another stream: it says nothing about what is on its way now.
        let Phase::Pushing(in_flight) = &self.phase else { return };
        if in_flight.nonce != ack.nonce {
            return;
        }
        let target = Arc::clone(&in_flight.target);
        let was_full = in_flight.full;
        let version = target.snapshot.version;
        match ack.stage() {
            v1::Stage::Unspecified => self.refuse("the acknowledgement has no stage"),
            v1::Stage::Validated => self.news(News::Validated(version)),
            v1::Stage::Active => {
                self.phase = Phase::Ready;
                let expected = target.snapshot.resources.root();
                if Digest::from_slice(&ack.running_root) != Some(expected) {
                    self.news(News::RootMismatch);
                    return self.doubt(was_full);
                }
                self.running = Some(Running { version, root: expected });
                self.inventory = None;
                self.refused = None;
                self.full_next = false;
                let listeners = views(ack.listeners);
                self.news(News::Active { version, listeners, persisted: ack.persisted });
            }
            v1::Stage::Rejected => {
                self.phase = Phase::Ready;
                let base = ack.errors.iter().any(|error| {
                    matches!(
                        error.code(),
                        v1::ErrorCode::BaseMismatch | v1::ErrorCode::RootMismatch
                    )
                });
                if base && !was_full {
                    self.news(News::RootMismatch);
                    return self.doubt(was_full);
                }
                self.refused = Some((target.snapshot.resources.root(), target.attempt));
                let running = self.running.as_ref().map_or(Version::NONE, |r| r.version);
                let errors = faults(ack.errors);
                self.news(News::Rejected { version, running, errors });
            }
        }
    }

    /// The proxy and we do not agree on what it runs: everything is sent once; if that does not
    /// settle it, the stream is closed.
    fn doubt(&mut self, was_full: bool) {
        self.running = None;
        self.inventory = None;
        if was_full {
            self.refuse("the proxy does not arrive at the root of a full push");
        }
        self.full_next = true;
    }

    /// Sends what can be sent.
    fn pump(&mut self, by_root: ByRoot<'_>) {
        let (Phase::Ready, Some(target)) = (&self.phase, self.target.clone()) else { return };
        let Snapshot { version, resources, .. } = &*target.snapshot;
        let (version, root) = (*version, resources.root());
        if let Some(running) = &self.running {
            if running.version > version {
                let message = format!(
                    "the proxy runs version {}, this control plane has only {version}: it may \
                     have come up on an old copy of its data",
                    running.version
                );
                self.news(News::Declined(message.clone()));
                return self.refuse(&message);
            }
            if running.root == root {
                if running.version < version {
                    self.up_to_date(target);
                }
                return;
            }
        }
        if self.refused == Some((root, target.attempt)) {
            return;
        }
        let (base, delta) = match &self.running {
            Some(running) if !self.full_next => {
                let delta = match (by_root(running.root), &self.inventory) {
                    (Some(set), _) => target.difference(Some(&set)),
                    (None, Some(inventory)) => Arc::new(resources.delta_from(inventory)),
                    (None, None) => {
                        let inventory = Some(Inventory::new());
                        self.phase = Phase::Asked(Asked { inventory, keys: 0, bytes: 0 });
                        return self.send(to_proxy::Message::Ask(v1::InventoryRequest {}));
                    }
                };
                (Some(running.root), delta)
            }
            _ => (None, target.difference(None)),
        };
        self.push(target, base, &delta);
    }

    fn up_to_date(&mut self, target: Arc<Target>) {
        let nonce = self.nonce();
        let version = target.snapshot.version;
        self.send(to_proxy::Message::UpToDate(v1::UpToDate {
            nonce: nonce.clone(),
            version: Some(self.version(version)),
            root: target.snapshot.resources.root().0.to_vec().into(),
        }));
        self.news(News::Pushed { version, bytes: 0, kind: PushKind::UpToDate });
        self.phase = Phase::Pushing(InFlight { nonce, target, full: false });
    }

    fn push(&mut self, target: Arc<Target>, base: Option<Digest>, delta: &Delta) {
        let resources = &target.snapshot.resources;
        let full = base.is_none();
        let base_root = base.map(|root| root.0.to_vec()).unwrap_or_default();
        let nonce = self.nonce();
        let version = target.snapshot.version;
        let Delta { upsert, remove } = delta;
        let template = v1::Push {
            nonce: nonce.clone(),
            version: Some(self.version(version)),
            base_root: base_root.into(),
            target_root: resources.root().0.to_vec().into(),
            committed_at_ms: target.committed_at.as_millisecond(),
            ..v1::Push::default()
        };
        let mut chunks = vec![template.clone()];
        let (mut filled, mut bytes) = (0, 0);
        let mut room = |chunks: &mut Vec<v1::Push>, size: usize| {
            if filled > 0 && filled + size > CHUNK {
                let chunk = chunks.len() as u32;
                chunks.push(v1::Push { chunk, ..template.clone() });
                filled = 0;
            }
            filled += size;
        };
        for (key, resource) in upsert {
            let size = resource.body().len() + key.name.len() + 64;
            bytes += resource.body().len();
            room(&mut chunks, size);
            if let Some(chunk) = chunks.last_mut() {
                chunk.upsert.push(v1::Resource {
                    kind: key.kind.as_str().to_owned(),
                    name: key.name.to_string(),
                    hash: resource.hash().0.to_vec().into(),
                    body: resource.body().clone(),
                });
            }
        }
        for key in remove {
            room(&mut chunks, key.name.len() + 32);
            if let Some(chunk) = chunks.last_mut() {
                chunk.remove.push(v1::Key {
                    kind: key.kind.as_str().to_owned(),
                    name: key.name.to_string(),
                    hash: bytes::Bytes::new(),
                });
            }
        }
        if let Some(chunk) = chunks.last_mut() {
            chunk.last = true;
        }
        // Told first: a proxy that does not read holds the chunks up.
        let kind = if full { PushKind::Full } else { PushKind::Delta };
        self.news(News::Pushed { version, bytes, kind });
        for chunk in chunks {
            self.send(to_proxy::Message::Push(chunk));
        }
        self.phase = Phase::Pushing(InFlight { nonce, target, full });
    }

    fn refuse(&mut self, message: &str) {
        self.send(to_proxy::Message::Refuse(v1::Refuse { message: message.to_owned() }));
        self.close();
    }

    fn close(&mut self) {
        self.phase = Phase::Closed;
        self.out.push(Output::Close);
    }

    fn nonce(&mut self) -> String {
        self.counter += 1;
        format!("{}:{}", self.stream, self.counter)
    }

    fn version(&self, version: Version) -> v1::Version {
        v1::Version { lineage: self.identity.lineage.to_string(), number: version.0 }
    }

    fn send(&mut self, message: to_proxy::Message) {
        self.out.push(Output::Send(v1::ToProxy { message: Some(message) }));
    }

    fn news(&mut self, news: News) {
        self.out.push(Output::News(news));
    }
}

fn faults(errors: Vec<v1::ResourceError>) -> Vec<ResourceFault> {
    errors
        .into_iter()
        .take(MOST_FAULTS)
        .map(|error| ResourceFault {
            code: code(error.code()).to_owned(),
            kind: clip(error.kind),
            name: clip(error.name),
            message: clip(error.message),
        })
        .collect()
}

const fn code(code: v1::ErrorCode) -> &'static str {
    use v1::ErrorCode as Code;
    match code {
        Code::Unspecified => "unspecified",
        Code::Invalid => "invalid",
        Code::LimitExceeded => "limit_exceeded",
        Code::Unsupported => "unsupported",
        Code::BindFailed => "bind_failed",
        Code::BaseMismatch => "base_mismatch",
        Code::RootMismatch => "root_mismatch",
        Code::VersionRegression => "version_regression",
        Code::Protocol => "protocol",
        Code::Internal => "internal",
        Code::Poisoned => "poisoned",
    }
}

/// Where entry points listen, as far as it is told within reason.
fn views(listeners: Vec<v1::Listener>) -> Vec<ListenerView> {
    let view = |listener: v1::Listener| ListenerView {
        entry_point: clip(listener.entry_point),
        address: clip(listener.address),
    };
    listeners.into_iter().take(MOST_FAULTS).map(view).collect()
}

/// A text off the wire, no longer than anyone reads.
pub(crate) fn clip(mut text: String) -> String {
    if text.len() > MOST_TEXT {
        let end = (0..=MOST_TEXT).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests;
