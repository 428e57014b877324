//! Makes a version serve, or changes nothing.
//!
//! Everything that can fail comes first: reading the resources, compiling them, the first health
//! checks of new backends, binding new addresses. Then the workers switch, and what serves is
//! written to disk. Compiling runs on a thread of its own; should it panic, that is a refusal
//! like any other.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use lb_model::{Config, ResourceSet, wire};
use lb_proto::v1::{self, ErrorCode};
use tokio::time::Instant;

use crate::{
    boot::{Boot, Content, SURVIVED},
    budget,
    metrics::ApplyMetrics,
    runtime::{Runtime, compile},
    sync::{last_good::LastGood, session::Running},
};

/// How long the first health checks of new backends are waited for.
const WARM: Duration = Duration::from_secs(2);

/// Makes versions serve, one after the other.
#[derive(Debug)]
pub struct Applier {
    runtime: Runtime,
    last_good: LastGood,
    boot: Boot,
    budget: Budget,
    /// When what serves was activated, until that has been survived.
    activated: Option<Instant>,
    /// Whether what serves would survive a restart.
    persisted: bool,
    current: Option<(Arc<ResourceSet>, Arc<Config>)>,
    /// How much memory what serves is expected to need.
    needed: u64,
    state: Arc<Mutex<State>>,
    metrics: Arc<ApplyMetrics>,
}

/// The memory that a version may be expected to need.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// In bytes.
    pub bytes: u64,
    /// Over how many workers.
    pub workers: usize,
}

impl Budget {
    /// What a version needs, unless that is too much. `known` is another one and what it needs.
    fn check(
        self,
        set: &ResourceSet,
        known: Option<(&ResourceSet, u64)>,
    ) -> Result<u64, Vec<v1::ResourceError>> {
        let needed = budget::estimate(set, known, self.workers);
        if needed <= self.bytes {
            return Ok(needed);
        }
        let message = format!(
            "the version needs about {} MiB of memory, this proxy gives it {} MiB; raise \
             --memory-budget if the machine has it",
            needed >> 20,
            self.bytes >> 20
        );
        Err(vec![fault("version", "", ErrorCode::LimitExceeded, message)])
    }
}

/// What serves, for whoever asks.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// What serves.
    pub running: Option<Running>,
    /// The same, as objects.
    pub config: Option<Arc<Config>>,
    /// Since when.
    pub since: Option<Timestamp>,
}

/// A version that serves.
#[derive(Debug)]
pub struct Applied {
    /// Whether it would survive a restart.
    pub persisted: bool,
    /// Where the entry points listen.
    pub listeners: Vec<v1::Listener>,
}

impl Applier {
    /// Applies versions to `runtime`.
    pub fn new(
        runtime: Runtime,
        last_good: LastGood,
        boot: Boot,
        budget: Budget,
        state: Arc<Mutex<State>>,
        metrics: Arc<ApplyMetrics>,
    ) -> Self {
        Self {
            runtime,
            last_good,
            boot,
            budget,
            activated: None,
            // What a start finds, it found on the disk.
            persisted: true,
            current: None,
            needed: 0,
            state,
            metrics,
        }
    }

    /// What this proxy backed out of by itself.
    pub fn poisoned(&self) -> Option<Content> {
        self.boot.poisoned().cloned()
    }

    /// Whether what serves would survive a restart.
    pub const fn is_persisted(&self) -> bool {
        self.persisted
    }

    /// The proxy has lived on what serves for long enough, or ends on purpose.
    pub fn survive(&mut self) {
        self.boot.survive();
    }

    /// Waits until the proxy has lived on what serves for long enough, and notes it. Pending for
    /// ever when that is noted already.
    pub async fn survived(&mut self) {
        match self.activated {
            Some(at) => tokio::time::sleep_until(at + Duration::from_secs(SURVIVED)).await,
            None => std::future::pending().await,
        }
        self.activated = None;
        self.boot.survive();
    }

    /// The runtime, to end it.
    pub const fn runtime(&mut self) -> &mut Runtime {
        &mut self.runtime
    }

    /// Makes a version serve. `validated` is called when nothing but binding addresses can fail
    /// any more.
    ///
    /// # Errors
    ///
    /// One for each resource that stands in the way; what served still does.
    pub async fn apply(
        &mut self,
        next: &Running,
        validated: impl AsyncFnOnce(),
    ) -> Result<Applied, Vec<v1::ResourceError>> {
        let outcome = self.switch(next, validated).await;
        match &outcome {
            Ok(()) => self.metrics.succeeded(),
            Err(errors) => {
                let reason = errors.first().map_or("unspecified", |error| reason(error.code()));
                self.metrics.failed(reason);
                for error in errors {
                    let v1::ResourceError { kind, name, message, .. } = error;
                    tracing::warn!(version = next.version.0, kind, name, message, "refused");
                }
            }
        }
        outcome?;
        tracing::info!(version = next.version.0, root = %next.resources.root(), "serving");
        Ok(self.serving(next).await)
    }

