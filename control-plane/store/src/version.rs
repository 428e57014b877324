//! The number of a commit.
//!
//! Versions of one lineage start at 1, strictly increase and are never bound to two contents.
//! They say nothing across lineages: compare them only after comparing the lineage.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Numbers a commit; 0 stands for a store in which nothing was committed yet.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Version(pub u64);

impl Version {
    /// The head of a store in which nothing was committed yet.
    pub const ZERO: Self = Self(0);

    /// Returns the version that follows this one.
    ///
    /// Saturates: at a million commits a second `u64` lasts half a million years, and a number
    /// that stands still is refused by every check for the next one, unlike one that wraps.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
