//! Looking again and again.

use std::time::Duration;

use clap::Args;

use super::value::duration;

/// Whether to look again.
#[derive(Debug, Clone, Args)]
pub(crate) struct Watch {
    /// Look again and again, until Ctrl-C; with -o json one document a line
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// How long to wait in between
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration)]
    pub(crate) interval: Duration,
}
