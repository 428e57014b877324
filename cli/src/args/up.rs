//! `lbctl up`.

use std::path::PathBuf;

use clap::Args;
use lb_model::value::Label;

use super::{change::Layers, value::placed};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  lbctl up                          two proxies on port 8000, two demo backends
  lbctl up -f lb.yaml --proxies 3   with your configuration
  lbctl up -f lb.yaml --label proxy-1=edge --label proxy-2=inner
  lbctl up --port 8080 --data-dir /tmp/lb

Ctrl-C stops everything it started, a second one at once. The store stays in the data directory
and is used again next time. A port 0 lets the system choose. If lbctl itself is killed with
SIGKILL, the servers go on; the next `lbctl up` names them.")]
pub(crate) struct Up {
    /// Apply this once everything runs: a file, or a directory of *.yaml and *.yml
    #[arg(short, long = "file", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) layers: Layers,
    /// How many proxies
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) proxies: u16,
    /// A label that a proxy will hold, such as proxy-1=edge; may be repeated
    #[arg(long = "label", value_name = "PROXY=LABEL", value_parser = placed)]
    pub(crate) labels: Vec<(u16, Label)>,
    /// Worker threads of each proxy; one a core by default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) workers: Option<u16>,
    /// Where stores, state and logs go
    #[arg(long, value_name = "DIR", default_value = "./.lb")]
    pub(crate) data_dir: PathBuf,
    /// The port of the demo's entry point
    #[arg(long, value_name = "PORT", default_value_t = 8000)]
    pub(crate) port: u16,
    /// The port of the control plane's API
    #[arg(long, value_name = "PORT", default_value_t = 9700)]
    pub(crate) admin_port: u16,
    /// The port where proxies connect to the control plane
    #[arg(long, value_name = "PORT", default_value_t = 9701)]
    pub(crate) sync_port: u16,
    /// The admin port of the first proxy; the others take the next ones
    #[arg(long, value_name = "PORT", default_value_t = 9702)]
    pub(crate) proxy_admin_port: u16,
}
