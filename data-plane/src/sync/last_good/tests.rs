use bytes::Bytes;

use super::*;

fn running(version: u64, bodies: &[&str]) -> Running {
    let hash_key = HashKey([5; 32]);
    let resources = bodies.iter().enumerate().map(|(n, body)| {
        let key = ResourceKey { kind: ResourceKind::Backend, name: format!("b{n}").into() };
        let resource = Resource::new(&key, Bytes::from((*body).to_owned()), &hash_key);
        (key, resource)
    });
    let resources = Arc::new(ResourceSet::new(hash_key, resources.collect()));
    let labels = Labels::grant(&["edge"]).unwrap();
    Running { lineage: "L".into(), version: Version(version), labels, resources }
}

fn store() -> (tempfile::TempDir, LastGood) {
    let directory = tempfile::tempdir().unwrap();
    let store = LastGood::open(directory.path().join("last-good"), SealKey::generate().unwrap());
    let store = store.unwrap();
    (directory, store)
}

#[test]
fn what_is_saved_is_loaded_and_the_newest_wins() {
    let (_directory, store) = store();
    assert_eq!(store.load(|_| true).unwrap(), None);
    for version in 1..=6 {
        store.save(&running(version, &["a", "b"])).unwrap();
        assert_eq!(store.load(|_| true).unwrap().unwrap().version, Version(version));
    }
    assert_eq!(store.files().unwrap().len(), KEPT);
}

#[test]
fn a_damaged_file_falls_back_to_the_one_before() {
    let (_directory, store) = store();
    store.save(&running(1, &["one"])).unwrap();
    store.save(&running(2, &["two"])).unwrap();
    let newest = store.files().unwrap().remove(0);
    let bytes = fs::read(&newest).unwrap();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x20;
        fs::write(&newest, &damaged).unwrap();
        let loaded = store.load(|_| true).unwrap().unwrap();
        assert_eq!(loaded, running(1, &["one"]), "byte {at}");
    }
    for end in 0..bytes.len() {
        fs::write(&newest, &bytes[..end]).unwrap();
        assert_eq!(store.load(|_| true).unwrap().unwrap().version, Version(1), "cut at {end}");
    }
}

#[test]
fn others_cannot_read_what_holds_private_keys() {
    use std::os::unix::fs::PermissionsExt;
    let (_directory, store) = store();
    store.save(&running(1, &["secret"])).unwrap();
    let file = store.files().unwrap().remove(0);
    assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let error = LastGood::open(file.join("last-good"), SealKey::generate().unwrap()).unwrap_err();
    assert!(error.to_string().contains("file/last-good"), "{error}");
}

#[test]
fn nothing_can_be_read_without_the_key() {
    let (directory, store) = store();
    store.save(&running(1, &["a very private key"])).unwrap();
    let bytes = fs::read(store.files().unwrap().remove(0)).unwrap();
    assert!(!bytes.windows(7).any(|part| part == b"private"));
    let other = SealKey::generate().unwrap();
    let other = LastGood::open(directory.path().join("last-good"), other).unwrap();
    assert_eq!(other.load(|_| true).unwrap(), None);
    assert_eq!(store.load(|_| true).unwrap().unwrap().version, Version(1));
}

/// A version of many backends, of which one says `body`.
fn large(version: u64, body: &str) -> Running {
    let long = "x".repeat(1_000);
    let mut bodies = vec![long.as_str(); 300];
    bodies[7] = body;
    running(version, &bodies)
}

/// The versions behind the newest snapshot.
fn behind(store: &LastGood) -> PathBuf {
    changes::file(&store.files().unwrap()[0])
}

#[test]
fn what_changes_little_of_much_stands_behind_a_snapshot() {
    let (directory, store) = store();
    let mut appended = 0;
    for version in 1..=100 {
        let saved = large(version, &format!("body {version}"));
        let before = store.files().unwrap().first().cloned();
        store.save(&saved).unwrap();
        appended += usize::from(before == store.files().unwrap().first().cloned());
        assert_eq!(store.load(|_| true).unwrap().unwrap(), saved);
        let reopened = LastGood::open(directory.path().join("last-good"), store.key.clone());
        assert_eq!(reopened.unwrap().load(|_| true).unwrap().unwrap(), saved);
    }
    assert_eq!(appended, 100 - KEPT - 1, "64 may follow one");
    assert_eq!(store.files().unwrap().len(), KEPT);
    let entries = fs::read_dir(directory.path().join("last-good")).unwrap();
    assert!(entries.count() <= 2 * KEPT, "nothing is left behind");
}

