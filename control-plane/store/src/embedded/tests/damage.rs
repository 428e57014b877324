//! A changed byte anywhere, and a full disk.

use std::{sync::Arc, time::Duration};

use super::{
    super::{core::Shared, open::IndexPlace},
    *,
};
use crate::{
    filesystem::recording::{Image, Recording},
    index::{Content, Rows},
};

const COMMITS: u64 = 14;
const KEPT: u64 = 6;

fn small() -> Settings {
    Settings {
        segment_size: 700,
        checkpoint_every: 5,
        checkpoints_kept: 2,
        kept_versions: KEPT,
        kept_for: Duration::ZERO,
        ..settings(Path::new("/data"))
    }
}

fn open_image(image: &Image, content: &Content) -> Result<Shared, StoreError> {
    let rows = Rows::default();
    *rows.now.lock().unwrap() = content.clone();
    Shared::open(Arc::new(Recording::new(image.clone())), small(), IndexPlace::Memory(rows), None)
}

fn change(version: u64) -> Commit {
    let text = format!("value {version}");
    let once = format!("once/{}", version / 6);
    commit(&[
        ("a", Some(&text)),
        (&once, Some(&text)),
        ("b", (!version.is_multiple_of(3)).then_some("b")),
    ])
}

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

#[test]
fn a_flipped_byte_in_the_log_or_a_checkpoint_is_made_up_for_or_refused_by_name() {
    let disk = Recording::default();
    let rows = Rows::default();
    let place = IndexPlace::Memory(rows.clone());
    let store = Shared::open(Arc::new(disk.clone()), small(), place, None).unwrap();
    let records: Vec<_> =
        (1..=COMMITS).map(|n| store.commit(Version(n - 1), &change(n)).unwrap()).collect();
    let names = ["a", "b", "once/0", "once/1", "once/2"];
    let values = |store: &Shared, version| names.map(|name| store.get_at(version, &key(name)));
    let expected: Vec<_> =
        (1..=COMMITS).map(|version| values(&store, Version(version)).map(Result::ok)).collect();
    let (image, content) = (disk.image(), rows.now.lock().unwrap().clone());
    let kinds =
        |end: &str| image.keys().filter(|path| path.to_str().unwrap().ends_with(end)).count();
    assert!(kinds(".log") > 2 && kinds(".ckpt") > 1, "{:?}", image.keys());

    let (mut opened, mut refused) = (0, 0);
    for (path, bytes) in &image {
        for position in 0..bytes.len() {
            let mut image = image.clone();
            image.get_mut(path).unwrap()[position] ^= 0x21;
            // Whether the index is whole or has to be built from what is damaged.
            for content in [&content, &Content::new()] {
                let state = format!("{}, byte {position}", path.display());
                let store = match open_image(&image, content) {
                    Ok(store) => store,
                    Err(StoreError::Corrupt { path: named, offset, help, .. }) => {
                        assert!(named == *path && !help.is_empty(), "{state}");
                        assert!(offset <= position as u64, "{state}: {offset}");
                        assert!(path.extension().unwrap() == "log", "{state}");
                        refused += 1;
                        continue;
                    }
                    Err(other) => panic!("{state}: {other}"),
                };
                opened += 1;
                let head = store.head().0;
                // Without an index nothing tells a changed last commit from a torn one.
                let is_torn = content.is_empty() && path.ends_with("00000000000000000013.log");
                assert!(head == COMMITS || is_torn && head >= COMMITS - 2, "{state}: {head}");
                for version in 1..=head {
                    let place = version as usize - 1;
                    if let Ok(record) = store.record(Version(version)) {
                        assert_eq!(record, records[place], "{state}");
                    }
                    for (found, expected) in
                        values(&store, Version(version)).into_iter().zip(&expected[place])
                    {
                        match (found, expected) {
                            (Ok(found), Some(expected)) => assert_eq!(found, *expected, "{state}"),
                            (Ok(_), None) | (Err(_), _) => {}
                        }
                    }
                }
                for (name, expected) in names.iter().zip(&expected[head as usize - 1]) {
                    let found = store.get(&key(name)).unwrap();
                    assert_eq!(Some(found), *expected, "{state}: {name}");
                }
                let next = store.commit(Version(head), &change(head + 1)).unwrap();
                assert_eq!(next.version, Version(head + 1), "{state}");
            }
        }
    }
    println!("{opened} opened, {refused} refused");
    assert!(opened > 1_000 && refused > 100, "{opened} {refused}");
}

#[tokio::test]
async fn a_ballast_is_set_aside_and_made_again_at_the_next_start() {
    let directory = TempDir::new().unwrap();
    let with_ballast = || Settings { ballast_size: 3_000_000, ..settings(directory.path()) };
    let path = directory.path().join("ballast");
    for _ in 0..2 {
        drop(EmbeddedStore::open(with_ballast()).await.unwrap());
        assert_eq!(fs::metadata(&path).unwrap().len(), 3_000_000);
        fs::remove_file(&path).unwrap();
    }
    // Without room for it the store opens, and nothing of it stays.
    let disk = Faulty::default();
    drop(open(directory.path()).await);
    disk.fail_append(1, ENOSPC, 1000);
    let store = EmbeddedStore::open_on(Arc::new(disk), with_ballast()).await.unwrap();
    assert!(!path.exists());
    fill(&store, 1).await;
}

#[tokio::test]
async fn a_broken_disk_refuses_the_commit_and_acknowledges_nothing_it_loses() {
    for (call, is_poisoned) in [(Call::Append, false), (Call::SyncData, true)] {
        let directory = TempDir::new().unwrap();
        let disk = Faulty::default();
        let settings = settings(directory.path());
        let store = EmbeddedStore::open_on(Arc::new(disk.clone()), settings).await.unwrap();
        fill(&store, 2).await;
        disk.fail(call, 0, EIO);
        let refused = store.commit(Version(2), commit(&[("a", Some("lost"))])).await.unwrap_err();
        let log = directory.path().join("log");
        let text = refused.to_string();
        assert!(text.contains(log.to_str().unwrap()) && text.contains("check the disk"), "{text}");
        let next = store.commit(Version(2), commit(&[("a", Some("next"))])).await;
        assert_eq!(next.is_err(), is_poisoned, "{call:?}");
        let before = contents(&store).await;
        drop(store);
        assert_eq!(contents(&open(directory.path()).await).await, before, "{call:?}");
    }
}
