//! The log against crashes, damage and failing disks.

use std::fs;

use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::{
    conformance::commit,
    filesystem::faulty::{Call, EIO, ENOSPC, Faulty},
};

/// A directory with a log in it.
struct Place {
    directory: TempDir,
    file_system: Faulty,
    segment_size: u64,
}

impl Place {
    fn new() -> Self {
        Self::with_segments(u64::MAX)
    }

    fn with_segments(segment_size: u64) -> Self {
        Self { directory: TempDir::new().unwrap(), file_system: Faulty::default(), segment_size }
    }

    fn open(&self) -> Result<(Log, Vec<Entry>), StoreError> {
        self.open_knowing(None)
    }

    fn open_knowing(&self, known: Option<KnownHead>) -> Result<(Log, Vec<Entry>), StoreError> {
        let settings = Settings {
            directory: self.directory.path().to_owned(),
            checkpoints: self.directory.path().join("checkpoints"),
            segment_size: self.segment_size,
            parent: None,
        };
        let mut entries = Vec::new();
        let file_system = Arc::new(self.file_system.clone());
        let log = Log::open(file_system, settings, known, None, &mut |entry| {
            entries.push(entry.clone());
            Ok(())
        })?;
        Ok((log, entries))
    }

    /// Writes some commits and returns what the log must hold.
    fn fill(&self, count: u64) -> Vec<Entry> {
        let (mut log, _) = self.open().unwrap();
        (0..count).map(|n| log.append(&change(n)).unwrap()).collect()
    }

    fn segment(&self, first: u64) -> PathBuf {
        self.directory.path().join(segment::file_name(Version(first)))
    }

    fn names(&self) -> Vec<String> {
        let mut names = crate::filesystem::Disk.list(self.directory.path()).unwrap();
        names.sort();
        names
    }
}

fn change(n: u64) -> Commit {
    commit(&[("config/bundle", Some(&format!("bundle {n}"))), ("b", Some("")), ("old", None)])
}

/// Checks that a log holds exactly these commits, values included.
fn assert_holds(log: &Log, found: &[Entry], expected: &[Entry]) {
    assert_eq!(found, expected);
    assert_eq!(log.head(), Version(expected.len() as u64));
    for (n, entry) in expected.iter().enumerate() {
        let values: Vec<_> = entry.values().map(|(_, v)| log.reader().value(v).unwrap()).collect();
        assert_eq!(values, [Bytes::from(format!("bundle {n}")), Bytes::new()]);
        assert_eq!(log.reader().record(entry.location).unwrap().version, entry.summary.version);
    }
}

#[test]
fn what_was_appended_is_found_again() {
    let place = Place::new();
    let written = place.fill(5);
    let (log, found) = place.open().unwrap();
    assert_holds(&log, &found, &written);
}

#[test]
fn a_commit_is_flushed_before_it_is_answered_and_a_segment_before_it_is_named() {
    let place = Place::with_segments(1);
    let (mut log, _) = place.open().unwrap();
    let create = [Call::Create, Call::Append, Call::SyncData, Call::Rename, Call::SyncDir];
    assert_eq!(place.file_system.take_calls(), create);
    let append = [Call::Append, Call::Append, Call::Append, Call::SyncData];
    log.append(&change(0)).unwrap();
    assert_eq!(place.file_system.take_calls(), append);
    log.append(&change(1)).unwrap();
    assert_eq!(place.file_system.take_calls(), [create.as_slice(), &append].concat());
    drop(log);
    place.open().unwrap();
    assert_eq!(place.file_system.take_calls(), [Call::SyncData, Call::SyncDir]);
}

#[test]
fn a_full_segment_is_followed_by_another() {
    let place = Place::with_segments(300);
    let written = place.fill(7);
    assert!(place.names().len() > 2, "{:?}", place.names());
    let (log, found) = place.open().unwrap();
    assert_holds(&log, &found, &written);
}

#[test]
fn a_torn_tail_is_cut_at_the_last_valid_record() {
    let place = Place::new();
    let written = place.fill(3);
    let whole = fs::read(place.segment(1)).unwrap();
    let last = written[2].location.offset as usize;
    assert_eq!(written[2].end(), whole.len() as u64);
    for end in last..whole.len() {
        // Cut short, and as long as it should be but with nothing but zeros written.
        let short = whole[..end].to_vec();
        let mut zeros = short.clone();
        zeros.resize(whole.len(), 0);
        let is_torn = zeros != whole;
        for torn in [short, zeros].into_iter().filter(|_| is_torn) {
            fs::write(place.segment(1), torn).unwrap();
            let (mut log, found) = place.open().unwrap();
            assert_holds(&log, &found, &written[..2]);
            assert_eq!(fs::read(place.segment(1)).unwrap(), whole[..last], "cut at {end}");
            // The version of the torn commit was never acknowledged and is free.
            assert_eq!(log.append(&change(2)).unwrap(), written[2]);
            assert_eq!(fs::read(place.segment(1)).unwrap(), whole);
        }
    }
}

