//! Backups, and stores made from them.

use std::{
    io::{self, Cursor},
    time::Duration,
};

use super::*;
use crate::conformance::Contents;

fn backup(store: &EmbeddedStore) -> Vec<u8> {
    let mut bytes = Vec::new();
    store.backup(&mut bytes).unwrap();
    bytes
}

fn restore(bytes: &[u8], directory: &Path) -> Result<Restored, StoreError> {
    EmbeddedStore::restore(&mut Cursor::new(bytes), directory)
}

/// Takes the hashes away, which are those of a lineage.
fn without_hashes(mut contents: Contents) -> Contents {
    for record in &mut contents.records {
        (record.hash, record.parent_hash) = ([0; 32], [0; 32]);
    }
    contents
}

#[tokio::test]
async fn a_restored_store_has_the_same_history_and_a_lineage_of_its_own() {
    let (store, _directory) = fresh().await;
    fill(&store, 9).await;
    let bytes = backup(&store);
    let place = TempDir::new().unwrap();
    let missing = place.path().join("not/yet");
    for directory in [place.path().join("empty"), missing] {
        let restored = restore(&bytes, &directory).unwrap();
        assert_eq!(
            (restored.head, restored.lineage.parent),
            (Version(9), Some(store.lineage().id))
        );
        assert_ne!(restored.lineage.hash_key, store.lineage().hash_key);
        let copy = open(&directory).await;
        assert_eq!(*copy.lineage(), restored.lineage);
        let (ours, theirs) = (contents(&copy).await, contents(&store).await);
        assert_ne!(ours.records[0].hash, theirs.records[0].hash);
        assert_eq!(without_hashes(ours), without_hashes(theirs));
        copy.verify().await.unwrap();
        fill(&copy, 1).await;
        assert_eq!(copy.head().await.unwrap(), Version(10));
    }
}

#[tokio::test]
async fn a_store_that_forgot_something_can_be_backed_up_and_the_restored_one_again() {
    let directory = TempDir::new().unwrap();
    let settings = Settings {
        checkpoint_every: 4,
        checkpoints_kept: 2,
        kept_versions: 8,
        kept_for: Duration::ZERO,
        ..settings(directory.path())
    };
    let store = EmbeddedStore::open(settings).await.unwrap();
    store.commit(Version::NONE, commit(&[("once", Some("written once"))])).await.unwrap();
    fill(&store, 39).await;
    let once = Key::new("once").unwrap();
    let before = store.records(None, 99).await.unwrap();
    let oldest = before.last().unwrap().version;
    assert!(oldest > Version(20), "{oldest}");
    let place = TempDir::new().unwrap();
    let mut bytes = backup(&store);
    for round in ["one", "two"] {
        let target = place.path().join(round);
        restore(&bytes, &target).unwrap();
        let copy = open(&target).await;
        let after = copy.records(None, 99).await.unwrap();
        assert_eq!(after.len(), before.len());
        assert_eq!(after.last().unwrap().version, oldest);
        assert_eq!(copy.get(&once).await.unwrap(), Some("written once".into()));
        for version in oldest.0..=40 {
            for name in ["a", "once", "b/3"] {
                let (version, name) = (Version(version), Key::new(name).unwrap());
                let expected = store.get_at(version, &name).await.unwrap();
                assert_eq!(copy.get_at(version, &name).await.unwrap(), expected);
            }
        }
        copy.verify().await.unwrap();
        bytes = backup(&copy);
    }
}

#[tokio::test]
async fn a_backup_cut_or_changed_anywhere_is_refused_and_leaves_nothing() {
    let (store, _directory) = fresh().await;
    fill(&store, 3).await;
    let bytes = backup(&store);
    // More than a thousand restores flush; memory makes short work of that where there is some.
    let place = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap();
    let target = place.path().join("a/b");
    let check = |damaged: &[u8], position: usize| {
        let refused = restore(damaged, &target).unwrap_err();
        let StoreError::InvalidBackup { offset, .. } = refused else {
            panic!("byte {position}: {refused}")
        };
        assert!(offset <= bytes.len() as u64);
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0, "byte {position}");
    };
    for position in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[position] ^= 0x11;
        check(&flipped, position);
        if position % 3 == 0 {
            check(&bytes[..position], position);
        }
    }
    check(&[&bytes[..], b"more"].concat(), bytes.len());
    restore(&bytes, &target).unwrap();
}

