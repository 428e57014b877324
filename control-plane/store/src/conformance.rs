//! What every [`Store`] must do, as tests.
//!
//! Each function takes a store in which nothing was committed yet and panics if a promise is
//! broken. [`conformance_tests!`](crate::conformance_tests) makes a test of each.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test fails by panicking")]

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use crate::{Commit, CommitRecord, Key, MAX_COMMIT_SIZE, Store, StoreError, Version};

/// Everything a store can be asked for: its records, and the value of each key at each version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// All records, newest first.
    pub records: Vec<CommitRecord>,
    /// The values of every key ever named, version by version from 0.
    pub values: Vec<(Version, Key, Option<Bytes>)>,
}

/// Makes a test of each promise; takes a function whose future is a store and a guard.
#[macro_export]
macro_rules! conformance_tests {
    ($fresh:path) => {
        $crate::conformance_tests!($fresh:
            a_fresh_store_is_empty,
            a_commit_is_answered_with_its_record,
            a_commit_on_an_old_head_is_refused_and_changes_nothing,
            every_version_stays_readable,
            a_version_that_does_not_exist_is_an_error,
            concurrent_writers_lose_nothing,
            records_form_a_chain_and_are_paged_newest_first,
            watching_shows_the_newest_version,
            a_commit_no_store_accepts_changes_nothing,
            an_empty_commit_makes_a_version,
        );
    };
    ($fresh:path: $($promise:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $promise() {
                let (store, _guard) = $fresh().await;
                $crate::conformance::$promise(std::sync::Arc::new(store)).await;
            }
        )*
    };
}

/// Builds a commit out of texts; a key without a value is removed.
pub fn commit(changes: &[(&str, Option<&str>)]) -> Commit {
    let key = |text: &str| Key::new(text).unwrap();
    let value = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    let put = |&(name, text): &(&str, Option<&str>)| Some((key(name), value(text?)));
    let removes = changes.iter().filter(|(_, text)| text.is_none());
    Commit {
        author: "ada".to_owned(),
        reason: format!("change {} keys", changes.len()),
        time: Timestamp::new(1_700_000_000, 5).unwrap(),
        puts: changes.iter().filter_map(put).collect(),
        removes: removes.map(|(name, _)| key(name)).collect(),
    }
}

/// Reads everything there is.
pub async fn contents(store: &dyn Store) -> Contents {
    let head = store.head().await.unwrap();
    let records = store.records(None, usize::MAX).await.unwrap();
    let mut keys: Vec<_> = records
        .iter()
        .flat_map(|r| r.puts.iter().map(|put| &put.key).chain(&r.removes))
        .cloned()
        .collect();
    keys.sort();
    keys.dedup();
    let mut values = Vec::new();
    for version in (0..=head.0).map(Version) {
        for key in &keys {
            let value = store.get_at(version, key).await.unwrap();
            values.push((version, key.clone(), value));
        }
    }
    for key in keys {
        let newest = values.iter().rev().find(|(_, k, _)| *k == key).unwrap().2.clone();
        assert_eq!(store.get(&key).await.unwrap(), newest, "{key} at the head");
    }
    Contents { records, values }
}

/// A fresh store has head 0, no values and no records.
pub async fn a_fresh_store_is_empty(store: Arc<dyn Store>) {
    assert_eq!(store.head().await.unwrap(), Version::NONE);
    assert_eq!(*store.watch().borrow(), Version::NONE);
    assert_eq!(store.get(&Key::config()).await.unwrap(), None);
    assert_eq!(store.get_at(Version::NONE, &Key::config()).await.unwrap(), None);
    assert_eq!(store.records(None, 10).await.unwrap(), []);
}

