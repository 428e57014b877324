//! Ends what ends by itself: a drain becomes a disabled backend, an override goes away.
//!
//! Every end is a commit of the author `expiry`, and stands in the audit log: whoever asks who
//! enabled a backend looks there. What ended while the control plane was away ends at its start.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use lb_model::{Version, api::AuditEntry, config::AdminState};
use lb_store::{Commit, Key, Store, StoreError};
use tokio_util::sync::CancellationToken;

use super::{End, Overrides, OverridesError};
use crate::audit::Audit;

/// Who ends them, in the history.
pub const AUTHOR: &str = "expiry";
/// The longest sleep: whoever sets the clock should not be waited for.
const LONGEST: Duration = Duration::from_secs(30);
/// How long to wait after a commit that the store refused.
const PAUSE: Duration = Duration::from_secs(1);

/// Ends overrides at their time until told to stop.
pub async fn run(store: Arc<dyn Store>, audit: Arc<Audit>, stop: CancellationToken) {
    let mut head = store.watch();
    // What could not be noted yet.
    let mut unnoted = Vec::new();
    loop {
        head.mark_unchanged();
        let looked = look(&*store, &mut unnoted, Timestamp::now()).await;
        let is_noted = note(&audit, &mut unnoted).await;
        let pause = match looked {
            Ok(_) if !is_noted => PAUSE,
            Ok(Some(next)) => {
                let left = next.duration_since(Timestamp::now());
                Duration::try_from(left).unwrap_or_default().min(LONGEST)
            }
            Ok(None) => LONGEST,
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(%error, cause, "overrides are not ended in time; trying again");
                PAUSE
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            changed = head.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Writes what happened by itself into the audit log, in order, as far as it goes.
pub async fn note(audit: &Audit, unnoted: &mut Vec<AuditEntry>) -> bool {
    while let Some(entry) = unnoted.first() {
        if let Err(error) = audit.record(entry).await {
            let path = &entry.path;
            tracing::error!(%error, path, "not in the audit log; trying again");
            return false;
        }
        unnoted.remove(0);
    }
    true
}

/// What an end is in the audit log: the request that would have done it, by nobody.
fn entry(end: &End, version: Version, now: Timestamp) -> AuditEntry {
    let verb = if end.state == AdminState::Enabled { "enable" } else { "disable" };
    AuditEntry {
        time: now.to_string(),
        who: AUTHOR.to_owned(),
        token: None,
        role: None,
        from: "this machine".to_owned(),
        method: "END".to_owned(),
        path: format!("/admin/backends/{}/{verb}", end.backend),
        object: Some(end.backend.clone()),
        status: 200,
        code: None,
        version: Some(version),
    }
}

/// Ends what has ended by `now`, and adds it to what is to be noted; gives when to look again.
async fn look(
    store: &dyn Store,
    unnoted: &mut Vec<AuditEntry>,
    now: Timestamp,
) -> Result<Option<Timestamp>, OverridesError> {
    loop {
        let head = store.head().await?;
        let mut overrides = Overrides::at(store, head).await?;
        let ended = overrides.end(now);
        if ended.is_empty() {
            return Ok(overrides.next_end());
        }
        let reason = ended.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        match commit(store, head, &overrides, (AUTHOR, &reason), now).await {
            Ok(version) => {
                tracing::info!(version = version.0, reason, "overrides ended");
                unnoted.extend(ended.iter().map(|end| entry(end, version, now)));
            }
            // Somebody was faster: what they left is looked at anew.
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Makes these the overrides, on top of `expected`.
///
/// # Errors
///
/// As [`Store::commit`].
pub async fn commit(
    store: &dyn Store,
    expected: Version,
    overrides: &Overrides,
    (author, reason): (&str, &str),
    now: Timestamp,
) -> Result<Version, StoreError> {
    // Names, texts and times: nothing that has no JSON.
    let bytes = serde_json::to_vec(overrides).unwrap_or_default();
    let commit = Commit {
        author: author.to_owned(),
        reason: reason.to_owned(),
        time: now,
        puts: vec![(Key::overrides(), bytes.into())],
        removes: vec![],
    };
    store.commit(expected, commit).await.map(|record| record.version)
}

#[cfg(test)]
mod tests {
    use lb_model::api::AuditView;
    use lb_store::MemoryStore;

    use super::{super::Override, *};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[tokio::test]
    async fn what_was_missed_ends_at_once_and_in_one_version() {
        let store = MemoryStore::new();
        let decided = |drain_until, expires| Override {
            owner: "ann".into(),
            reason: "kernel".into(),
            since: at(0),
            drain_until,
            expires,
        };
        let all = Overrides(
            [
                ("a".to_owned(), decided(Some(at(10)), Some(at(100)))),
                ("b".to_owned(), decided(None, Some(at(20)))),
            ]
            .into(),
        );
        commit(&store, Version::NONE, &all, ("ann", ""), at(0)).await.unwrap();
        let mut unnoted = Vec::new();
        assert_eq!(look(&store, &mut unnoted, at(5)).await.unwrap(), Some(at(10)));
        assert_eq!(store.head().await.unwrap(), Version(1), "nothing ended yet");
        assert_eq!(look(&store, &mut unnoted, at(50)).await.unwrap(), Some(at(100)));
        let record = store.record(Version(2)).await.unwrap();
        assert_eq!(record.author, AUTHOR);
        assert_eq!(record.reason, "the override of b ended; a was drained and is disabled");
        let left = Overrides::at(&store, Version(2)).await.unwrap();
        assert_eq!(left.0.keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!(look(&store, &mut unnoted, at(100)).await.unwrap(), None);
        assert_eq!(store.head().await.unwrap(), Version(3));

        let audit = Audit::new(Arc::new(MemoryStore::new()));
        assert!(note(&audit, &mut unnoted).await && unnoted.is_empty());
        let noted = audit.page(None, 10).await.unwrap();
        let noted: Vec<_> = noted
            .iter()
            .map(|AuditView { entry, .. }| (entry.path.as_str(), entry.version.unwrap().0))
            .collect();
        assert_eq!(
            noted,
            [
                ("/admin/backends/a/enable", 3),
                ("/admin/backends/a/disable", 2),
                ("/admin/backends/b/enable", 2),
            ]
        );
    }
}
