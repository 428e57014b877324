//! Checkpoints, what is forgotten, and verifying.

use std::time::Duration;

use super::*;
use crate::{checkpoint, log::segment};

/// Small segments, a checkpoint after every fourth commit, and little that is kept.
fn frugal(directory: &Path) -> Settings {
    Settings {
        checkpoint_every: 4,
        checkpoints_kept: 2,
        kept_versions: 8,
        kept_for: Duration::ZERO,
        ..settings(directory)
    }
}

async fn open_frugal(directory: &Path) -> EmbeddedStore {
    EmbeddedStore::open(frugal(directory)).await.unwrap()
}

fn names(directory: &Path, inner: &str) -> Vec<String> {
    let mut names = Disk.list(&directory.join(inner)).unwrap();
    names.sort();
    names
}

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

#[tokio::test]
async fn a_checkpoint_is_made_after_so_many_commits_and_the_newest_are_kept() {
    let directory = TempDir::new().unwrap();
    let settings =
        Settings { checkpoint_every: 4, checkpoints_kept: 3, ..settings(directory.path()) };
    let store = EmbeddedStore::open(settings).await.unwrap();
    fill(&store, 3).await;
    assert_eq!(names(directory.path(), "checkpoints"), [""; 0]);
    fill(&store, 18).await;
    let kept = [12, 16, 20].map(|version| checkpoint::file_name(Version(version)));
    assert_eq!(names(directory.path(), "checkpoints"), kept);
    assert_eq!(store.checkpoint().await.unwrap(), Version(21));
    assert_eq!(store.verify().await.unwrap().checkpoints, 3);
}

#[tokio::test]
async fn a_checkpoint_is_made_at_a_commit_a_day_after_the_last() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path()).await;
    for (head, hours, made) in [(0, 0, 0), (1, 23, 0), (2, 24, 1), (3, 47, 1), (4, 48, 2)] {
        let mut change = commit(&[("a", Some("x"))]);
        change.time += jiff::SignedDuration::from_hours(hours);
        store.commit(Version(head), change).await.unwrap();
        assert_eq!(names(directory.path(), "checkpoints").len(), made, "hour {hours}");
    }
}

#[tokio::test]
async fn a_start_reads_only_the_log_behind_the_newest_checkpoint() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path()).await;
    fill(&store, 9).await;
    store.checkpoint().await.unwrap();
    let before = contents(&store).await;
    drop(store);
    let first = directory.path().join("log").join(segment::file_name(Version(1)));
    let whole = fs::read(&first).unwrap();
    fs::write(&first, "nothing of what was there").unwrap();
    let store = open(directory.path()).await;
    let refused = store.record(Version(1)).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Corrupt { path, .. } if *path == first), "{refused}");
    let found = store.verify().await.unwrap_err();
    assert!(matches!(&found, StoreError::Corrupt { path, .. } if *path == first), "{found}");
    fill(&store, 1).await;
    drop(store);
    fs::write(&first, whole).unwrap();
    let store = open(directory.path()).await;
    assert_eq!(contents(&store).await.records[1..], before.records);
}

#[tokio::test]
async fn damage_before_a_checkpoint_costs_history_and_nothing_else() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path()).await;
    fill(&store, 9).await;
    store.checkpoint().await.unwrap();
    fill(&store, 2).await;
    let before = contents(&store).await;
    drop(store);
    let first = directory.path().join("log").join(segment::file_name(Version(1)));
    let mut bytes = fs::read(&first).unwrap();
    bytes[200] ^= 1;
    fs::write(&first, bytes).unwrap();
    fs::remove_dir_all(directory.path().join("index")).unwrap();

    let store = open(directory.path()).await;
    assert_eq!(store.head().await.unwrap(), Version(11));
    assert_eq!(store.records(None, 99).await.unwrap(), before.records[..2]);
    for version in [1, 8] {
        let forgotten = store.get_at(Version(version), &key("a")).await.unwrap_err();
        assert!(
            matches!(forgotten, StoreError::Forgotten { version: v, oldest }
                if v.0 == version && oldest == Version(9)),
            "{forgotten}"
        );
    }
    let forgotten = store.record(Version(9)).await.unwrap_err();
    assert_eq!(
        forgotten.to_string(),
        "version 9 is no longer kept; the oldest that can be read is 10"
    );
    for (version, name, value) in before.values.iter().filter(|(version, ..)| version.0 >= 9) {
        assert_eq!(store.get_at(*version, name).await.unwrap(), *value, "{name} at {version}");
    }
    store.verify().await.unwrap();
}

