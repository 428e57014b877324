//! `lbctl context`.

use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCandidates;

use crate::complete;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  lbctl context set prod --server https://lb.example.com:9700 --ca ca.pem --token-file prod.token --protected
  lbctl context use prod
  lbctl context                     list them
  lbctl context show                what holds now, and where each value comes from
  lbctl status --context lab        another one for once

Flags count before variables, these before the context, and that before defaults. Contexts are kept
in ~/.config/lbctl/config.yaml (XDG_CONFIG_HOME and LBCTL_CONFIG are honoured), tokens never.")]
pub(crate) struct Context {
    #[command(subcommand)]
    pub(crate) action: Option<ContextAction>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ContextAction {
    /// List contexts
    List,
    /// Use a context from now on
    #[command(after_help = "Examples:
  lbctl context use prod")]
    Use {
        /// Its name
        #[arg(value_name = "NAME", add = ArgValueCandidates::new(complete::contexts))]
        name: String,
    },
    /// Show what holds and where it comes from, or what is kept of one context
    #[command(after_help = "Examples:
  lbctl context show
  lbctl context show prod -o yaml")]
    Show {
        /// Its name; what holds now when absent
        #[arg(value_name = "NAME", add = ArgValueCandidates::new(complete::contexts))]
        name: Option<String>,
    },
    /// Make a context or change it: --server, --ca, --token-file and --output are kept
    #[command(after_help = "Examples:
  lbctl context set lab --server http://127.0.0.1:9700
  lbctl context set prod --server https://lb.example.com:9700 --ca ca.pem --token-file prod.token
  lbctl context set prod --protected          ask for its name before anything is changed there
  lbctl context set prod --protected=false")]
    Set {
        /// Its name
        #[arg(value_name = "NAME", add = ArgValueCandidates::new(complete::contexts))]
        name: String,
        /// Ask for its name before anything is changed there
        #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
            default_missing_value = "true")]
        protected: Option<bool>,
    },
    /// Forget a context
    #[command(after_help = "Examples:
  lbctl context delete lab
  lbctl context delete lab --yes")]
    Delete {
        /// Its name
        #[arg(value_name = "NAME", add = ArgValueCandidates::new(complete::contexts))]
        name: String,
    },
}
