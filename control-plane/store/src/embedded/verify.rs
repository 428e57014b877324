//! Reads everything there is and compares it.

use std::sync::PoisonError;

use crate::{
    Hash, StoreError, Version,
    checkpoint::Checkpoint,
    embedded::core::Shared,
    log::{self, recovery::Anchor},
};

/// What was found to be as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The oldest version that was verified.
    pub oldest: Version,
    /// The newest version that was verified.
    pub head: Version,
    /// The hash of the newest record, which vouches for all before it.
    pub hash: Hash,
    /// How many values are live at the newest version.
    pub live: u64,
    /// How many checkpoints were read.
    pub checkpoints: u64,
}

impl Shared {
    pub(super) fn verify(&self) -> Result<Verified, StoreError> {
        // Nothing is removed meanwhile; commits go on behind the head of now.
        let _files = self.maintenance.lock().unwrap_or_else(PoisonError::into_inner);
        let (head, base) = (self.newest()?, self.base());
        let versions = self.checkpoints.list()?;
        let checkpoints: Result<Vec<_>, _> =
            versions.iter().map(|version| self.checkpoints.read(*version)).collect();
        let checkpoints = checkpoints?;
        let start = match base {
            Version::NONE => Checkpoint::empty(self.lineage()),
            base => self.checkpoints.read(base)?,
        };

        let mut rows = start.values.len() as u64;
        let mut visit = |entry: &log::reader::Entry| {
            let version = entry.summary.version;
            if !self.index.holds(entry) {
                return Err(self.index.disagrees(format!("it has another version {version}")));
            }
            rows += 1 + (entry.summary.puts.len() + entry.summary.removes.len()) as u64;
            let made = checkpoints.iter().find(|checkpoint| checkpoint.at.version == version);
            if made.is_some_and(|made| made.at.hash != entry.location.hash) {
                return Err(self.differs(version, "it is of another history than the log"));
            }
            Ok(())
        };
        if head.version > base {
            log::walk(&self.reader, base, Some(start.at), head, &mut visit)?;
        }
        if self.index.count(head.version)? != rows {
            return Err(self.index.disagrees("it has rows of no commit".to_owned()));
        }
        for checkpoint in checkpoints.iter().filter(|checkpoint| checkpoint.at.version >= base) {
            if !self.index.agrees(checkpoint)? {
                let what = "its values are not those of the log";
                return Err(self.differs(checkpoint.at.version, what));
            }
        }
        Ok(Verified {
            oldest: base.next().min(head.version),
            head: head.version,
            hash: head.hash,
            live: self.index.live(head.version)?.len() as u64,
            checkpoints: checkpoints.len() as u64,
        })
    }

    /// Returns the newest version readers know, with its hash.
    pub(super) fn newest(&self) -> Result<Anchor, StoreError> {
        let version = self.head();
        let hash = match self.index.record(version)? {
            Some(location) => location.hash,
            // The record of the base itself may be gone.
            None if version == Version::NONE => self.lineage().root(),
            None => self.checkpoints.read(version)?.at.hash,
        };
        Ok(Anchor { version, hash })
    }

    fn differs(&self, version: Version, what: &str) -> StoreError {
        StoreError::Corrupt {
            path: self.checkpoints.path(version),
            offset: 0,
            what: what.to_owned(),
            help: "restore the data directory from a backup".to_owned(),
        }
    }
}
