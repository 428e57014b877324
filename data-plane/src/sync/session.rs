//! The proxy's end of one sync stream as a state machine.
//!
//! A push is applied whole or not at all: its chunks are gathered, every hash is checked, the
//! result must have the root that the push names, and only then is it handed out to be compiled.
//! Whatever happens, every answer names what really runs. A lower version of the same lineage is
//! refused: it means a control plane that came up on an old copy of its data.
//!
//! No socket, clock or lock: the client feeds it and does what it says.

use std::{collections::BTreeMap, sync::Arc};

use lb_model::{
    Resource, ResourceKey, ResourceKind, ResourceSet, Version,
    resource::{Delta, Digest, HashKey},
    value::Labels,
};
use lb_proto::v1::{self, ErrorCode, Stage, from_proxy, to_proxy};

use crate::boot::Content;

/// The most bytes of one version that are taken into memory.
pub const MAX_BYTES: usize = 256 << 20;
/// How many keys travel in one part of an inventory.
const KEYS: usize = 10_000;

/// What runs, and of which version it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Running {
    /// Whose version.
    pub lineage: Arc<str>,
    /// Which version.
    pub version: Version,
    /// The labels for which it was given: proxies with others may have another share of it.
    pub labels: Labels,
    /// Its content.
    pub resources: Arc<ResourceSet>,
}

/// A version that is whole and should run.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Repeats in the answers.
    pub nonce: String,
    /// What should run.
    pub next: Running,
}

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// The stream is open.
    Connected,
    /// The control plane said something.
    Message(v1::ToProxy),
    /// The candidate was compiled and is about to be switched to.
    Validated,
    /// The candidate serves.
    Active {
        /// Whether it would survive a restart.
        persisted: bool,
        /// Where the entry points listen.
        listeners: Vec<v1::Listener>,
    },
    /// The candidate cannot run; what ran still does.
    Failed(Vec<v1::ResourceError>),
}

/// What to do.
#[derive(Debug, PartialEq)]
pub enum Output {
    /// Send this to the control plane.
    Send(v1::FromProxy),
    /// Compile this and switch to it, then say how it went.
    Apply(Candidate),
    /// What runs has a new number: remember it, then say that it is active.
    Renumber(Candidate),
    /// Close the stream; the text says why.
    Close(String),
}

/// Who the proxy is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The same over restarts.
    pub proxy: String,
    /// New with each start.
    pub instance: String,
    /// Where the admin endpoint answers.
    pub admin_address: String,
    /// Whether to follow a control plane of another lineage: an operator said so.
    pub adopt_lineage: bool,
}

#[derive(Debug)]
struct Welcome {
    lineage: Arc<str>,
    hash_key: HashKey,
    labels: Labels,
}

/// A push of which chunks arrived.
#[derive(Debug)]
struct Assembly {
    nonce: String,
    version: Version,
    base_root: Vec<u8>,
    target_root: Vec<u8>,
    next_chunk: u32,
    bytes: usize,
    delta: Delta,
}

/// The state of one stream.
#[derive(Debug)]
pub struct Session {
    identity: Identity,
    running: Option<Running>,
    welcome: Option<Welcome>,
    assembly: Option<Assembly>,
    applying: Option<Candidate>,
    poisoned: Option<Content>,
    listeners: Vec<v1::Listener>,
    persisted: bool,
    log_level: Option<v1::LogLevel>,
    out: Vec<Output>,
}

/// Why a push is refused.
struct Refusal {
    code: ErrorCode,
    key: Option<ResourceKey>,
    message: String,
}

impl Refusal {
    fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, key: None, message: message.into() }
    }
}

impl Session {
    /// A new stream of a proxy on which `running` serves.
    pub fn new(identity: Identity, running: Option<Running>) -> Self {
        Self {
            identity,
            running,
            welcome: None,
            assembly: None,
            applying: None,
            poisoned: None,
            listeners: Vec::new(),
            persisted: true,
            log_level: None,
            out: Vec::new(),
        }
    }

    /// The same, on a proxy that backed out of a version by itself.
    #[must_use]
    pub fn with_poisoned(mut self, poisoned: Option<Content>) -> Self {
        self.poisoned = poisoned;
        self
    }

    /// The same, on a proxy whose entry points listen at these addresses.
    #[must_use]
    pub fn with_listeners(mut self, listeners: Vec<v1::Listener>) -> Self {
        self.listeners = listeners;
        self
    }

