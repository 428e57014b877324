//! Every loss of power during a workload, and what is found afterwards.
//!
//! A workload of commits, new segments, checkpoints, removals and restarts is recorded call by
//! call. Then the power fails after each call, in each of the ways the disk may take it, with the
//! index lost, stale, garbled or whole; and the store is opened on what is left.

use std::{collections::HashSet, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;

use super::super::{Settings, core::Shared, open::IndexPlace};
use crate::{
    Commit, CommitRecord, Key, StoreError, Version,
    conformance::commit,
    filesystem::recording::{Image, Operation, Power, Recording},
    index::{Content, Rows},
};

const COMMITS: u64 = 96;
const KEPT: u64 = 8;
const KEYS: [&str; 5] = ["a", "a/b", "big", "gone", "once"];

/// What was done, call by call, and what had been promised by then.
struct Timeline {
    image: Image,
    rows: Content,
    operations: Vec<Operation>,
    /// After how many calls the index was durable with what.
    flushed: Vec<(usize, Content)>,
    /// The newest version that was acknowledged before.
    acknowledged: Version,
}

/// What all versions must be, should they be there.
#[derive(Default)]
struct Model {
    records: Vec<CommitRecord>,
    values: Vec<Vec<Option<Bytes>>>,
}

/// What has become of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Fate {
    Lost,
    Newest,
    Stale,
    HeadGarbled,
    ValuesGarbled,
}

const FATES: [Fate; 5] =
    [Fate::Lost, Fate::Newest, Fate::Stale, Fate::HeadGarbled, Fate::ValuesGarbled];

fn settings() -> Settings {
    Settings {
        segment_size: 700,
        checkpoint_every: 4,
        checkpoints_kept: 2,
        kept_versions: KEPT,
        kept_for: Duration::ZERO,
        ballast_size: 0,
        ..Settings::new("/data")
    }
}

fn open(disk: &Recording, rows: &Rows) -> Result<Shared, StoreError> {
    Shared::open(Arc::new(disk.clone()), settings(), IndexPlace::Memory(rows.clone()), None)
}

fn rows(disk: &Recording, content: Content) -> Rows {
    let rows = Rows { disk: disk.clone(), ..Rows::default() };
    *rows.now.lock().unwrap() = content;
    rows
}

/// The commit that makes a version; the same whenever it is tried.
fn change(version: Version) -> Commit {
    let text = format!("value of {version}");
    let big = format!("{version} ").repeat(if version.0.is_multiple_of(7) { 700 } else { 3 });
    let n = version.0;
    let mut changes = vec![("a", Some(&*text))];
    match n % 4 {
        0 => changes.push(("big", Some(&big))),
        1 => changes.push(("a/b", Some(""))),
        2 => changes.extend([("a/b", None), ("gone", (n < 9).then_some(&*text))]),
        _ => {}
    }
    if n == 1 {
        changes.push(("once", Some("written once and never again")));
    }
    commit(&changes)
}

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

impl Model {
    /// Writes down what a store without faults says of its versions.
    fn add(&mut self, record: CommitRecord, commit: &Commit) {
        let mut values = self.values.last().cloned().unwrap_or_else(|| vec![None; KEYS.len()]);
        for (place, name) in KEYS.iter().enumerate() {
            if let Some((_, value)) = commit.puts.iter().find(|(key, _)| key.as_str() == *name) {
                values[place] = Some(value.clone());
            }
            if commit.removes.iter().any(|key| key.as_str() == *name) {
                values[place] = None;
            }
        }
        self.values.push(values);
        self.records.push(record);
    }
}

/// Makes commits on a disk, restarting now and then, and records it.
fn record(image: Image, content: Content, commits: u64, mut model: Option<&mut Model>) -> Timeline {
    let disk = Recording::new(image.clone());
    let rows = rows(&disk, content.clone());
    let mut shared = open(&disk, &rows).unwrap();
    let acknowledged = shared.head();
    for count in 1..=commits {
        if count % 23 == 0 {
            drop(shared);
            shared = open(&disk, &rows).unwrap();
        }
        let head = shared.head();
        let commit = change(head.next());
        let record = shared.commit(head, &commit).unwrap();
        if let Some(model) = model.as_deref_mut() {
            model.add(record, &commit);
        }
    }
    assert_eq!(shared.failed_checkpoints(), 0);
    drop(shared);
    let flushed = rows.flushed.lock().unwrap().clone();
    Timeline { image, rows: content, operations: disk.operations(), flushed, acknowledged }
}

impl Timeline {
    /// Returns what the index had last made durable, and before that.
    fn flushed(&self, calls: usize, back: usize) -> &Content {
        let before = self.flushed.partition_point(|(at, _)| *at <= calls);
        match before.checked_sub(back + 1) {
            Some(place) => &self.flushed[place].1,
            None => &self.rows,
        }
    }

    /// Returns the newest version that was acknowledged after some calls.
    fn acknowledged(&self, calls: usize) -> Version {
        let head = self.flushed(calls, 0).get(b"h".as_slice());
        let head = head.and_then(|row| row.last_chunk().map(|bytes| u64::from_be_bytes(*bytes)));
        Version(head.unwrap_or_default()).max(self.acknowledged)
    }

    fn index(&self, calls: usize, fate: Fate) -> Content {
        let mut rows = self.flushed(calls, if fate == Fate::Stale { 4 } else { 0 }).clone();
        match fate {
            Fate::Lost => rows.clear(),
            Fate::Newest | Fate::Stale => {}
            Fate::HeadGarbled => {
                rows.insert(b"h".to_vec(), b"garbage".to_vec());
            }
            Fate::ValuesGarbled => {
                rows.values_mut().filter(|row| row.len() > 40).for_each(|row| row[9] ^= 0x40);
            }
        }
        rows
    }

