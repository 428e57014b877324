//! Proxies, and how they join.

use std::{path::PathBuf, time::Duration};

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use clap_complete::engine::ArgValueCandidates;
use lb_model::value::Label;

use super::{
    Watch,
    value::{duration, label},
};
use crate::complete;

#[derive(Debug, Args)]
pub(crate) struct Proxies {
    #[command(subcommand)]
    pub(crate) action: Option<ProxiesAction>,
    #[command(flatten)]
    pub(crate) watch: Watch,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProxiesAction {
    /// List proxies and what they run
    List {
        #[command(flatten)]
        watch: Watch,
    },
    /// End a proxy's membership at once; it serves what it has, and learns nothing more
    #[command(after_help = "Examples:
  lbctl proxies revoke edge-7")]
    Revoke {
        /// Its id
        #[arg(value_name = "ID", add = ArgValueCandidates::new(complete::proxies))]
        id: String,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  lbctl tokens create --role admin --name ann > token     the first one: from then on all need one
  lbctl tokens create --role operator --name ci --ttl 90d > ci.token
  lbctl tokens create --proxy --label edge > edge.token   one proxy may join within an hour
  lbctl tokens                             list them; secrets are shown once only
  lbctl tokens revoke AbCd1234

Whoever has the token of an operator puts it into LBCTL_TOKEN, or its file into LBCTL_TOKEN_FILE.")]
pub(crate) struct Tokens {
    #[command(subcommand)]
    pub(crate) action: Option<TokensAction>,
}

/// What an operator may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Look at everything
    Viewer,
    /// Also change the configuration, take backends out, set log levels
    Operator,
    /// Also make tokens, end memberships, replace the authority, take backups
    Admin,
}

impl From<Role> for lb_model::api::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Viewer => Self::Viewer,
            Role::Operator => Self::Operator,
            Role::Admin => Self::Admin,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokensAction {
    /// List tokens
    List,
    /// Make a token
    #[command(group = ArgGroup::new("for").required(true).args(["proxy", "role"]))]
    Create {
        /// For a proxy that joins the fleet
        #[arg(long)]
        proxy: bool,
        /// For an operator who may do this
        #[arg(long, value_name = "ROLE", requires = "name")]
        role: Option<Role>,
        /// What the proxy will be called, as it likes by default; or who the operator is
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// A label that the proxy will hold; may be repeated
        #[arg(long = "label", value_name = "LABEL", value_parser = label, conflicts_with = "role")]
        labels: Vec<Label>,
        /// How long it is good; by default 1h for a proxy, for ever for an operator
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        ttl: Option<Duration>,
    },
    /// Take back a token of a proxy that was not used, or end that of an operator
    Revoke {
        /// Its id
        #[arg(value_name = "ID", add = ArgValueCandidates::new(complete::tokens))]
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
  lbctl authority --pem > ca.pem    for --ca, where the control plane is asked over TLS
  lbctl authority rotate            replace it while the fleet runs")]
pub(crate) struct Authority {
    /// Write the certificates themselves
    #[arg(long)]
    pub(crate) pem: bool,
    #[command(subcommand)]
    pub(crate) action: Option<AuthorityAction>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuthorityAction {
    /// Replace the authority while the fleet runs
    Rotate,
}