    /// The same, on a proxy that knows whether what serves would survive a restart.
    #[must_use]
    pub const fn with_persisted(mut self, persisted: bool) -> Self {
        self.persisted = persisted;
        self
    }

    /// The same, on a proxy whose log level can be changed.
    #[must_use]
    pub fn with_log_level(mut self, log_level: v1::LogLevel) -> Self {
        self.log_level = Some(log_level);
        self
    }

    /// What serves.
    pub const fn running(&self) -> Option<&Running> {
        self.running.as_ref()
    }

    /// Takes what happened and says what to do, in order.
    pub fn handle(&mut self, input: Input) -> Vec<Output> {
        match input {
            Input::Connected => self.hello(),
            Input::Message(message) => self.message(message),
            Input::Validated => {
                if let Some(nonce) = self.applying.as_ref().map(|c| c.nonce.clone()) {
                    self.ack(nonce, Stage::Validated, |_| {});
                }
            }
            Input::Active { persisted, listeners } => {
                if let Some(Candidate { nonce, next }) = self.applying.take() {
                    self.running = Some(next);
                    self.ack(nonce, Stage::Active, |ack| {
                        ack.persisted = persisted;
                        ack.listeners = listeners;
                    });
                }
            }
            Input::Failed(errors) => {
                if let Some(Candidate { nonce, .. }) = self.applying.take() {
                    self.ack(nonce, Stage::Rejected, |ack| ack.errors = errors);
                }
            }
        }
        std::mem::take(&mut self.out)
    }

    fn hello(&mut self) {
        let running = self.running.as_ref();
        let hello = v1::Hello {
            proxy: self.identity.proxy.clone(),
            instance: self.identity.instance.clone(),
            software_version: lb_telemetry::SOFTWARE_VERSION.to_owned(),
            schema_min: 1,
            schema_max: lb_model::wire::SCHEMA,
            running: running.map(version),
            running_root: running.map(root).unwrap_or_default(),
            admin_address: self.identity.admin_address.clone(),
            listeners: self.listeners.clone(),
            persisted: running.map(|_| self.persisted),
            log_level: self.log_level.clone(),
            resets_breakers: true,
            poisoned: self.poisoned.as_ref().map(|content| v1::Version {
                lineage: content.lineage.clone(),
                number: content.version.0,
            }),
            poisoned_root: self
                .poisoned
                .as_ref()
                .and_then(Content::digest)
                .map(|Digest(root)| root.to_vec().into())
                .unwrap_or_default(),
            poison_reason: match &self.poisoned {
                Some(content) => format!(
                    "this proxy crashed again and again within a minute of activating version \
                     {}, and went back to the one before",
                    content.version
                ),
                None => String::new(),
            },
        };
        self.send(from_proxy::Message::Hello(Box::new(hello)));
    }

    fn message(&mut self, message: v1::ToProxy) {
        use to_proxy::Message;
        match (message.message, &self.welcome) {
            (Some(Message::Welcome(welcome)), None) => self.welcome(welcome),
            (Some(Message::Ask(_)), Some(_)) => self.inventory(),
            (Some(Message::Push(push)), Some(_)) => self.push(push),
            (Some(Message::UpToDate(message)), Some(_)) => self.up_to_date(message),
            (Some(Message::Refuse(refuse)), _) => self.close(refuse.message),
            _ => self.close("the control plane talks out of turn".to_owned()),
        }
    }

    fn welcome(&mut self, welcome: v1::Welcome) {
        let Ok(hash_key) = <[u8; 32]>::try_from(&welcome.hash_key[..]) else {
            return self.close("the control plane's hash key is not 32 bytes".to_owned());
        };
        let labels = match Labels::grant(&welcome.labels) {
            Ok(labels) => labels,
            Err(error) => return self.close(format!("the control plane says that {error}")),
        };
        if let Some(running) = &self.running {
            let ours = &*running.lineage;
            let known = welcome.lineage == ours || welcome.parent_lineage == ours;
            if !known && !self.identity.adopt_lineage {
                let message = format!(
                    "this proxy runs version {} of lineage {ours}; the control plane has lineage \
                     {}, which does not come from it. If it is the right one, start the proxy \
                     with --adopt-lineage or remove its data directory",
                    running.version, welcome.lineage
                );
                let decline = v1::Decline { message: message.clone() };
                self.send(from_proxy::Message::Decline(decline));
                return self.close(message);
            }
        }
        let lineage = welcome.lineage.into();
        self.welcome = Some(Welcome { lineage, hash_key: HashKey(hash_key), labels });
    }

