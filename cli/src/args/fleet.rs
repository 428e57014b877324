//! Proxies, and how they join.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use lb_model::value::Label;

use super::value::{duration, label};

#[derive(Debug, Args)]
pub(crate) struct Proxies {
    #[command(subcommand)]
    pub(crate) action: Option<ProxiesAction>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProxiesAction {
    /// List proxies and what they run
    List,
    /// End a proxy's membership at once; it serves what it has, and learns nothing more
    #[command(after_help = "Examples:
  lbctl proxies revoke edge-7")]
    Revoke {
        /// Its id
        #[arg(value_name = "ID")]
        id: String,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  lbctl tokens create --proxy > token      one proxy may join within an hour
  lbctl tokens create --proxy --label edge --label eu > token
  lbctl tokens                             list them; secrets are shown once only
  lbctl tokens revoke AbCd1234")]
pub(crate) struct Tokens {
    #[command(subcommand)]
    pub(crate) action: Option<TokensAction>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokensAction {
    /// List tokens
    List,
    /// Make a token
    Create {
        /// For a proxy that joins the fleet
        #[arg(long, required = true)]
        proxy: bool,
        /// What the proxy will be called; as it likes by default
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// A label that the proxy will hold; may be repeated
        #[arg(long = "label", value_name = "LABEL", value_parser = label)]
        labels: Vec<Label>,
        /// How long it is good
        #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration)]
        ttl: Duration,
    },
    /// Take back a token that was not used
    Revoke {
        /// Its id
        #[arg(value_name = "ID")]
        id: String,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  lbctl backup fleet.lbk
  lbctl backup - | ssh elsewhere 'cat > fleet.lbk'

The file is sealed with the control plane's key file (DATA_DIR.key): keep both, and apart.")]
pub(crate) struct Backup {
    /// Where to; `-` for standard output
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  lbctl restore fleet.lbk --data-dir /var/lib/lb
  lbctl restore ~/fleet.lbk --data-dir ./copy   to look at it on a laptop
  cp fleet.key /var/lib/lb.key      the key it was sealed with, beside the directory

The history goes on under a new lineage that names the old one; proxies of the fleet follow it.")]
pub(crate) struct Restore {
    /// The backup
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The data directory to make; it must be empty or missing
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  lbctl authority
  lbctl authority rotate            replace it while the fleet runs")]
pub(crate) struct Authority {
    #[command(subcommand)]
    pub(crate) action: Option<AuthorityAction>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuthorityAction {
    /// Replace the authority while the fleet runs
    Rotate,
}