/// The answer to a commit is what the history says of it.
pub async fn a_commit_is_answered_with_its_record(store: Arc<dyn Store>) {
    let change = commit(&[("a", Some("one")), ("b", Some("")), ("c", None)]);
    let record = store.commit(Version::NONE, change.clone()).await.unwrap();
    assert_eq!(record.version, Version(1));
    assert_eq!((&record.author, &record.reason), (&change.author, &change.reason));
    assert_eq!((record.time, &record.removes), (change.time, &change.removes));
    let puts: Vec<_> = record.puts.iter().map(|put| (put.key.as_str(), put.size)).collect();
    assert_eq!(puts, [("a", 3), ("b", 0)]);
    assert_eq!(store.record(Version(1)).await.unwrap(), record);
    assert_eq!(store.head().await.unwrap(), Version(1));
    let key = Key::new("b").unwrap();
    assert_eq!(store.get(&key).await.unwrap(), Some(Bytes::new()), "empty is not absent");
}

/// Only one of two commits on the same head is applied.
pub async fn a_commit_on_an_old_head_is_refused_and_changes_nothing(store: Arc<dyn Store>) {
    store.commit(Version::NONE, commit(&[("a", Some("one"))])).await.unwrap();
    let before = contents(&*store).await;
    for expected in [Version(0), Version(2), Version(u64::MAX)] {
        let refused = store.commit(expected, commit(&[("a", Some("two"))])).await;
        assert!(
            matches!(refused, Err(StoreError::Conflict { expected: e, head: Version(1) })
                if e == expected),
            "{refused:?}"
        );
    }
    assert_eq!(contents(&*store).await, before);
}

/// A value can be read as of every version, also after it was replaced or removed.
pub async fn every_version_stays_readable(store: Arc<dyn Store>) {
    let history: [&[(&str, Option<&str>)]; 5] = [
        &[("a", Some("a1")), ("a/b", Some("ab1"))],
        &[("a", Some("a2"))],
        &[("a", None), ("a.b", Some("dot"))],
        &[("a", None), ("never", None)],
        &[("a", Some("a5"))],
    ];
    for (version, change) in history.iter().enumerate() {
        store.commit(Version(version as u64), commit(change)).await.unwrap();
    }
    let expected = [
        ("a", [None, Some("a1"), Some("a2"), None, None, Some("a5")]),
        ("a/b", [None, Some("ab1"), Some("ab1"), Some("ab1"), Some("ab1"), Some("ab1")]),
        ("a.b", [None, None, None, Some("dot"), Some("dot"), Some("dot")]),
        ("never", [None; 6]),
    ];
    for (name, values) in expected {
        let key = Key::new(name).unwrap();
        for (version, value) in values.into_iter().enumerate() {
            let found = store.get_at(Version(version as u64), &key).await.unwrap();
            assert_eq!(found, value.map(Bytes::from), "{name} at {version}");
        }
        assert_eq!(store.get(&key).await.unwrap(), values[5].map(Bytes::from), "{name}");
    }
}

/// Asking beyond the head, or for the record of version 0, is an error.
pub async fn a_version_that_does_not_exist_is_an_error(store: Arc<dyn Store>) {
    store.commit(Version::NONE, commit(&[("a", Some("one"))])).await.unwrap();
    let key = Key::new("a").unwrap();
    let head = Version(1);
    for version in [Version(2), Version(u64::MAX)] {
        let unknown = store.get_at(version, &key).await.unwrap_err();
        assert_eq!(unknown.to_string(), StoreError::UnknownVersion { version, head }.to_string());
    }
    for version in [Version(0), Version(2), Version(u64::MAX)] {
        let unknown = store.record(version).await.unwrap_err();
        assert_eq!(unknown.to_string(), StoreError::UnknownVersion { version, head }.to_string());
    }
}