    fn inventory(&mut self) {
        let keys: Vec<v1::Key> = match &self.running {
            None => Vec::new(),
            Some(running) => running
                .resources
                .iter()
                .map(|(key, resource)| v1::Key {
                    kind: key.kind.as_str().to_owned(),
                    name: key.name.to_string(),
                    hash: resource.hash().0.to_vec().into(),
                })
                .collect(),
        };
        let parts = keys.chunks(KEYS).count().max(1);
        let mut chunks = keys.chunks(KEYS);
        for part in 1..=parts {
            let keys = chunks.next().unwrap_or_default().to_vec();
            let last = part == parts;
            self.send(from_proxy::Message::Inventory(v1::Inventory { keys, last }));
        }
    }

    fn push(&mut self, push: v1::Push) {
        let (nonce, last) = (push.nonce.clone(), push.last);
        if let Err(refusal) = self.gather(push) {
            self.assembly = None;
            return self.refuse(nonce, refusal);
        }
        if !last {
            return;
        }
        let Some(assembly) = self.assembly.take() else { return };
        match self.complete(assembly) {
            // A newer push replaces one that is still being compiled: the answer to that one is
            // not wanted any more.
            Ok(candidate) => {
                self.applying = Some(candidate.clone());
                self.out.push(Output::Apply(candidate));
            }
            Err(refusal) => self.refuse(nonce, refusal),
        }
    }

    /// Adds a chunk to the push it belongs to.
    fn gather(&mut self, push: v1::Push) -> Result<(), Refusal> {
        let protocol = |message: &str| Refusal::new(ErrorCode::Protocol, message);
        let Some(welcome) = &self.welcome else { return Err(protocol("no welcome yet")) };
        let version = push.version.unwrap_or_default();
        if *version.lineage != *welcome.lineage {
            return Err(protocol("the version is of another lineage than the stream"));
        }
        if push.chunk == 0 {
            self.assembly = Some(Assembly {
                nonce: push.nonce.clone(),
                version: Version(version.number),
                base_root: push.base_root.to_vec(),
                target_root: push.target_root.to_vec(),
                next_chunk: 0,
                bytes: 0,
                delta: Delta::default(),
            });
        }
        let Some(assembly) = self.assembly.as_mut().filter(|a| a.nonce == push.nonce) else {
            return Err(protocol("a chunk without a beginning"));
        };
        if assembly.next_chunk != push.chunk {
            return Err(protocol("chunks are missing or out of order"));
        }
        assembly.next_chunk += 1;
        for resource in push.upsert {
            let key = key(&resource.kind, &resource.name)?;
            assembly.bytes += resource.body.len() + resource.name.len() + 128;
            if assembly.bytes > MAX_BYTES {
                let message = format!("a version of more than {MAX_BYTES} bytes");
                return Err(Refusal::new(ErrorCode::LimitExceeded, message));
            }
            // The body may be a slice of a much larger message; it will be kept for long.
            let body = bytes::Bytes::copy_from_slice(&resource.body);
            let own = Resource::new(&key, body, &welcome.hash_key);
            if own.hash().0[..] != resource.hash[..] {
                let message = "its body does not have the hash it came with".to_owned();
                return Err(Refusal { code: ErrorCode::Protocol, key: Some(key), message });
            }
            assembly.delta.upsert.push((key, own));
        }
        for gone in push.remove {
            assembly.bytes += gone.name.len() + 128;
            assembly.delta.remove.push(key(&gone.kind, &gone.name)?);
        }
        if assembly.bytes > MAX_BYTES {
            let message = format!("a version of more than {MAX_BYTES} bytes");
            return Err(Refusal::new(ErrorCode::LimitExceeded, message));
        }
        Ok(())
    }

