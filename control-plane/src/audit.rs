//! What operators did, kept so that nobody can quietly change it.
//!
//! A store of its own: every entry is a commit, so it is on the disk before it counts, and its
//! hash covers all entries before it. The oldest are forgotten, file by file, once there are more
//! than [`KEPT`].

use std::{path::Path, sync::Arc, time::Duration};

use jiff::Timestamp;
use lb_model::{
    Version,
    api::{AuditEntry, AuditView},
    resource::Digest,
};
use lb_store::{Commit, Key, Store, StoreError, embedded};
use tokio::sync::Mutex;

/// At least this many entries are kept.
pub const KEPT: u64 = 10_000;
/// How large a file of entries grows: what is forgotten at once.
const SEGMENT: u64 = 4 << 20;

/// How the store of entries in a directory is kept.
pub fn settings(directory: &Path) -> embedded::Settings {
    embedded::Settings {
        segment_size: SEGMENT,
        kept_versions: KEPT,
        kept_for: Duration::ZERO,
        ballast_size: 0,
        ..embedded::Settings::new(directory)
    }
}

/// Keeps entries.
pub struct Audit {
    store: Arc<dyn Store>,
    writing: Mutex<()>,
}

impl Audit {
    /// Keeps entries in a store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, writing: Mutex::new(()) }
    }

    /// Keeps an entry; it is on the disk when this returns.
    ///
    /// # Errors
    ///
    /// When the store did not take it.
    pub async fn record(&self, entry: &AuditEntry) -> Result<(), StoreError> {
        let _one_at_a_time = self.writing.lock().await;
        let head = self.store.head().await?;
        // Texts and numbers: nothing that has no JSON.
        let bytes = serde_json::to_vec(entry).unwrap_or_default();
        let commit = Commit {
            author: entry.who.clone(),
            reason: format!("{} {} {}", entry.method, entry.path, entry.status),
            time: Timestamp::now(),
            puts: vec![(Key::audit(), bytes.into())],
            removes: vec![],
        };
        self.store.commit(head, commit).await.map(|_| ())
    }

    /// At most `limit` entries older than `before`, newest first.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub async fn page(
        &self,
        before: Option<Version>,
        limit: usize,
    ) -> Result<Vec<AuditView>, StoreError> {
        let mut views = Vec::new();
        for record in self.store.records(before, limit).await? {
            let value = match self.store.get_at(record.version, &Key::audit()).await {
                // Forgotten since the page was begun: here ends what is kept.
                Err(StoreError::Forgotten { .. }) => break,
                value => value?.unwrap_or_default(),
            };
            let Ok(entry) = serde_json::from_slice::<AuditEntry>(&value) else {
                tracing::warn!(
                    number = record.version.0,
                    "an entry of another release is left out"
                );
                continue;
            };
            let hash = Digest(record.hash).to_hex();
            views.push(AuditView { number: record.version.0, hash, entry });
        }
        Ok(views)
    }
}

#[cfg(test)]
mod tests {
    use lb_store::MemoryStore;

    use super::*;

    fn entry(path: &str) -> AuditEntry {
        AuditEntry {
            time: Timestamp::UNIX_EPOCH.to_string(),
            who: "ann".into(),
            token: Some("AbCd1234".into()),
            role: None,
            from: "127.0.0.1".into(),
            method: "PUT".into(),
            path: path.into(),
            object: None,
            status: 200,
            code: None,
            version: Some(Version(7)),
        }
    }

    #[tokio::test]
    async fn entries_are_numbered_chained_and_come_by_pages() {
        let audit = Audit::new(Arc::new(MemoryStore::new()));
        for path in ["/a", "/b", "/c"] {
            audit.record(&entry(path)).await.unwrap();
        }
        let first = audit.page(None, 2).await.unwrap();
        assert_eq!(first.iter().map(|view| view.number).collect::<Vec<_>>(), [3, 2]);
        assert_eq!(first[0].entry, entry("/c"));
        assert_ne!(first[0].hash, first[1].hash);
        let rest = audit.page(Some(Version(2)), 2).await.unwrap();
        assert_eq!((rest.len(), rest[0].entry.path.as_str()), (1, "/a"));
    }
}