#[test]
fn a_flipped_byte_never_yields_wrong_data() {
    let place = Place::new();
    let written = place.fill(5);
    let whole = fs::read(place.segment(1)).unwrap();
    let last = written[4].location.offset as usize;
    for position in 0..whole.len() {
        for mask in [0x01, 0x80, 0xff] {
            let mut flipped = whole.clone();
            flipped[position] ^= mask;
            fs::write(place.segment(1), &flipped).unwrap();
            match place.open() {
                Ok((log, found)) => {
                    assert!(position >= last, "byte {position} is not in the tail");
                    assert_holds(&log, &found, &written[..4]);
                }
                Err(StoreError::Corrupt { path, .. }) => {
                    assert!(position < last, "byte {position} is in the tail");
                    assert_eq!(path, place.segment(1));
                    assert_eq!(fs::read(path).unwrap(), flipped, "evidence is left alone");
                }
                Err(other) => panic!("byte {position}: {other}"),
            }
        }
    }
}

#[test]
fn a_log_that_lost_an_acknowledged_commit_refuses_to_open() {
    let place = Place::new();
    let written = place.fill(3);
    let lineage = place.open().unwrap().0.reader().lineage().id;
    let whole = fs::read(place.segment(1)).unwrap();
    let torn = &whole[..whole.len() - 1];
    fs::write(place.segment(1), torn).unwrap();
    let refused = place.open_knowing(Some(KnownHead { lineage, version: Version(3) })).unwrap_err();
    assert!(
        matches!(&refused, StoreError::Corrupt { offset, what, .. }
            if *offset == written[2].location.offset
                && what == "it ends with version 2, but version 3 was acknowledged"),
        "{refused}"
    );
    assert_eq!(fs::read(place.segment(1)).unwrap(), torn, "evidence is left alone");
    place.open_knowing(Some(KnownHead { lineage, version: Version(2) })).unwrap();
}

#[test]
fn a_missing_or_foreign_segment_is_a_hard_stop() {
    let place = Place::with_segments(1);
    place.fill(3);
    let middle = fs::read(place.segment(2)).unwrap();
    fs::remove_file(place.segment(2)).unwrap();
    let missing = place.open().unwrap_err();
    assert!(matches!(&missing, StoreError::Corrupt { path, .. } if *path == place.segment(3)));

    let other = Place::with_segments(1);
    other.fill(3);
    fs::copy(other.segment(2), place.segment(2)).unwrap();
    let foreign = place.open().unwrap_err();
    assert!(matches!(&foreign, StoreError::Corrupt { path, .. } if *path == place.segment(2)));

    fs::write(place.segment(2), &middle[..middle.len() - 1]).unwrap();
    let torn = place.open().unwrap_err();
    assert!(matches!(&torn, StoreError::Corrupt { path, .. } if *path == place.segment(2)));

    fs::write(place.segment(2), &middle).unwrap();
    place.open().unwrap();
    fs::remove_file(place.segment(1)).unwrap();
    assert!(matches!(place.open(), Err(StoreError::Corrupt { .. })));
}

#[test]
fn a_crash_while_a_segment_is_created_leaves_the_log_whole() {
    let place = Place::new();
    let written = place.fill(2);
    // Not named yet, whatever is in it; and named, but without a record.
    fs::write(place.directory.path().join(segment::UNFINISHED), "lbcom").unwrap();
    let (log, found) = place.open().unwrap();
    assert_holds(&log, &found, &written);
    segment::create(&place.file_system, place.directory.path(), Version(3), log.reader().lineage())
        .unwrap_or_else(|_| panic!("the disk is fine"));
    let (mut log, found) = place.open().unwrap();
    assert_holds(&log, &found, &written);
    log.append(&change(2)).unwrap();
    assert_eq!(place.names(), [segment::file_name(Version(1)), segment::file_name(Version(3))]);
}

#[test]
fn a_value_that_holds_a_record_does_not_pass_for_one() {
    let place = Place::new();
    let other = Place::new();
    other.fill(4);
    let mut decoy = change(0);
    decoy.puts[0].1 = fs::read(other.segment(1)).unwrap().into();
    let (mut log, _) = place.open().unwrap();
    let entry = log.append(&decoy).unwrap();
    let whole = fs::read(place.segment(1)).unwrap();
    fs::write(place.segment(1), &whole[..whole.len() - 1]).unwrap();
    let (_, found) = place.open().unwrap();
    assert_eq!(found, [], "torn, and cut at {}", entry.location.offset);
}