#[tokio::test]
async fn a_directory_that_is_in_use_is_left_alone() {
    let (store, directory) = fresh().await;
    fill(&store, 2).await;
    let bytes = backup(&store);
    let before = contents(&store).await;
    let refused = restore(&bytes, directory.path()).unwrap_err();
    assert!(matches!(&refused, StoreError::Occupied { path } if path == directory.path()));
    drop(store);
    assert_eq!(contents(&open(directory.path()).await).await, before);
}

#[tokio::test]
async fn a_restore_that_was_cut_off_can_be_done_again() {
    let (store, _directory) = fresh().await;
    fill(&store, 3).await;
    let bytes = backup(&store);
    let target = TempDir::new().unwrap();
    for name in ["restoring/log", "checkpoints"] {
        fs::create_dir_all(target.path().join(name)).unwrap();
        fs::write(target.path().join(name).join("00000000000000000009.ckpt"), "half").unwrap();
    }
    restore(&bytes, target.path()).unwrap();
    let copy = open(target.path()).await;
    assert_eq!(copy.head().await.unwrap(), Version(3));
    assert!(!target.path().join("restoring").exists());
}

#[tokio::test]
async fn commits_go_on_during_a_backup() {
    /// Makes a commit whenever it is written to.
    struct Busy(EmbeddedStore, tokio::runtime::Handle, Vec<u8>);
    impl Write for Busy {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(100);
            self.1.block_on(fill(&self.0, 1));
            self.2.extend_from_slice(&bytes[..count]);
            Ok(count)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let directory = TempDir::new().unwrap();
    let settings = Settings {
        checkpoint_every: 2,
        checkpoints_kept: 1,
        kept_versions: 1,
        kept_for: Duration::ZERO,
        ..settings(directory.path())
    };
    let store = EmbeddedStore::open(settings).await.unwrap();
    fill(&store, 1).await;
    let writer = EmbeddedStore { shared: Arc::clone(&store.shared) };
    let mut busy = Busy(writer, tokio::runtime::Handle::current(), Vec::new());
    let (version, busy, store) = spawn_blocking(move || {
        let version = store.backup(&mut busy).unwrap();
        (version, busy, store)
    })
    .await
    .unwrap();
    assert_eq!(version, Version(1));
    assert!(store.head().await.unwrap() > Version(3));
    let place = TempDir::new().unwrap();
    assert_eq!(restore(&busy.2, place.path()).unwrap().head, Version(1));
    assert_eq!(contents(&open(place.path()).await).await.records.len(), 1);
}

#[tokio::test]
async fn a_stream_that_fails_is_an_error_with_the_offset() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(1).ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len().min(64))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (store, _directory) = fresh().await;
    fill(&store, 3).await;
    for writes in 0..5 {
        let failed = store.backup(&mut Full(writes)).unwrap_err();
        assert!(matches!(failed, StoreError::Stream { action: "write", .. }), "{failed}");
    }
    fill(&store, 1).await;
}

#[tokio::test]
async fn damage_a_checkpoint_makes_up_for_costs_a_backup_only_history() {
    let (store, directory) = fresh().await;
    fill(&store, 9).await;
    store.checkpoint().await.unwrap();
    fill(&store, 2).await;
    let first = Disk.list(&directory.path().join("log")).unwrap().into_iter().min().unwrap();
    fs::remove_file(directory.path().join("log").join(first)).unwrap();
    let place = TempDir::new().unwrap();
    restore(&backup(&store), place.path()).unwrap();
    let copy = open(place.path()).await;
    assert_eq!(copy.head().await.unwrap(), Version(11));
    assert_eq!(copy.records(None, 99).await.unwrap().len(), 2);
    let key = Key::new("a").unwrap();
    assert_eq!(copy.get(&key).await.unwrap(), store.get(&key).await.unwrap());
}
