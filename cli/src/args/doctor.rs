//! `lbctl doctor`, `explain-error` and `init`: help for whoever begins, or is stuck.

use std::path::PathBuf;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use crate::complete;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  lbctl explain-error LB0303
  lbctl explain-error               every code in a line
  lbctl explain-error LB0303 -o json")]
pub(crate) struct ExplainError {
    /// The code that `check` and `apply` write, such as LB0303
    #[arg(value_name = "CODE", add = ArgValueCandidates::new(complete::codes))]
    pub(crate) code: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  lbctl init                        writes ./lb.yaml
  lbctl init conf.d/shop.yaml
  lbctl init - | less               to standard output

A file that is there is never written over.")]
pub(crate) struct Init {
    /// Where to; `-` for standard output
    #[arg(value_name = "FILE", default_value = "lb.yaml")]
    pub(crate) file: PathBuf,
}