#[tokio::test]
async fn a_live_value_in_a_damaged_segment_is_read_from_a_checkpoint() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path()).await;
    store.commit(Version::NONE, commit(&[("once", Some("written once"))])).await.unwrap();
    fill(&store, 8).await;
    store.checkpoint().await.unwrap();
    drop(store);
    fs::remove_file(directory.path().join("log").join(segment::file_name(Version(1)))).unwrap();
    let store = open(directory.path()).await;
    assert_eq!(store.get(&key("once")).await.unwrap(), Some("written once".into()));
    store.checkpoint().await.unwrap();
}

#[tokio::test]
async fn old_commits_are_forgotten_and_what_they_left_is_not() {
    let directory = TempDir::new().unwrap();
    let store = open_frugal(directory.path()).await;
    let memory = MemoryStore::with_lineage(store.lineage().clone());
    for head in 0..60 {
        let once = format!("once/{}", head / 10);
        let text = head.to_string();
        let mut change = vec![("a", Some(&*text))];
        if head % 10 == 0 {
            change.push((&once, Some(&text)));
        }
        let on_disk = store.commit(Version(head), commit(&change)).await.unwrap();
        assert_eq!(on_disk, memory.commit(Version(head), commit(&change)).await.unwrap());
    }
    assert_eq!(store.failed_checkpoints(), 0);
    let expected = contents(&memory).await;
    let check = async |store: &EmbeddedStore| {
        let oldest = store.records(None, 99).await.unwrap().last().unwrap().version;
        assert!((30..=53).contains(&oldest.0), "{oldest}");
        for record in expected.records.iter().filter(|record| record.version >= oldest) {
            assert_eq!(store.record(record.version).await.unwrap(), *record);
        }
        for (version, name, value) in &expected.values {
            match store.get_at(*version, name).await {
                Ok(found) => assert_eq!(found, *value, "{name} at {version}"),
                Err(StoreError::Forgotten { .. }) => assert!(*version < oldest, "{version}"),
                Err(other) => panic!("{other}"),
            }
            assert_eq!(store.get(name).await.unwrap(), memory.get(name).await.unwrap());
        }
        let verified = store.verify().await.unwrap();
        assert_eq!((verified.oldest, verified.head, verified.live), (oldest, Version(60), 7));
        oldest
    };
    let oldest = check(&store).await;
    drop(store);
    assert_eq!(names(directory.path(), "log")[0], segment::file_name(oldest));
    assert_eq!(check(&open_frugal(directory.path()).await).await, oldest);
    fs::remove_dir_all(directory.path().join("index")).unwrap();
    assert_eq!(check(&open_frugal(directory.path()).await).await, oldest);
}

#[tokio::test]
async fn young_commits_are_kept_however_many_there_are() {
    let directory = TempDir::new().unwrap();
    let settings = Settings { kept_for: Duration::from_mins(1), ..frugal(directory.path()) };
    let store = EmbeddedStore::open(settings).await.unwrap();
    fill(&store, 40).await;
    assert_eq!(store.record(Version(1)).await.unwrap().version, Version(1));
    let mut late = commit(&[]);
    late.time += jiff::SignedDuration::from_secs(61);
    store.commit(Version(40), late).await.unwrap();
    store.checkpoint().await.unwrap();
    assert!(matches!(store.record(Version(1)).await, Err(StoreError::Forgotten { .. })));
}

