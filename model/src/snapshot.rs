//! What is shipped: the resources of one version of one lineage.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::resource::ResourceSet;

/// The number of a commit in one lineage. 0 means nothing was committed yet. Operators see it,
/// snapshots carry it, acknowledgements name it; it never repeats and never goes back.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(format = "uint64"))]
#[serde(transparent)]
pub struct Version(pub u64);

impl Version {
    /// Before the first commit.
    pub const NONE: Self = Self(0);

    /// The version after this one.
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

/// One version, whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// Whose version this is.
    pub lineage: Arc<str>,
    /// Which version.
    pub version: Version,
    /// What it says.
    pub resources: Arc<ResourceSet>,
}
