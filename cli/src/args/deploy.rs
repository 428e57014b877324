//! Deploying a new version: slots and canaries.

use clap::{Args, Subcommand, ValueEnum};
use clap_complete::engine::ArgValueCandidates;

use super::{Watch, change::Wait};
use crate::complete;

#[derive(Debug, Args)]
pub(crate) struct BlueGreen {
    #[command(subcommand)]
    pub(crate) action: Option<BlueGreenAction>,
    #[command(flatten)]
    pub(crate) watch: Watch,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BlueGreenAction {
    /// Say which slot of each service or route serves, and how well the other one is
    Status {
        #[command(flatten)]
        watch: Watch,
    },
    /// Make a slot the one that serves, on every proxy
    #[command(after_help = "Examples:
  lbctl bg switch green -m \"release 7\"
  lbctl bg switch blue shop --wait
  lbctl bg switch green --route shop-api
  lbctl bg switch green --force          even if no backend of it is well

Without --force a slot without a backend that is up is refused: exit code 7.")]
    Switch {
        /// The slot
        #[arg(value_name = "SLOT")]
        slot: Slot,
        #[command(flatten)]
        deploy: Deploy,
        /// Even if no backend of the slot is well
        #[arg(long)]
        force: bool,
    },
    /// Make the other slot the one that serves, as it did before
    #[command(after_help = "Examples:
  lbctl bg rollback
  lbctl bg rollback shop -m \"release 7 is slow\"")]
    Rollback {
        #[command(flatten)]
        deploy: Deploy,
        /// Even if no backend of the slot is well
        #[arg(long)]
        force: bool,
    },
}

/// One of two sets of backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Slot {
    /// The first
    Blue,
    /// The second
    Green,
}

impl Slot {
    /// The word in requests.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Blue => "blue",
            Self::Green => "green",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Canary {
    #[command(subcommand)]
    pub(crate) action: Option<CanaryAction>,
    #[command(flatten)]
    pub(crate) watch: Watch,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CanaryAction {
    /// Say how much each canary gets, and how it does beside the stable version
    Status {
        #[command(flatten)]
        watch: Watch,
    },
    /// Give the canary a share of the requests
    #[command(after_help = "Examples:
  lbctl canary set 25
  lbctl canary set 12.5 shop -m \"looks well\" --wait
  lbctl canary set 25 --route shop-api   where the route has a canary of its own

A schedule of the canary ends by it.")]
    Set {
        /// The percentage of requests
        #[arg(value_name = "PERCENT", value_parser = percent)]
        split: f64,
        #[command(flatten)]
        deploy: Deploy,
    },
    /// Give the canary all requests
    #[command(after_help = "Examples:
  lbctl canary promote
  lbctl canary promote shop -m \"release 7 is good\"")]
    Promote {
        #[command(flatten)]
        deploy: Deploy,
    },
    /// Give the canary no request
    #[command(after_help = "Examples:
  lbctl canary abort
  lbctl canary abort shop -m \"release 7 loses carts\"")]
    Abort {
        #[command(flatten)]
        deploy: Deploy,
    },
}

/// Of which service or route, and why.
#[derive(Debug, Clone, Args)]
pub(crate) struct Deploy {
    /// The service; may be left out when there is only one to decide about
    #[arg(value_name = "SERVICE", add = ArgValueCandidates::new(complete::services))]
    pub(crate) service: Option<String>,
    /// The route instead, where it has slots or a canary of its own
    #[arg(
        long,
        value_name = "ROUTE",
        conflicts_with = "service",
        add = ArgValueCandidates::new(complete::routes)
    )]
    pub(crate) route: Option<String>,
    /// Why, for the history and for whoever finds it so
    #[arg(short = 'm', long = "reason", value_name = "TEXT", default_value = "")]
    pub(crate) reason: String,
    /// Who, for the history; you on this host by default
    #[arg(long, value_name = "NAME")]
    pub(crate) author: Option<String>,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.trim_end_matches('%').parse::<f64>();
    number
        .ok()
        .filter(|number| (0.0..=100.0).contains(number))
        .ok_or_else(|| "write a number from 0 (none) to 100 (all), such as 25 or 12.5".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_is_from_0_to_100() {
        for (text, number) in [("0", 0.0), ("12.5", 12.5), ("100%", 100.0)] {
            assert_eq!(percent(text), Ok(number));
        }
        for text in ["", "-1", "100.1", "nan", "half"] {
            assert!(percent(text).is_err(), "{text}");
        }
    }
}
