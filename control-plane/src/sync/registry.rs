//! How every proxy stands to the newest version.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use lb_model::{
    Version,
    api::{ListenerView, ProxyCounts, ProxyView, ResourceFault, SyncState},
    value::Labels,
};
use lb_proto::v1::{self, to_proxy};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{
    resets::Resets,
    session::{Introduction, News},
};
use crate::identity::authority::ProxyCertificate;

/// The most proxies remembered. A fleet past this is refused, so that forged names cannot fill
/// memory.
const MOST_PROXIES: usize = 20_000;

/// Names one stream: a proxy may open the next before the last is seen to be closed.
pub type StreamId = u64;

#[derive(Debug)]
struct Entry {
    stream: Option<StreamId>,
    software_version: String,
    admin_address: String,
    since: Timestamp,
    running: Version,
    rejected: Option<(Version, Vec<ResourceFault>)>,
    declined: Option<String>,
    listeners: Vec<ListenerView>,
    propagation_ms: Option<f64>,
    persisted: bool,
    trusted_generation: u64,
    authority_key: Vec<u8>,
    labels: Labels,
    line: Line,
    /// How much it logs; absent while it cannot be told to log another level.
    log: Option<ProxyLog>,
    /// Whether it closes circuit breakers when it is told to.
    resets_breakers: bool,
}

/// Where the commands for a proxy go.
pub type Commands = mpsc::Sender<to_proxy::Message>;

/// What of a stream the registry holds.
#[derive(Debug, Clone)]
pub struct Line {
    /// Ends the stream.
    pub end: CancellationToken,
    /// Reaches the proxy.
    pub commands: Commands,
}

/// How much a proxy logs, and how it is told to log more or less.
#[derive(Debug, Clone)]
pub struct ProxyLog {
    /// What it said last.
    pub level: v1::LogLevel,
    /// When it said so.
    pub at: Timestamp,
    /// Counts what it said on this stream.
    pub answers: u64,
    /// What it is told on its stream.
    pub commands: Commands,
}

/// A connected proxy, as somebody sees it who resets circuit breakers.
#[derive(Debug, Clone)]
pub struct Resetter {
    /// What it is called.
    pub name: String,
    /// Where it is told to; absent when its software cannot do it.
    pub commands: Option<Commands>,
}

/// Why the log of a proxy is out of reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoLog {
    /// No proxy of that name was seen.
    Unknown,
    /// It is not connected.
    Away,
    /// Its software cannot change its log level.
    Unable,
}

/// A connected proxy, as a rotation of the authority sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// What it is called.
    pub name: String,
    /// Which set of authorities it has on its disk.
    pub trusted_generation: u64,
    /// The key identifier of the authority that signed its certificate.
    pub authority_key: Vec<u8>,
}

/// Remembers the proxies seen since the control plane started.
#[derive(Debug, Default)]
pub struct Registry {
    proxies: Mutex<BTreeMap<String, Entry>>,
    changes: watch::Sender<()>,
    /// Who waits for answers about circuit breakers.
    pub resets: Resets,
}

/// How far a version has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// How many proxies are connected.
    pub total: usize,
    /// Of these, running the version or a newer one.
    pub acked: usize,
    /// Of these, having refused it or a newer one.
    pub refused: usize,
}

impl Progress {
    /// Whether every connected proxy has answered.
    pub const fn is_settled(self) -> bool {
        self.acked + self.refused >= self.total
    }
}

/// There are too many proxies to remember another.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("this control plane serves at most {MOST_PROXIES} proxies")]
pub struct FleetFull;