#[test]
fn a_full_disk_refuses_the_commit_and_takes_the_next_one() {
    for part in 0..3 {
        for written in [0, 1, 30, usize::MAX] {
            let place = Place::new();
            let (mut log, _) = place.open().unwrap();
            let first = log.append(&change(0)).unwrap();
            place.file_system.fail_append(part, ENOSPC, written);
            let refused = log.append(&change(9)).unwrap_err();
            assert!(
                matches!(&refused, StoreError::Unavailable { path, help, .. }
                    if *path == place.segment(1) && help.contains("free some space")),
                "{refused}"
            );
            assert_eq!(fs::metadata(place.segment(1)).unwrap().len(), first.end());
            let second = log.append(&change(1)).unwrap();
            let (log, found) = place.open().unwrap();
            assert_holds(&log, &found, &[first, second]);
        }
    }
}

#[test]
fn a_full_disk_at_a_new_segment_refuses_the_commit_and_takes_the_next_one() {
    for call in [Call::Create, Call::Append, Call::Rename] {
        let place = Place::with_segments(1);
        let (mut log, _) = place.open().unwrap();
        let first = log.append(&change(0)).unwrap();
        place.file_system.fail(call, 0, ENOSPC);
        let refused = log.append(&change(9)).unwrap_err();
        assert!(matches!(refused, StoreError::Unavailable { .. }), "{call:?}: {refused}");
        let second = log.append(&change(1)).unwrap();
        let (log, found) = place.open().unwrap();
        assert_holds(&log, &found, &[first, second]);
    }
}

#[test]
fn a_failed_flush_is_not_repeated_and_refuses_all_further_commits() {
    let place = Place::new();
    let (mut log, _) = place.open().unwrap();
    let first = log.append(&change(0)).unwrap();
    place.file_system.fail(Call::SyncData, 0, EIO);
    place.file_system.take_calls();
    for _ in 0..3 {
        let refused = log.append(&change(1)).unwrap_err();
        assert!(
            matches!(&refused, StoreError::Poisoned { path } if *path == place.segment(1)),
            "{refused}"
        );
    }
    let syncs = place.file_system.take_calls().into_iter().filter(|c| *c == Call::SyncData);
    assert_eq!(syncs.count(), 1);
    assert_holds(&log, std::slice::from_ref(&first), std::slice::from_ref(&first));
    drop(log);
    let (log, found) = place.open().unwrap();
    assert_holds(&log, &found, &[first]);
}

#[test]
fn a_failed_flush_of_a_new_segment_refuses_all_further_commits() {
    for call in [Call::SyncData, Call::SyncDir] {
        let place = Place::with_segments(1);
        let (mut log, _) = place.open().unwrap();
        let first = log.append(&change(0)).unwrap();
        place.file_system.fail(call, 0, EIO);
        for _ in 0..2 {
            let refused = log.append(&change(1)).unwrap_err();
            assert!(matches!(refused, StoreError::Poisoned { .. }), "{call:?}: {refused}");
        }
        drop(log);
        let (log, found) = place.open().unwrap();
        assert_holds(&log, &found, &[first]);
    }
}

#[test]
fn a_refused_commit_that_cannot_be_taken_back_refuses_all_further_commits() {
    for call in [Call::Truncate, Call::SyncData] {
        let place = Place::new();
        let (mut log, _) = place.open().unwrap();
        let first = log.append(&change(0)).unwrap();
        place.file_system.fail_append(0, ENOSPC, 25);
        place.file_system.fail(call, 0, EIO);
        for _ in 0..2 {
            let refused = log.append(&change(1)).unwrap_err();
            assert!(matches!(refused, StoreError::Poisoned { .. }), "{call:?}: {refused}");
        }
        drop(log);
        let (log, found) = place.open().unwrap();
        assert_holds(&log, &found, &[first]);
    }
}

#[test]
fn damage_that_appears_while_the_log_is_open_is_noticed() {
    let place = Place::new();
    let written = place.fill(2);
    let (log, _) = place.open().unwrap();
    let whole = fs::read(place.segment(1)).unwrap();
    let value = written[0].values().next().unwrap().1;
    let mut flipped = whole.clone();
    flipped[value.offset as usize] ^= 1;
    flipped[written[1].location.offset as usize + 30] ^= 1;
    for damaged in [&flipped[..], &whole[..value.offset as usize]] {
        fs::write(place.segment(1), damaged).unwrap();
        assert!(matches!(log.reader().value(value), Err(StoreError::Corrupt { .. })));
        let record = log.reader().record(written[1].location);
        assert!(matches!(record, Err(StoreError::Corrupt { .. })), "{record:?}");
    }
}
