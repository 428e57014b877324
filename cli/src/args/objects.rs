//! `lbctl routes`, `services`, `entry-points` and `certs`.

use clap::{Args, Subcommand};

use super::Watch;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Objects {
    #[command(subcommand)]
    pub(crate) action: Option<ObjectsAction>,
    #[command(flatten)]
    pub(crate) watch: Watch,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ObjectsAction {
    /// List them
    List {
        #[command(flatten)]
        watch: Watch,
    },
}

/// Which objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Routes,
    Services,
    EntryPoints,
    Certificates,
}

impl Kind {
    /// As the API and documents write it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Routes => "routes",
            Self::Services => "services",
            Self::EntryPoints => "entry_points",
            Self::Certificates => "certificates",
        }
    }

    /// In words.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::EntryPoints => "entry points",
            other => other.name(),
        }
    }
}
