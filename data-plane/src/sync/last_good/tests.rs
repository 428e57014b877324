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