/// Eight writers that retry on conflict all get all their commits in, each under its own version.
pub async fn concurrent_writers_lose_nothing(store: Arc<dyn Store>) {
    const WRITERS: usize = 8;
    const COMMITS: usize = 5;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            let mut versions = Vec::new();
            for count in 0..COMMITS {
                let (name, text) = (format!("writer-{writer}"), count.to_string());
                let change =
                    commit(&[(&name, Some(&text)), (&format!("{name}/{count}"), Some(""))]);
                let mut head = store.head().await.unwrap();
                versions.push(loop {
                    match store.commit(head, change.clone()).await {
                        Ok(record) => break record.version,
                        Err(StoreError::Conflict { head: newer, .. }) => head = newer,
                        Err(other) => panic!("{other}"),
                    }
                });
            }
            assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
            versions
        });
    }
    let mut versions = writers.join_all().await.concat();
    versions.sort();
    let total = (WRITERS * COMMITS) as u64;
    assert_eq!(versions, (1..=total).map(Version).collect::<Vec<_>>());
    assert_eq!(store.head().await.unwrap(), Version(total));
    for writer in 0..WRITERS {
        let key = Key::new(&format!("writer-{writer}")).unwrap();
        let last = Bytes::from((COMMITS - 1).to_string());
        assert_eq!(store.get(&key).await.unwrap(), Some(last));
        for count in 0..COMMITS {
            let key = Key::new(&format!("writer-{writer}/{count}")).unwrap();
            assert_eq!(store.get(&key).await.unwrap(), Some(Bytes::new()));
        }
    }
}

/// Records chain by their hashes, and pages put together are the whole history.
pub async fn records_form_a_chain_and_are_paged_newest_first(store: Arc<dyn Store>) {
    let mut made = Vec::new();
    for version in 0..7 {
        // The same change each time: the chain alone must tell the records apart.
        made.push(store.commit(Version(version), commit(&[("a", Some("same"))])).await.unwrap());
    }
    for (older, newer) in made.iter().zip(&made[1..]) {
        assert_eq!(newer.parent_hash, older.hash);
        assert_ne!(newer.hash, older.hash);
    }
    made.reverse();
    assert_eq!(store.records(None, 100).await.unwrap(), made);

    let (mut pages, mut before) = (Vec::new(), None);
    loop {
        let page = store.records(before, 3).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.version);
        assert!(page.len() <= 3);
        pages.extend(page);
    }
    assert_eq!(pages, made);
    assert_eq!(store.records(Some(Version(3)), 1).await.unwrap(), [made[5].clone()]);
    assert_eq!(store.records(Some(Version(99)), 1).await.unwrap(), [made[0].clone()]);
    assert_eq!(store.records(Some(Version(0)), 9).await.unwrap(), []);
    assert_eq!(store.records(None, 0).await.unwrap(), []);
}

/// Whoever watches is woken by a commit and sees the newest version, which can be read by then.
pub async fn watching_shows_the_newest_version(store: Arc<dyn Store>) {
    let mut watch = store.watch();
    let watcher = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            let mut seen = vec![*watch.borrow_and_update()];
            while *seen.last().unwrap() < Version(5) {
                watch.changed().await.unwrap();
                let head = *watch.borrow_and_update();
                store.record(head).await.unwrap();
                seen.push(head);
            }
            seen
        }
    });
    for version in 0..5 {
        store.commit(Version(version), commit(&[("a", Some("x"))])).await.unwrap();
    }
    let seen = watcher.await.unwrap();
    assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
    assert_eq!(*store.watch().borrow(), Version(5), "a late watcher starts at the head");
}

/// Too much, or a key named twice, is refused whole.
pub async fn a_commit_no_store_accepts_changes_nothing(store: Arc<dyn Store>) {
    store.commit(Version::NONE, commit(&[("a", Some("one"))])).await.unwrap();
    let before = contents(&*store).await;
    for twice in [[("b", Some("1")), ("b", Some("2"))], [("b", Some("1")), ("b", None)]] {
        let refused = store.commit(Version(1), commit(&twice)).await;
        assert!(matches!(refused, Err(StoreError::DuplicateKey { .. })), "{refused:?}");
    }
    let mut huge = commit(&[]);
    huge.puts.push((Key::config(), vec![0; MAX_COMMIT_SIZE as usize].into()));
    let refused = store.commit(Version(1), huge).await;
    assert!(matches!(refused, Err(StoreError::TooLarge { .. })), "{refused:?}");
    assert_eq!(contents(&*store).await, before);
}

/// A commit may leave nothing but its reason.
pub async fn an_empty_commit_makes_a_version(store: Arc<dyn Store>) {
    let record = store.commit(Version::NONE, commit(&[])).await.unwrap();
    assert_eq!(record.version, Version(1));
    assert_eq!(store.head().await.unwrap(), Version(1));
}
