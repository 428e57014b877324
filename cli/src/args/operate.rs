//! Operating what runs: taking backends out of service and putting them back, and who did.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use clap_complete::engine::ArgValueCandidates;

use super::{Watch, change::Wait, value::duration};
use crate::complete;

#[derive(Debug, Args)]
pub(crate) struct Backends {
    #[command(subcommand)]
    pub(crate) action: Option<BackendsAction>,
    #[command(flatten)]
    pub(crate) filter: Filter,
    #[command(flatten)]
    pub(crate) watch: Watch,
}

/// Which backends or circuit breakers to list.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Filter {
    /// Only those of a service
    #[arg(long, value_name = "SERVICE", add = ArgValueCandidates::new(complete::services))]
    pub(crate) pool: Option<String>,
    /// Only those in this state: backends are enabled, draining, disabled, up, down, mixed,
    /// unchecked or unknown, circuit breakers closed, half_open or open
    #[arg(long, value_name = "STATE")]
    pub(crate) state: Option<String>,
    /// Only those with this in their id, URL or service
    #[arg(long, value_name = "TEXT")]
    pub(crate) search: Option<String>,
}

impl Filter {
    /// Whether it leaves nothing out.
    pub(crate) const fn is_all(&self) -> bool {
        let Self { pool, state, search } = self;
        pool.is_none() && state.is_none() && search.is_none()
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum BackendsAction {
    /// List backends and how they are
    List {
        #[command(flatten)]
        filter: Filter,
        #[command(flatten)]
        watch: Watch,
    },
    /// Let a backend take requests again
    #[command(after_help = "Examples:
  lbctl backends enable web1
  lbctl backends enable web1 --wait -m \"disk replaced\"")]
    Enable {
        #[command(flatten)]
        decision: Decision,
    },
    /// Give a backend no new request on any proxy, until it is enabled again
    #[command(after_help = "Examples:
  lbctl backends disable web1 -m \"disk is full\"
  lbctl backends disable web1 --for 30m   it is enabled again by itself

Requests that are on their way finish. A service is not left without an enabled backend, unless
with --force.")]
    Disable {
        #[command(flatten)]
        decision: Decision,
        #[command(flatten)]
        out: Out,
        /// Let it drain for this long before
        #[arg(long, value_name = "TIME", value_parser = duration)]
        drain: Option<Duration>,
    },
    /// Give a backend no new request, and disable it after a while
    #[command(after_help = "Examples:
  lbctl backends drain web1
  lbctl backends drain web1 --drain 10m --for 1h -m \"kernel update\"")]
    Drain {
        #[command(flatten)]
        decision: Decision,
        #[command(flatten)]
        out: Out,
        /// For how long it drains
        #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
        drain: Duration,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Breakers {
    #[command(subcommand)]
    pub(crate) action: Option<BreakersAction>,
    #[command(flatten)]
    pub(crate) filter: BreakerFilter,
    #[command(flatten)]
    pub(crate) watch: Watch,
}

/// Which circuit breakers to list.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct BreakerFilter {
    /// Only those of a service
    #[arg(long, value_name = "SERVICE", add = ArgValueCandidates::new(complete::services))]
    pool: Option<String>,
    /// Only those that are closed, half_open or open
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// Only those with this in the id of their backend or its service
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
}

impl From<&BreakerFilter> for Filter {
    fn from(filter: &BreakerFilter) -> Self {
        let BreakerFilter { pool, state, search } = filter.clone();
        Self { pool, state, search }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum BreakersAction {
    /// List circuit breakers
    List {
        #[command(flatten)]
        filter: BreakerFilter,
        #[command(flatten)]
        watch: Watch,
    },
    /// Close the circuit breakers of a backend on every connected proxy
    #[command(after_help = "Examples:
  lbctl circuit-breakers reset web1
  lbctl circuit-breakers reset web1 -o json | jq '.proxies[] | select(.problem)'

They open again if the backend still fails. Exits with 4 when a proxy did not answer.")]
    Reset {
        /// The backend
        #[arg(value_name = "ID", add = ArgValueCandidates::new(complete::backends))]
        id: String,
    },
}

/// About which backend, and why.
#[derive(Debug, Clone, Args)]
pub(crate) struct Decision {
    /// The backend
    #[arg(value_name = "ID", add = ArgValueCandidates::new(complete::backends))]
    pub(crate) id: String,
    /// Why, for the history and for whoever finds it so
    #[arg(short = 'm', long = "reason", value_name = "TEXT", default_value = "")]
    pub(crate) reason: String,
    /// Who, for the history; you on this host by default
    #[arg(long, value_name = "NAME")]
    pub(crate) author: Option<String>,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

/// How a backend is taken out.
#[derive(Debug, Clone, Args)]
pub(crate) struct Out {
    /// Enable it again by itself after this time
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub(crate) lasts: Option<Duration>,
    /// Even if a service is left without an enabled backend
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  lbctl audit
  lbctl audit --limit 5 -o wide     with tokens and hashes
  lbctl audit -o json | jq '.entries[] | select(.status >= 400)'")]
pub(crate) struct Audit {
    /// How many
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) limit: u32,
    /// Only entries before this one
    #[arg(long, value_name = "N")]
    pub(crate) before: Option<u64>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  lbctl log-level edge-1                  what it logs now
  lbctl log-level edge-1 debug --for 5m   more for a while; it goes back by itself
  lbctl log-level control-plane debug

Nothing is restarted and nothing kept: a restart forgets it.")]
pub(crate) struct LogLevel {
    /// A proxy, or `control-plane`
    #[arg(value_name = "TARGET", add = ArgValueCandidates::new(complete::proxies))]
    pub(crate) target: String,
    /// What to log
    #[arg(value_name = "LEVEL")]
    pub(crate) level: Option<Level>,
    /// For how long
    #[arg(long = "for", value_name = "TIME", default_value = "5m", value_parser = duration, requires = "level")]
    pub(crate) lasts: Duration,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Level {
    /// What needs somebody at once
    Error,
    /// Also what was coped with
    Warn,
    /// Also what changes
    Info,
    /// Also what happens to connections
    Debug,
    /// Everything
    Trace,
}

impl Level {
    /// The word in requests.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}
