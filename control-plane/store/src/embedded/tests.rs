//! The store on disk: every promise of a store, starts, and the index.

mod backup;
mod checkpoints;
mod crash;
mod damage;

use std::fs;

use proptest::{
    collection::{btree_map, vec},
    prelude::*,
};
use tempfile::TempDir;

use super::*;
use crate::{
    MemoryStore,
    conformance::{commit, contents},
    filesystem::faulty::{Call, EIO, ENOSPC, Faulty},
    index::open_sled,
};

async fn fresh() -> (EmbeddedStore, TempDir) {
    let directory = TempDir::new().unwrap();
    (open(directory.path()).await, directory)
}

crate::conformance_tests!(fresh);

async fn open(directory: &Path) -> EmbeddedStore {
    try_open(directory).await.unwrap()
}

fn settings(directory: &Path) -> Settings {
    Settings { segment_size: 600, ballast_size: 0, ..Settings::new(directory) }
}

async fn try_open(directory: &Path) -> Result<EmbeddedStore, StoreError> {
    EmbeddedStore::open(settings(directory)).await
}

async fn fill(store: &EmbeddedStore, count: u64) {
    for _ in 0..count {
        let head = store.head().await.unwrap();
        let text = head.to_string();
        let change = commit(&[("a", Some(&text)), (&format!("b/{head}"), Some("")), ("c", None)]);
        store.commit(head, change).await.unwrap();
    }
}

fn moved_aside(directory: &Path) -> usize {
    let names = Disk.list(directory).unwrap();
    names.iter().filter(|name| name.starts_with("index.corrupt-")).count()
}

/// Copies a tree of files, to look at or to put back later.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(path, to).unwrap();
        }
    }
}

#[tokio::test]
async fn a_reopened_store_is_the_same() {
    let (store, directory) = fresh().await;
    fill(&store, 9).await;
    let (lineage, before) = (store.lineage().clone(), contents(&store).await);
    drop(store);
    let store = open(directory.path()).await;
    assert_eq!(*store.lineage(), lineage);
    assert_eq!(contents(&store).await, before);
    assert_eq!(*store.watch().borrow(), Version(9));
    assert_eq!(moved_aside(directory.path()), 0);
    fill(&store, 1).await;
    assert_eq!(store.head().await.unwrap(), Version(10));
}

#[tokio::test]
async fn a_new_store_names_its_parent() {
    let directory = TempDir::new().unwrap();
    let parent = Some(Uuid::from_u128(7));
    let settings = Settings { parent, ..settings(directory.path()) };
    drop(EmbeddedStore::open(settings).await.unwrap());
    assert_eq!(open(directory.path()).await.lineage().parent, parent);
}

#[tokio::test]
async fn a_second_store_on_the_same_directory_is_refused_by_name() {
    let (store, directory) = fresh().await;
    let refused = try_open(directory.path()).await.unwrap_err();
    assert!(matches!(&refused, StoreError::InUse { path } if path == directory.path()));
    assert!(refused.to_string().contains(directory.path().to_str().unwrap()), "{refused}");
    drop(store);
    open(directory.path()).await;
}

#[tokio::test]
async fn a_path_that_is_no_directory_is_refused_by_name() {
    let place = TempDir::new().unwrap();
    let file = place.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("below")] {
        let refused = try_open(&path).await.unwrap_err();
        assert!(matches!(&refused, StoreError::Unavailable { path: p, .. } if *p == path));
        let text = refused.to_string();
        assert!(text.starts_with("could not use data directory") && text.contains("choose a path"));
    }
}

#[tokio::test]
async fn a_missing_index_is_rebuilt() {
    let (store, directory) = fresh().await;
    fill(&store, 9).await;
    let before = contents(&store).await;
    drop(store);
    fs::remove_dir_all(directory.path().join("index")).unwrap();
    assert_eq!(contents(&open(directory.path()).await).await, before);
}

#[tokio::test]
async fn an_index_full_of_garbage_is_moved_aside_and_rebuilt() {
    let (store, directory) = fresh().await;
    fill(&store, 9).await;
    let before = contents(&store).await;
    drop(store);
    let index = directory.path().join("index");
    for (round, garbage) in [&b""[..], b"garbage", &[0xff; 9000]].into_iter().enumerate() {
        for entry in fs::read_dir(&index).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                fs::write(path, garbage).unwrap();
            }
        }
        let store = open(directory.path()).await;
        assert_eq!(contents(&store).await, before, "round {round}");
    }
    assert!(moved_aside(directory.path()) > 0);

    fs::remove_dir_all(&index).unwrap();
    fs::write(&index, "a file").unwrap();
    assert_eq!(contents(&open(directory.path()).await).await, before);
}

#[tokio::test]
async fn an_index_with_any_row_wrong_is_moved_aside_and_rebuilt() {
    let (store, directory) = fresh().await;
    fill(&store, 4).await;
    let before = contents(&store).await;
    drop(store);
    let index = directory.path().join("index");
    let rows: Vec<_> = {
        let database = open_sled(&index).unwrap();
        database.iter().map(|row| row.unwrap()).filter(|(name, _)| &**name != b"h").collect()
    };
    assert_eq!(rows.len(), 4 * 4);
    for (count, (name, content)) in rows.iter().enumerate() {
        let database = open_sled(&index).unwrap();
        if count % 2 == 0 {
            database.remove(name).unwrap();
        } else {
            database.insert(name, [content, &[1][..]].concat()).unwrap();
        }
        drop(database);
        assert_eq!(contents(&open(directory.path()).await).await, before, "{name:?}");
        assert_eq!(moved_aside(directory.path()), count + 1);
    }
}