    /// Gives what serves a new number.
    pub async fn renumber(&mut self, next: &Running) -> Applied {
        tracing::info!(version = next.version.0, "serving, unchanged but for its number");
        self.serving(next).await
    }

    /// Serves what the disk holds, if it holds something.
    pub async fn restore(&mut self) -> Option<Running> {
        let boot = &mut self.boot;
        let loaded = self.last_good.load(|running| {
            let poison = boot.is_poison(running);
            if poison {
                let version = running.version.0;
                tracing::error!(
                    version,
                    "this proxy crashed on the version again and again; serving the one before"
                );
            }
            !poison
        });
        let running = match loaded {
            Ok(running) => running?,
            Err(error) => {
                tracing::error!(%error, "last good configuration not read");
                return None;
            }
        };
        match self.switch(&running, async || ()).await {
            Ok(()) => {
                tracing::info!(version = running.version.0, "serving the last good configuration");
                self.remember(&running);
                Some(running)
            }
            Err(errors) => {
                for v1::ResourceError { kind, name, message, .. } in errors {
                    tracing::error!(kind, name, message, "last good configuration not served");
                }
                None
            }
        }
    }

    async fn switch(
        &mut self,
        next: &Running,
        validated: impl AsyncFnOnce(),
    ) -> Result<(), Vec<v1::ResourceError>> {
        let known = self.current.as_ref().map(|(set, _)| (&**set, self.needed));
        let needed = self.budget.check(&next.resources, known)?;
        let set = Arc::clone(&next.resources);
        let previous = self.current.clone();
        let serving = self.runtime.handle().snapshot();
        let context = self.runtime.context().with_secret(*set.hash_key());
        let version = next.version.0;
        let build = move || {
            let previous = previous.as_ref().map(|(set, config)| (&**set, &**config));
            let config = wire::decode(&set, previous).map_err(invalid)?;
            let compiled = compile(&config, version, Some(&serving), &context)
                .map_err(|faults| faults.into_iter().map(uncompiled).collect::<Vec<_>>())?;
            Ok((Arc::new(config), compiled))
        };
        let built = tokio::task::spawn_blocking(build).await;
        let (config, compiled) = built.unwrap_or_else(|_| Err(vec![panicked()]))?;
        self.runtime.warm(&compiled, WARM).await;
        validated().await;
        // From here on the version may kill the process; the next start must know which it was.
        self.boot.activate(next, unix_seconds());
        self.activated = Some(Instant::now());
        self.runtime.install(compiled).await.map_err(|error| {
            let message = match std::error::Error::source(&error) {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            };
            vec![fault("entry_point", &error.entry_point, ErrorCode::BindFailed, message)]
        })?;
        self.current = Some((Arc::clone(&next.resources), config));
        self.needed = needed;
        Ok(())
    }

    async fn serving(&mut self, next: &Running) -> Applied {
        let (last_good, running) = (self.last_good.clone(), next.clone());
        let saved = tokio::task::spawn_blocking(move || last_good.save(&running)).await;
        let persisted = match saved {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                let source = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(%error, source, "this version serves but would not survive a restart");
                self.metrics.not_persisted();
                false
            }
            Err(_) => false,
        };
        self.persisted = persisted;
        self.remember(next);
        Applied { persisted, listeners: self.listeners() }
    }

    fn remember(&self, next: &Running) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.running = Some(next.clone());
        state.config = self.current.as_ref().map(|(_, config)| Arc::clone(config));
        state.since = Some(Timestamp::now());
    }

    /// Where the entry points listen.
    pub fn listeners(&self) -> Vec<v1::Listener> {
        let listener = |(name, address): (Arc<str>, SocketAddr)| v1::Listener {
            entry_point: name.to_string(),
            address: address.to_string(),
        };
        self.runtime.listeners().into_iter().map(listener).collect()
    }
}

fn unix_seconds() -> u64 {
    u64::try_from(Timestamp::now().as_second()).unwrap_or(0)
}

fn invalid(faults: Vec<wire::InvalidResource>) -> Vec<v1::ResourceError> {
    faults
        .into_iter()
        .map(|wire::InvalidResource { key, message }| {
            fault(key.kind.as_str(), &key.name, ErrorCode::Invalid, message)
        })
        .collect()
}

fn uncompiled(error: crate::runtime::CompileError) -> v1::ResourceError {
    let kind = error.kind.to_string().replace(' ', "_");
    fault(&kind, &error.name, ErrorCode::Invalid, error.message)
}

fn panicked() -> v1::ResourceError {
    let message = "compiling the version failed inside the proxy; see its log".to_owned();
    fault("version", "", ErrorCode::Internal, message)
}

fn fault(kind: &str, name: &str, code: ErrorCode, message: String) -> v1::ResourceError {
    let mut error =
        v1::ResourceError { kind: kind.to_owned(), name: name.to_owned(), message, code: 0 };
    error.set_code(code);
    error
}

const fn reason(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::Invalid => "invalid",
        ErrorCode::BindFailed => "bind_failed",
        ErrorCode::Internal => "internal",
        ErrorCode::LimitExceeded => "limit_exceeded",
        _ => "other",
    }
}