    /// Lets the power fail in every way after every call, and returns how many states differ.
    fn replay(
        &self,
        model: &Model,
        seen: &mut HashSet<[u8; 32]>,
        sample: &mut dyn FnMut(usize, Image, Content),
    ) -> usize {
        let mut states = 0;
        let mut power = Power::on(&self.image);
        for calls in 0..=self.operations.len() {
            if let Some(last) = calls.checked_sub(1) {
                power.pass(&self.operations[last]);
            }
            let acknowledged = self.acknowledged(calls);
            for (way, image) in power.fail() {
                for fate in FATES {
                    let content = self.index(calls, fate);
                    if !seen.insert(fingerprint(&image, &content, acknowledged)) {
                        continue;
                    }
                    let state = format!("after {calls} calls: {way}, index {fate:?}");
                    let kept = if fate == Fate::ValuesGarbled { 0 } else { KEPT };
                    check(&state, model, kept, &image, &content, acknowledged);
                    states += 1;
                    if kept > 0 {
                        sample(states, image.clone(), content);
                    }
                }
            }
        }
        states
    }
}

fn fingerprint(image: &Image, content: &Content, acknowledged: Version) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    let mut add = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_be_bytes()).update(bytes);
    };
    for (path, bytes) in image {
        add(path.to_str().unwrap().as_bytes());
        add(bytes);
    }
    for (name, row) in content {
        add(name);
        add(row);
    }
    add(&acknowledged.0.to_be_bytes());
    hasher.finalize().into()
}

/// Opens a store on what a crash has left, twice, and goes on with it.
///
/// At a start only the rows of the index that a checkpoint and the log behind it speak of are
/// compared. Garbled rows of older versions are errors when they are read, and never wrong values:
/// `kept` says how many versions must be found all the same.
fn check(
    state: &str,
    model: &Model,
    kept: u64,
    image: &Image,
    content: &Content,
    acknowledged: Version,
) {
    let disk = Recording::new(image.clone());
    let rows = rows(&disk, content.clone());
    let shared = open(&disk, &rows).unwrap_or_else(|e| panic!("{state}: {e}"));
    let head = shared.head();
    assert!(acknowledged <= head && head <= acknowledged.next(), "{state}: {acknowledged} {head}");
    let found = observe(state, model, kept, &shared);
    let lineage = shared.lineage().clone();
    drop(shared);

    let shared = open(&disk, &rows).unwrap_or_else(|e| panic!("{state}, again: {e}"));
    assert_eq!((shared.head(), shared.lineage()), (head, &lineage), "{state}, again");
    assert_eq!(observe(state, model, kept, &shared), found, "{state}, again");
    let record = shared.commit(head, &change(head.next())).unwrap();
    assert_eq!(record.version, head.next(), "{state}");
    if acknowledged > Version::NONE && head.0 < model.records.len() as u64 {
        assert_eq!(record, model.records[head.0 as usize], "{state}");
    }
}

/// Compares all a store says with what it must say, and returns the versions it has forgotten.
fn observe(state: &str, model: &Model, kept: u64, shared: &Shared) -> Vec<Version> {
    let head = shared.head();
    let mut forgotten = Vec::new();
    for version in (1..=head.0).map(Version) {
        let place = version.0 as usize - 1;
        match shared.record(version) {
            Ok(record) => assert_eq!(record, model.records[place], "{state}: {version}"),
            Err(error) => {
                assert!(version.0 + kept <= head.0, "{state}: {version} of {head}: {error}");
                forgotten.push(version);
            }
        }
        for (name, expected) in KEYS.iter().zip(&model.values[place]) {
            match shared.get_at(version, &key(name)) {
                Ok(value) => assert_eq!(value, *expected, "{state}: {name} at {version}"),
                Err(error) => {
                    assert!(version.0 + kept <= head.0, "{state}: {name} at {version}: {error}");
                }
            }
        }
    }
    if let Some(place) = head.0.checked_sub(1) {
        for (name, expected) in KEYS.iter().zip(&model.values[place as usize]) {
            assert_eq!(shared.get(&key(name)).unwrap(), *expected, "{state}: {name}");
        }
    }
    forgotten
}

#[test]
fn whatever_a_loss_of_power_leaves_every_acknowledged_commit_is_found() {
    let mut model = Model::default();
    let timeline = record(Image::new(), Content::new(), COMMITS, Some(&mut model));
    let removed = |operation: &&Operation| {
        let log = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "log");
        matches!(operation, Operation::Remove(path) if log(path))
    };
    let removed = timeline.operations.iter().filter(removed).count();
    assert!(removed > 5, "the workload removes segments: {removed}");

    let mut seen = HashSet::new();
    let mut samples = Vec::new();
    let states = timeline.replay(&model, &mut seen, &mut |count, image, content| {
        if count.is_multiple_of(71) {
            samples.push((image, content));
        }
    });
    // The power fails again while a store recovers and goes on.
    let mut again = 0;
    for (image, content) in samples {
        let second = record(image, content, 2, None);
        if second.acknowledged > Version::NONE && second.acknowledged.0 + 2 <= COMMITS {
            again += second.replay(&model, &mut seen, &mut |_, _, _| {});
        }
    }
    println!("{states} states, {again} of a second crash");
    assert!(states >= 8_000 && states + again >= 10_000, "{states} and {again}");
}