impl Registry {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.proxies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes when a proxy comes, goes, or answers to a version.
    pub fn watch(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// How far a version has come.
    pub fn progress(&self, version: Version) -> Progress {
        let mut progress = Progress { total: 0, acked: 0, refused: 0 };
        let proxies = self.lock();
        let follows = |entry: &&Entry| entry.stream.is_some() && entry.declined.is_none();
        for entry in proxies.values().filter(follows) {
            progress.total += 1;
            if entry.running >= version {
                progress.acked += 1;
            } else if entry.rejected.as_ref().is_some_and(|(refused, _)| *refused >= version) {
                progress.refused += 1;
            }
        }
        progress
    }

    /// A proxy introduced itself on a stream, `line`; an older one is ended. What it
    /// holds is taken from its certificate.
    ///
    /// # Errors
    ///
    /// When the fleet is full.
    pub fn connected(
        &self,
        stream: StreamId,
        hello: &Introduction,
        certificate: &ProxyCertificate,
        line: Line,
        now: Timestamp,
    ) -> Result<(), FleetFull> {
        let mut proxies = self.lock();
        if proxies.len() >= MOST_PROXIES && !proxies.contains_key(&hello.proxy) {
            return Err(FleetFull);
        }
        let entry = Entry {
            stream: Some(stream),
            software_version: hello.software_version.clone(),
            admin_address: hello.admin_address.clone(),
            since: now,
            running: hello.running,
            rejected: None,
            declined: None,
            listeners: hello.listeners.clone(),
            propagation_ms: None,
            persisted: hello.persisted,
            trusted_generation: 0,
            authority_key: certificate.authority_key.clone(),
            labels: certificate.labels.clone(),
            line,
            log: None,
            resets_breakers: false,
        };
        if let Some(before) = proxies.insert(hello.proxy.clone(), entry) {
            // A proxy has one stream: what an older one still holds is let go.
            before.line.end.cancel();
        }
        drop(proxies);
        self.changes.send_replace(());
        Ok(())
    }

    /// A proxy has a set of authorities on its disk.
    pub fn trusted(&self, proxy: &str, stream: StreamId, generation: u64) {
        if let Some(entry) = self.lock().get_mut(proxy).filter(|e| e.stream == Some(stream)) {
            entry.trusted_generation = generation;
        }
    }

    /// A proxy says how much it logs.
    pub fn logs(&self, proxy: &str, stream: StreamId, level: v1::LogLevel, at: Timestamp) {
        if let Some(entry) = self.lock().get_mut(proxy).filter(|e| e.stream == Some(stream)) {
            let answers = entry.log.as_ref().map_or(0, |log| log.answers + 1);
            let commands = entry.line.commands.clone();
            entry.log = Some(ProxyLog { level, at, answers, commands });
        }
        self.changes.send_replace(());
    }

    /// How much a proxy logs, and how to change that.
    ///
    /// # Errors
    ///
    /// When it cannot be told.
    pub fn log_of(&self, proxy: &str) -> Result<ProxyLog, NoLog> {
        let proxies = self.lock();
        let entry = proxies.get(proxy).ok_or(NoLog::Unknown)?;
        if entry.stream.is_none() {
            return Err(NoLog::Away);
        }
        entry.log.clone().ok_or(NoLog::Unable)
    }

    /// A proxy closes circuit breakers when it is told to on this stream.
    pub fn resets_breakers(&self, proxy: &str, stream: StreamId) {
        if let Some(entry) = self.lock().get_mut(proxy).filter(|e| e.stream == Some(stream)) {
            entry.resets_breakers = true;
        }
    }

    /// The connected proxies, as somebody sees them who resets circuit breakers.
    pub fn resetters(&self) -> Vec<Resetter> {
        let proxies = self.lock();
        let connected = proxies.iter().filter(|(_, entry)| entry.stream.is_some());
        let each = connected.map(|(name, entry)| Resetter {
            name: name.clone(),
            commands: entry.resets_breakers.then(|| entry.line.commands.clone()),
        });
        each.collect()
    }

    /// Whom the connected proxies trust.
    pub fn members(&self) -> Vec<Member> {
        let proxies = self.lock();
        let connected = proxies.iter().filter(|(_, entry)| entry.stream.is_some());
        connected
            .map(|(name, entry)| Member {
                name: name.clone(),
                trusted_generation: entry.trusted_generation,
                authority_key: entry.authority_key.clone(),
            })
            .collect()
    }

    /// The sets of labels that connected proxies hold.
    pub fn audiences(&self) -> BTreeSet<Labels> {
        let proxies = self.lock();
        let connected = proxies.values().filter(|entry| entry.stream.is_some());
        connected.map(|entry| entry.labels.clone()).collect()
    }

    /// Takes in news from the stream of a proxy. News of an older stream changes nothing.
    pub fn news(
        &self,
        proxy: &str,
        stream: StreamId,
        news: News,
        committed_at: Timestamp,
        now: Timestamp,
    ) {
        let mut proxies = self.lock();
        let Some(entry) = proxies.get_mut(proxy).filter(|entry| entry.stream == Some(stream))
        else {
            return;
        };
        match news {
            News::Active { version, listeners, persisted } => {
                entry.running = version;
                entry.listeners = listeners;
                entry.persisted = persisted;
                entry.rejected = None;
                entry.declined = None;
                let took = now.duration_since(committed_at);
                entry.propagation_ms = Some(took.as_secs_f64().max(0.0) * 1_000.0);
            }
            News::Rejected { version, running, errors } => {
                entry.running = running;
                entry.rejected = Some((version, errors));
            }
            News::Declined(message) => entry.declined = Some(message),
            News::Hello(_) | News::Pushed { .. } | News::Validated(_) | News::RootMismatch => {
                return;
            }
        }
        drop(proxies);
        self.changes.send_replace(());
    }

    /// The stream of a proxy ended.
    pub fn disconnected(&self, proxy: &str, stream: StreamId, now: Timestamp) {
        if let Some(entry) = self.lock().get_mut(proxy).filter(|e| e.stream == Some(stream)) {
            entry.stream = None;
            entry.since = now;
        }
        self.changes.send_replace(());
    }

    /// How every proxy stands to the current version.
    pub fn view(&self, current: Version) -> Vec<ProxyView> {
        let view = |(id, entry): (&String, &Entry)| {
            let state = entry.state(current);
            let faults = match (&entry.rejected, &entry.declined) {
                (Some((_, faults)), _) => faults.clone(),
                (None, Some(message)) => vec![ResourceFault {
                    kind: "proxy".to_owned(),
                    name: id.clone(),
                    code: "declined".to_owned(),
                    message: message.clone(),
                }],
                (None, None) => Vec::new(),
            };
            ProxyView {
                id: id.clone(),
                labels: entry.labels.to_strings(),
                state,
                version: entry.running,
                rejected_version: entry.rejected.as_ref().map(|(version, _)| *version),
                errors: faults,
                listeners: entry.listeners.clone(),
                admin_address: entry.admin_address.clone(),
                software_version: entry.software_version.clone(),
                since: entry.since.to_string(),
                propagation_ms: entry.propagation_ms,
                persisted: entry.persisted,
                open_connections: 0,
                shed_at: None,
            }
        };
        self.lock().iter().map(view).collect()
    }

    /// Proxies by state.
    pub fn counts(&self, current: Version) -> ProxyCounts {
        let mut counts = ProxyCounts::default();
        for entry in self.lock().values() {
            match entry.state(current) {
                SyncState::Disconnected | SyncState::Declined => continue,
                SyncState::Synced => counts.in_sync += 1,
                SyncState::Applying => counts.stale += 1,
                SyncState::Rejected => {
                    counts.stale += 1;
                    counts.rejected += 1;
                }
            }
            counts.connected += 1;
        }
        counts
    }
}

impl Entry {
    fn state(&self, current: Version) -> SyncState {
        match (&self.declined, self.stream) {
            (Some(_), _) => SyncState::Declined,
            (None, None) => SyncState::Disconnected,
            (None, Some(_)) if self.running == current => SyncState::Synced,
            (None, Some(_)) if self.rejected.is_some() => SyncState::Rejected,
            (None, Some(_)) => SyncState::Applying,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(proxy: &str) -> Introduction {
        Introduction {
            proxy: proxy.into(),
            instance: "i".into(),
            software_version: "0.1.0".into(),
            admin_address: String::new(),
            listeners: Vec::new(),
            running: Version(1),
            persisted: true,
        }
    }

    fn certificate() -> ProxyCertificate {
        ProxyCertificate {
            name: "p".into(),
            labels: Labels::grant(&["edge"]).unwrap(),
            issued_at: 0,
            not_after: i64::MAX,
            authority_key: Vec::new(),
        }
    }

    fn plain() -> Line {
        Line { end: CancellationToken::new(), commands: mpsc::channel(1).0 }
    }

    fn state(registry: &Registry) -> SyncState {
        registry.view(Version(2))[0].state
    }

    #[test]
    fn a_proxy_goes_from_applying_to_synced_to_disconnected() {
        let (registry, now) = (Registry::default(), Timestamp::UNIX_EPOCH);
        registry.connected(1, &hello("p"), &certificate(), plain(), now).unwrap();
        assert_eq!(state(&registry), SyncState::Applying);
        let active = News::Active { version: Version(2), listeners: vec![], persisted: true };
        registry.news("p", 1, active, now, now);
        assert_eq!(state(&registry), SyncState::Synced);
        registry.disconnected("p", 1, now);
        assert_eq!(state(&registry), SyncState::Disconnected);
        assert_eq!(registry.counts(Version(2)).connected, 0);
    }

    #[test]
    fn an_old_stream_does_not_speak_for_a_proxy_that_opened_a_new_one() {
        let (registry, now) = (Registry::default(), Timestamp::UNIX_EPOCH);
        registry.connected(1, &hello("p"), &certificate(), plain(), now).unwrap();
        registry.connected(2, &hello("p"), &certificate(), plain(), now).unwrap();
        registry.disconnected("p", 1, now);
        let active = News::Active { version: Version(2), listeners: vec![], persisted: true };
        registry.news("p", 1, active, now, now);
        assert_eq!(state(&registry), SyncState::Applying);
    }

    #[test]
    fn a_new_stream_of_a_proxy_ends_the_one_before() {
        let (registry, now) = (Registry::default(), Timestamp::UNIX_EPOCH);
        let (old, new) = (CancellationToken::new(), CancellationToken::new());
        registry
            .connected(1, &hello("p"), &certificate(), Line { end: old.clone(), ..plain() }, now)
            .unwrap();
        registry
            .connected(2, &hello("p"), &certificate(), Line { end: new.clone(), ..plain() }, now)
            .unwrap();
        assert!(old.is_cancelled() && !new.is_cancelled());
    }

    #[test]
    fn only_connected_proxies_that_can_are_told_to_reset() {
        let (registry, now) = (Registry::default(), Timestamp::UNIX_EPOCH);
        for (stream, proxy) in [(1, "p"), (2, "q"), (3, "r")] {
            registry.connected(stream, &hello(proxy), &certificate(), plain(), now).unwrap();
        }
        registry.resets_breakers("p", 1);
        registry.resets_breakers("q", 7);
        registry.resets_breakers("r", 3);
        registry.disconnected("r", 3, now);
        let able: Vec<_> =
            registry.resetters().into_iter().map(|r| (r.name, r.commands.is_some())).collect();
        assert_eq!(able, [("p".to_owned(), true), ("q".to_owned(), false)]);
    }

    #[test]
    fn audiences_are_those_of_connected_proxies() {
        let (registry, now) = (Registry::default(), Timestamp::UNIX_EPOCH);
        assert!(registry.audiences().is_empty());
        let other = ProxyCertificate { labels: Labels::default(), ..certificate() };
        for (stream, proxy, certificate) in
            [(1, "p", &certificate()), (2, "q", &certificate()), (3, "r", &other)]
        {
            registry.connected(stream, &hello(proxy), certificate, plain(), now).unwrap();
        }
        assert_eq!(registry.audiences().len(), 2);
        registry.disconnected("r", 3, now);
        assert_eq!(registry.audiences(), [certificate().labels].into());
        assert_eq!(registry.view(Version(2))[0].labels, ["edge"]);
    }
}
