//! Making versions: what every such command takes, and `check`, `apply`, `history`, `rollback`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCandidates;

use super::{
    Watch,
    value::{duration, pair},
};
use crate::complete;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  lbctl check                       ./lb.yaml
  lbctl check conf.d --strict       every *.yaml of a directory; warnings fail too
  generate | lbctl check - -o json  standard input; faults for programs
  lbctl check --set services.shop.strategy=p2c

Exits with 3 when the configuration is invalid.")]
pub(crate) struct Check {
    /// Files, directories of *.yaml and *.yml, or `-` for standard input
    #[arg(value_name = "FILE", default_value = "lb.yaml")]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) layers: Layers,
    /// Fail on warnings too
    #[arg(long)]
    pub(crate) strict: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  lbctl apply -f lb.yaml -m \"raise limits\"
  lbctl apply -f conf.d --dry-run      ask the control plane without changing anything
  lbctl apply -f lb.yaml --if-version 41 --wait --timeout 30s

Nothing is sent when the configuration has an error. Exits with 0 when live, 1 when a proxy
refused, 3 when invalid, 4 when a proxy did not answer in time, 7 when somebody was faster.")]
pub(crate) struct Apply {
    /// A file, a directory of *.yaml and *.yml, or `-` for standard input
    #[arg(short, long = "file", value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) layers: Layers,
    #[command(flatten)]
    pub(crate) change: Change,
    /// Ask the control plane what it thinks, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Change nothing unless this version is the current one
    #[arg(long, value_name = "N")]
    pub(crate) if_version: Option<u64>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  lbctl plan -f lb.yaml
  lbctl plan -f conf.d --set services.shop.strategy=p2c
  lbctl plan -f lb.yaml --detailed-exitcode      for CI: 2 means that there are changes

Nothing is changed. Exits with 3 when the configuration is invalid.")]
pub(crate) struct Plan {
    /// A file, a directory of *.yaml and *.yml, or `-` for standard input
    #[arg(short, long = "file", value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) layers: Layers,
    /// Exit with 2 when there are changes
    #[arg(long)]
    pub(crate) detailed_exitcode: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  lbctl diff 41                     what version 41 changed
  lbctl diff 41 43                  what leads from 41 to 43
  lbctl diff 41 lb.yaml             what a file would change in version 41
  lbctl diff old.yaml new.yaml      two files or directories, without a server")]
pub(crate) struct Diff {
    /// A version, or a file or directory
    #[arg(value_name = "FROM", add = ArgValueCandidates::new(complete::versions))]
    pub(crate) from: String,
    /// A version, or a file or directory
    #[arg(value_name = "TO", add = ArgValueCandidates::new(complete::versions))]
    pub(crate) to: Option<String>,
    #[command(flatten)]
    pub(crate) layers: Layers,
    /// Exit with 2 when there are changes
    #[arg(long)]
    pub(crate) detailed_exitcode: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  lbctl show 41
  lbctl show 41 -o json | jq .commit.author")]
pub(crate) struct Show {
    /// The version
    #[arg(value_name = "N", add = ArgValueCandidates::new(complete::versions))]
    pub(crate) version: u64,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  lbctl config sources              where each value of the current version comes from
  lbctl config sources -f lb.yaml   of a file, without a server
  lbctl config get                  the same as lbctl get")]
pub(crate) struct Config {
    #[command(subcommand)]
    pub(crate) action: ConfigAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigAction {
    /// Show the documents of the current version
    Get,
    /// List versions
    History(History),
    /// Show one version
    Show(Show),
    /// Say where each value comes from: a place in a document, a variable, a flag
    #[command(after_help = "Examples:
  lbctl config sources
  LB_SERVICES__SHOP__STRATEGY=p2c lbctl config sources -f lb.yaml")]
    Sources {
        /// A file, a directory of *.yaml and *.yml, or `-`; the current version when absent
        #[arg(short, long = "file", value_name = "FILE")]
        files: Vec<PathBuf>,
        #[command(flatten)]
        layers: Layers,
    },
}

/// What stands over the documents.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Layers {
    /// Set one value over documents and environment; may be repeated
    #[arg(long = "set", value_name = "PATH=VALUE", value_parser = pair)]
    pub(crate) set: Vec<(String, String)>,
}

/// Flags of whatever makes a version.
#[derive(Debug, Clone, Args)]
pub(crate) struct Change {
    /// Why, for the history
    #[arg(short = 'm', long = "reason", value_name = "TEXT", default_value = "")]
    pub(crate) reason: String,
    /// Who, for the history; you on this host by default
    #[arg(long, value_name = "NAME")]
    pub(crate) author: Option<String>,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

/// Whether and how long to wait for proxies.
#[derive(Debug, Clone, Args)]
pub(crate) struct Wait {
    /// Wait until every connected proxy runs the version or refused it (default on a terminal)
    #[arg(long, overrides_with = "no_wait")]
    wait: bool,
    /// Do not wait for proxies (default in scripts)
    #[arg(long, overrides_with = "wait")]
    no_wait: bool,
    /// How long to wait
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub(crate) timeout: Duration,
}

impl Wait {
    /// Whether to wait.
    pub(crate) const fn is_wanted(&self, on_terminal: bool) -> bool {
        self.wait || (on_terminal && !self.no_wait)
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  lbctl history
  lbctl history --limit 5 -o wide   with hashes
  lbctl history --before 40         older ones
  lbctl history --watch -o json     one document a line, every two seconds")]
pub(crate) struct History {
    /// How many
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) limit: u32,
    /// Only versions before this one
    #[arg(long, value_name = "N")]
    pub(crate) before: Option<u64>,
    #[command(flatten)]
    pub(crate) watch: Watch,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  lbctl rollback 41 -m \"42 broke the shop\"
  lbctl rollback 41 --no-wait

The content of version 41 becomes a new version; history is never rewritten.")]
pub(crate) struct Rollback {
    /// The version to go back to
    #[arg(value_name = "N", add = ArgValueCandidates::new(complete::versions))]
    pub(crate) version: u64,
    #[command(flatten)]
    pub(crate) change: Change,
    /// Change nothing unless this version is the current one
    #[arg(long, value_name = "N")]
    pub(crate) if_version: Option<u64>,
}
