//! Documents on the control plane's own disk that hold the configuration.
//!
//! They are read at the start and whenever one of them, or a file that one of them names, changes
//! ([`watch`]). A candidate is valid as a whole or changes nothing: what is current stays current,
//! and the failure is shown until it is mended.

pub mod watch;

use std::{
    collections::BTreeSet,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use lb_model::{
    Config, Diagnostics, Version,
    api::{ReloadFailure, ReloadView},
};
use lb_source::{Reading, Sources};
use lb_store::{Commit, Key, Store, StoreError};

use crate::pipeline::bundle_at;

/// How often a commit is tried again when somebody else committed in between.
const TRIES: usize = 16;

/// The documents that hold the configuration, and how their last reading went.
#[derive(Debug)]
pub struct ConfigFile {
    name: String,
    sources: Sources,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The content that was read last, valid or not.
    content: Option<[u8; 32]>,
    looked_at: BTreeSet<PathBuf>,
    last_success: Option<Timestamp>,
    failure: Option<ReloadFailure>,
}

/// How a reading ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The content is the current version.
    Same,
    /// The content became this version.
    Committed(Version),
    /// The content is not valid, or could not be read or stored; nothing was changed.
    Failed,
}

impl Outcome {
    /// The word in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Same => "unchanged",
            Self::Committed(_) => "committed",
            Self::Failed => "failed",
        }
    }
}

/// Why a candidate is not the current version.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("{0}")]
    Unreadable(#[from] lb_source::Unreadable),
    #[error("it is not valid:\n{0}")]
    Invalid(Diagnostics),
    #[error("it could not be stored: {0}")]
    Store(#[from] StoreError),
    #[error("it could not be written down: {0}")]
    Unwritable(#[from] serde_json::Error),
    #[error("reading it ended without an answer")]
    Lost(#[from] tokio::task::JoinError),
}

impl ConfigFile {
    /// The documents at `path`, a file or a directory, with the layers over them.
    pub fn new(sources: Sources) -> Arc<Self> {
        let names: Vec<_> = sources.paths.iter().map(|path| path.display().to_string()).collect();
        Arc::new(Self { name: names.join(", "), sources, state: Mutex::default() })
    }

    /// Under which name the file holds the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What was looked at in the last reading: whatever changes there may change the content.
    pub fn looked_at(&self) -> BTreeSet<PathBuf> {
        self.state().looked_at.clone()
    }

    /// How the last readings went.
    pub fn view(&self) -> ReloadView {
        let state = self.state();
        ReloadView {
            last_success: state.last_success.map(|time| time.to_string()),
            failure: state.failure.clone(),
        }
    }

    /// Reads the documents and commits them if they say something new. Unless `force` is given,
    /// content that was read before is not tried again.
    pub async fn reload(self: &Arc<Self>, store: &dyn Store, force: bool) -> Outcome {
        let now = Timestamp::now();
        match self.attempt(store, force, now).await {
            Ok(None) if self.state().failure.is_some() => Outcome::Failed,
            Ok(None) => Outcome::Same,
            Ok(Some((outcome, warnings))) => {
                for warning in &warnings {
                    tracing::warn!("{warning}");
                }
                let mut state = self.state();
                state.last_success = Some(now);
                if state.failure.take().is_some() {
                    tracing::info!(file = self.name, "the configuration file is valid again");
                }
                if let Outcome::Committed(version) = outcome {
                    tracing::info!(
                        version = version.0,
                        file = self.name,
                        "configuration committed"
                    );
                }
                outcome
            }
            Err(refusal) => {
                tracing::error!(
                    file = self.name,
                    "the configuration file was not taken, and nothing was changed: {refusal}"
                );
                let (detail, diagnostics) = match refusal {
                    Refusal::Invalid(found) => ("it is not valid".to_owned(), found),
                    other => (other.to_string(), Diagnostics::default()),
                };
                self.state().failure =
                    Some(ReloadFailure { since: now.to_string(), detail, diagnostics });
                Outcome::Failed
            }
        }
    }

    /// Reads, parses, commits. `None` when the content was read before.
    async fn attempt(
        self: &Arc<Self>,
        store: &dyn Store,
        force: bool,
        now: Timestamp,
    ) -> Result<Option<(Outcome, Diagnostics)>, Refusal> {
        let file = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || {
            let reading = lb_source::read(&file.sources, &mut io::empty());
            let mut state = file.state();
            let reading = match reading {
                Ok(reading) => reading,
                Err(error) => {
                    // What is not there may come.
                    state.looked_at.extend(file.sources.paths.iter().cloned());
                    state.content = None;
                    return Err(error.into());
                }
            };
            let Reading { bundle, looked_at, .. } = reading;
            state.looked_at = looked_at;
            let content = bundle.content_hash();
            if state.content.replace(content) == Some(content) && !force {
                return Ok(None);
            }
            drop(state);
            match Config::parse(&bundle, now.as_second()) {
                Ok(parsed) => Ok(Some((bundle, content, parsed.warnings))),
                Err(found) => Err(Refusal::Invalid(found)),
            }
        });
        let Some((bundle, content, warnings)) = read.await?? else { return Ok(None) };
        let bytes = bytes::Bytes::from(serde_json::to_vec(&bundle)?);
        for _ in 0..TRIES {
            let head = store.head().await?;
            let known = bundle_at(store, head).await?;
            if known.is_some_and(|known| known.content_hash() == content) {
                return Ok(Some((Outcome::Same, warnings)));
            }
            let commit = Commit {
                author: "file".to_owned(),
                reason: format!("read from {}", self.name),
                time: now,
                puts: vec![(Key::config(), bytes.clone())],
                removes: vec![],
            };
            match store.commit(head, commit).await {
                Ok(record) => return Ok(Some((Outcome::Committed(record.version), warnings))),
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => {
                    // The same content is worth another try: the store may be well again.
                    self.state().content = None;
                    return Err(error.into());
                }
            }
        }
        self.state().content = None;
        let head = store.head().await?;
        Err(StoreError::Conflict { expected: head, head }.into())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
