//! From the store to the snapshot that proxies run.
//!
//! Every commit wakes the pipeline; it reads the bundle of the newest version, parses it, puts in
//! what was decided beside it, and hands the snapshot to the cache. It goes on from the release
//! before: what did not change is not encoded again. Commits that arrive meanwhile merge: only the
//! newest is built. A bundle that does not parse, which only an upgrade can bring about, changes
//! nothing.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use lb_model::{Bundle, Config, Version, resource::HashKey, value::Labels};
use lb_store::{Key, Store, StoreError};
use tokio_util::sync::CancellationToken;

use crate::{
    checked::Checked,
    decisions::Decisions,
    deployments,
    metrics::Metrics,
    overrides::OverridesError,
    snapshot::{Release, SnapshotCache},
    sync::registry::Registry,
};

/// Builds snapshots.
pub struct Pipeline {
    /// Where commits are.
    pub store: Arc<dyn Store>,
    /// Where snapshots go.
    pub cache: Arc<SnapshotCache>,
    /// For whom they are.
    pub registry: Arc<Registry>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Why the newest version could not be built, if it could not.
    pub fault: Arc<Mutex<Option<String>>>,
}

/// Why a version could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The store did not answer.
    #[error("could not read version {version} from the store")]
    Store {
        /// Which version.
        version: Version,
        /// Why.
        source: StoreError,
    },
    /// The stored bundle is not one.
    #[error("version {version} is stored in a form that this release does not read")]
    Bundle {
        /// Which version.
        version: Version,
    },
    /// What operators decided cannot be read.
    #[error("version {version} cannot be built: {source}")]
    Overrides {
        /// Which version.
        version: Version,
        /// Why.
        source: OverridesError,
    },
    /// The stored documents are not valid to this release.
    #[error("version {version} is not valid to this release: {first}")]
    Invalid {
        /// Which version.
        version: Version,
        /// The first fault.
        first: String,
    },
}

impl Pipeline {
    /// Builds whatever is committed until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let mut head = self.store.watch();
        head.mark_changed();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = head.changed() => if changed.is_err() { return },
            }
            let version = *head.borrow_and_update();
            if version == Version::NONE {
                continue;
            }
            let outcome =
                build(&*self.store, version, self.registry.audiences(), &self.cache).await;
            let fault = match outcome {
                Ok(release) => {
                    tracing::info!(version = version.0, "snapshot built");
                    self.metrics.version.set(i64::try_from(version.0).unwrap_or(i64::MAX));
                    self.cache.set(release);
                    None
                }
                Err(error) => {
                    tracing::error!(%error, "snapshot not built; the one before is still served");
                    Some(error.to_string())
                }
            };
            *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
        }
    }
}

/// Builds a version, and the shares of those who wait for it: proxies that hold these labels.
/// What others need is cut when they come. A bundle that was read a moment ago to be checked is not
/// read again.
///
/// # Errors
///
/// When the version cannot be read or is not valid.
pub async fn build(
    store: &dyn Store,
    version: Version,
    audiences: BTreeSet<Labels>,
    cache: &Arc<SnapshotCache>,
) -> Result<Release, BuildError> {
    let failed = |source| BuildError::Store { version, source };
    let stored = store.get_at(version, &Key::config()).await.map_err(failed)?;
    let stored = stored.ok_or(BuildError::Bundle { version })?;
    let decisions = Decisions::at(store, version)
        .await
        .map_err(|source| BuildError::Overrides { version, source })?;
    let record = store.record(version).await.map_err(failed)?;
    let lineage: Arc<str> = store.lineage().id.to_string().into();
    let hash_key = HashKey(store.lineage().hash_key);
    let cache = Arc::clone(cache);
    let built = tokio::task::spawn_blocking(move || {
        let checked = if let Some(checked) = cache.checked.find(&stored) {
            checked
        } else {
            let bundle: Bundle =
                serde_json::from_slice(&stored).map_err(|_| BuildError::Bundle { version })?;
            let now = Timestamp::now().as_second();
            let (checked, _) = Checked::read(&bundle, now, &hash_key.0).map_err(|found| {
                let first = found.iter().next().map(ToString::to_string).unwrap_or_default();
                BuildError::Invalid { version, first }
            })?;
            cache.checked.remember(&stored, checked.clone());
            checked
        };
        let mut config = Config::clone(&checked.config);
        let configured = deployments::configured(&config);
        decisions.merge(&mut config);
        let release = match cache.newest() {
            Some(before) => Release::following(&before, version, config, record.time),
            None => Release::new(lineage, version, Arc::new(config), hash_key, record.time),
        };
        let release = release.with_decisions(decisions, configured);
        // At a start nobody has come yet, and most fleets have one audience.
        let nobody = audiences.is_empty().then(Labels::default);
        for labels in audiences.iter().chain(&nobody) {
            let resources = &release.target(labels).snapshot.resources;
            let (count, root) = (resources.len(), resources.root());
            let labels = labels.to_strings();
            tracing::debug!(version = version.0, ?labels, resources = count, %root, "share cut");
        }
        Ok(release)
    });
    built.await.unwrap_or(Err(BuildError::Bundle { version }))
}

/// The bundle of a version, if it holds one that can be read.
///
/// # Errors
///
/// What the store says.
pub async fn bundle_at(store: &dyn Store, version: Version) -> Result<Option<Bundle>, StoreError> {
    let bytes = store.get_at(version, &Key::config()).await?;
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}