#[tokio::test]
async fn a_checkpoint_that_fails_fails_no_commit_and_is_made_later() {
    for (call, errno) in [
        (Call::Create, ENOSPC),
        (Call::Append, ENOSPC),
        (Call::Append, EIO),
        (Call::SyncData, EIO),
        (Call::Rename, EIO),
        (Call::SyncDir, EIO),
    ] {
        let directory = TempDir::new().unwrap();
        let disk = Faulty::default();
        let settings = Settings { segment_size: u64::MAX, ..frugal(directory.path()) };
        let store = EmbeddedStore::open_on(Arc::new(disk.clone()), settings).await.unwrap();
        fill(&store, 3).await;
        // The commit itself appends three times and flushes once.
        let after = match call {
            Call::Append => 3,
            Call::SyncData => 1,
            _ => 0,
        };
        disk.fail(call, after, errno);
        fill(&store, 1).await;
        assert_eq!(store.failed_checkpoints(), 1, "{call:?}");
        fill(&store, 1).await;
        assert_eq!(store.failed_checkpoints(), 1, "{call:?}");
        assert!(
            names(directory.path(), "checkpoints").contains(&checkpoint::file_name(Version(5)))
        );
        let before = contents(&store).await;
        drop(store);
        assert_eq!(contents(&open_frugal(directory.path()).await).await, before, "{call:?}");
    }
}

#[tokio::test]
async fn a_checkpoint_without_a_log_or_ahead_of_it_refuses_to_open() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path()).await;
    fill(&store, 2).await;
    drop(store);
    let log = directory.path().join("log");
    let old = TempDir::new().unwrap();
    copy(&log, old.path());
    let store = open(directory.path()).await;
    fill(&store, 3).await;
    store.checkpoint().await.unwrap();
    drop(store);
    fs::remove_dir_all(directory.path().join("index")).unwrap();
    fs::remove_dir_all(&log).unwrap();
    let refused = try_open(directory.path()).await.unwrap_err();
    assert!(refused.to_string().contains("there is a checkpoint of version 5"), "{refused}");
    fs::remove_dir_all(&log).unwrap();
    copy(old.path(), &log);
    let refused = try_open(directory.path()).await.unwrap_err();
    assert!(refused.to_string().contains("version 5 was acknowledged"), "{refused}");
}

#[tokio::test]
async fn verifying_finds_a_row_that_is_wrong_missing_or_too_many() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path()).await;
    fill(&store, 6).await;
    let verified = store.verify().await.unwrap();
    let newest = store.record(Version(6)).await.unwrap();
    assert_eq!(
        (verified.oldest, verified.head, verified.hash),
        (Version(1), Version(6), newest.hash)
    );
    store.checkpoint().await.unwrap();
    drop(store);
    let index = directory.path().join("index");
    let old: Vec<u8> = [b"va".as_slice(), &[0; 8]].concat();
    let value = [b"ka\0".as_slice(), &2_u64.to_be_bytes()].concat();
    let extra = [b"knone\0".as_slice(), &2_u64.to_be_bytes()].concat();
    for (name, content) in [(value, Some(vec![])), (extra, Some(vec![])), (old, Some(vec![1]))] {
        let database = open_sled(&index).unwrap();
        let before = database.get(&name).unwrap();
        database.insert(&name, content.unwrap()).unwrap();
        drop(database);
        let store = open(directory.path()).await;
        let found = store.verify().await.unwrap_err();
        assert!(matches!(&found, StoreError::Corrupt { path, .. } if *path == index), "{found}");
        drop(store);
        let database = open_sled(&index).unwrap();
        match before {
            Some(before) => database.insert(&name, before).unwrap(),
            None => database.remove(&name).unwrap(),
        };
    }
    open(directory.path()).await.verify().await.unwrap();
}
