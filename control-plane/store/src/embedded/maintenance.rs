//! Checkpoints when they are due, and forgetting what need not be kept.
//!
//! Nothing here may fail a commit: what cannot be done is tried again later. The order is what
//! makes it safe. The state a log is going to begin with becomes a checkpoint first, then the
//! index takes the values from there, and only then segments are removed.

use std::sync::{PoisonError, atomic::Ordering};

use jiff::{SignedDuration, Timestamp};
use tracing::{info, warn};

use crate::{
    StoreError, Version,
    checkpoint::{Checkpoint, FLUSH},
    embedded::core::Shared,
    index::Live,
    log::recovery::{Anchor, list_segments},
};

/// When the next checkpoint is due.
#[derive(Debug)]
pub(super) struct Maintenance {
    /// The version of the last checkpoint.
    last: Version,
    /// The time of the last checkpoint, or of the first commit there is to make one of.
    time: Option<Timestamp>,
    /// After a failure, the version from which on to try again.
    retry: Version,
    /// A flush failed: a name may be in the page cache only, so nothing is removed on its account
    /// until a restart shows what the disk has.
    is_doubtful: bool,
}

impl Maintenance {
    pub(super) fn new(newest: Option<&Checkpoint>) -> Self {
        Self {
            last: newest.map_or(Version::NONE, |newest| newest.at.version),
            time: newest.map(|newest| newest.time),
            retry: Version::NONE,
            is_doubtful: false,
        }
    }
}

impl Shared {
    pub(super) fn failed_checkpoints(&self) -> u64 {
        self.failed_checkpoints.load(Ordering::Relaxed)
    }

    /// Makes a checkpoint if one is due after a commit.
    pub(super) fn maintain(&self, version: Version, now: Timestamp) {
        // Whoever holds it makes a checkpoint or a backup; the next commit will ask again.
        let Ok(mut state) = self.maintenance.try_lock() else { return };
        let commits = version.0.saturating_sub(state.last.0);
        let since = *state.time.get_or_insert(now);
        let is_due = commits >= self.settings.checkpoint_every.max(1)
            || now.duration_since(since) >= signed(self.settings.checkpoint_age);
        if commits == 0 || !is_due || version < state.retry {
            return;
        }
        if let Err(error) = self.make(&mut state) {
            let failed = self.failed_checkpoints.fetch_add(1, Ordering::Relaxed) + 1;
            warn!(%error, cause = ?error, failed, "checkpoint not made");
            state.retry = Version(version.0 + (self.settings.checkpoint_every / 8).max(1));
        }
    }

    /// Makes a checkpoint now.
    pub(super) fn checkpoint(&self) -> Result<Version, StoreError> {
        let mut state = self.maintenance.lock().unwrap_or_else(PoisonError::into_inner);
        self.make(&mut state)
    }

    fn make(&self, state: &mut Maintenance) -> Result<Version, StoreError> {
        let result = self.make_durable(state).and_then(|version| {
            if !state.is_doubtful && version > self.base() {
                self.forget(version)?;
            }
            Ok(version)
        });
        if let Err(StoreError::Unavailable { action: FLUSH, .. }) = &result {
            state.is_doubtful = true;
        }
        result
    }

    fn make_durable(&self, state: &mut Maintenance) -> Result<Version, StoreError> {
        let head = self.head();
        // There is nothing to say about a store that is as its base has it.
        if head == self.base() {
            return Ok(head);
        }
        let made = self.write_state(head)?;
        *state = Maintenance {
            retry: Version::NONE,
            is_doubtful: state.is_doubtful,
            ..Maintenance::new(Some(&made))
        };
        Ok(head)
    }

    /// Writes the checkpoint of a version whose record is kept.
    fn write_state(&self, version: Version) -> Result<Checkpoint, StoreError> {
        let record = self.record(version)?;
        let live = self.index.live(version)?;
        let at = Anchor { version, hash: record.hash };
        let held: Vec<_> = live.iter().map(|live| live.held.clone()).collect();
        let mut places = live.iter();
        self.checkpoints.write(at, record.time, &held, |held| {
            let lost = || self.index.disagrees(format!("it lost key `{}`", held.key));
            let Live { location, .. } = places.next().ok_or_else(lost)?;
            self.value(&held.key, *location)
        })
    }

    /// Removes segments and checkpoints that need not be kept.
    fn forget(&self, head: Version) -> Result<(), StoreError> {
        let first = self.first_kept(head)?;
        let directory = self.reader.directory();
        let segments = list_segments(self.reader.file_system(), directory)?;
        if let Some(first) = first.filter(|first| segments.first().is_some_and(|old| old < first)) {
            let base = Version(first.0 - 1);
            if base > self.base() {
                let state = self.write_state(base)?;
                self.index.rebase(&state)?;
                self.index.flush()?;
                // Readers are told before anything disappears.
                self.base.store(base.0, Ordering::Release);
            }
            let old = segments.into_iter().take_while(|segment| *segment < first);
            for path in old.map(|segment| self.reader.path(segment)) {
                let removed = self.reader.file_system().remove(&path);
                removed.map_err(|e| StoreError::unavailable("remove", &path, e))?;
                info!(path = %path.display(), oldest = %first, "old commits removed");
            }
            let flushed = self.reader.file_system().sync_dir(directory);
            flushed.map_err(|e| StoreError::unavailable(FLUSH, directory, e))?;
        }
        self.checkpoints.prune(self.settings.checkpoints_kept.max(1), self.base())
    }

    /// Returns the newest segment before which everything may be forgotten.
    fn first_kept(&self, head: Version) -> Result<Option<Version>, StoreError> {
        let checkpoints = self.checkpoints.list()?;
        let base = self.base();
        let mut kept = checkpoints.into_iter().rev().filter(|version| *version != base);
        let oldest = kept.by_ref().take(self.settings.checkpoints_kept.max(1)).last();
        let bound = head.0.saturating_sub(self.settings.kept_versions);
        let bound = bound.min(oldest.map_or(0, |oldest| oldest.0.saturating_sub(1)));
        let young = signed(self.settings.kept_for);
        let now = self.record(head)?.time;
        let segments = list_segments(self.reader.file_system(), self.reader.directory())?;
        let may_begin =
            segments.into_iter().rev().filter(|first| first.0 > 1 && first.0 - 1 <= bound);
        // The first record of a segment is younger than everything before it. One that cannot be
        // read does not say how old it is; the segment before may.
        let is_old = |first: &Version| {
            let oldest = self.record(*first).is_ok_and(|r| now.duration_since(r.time) >= young);
            oldest || *first == base.next()
        };
        Ok(may_begin.into_iter().find(is_old))
    }
}

fn signed(duration: std::time::Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}