    /// Makes a candidate of a push that is whole.
    fn complete(&self, assembly: Assembly) -> Result<Candidate, Refusal> {
        let Some(welcome) = &self.welcome else {
            return Err(Refusal::new(ErrorCode::Protocol, "no welcome yet"));
        };
        let set = if assembly.base_root.is_empty() {
            let resources: BTreeMap<_, _> = assembly.delta.upsert.into_iter().collect();
            ResourceSet::new(welcome.hash_key, resources)
        } else {
            let base = self.running.as_ref().map(|running| &running.resources);
            let Some(base) = base.filter(|base| base.root().0[..] == assembly.base_root[..]) else {
                let message = "the push starts from something else than what this proxy runs";
                return Err(Refusal::new(ErrorCode::BaseMismatch, message));
            };
            base.with(assembly.delta)
        };
        if set.root().0[..] != assembly.target_root[..] {
            let message = "applying the push gives another root than it names";
            return Err(Refusal::new(ErrorCode::RootMismatch, message));
        }
        // A difference is small and may still lead to too much.
        let bytes = set.bytes() + set.len() * 128;
        if bytes > MAX_BYTES {
            let message = format!("a version of more than {MAX_BYTES} bytes");
            return Err(Refusal::new(ErrorCode::LimitExceeded, message));
        }
        let next = Running {
            lineage: Arc::clone(&welcome.lineage),
            version: assembly.version,
            labels: welcome.labels.clone(),
            resources: Arc::new(set),
        };
        self.check_progress(&next)?;
        Ok(Candidate { nonce: assembly.nonce, next })
    }

    /// Refuses to go back, or to give one number two contents. With other labels than before, a
    /// proxy may get another share of the version that it has.
    fn check_progress(&self, next: &Running) -> Result<(), Refusal> {
        let Some(running) = &self.running else { return Ok(()) };
        let backwards = running.lineage == next.lineage
            && (next.version < running.version
                || (next.version == running.version
                    && next.labels == running.labels
                    && next.resources.root() != running.resources.root()));
        if backwards {
            let message = format!(
                "this proxy runs version {}; version {} would be a step back",
                running.version, next.version
            );
            return Err(Refusal::new(ErrorCode::VersionRegression, message));
        }
        Ok(())
    }

    fn up_to_date(&mut self, message: v1::UpToDate) {
        let Some(welcome) = &self.welcome else { return };
        let nonce = message.nonce;
        let version = message.version.unwrap_or_default();
        let fits = *version.lineage == *welcome.lineage;
        let next =
            self.running.as_ref().filter(|running| root(running) == message.root).map(|running| {
                Running {
                    lineage: Arc::clone(&welcome.lineage),
                    version: Version(version.number),
                    labels: welcome.labels.clone(),
                    resources: Arc::clone(&running.resources),
                }
            });
        let Some(next) = next.filter(|_| fits) else {
            let message = "this proxy runs something else than the message names";
            return self.refuse(nonce, Refusal::new(ErrorCode::BaseMismatch, message));
        };
        if let Err(refusal) = self.check_progress(&next) {
            return self.refuse(nonce, refusal);
        }
        let candidate = Candidate { nonce, next };
        self.applying = Some(candidate.clone());
        self.out.push(Output::Renumber(candidate));
    }

    fn refuse(&mut self, nonce: String, refusal: Refusal) {
        let (kind, name) = match refusal.key {
            Some(key) => (key.kind.as_str().to_owned(), key.name.to_string()),
            None => ("version".to_owned(), String::new()),
        };
        let mut error = v1::ResourceError { kind, name, message: refusal.message, code: 0 };
        error.set_code(refusal.code);
        self.ack(nonce, Stage::Rejected, |ack| ack.errors = vec![error]);
    }

    fn ack(&mut self, nonce: String, stage: Stage, fill: impl FnOnce(&mut v1::Ack)) {
        let running = self.running.as_ref();
        let mut ack = v1::Ack {
            nonce,
            stage: stage.into(),
            running: running.map(version),
            running_root: running.map(root).unwrap_or_default(),
            ..v1::Ack::default()
        };
        fill(&mut ack);
        self.send(from_proxy::Message::Ack(ack));
    }

    fn close(&mut self, why: String) {
        self.out.push(Output::Close(why));
    }

    fn send(&mut self, message: from_proxy::Message) {
        self.out.push(Output::Send(v1::FromProxy { message: Some(message) }));
    }
}

fn key(kind: &str, name: &str) -> Result<ResourceKey, Refusal> {
    let Some(kind) = ResourceKind::parse(kind) else {
        let message = format!("this proxy does not know resources of kind `{kind}`");
        return Err(Refusal::new(ErrorCode::Unsupported, message));
    };
    Ok(ResourceKey { kind, name: name.into() })
}

fn version(running: &Running) -> v1::Version {
    v1::Version { lineage: running.lineage.to_string(), number: running.version.0 }
}

fn root(running: &Running) -> bytes::Bytes {
    let Digest(root) = running.resources.root();
    root.to_vec().into()
}

#[cfg(test)]
mod tests;