#[tokio::test]
async fn an_index_of_another_lineage_is_moved_aside_and_rebuilt() {
    let (store, directory) = fresh().await;
    let (other, other_directory) = fresh().await;
    fill(&store, 3).await;
    fill(&other, 5).await;
    let before = contents(&store).await;
    drop((store, other));
    let index = directory.path().join("index");
    fs::remove_dir_all(&index).unwrap();
    copy(&other_directory.path().join("index"), &index);
    assert_eq!(contents(&open(directory.path()).await).await, before);
    assert_eq!(moved_aside(directory.path()), 1);
}

#[tokio::test]
async fn an_index_that_is_behind_catches_up() {
    let (store, directory) = fresh().await;
    let index = directory.path().join("index");
    fill(&store, 2).await;
    drop(store);
    let old = TempDir::new().unwrap();
    copy(&index, old.path());
    let store = open(directory.path()).await;
    fill(&store, 6).await;
    let before = contents(&store).await;
    drop(store);
    // As after a crash between the flush of the log and the flush of the index.
    fs::remove_dir_all(&index).unwrap();
    copy(old.path(), &index);
    assert_eq!(contents(&open(directory.path()).await).await, before);
    assert_eq!(moved_aside(directory.path()), 0);
}

#[tokio::test]
async fn a_log_that_is_behind_its_index_or_gone_refuses_to_open() {
    let (store, directory) = fresh().await;
    fill(&store, 2).await;
    drop(store);
    let log = directory.path().join("log");
    let old = TempDir::new().unwrap();
    copy(&log, old.path());
    fill(&open(directory.path()).await, 3).await;
    for replacement in [Some(old.path()), None] {
        fs::remove_dir_all(&log).unwrap();
        if let Some(replacement) = replacement {
            copy(replacement, &log);
        }
        let refused = try_open(directory.path()).await.unwrap_err();
        assert!(refused.to_string().contains("version 5 was acknowledged"), "{refused}");
    }
    // What the error says to do, works.
    copy(old.path(), &log);
    fs::remove_dir_all(directory.path().join("index")).unwrap();
    assert_eq!(open(directory.path()).await.head().await.unwrap(), Version(2));
}

#[tokio::test]
async fn a_full_disk_refuses_the_commit_and_takes_the_next_one() {
    let directory = TempDir::new().unwrap();
    let disk = Faulty::default();
    let settings = settings(directory.path());
    let store = EmbeddedStore::open_on(Arc::new(disk.clone()), settings).await.unwrap();
    fill(&store, 2).await;
    let before = contents(&store).await;
    disk.fail_append(0, ENOSPC, 40);
    let refused = store.commit(Version(2), commit(&[("a", Some("lost"))])).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
    assert_eq!(contents(&store).await, before);
    fill(&store, 1).await;
    let before = contents(&store).await;
    drop(store);
    assert_eq!(contents(&open(directory.path()).await).await, before);
}

#[tokio::test]
async fn after_a_failed_flush_commits_are_refused_and_reads_go_on() {
    let directory = TempDir::new().unwrap();
    let disk = Faulty::default();
    let settings = settings(directory.path());
    let store = EmbeddedStore::open_on(Arc::new(disk.clone()), settings).await.unwrap();
    fill(&store, 2).await;
    let before = contents(&store).await;
    disk.fail(Call::SyncData, 0, EIO);
    for _ in 0..2 {
        let refused = store.commit(Version(2), commit(&[("a", Some("lost"))])).await;
        assert!(matches!(refused, Err(StoreError::Poisoned { .. })), "{refused:?}");
        assert_eq!(contents(&store).await, before);
    }
    assert!(!store.watch().has_changed().unwrap());
    drop(store);
    let store = open(directory.path()).await;
    assert_eq!(contents(&store).await, before);
    fill(&store, 1).await;
}

/// A change as a test case: the keys it names, each with a value or to be removed.
fn any_change() -> impl Strategy<Value = Vec<(String, Option<String>)>> {
    let key = prop::sample::select(vec!["a", "a/b", "a.b", "config/bundle", "z"]);
    let value = prop::option::weighted(0.7, "[a-z]{0,40}");
    let change = btree_map(key.prop_map(str::to_owned), value, 0..4);
    change.prop_map(|change| change.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_history_on_disk_equals_the_same_in_memory(
        history in vec(any_change(), 1..20),
        reopen_every in 1_usize..8,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut embedded, directory) = fresh().await;
            let memory = MemoryStore::with_lineage(embedded.lineage().clone());
            for (version, change) in history.iter().enumerate() {
                if version % reopen_every == 0 {
                    drop(embedded);
                    embedded = open(directory.path()).await;
                }
                let change: Vec<_> =
                    change.iter().map(|(key, value)| (&**key, value.as_deref())).collect();
                let version = Version(version as u64);
                let on_disk = embedded.commit(version, commit(&change)).await.unwrap();
                let in_memory = memory.commit(version, commit(&change)).await.unwrap();
                assert_eq!(on_disk, in_memory);
            }
            assert_eq!(contents(&embedded).await, contents(&memory).await);
            drop(embedded);
            let reopened = open(directory.path()).await;
            assert_eq!(contents(&reopened).await, contents(&memory).await);
        });
    }
}