#[test]
fn an_end_that_is_damaged_costs_what_stands_there_and_nothing_before() {
    let (_directory, store) = store();
    let versions = KEPT as u64 + 3;
    let saved: Vec<_> = (1..=versions).map(|v| large(v, &format!("body {v}"))).collect();
    let mut ends = vec![0];
    for running in &saved {
        store.save(running).unwrap();
        ends.extend(fs::metadata(behind(&store)).ok().map(|is| is.len() as usize));
    }
    assert_eq!(ends.len(), 4);
    let path = behind(&store);
    let bytes = fs::read(&path).unwrap();
    let whole_before = |at: usize| ends.iter().filter(|end| **end <= at).count() - 1;
    for at in 0..bytes.len() {
        let kept = &saved[KEPT - 1 + whole_before(at)];
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x20;
        for content in [&damaged, &bytes[..at]] {
            fs::write(&path, content).unwrap();
            assert_eq!(&store.load(|_| true).unwrap().unwrap(), kept, "at {at}");
        }
    }
    // Entries that change places are not taken either.
    let (first, second) = (&bytes[..ends[1]], &bytes[ends[1]..ends[2]]);
    fs::write(&path, [second, first].concat()).unwrap();
    assert_eq!(store.load(|_| true).unwrap().unwrap(), saved[KEPT - 1]);
    // Nor is anything put behind such an end by the next process.
    let next = LastGood::open(path.parent().unwrap().to_owned(), store.key.clone()).unwrap();
    next.save(&large(9, "nine")).unwrap();
    assert_eq!(next.load(|_| true).unwrap().unwrap(), large(9, "nine"));
}

#[test]
fn a_version_that_is_not_wanted_gives_way_to_the_one_before() {
    let (_directory, store) = store();
    for version in 1..=6 {
        store.save(&large(version, &format!("body {version}"))).unwrap();
    }
    let mut seen = Vec::new();
    let loaded = store.load(|running| {
        seen.push(running.version.0);
        running.version.0 < 2
    });
    assert_eq!(loaded.unwrap().unwrap(), large(1, "body 1"));
    assert_eq!(seen, [6, 5, 4, 3, 2, 1]);
}

#[test]
fn a_private_key_that_changed_is_gone_with_the_versions_after_it() {
    let (directory, store) = store();
    let with_key = |version: u64, body: &str| {
        let one = large(version, body);
        let key = ResourceKey { kind: ResourceKind::Certificate, name: "c".into() };
        let hash_key = *one.resources.hash_key();
        let resource = Resource::new(&key, Bytes::from("a private key"), &hash_key);
        let delta = lb_model::resource::Delta { upsert: vec![(key, resource)], remove: vec![] };
        Running { resources: Arc::new(one.resources.with(delta)), ..one }
    };
    for version in 1..=6 {
        store.save(&with_key(version, &format!("body {version}"))).unwrap();
    }
    assert!(behind(&store).exists());
    for version in 7..=9 {
        store.save(&large(version, "without")).unwrap();
        assert!(!behind(&store).exists(), "written whole");
    }
    let left = |running: &Running| running.version.0;
    let mut versions = Vec::new();
    let _ = store.load(|running| {
        versions.push(left(running));
        false
    });
    assert_eq!(versions, [9, 8, 7], "after two more versions nothing has the key");
    assert_eq!(fs::read_dir(directory.path().join("last-good")).unwrap().count(), KEPT);
}

#[test]
fn a_snapshot_that_was_taken_away_is_written_again() {
    let (_directory, store) = store();
    for version in 1..=5 {
        store.save(&large(version, &format!("body {version}"))).unwrap();
    }
    for file in store.files().unwrap() {
        fs::remove_file(file).unwrap();
    }
    store.save(&large(6, "six")).unwrap();
    assert_eq!(store.load(|_| true).unwrap().unwrap(), large(6, "six"));
}
