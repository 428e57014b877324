//! What can be typed: commands, flags, and the few variables of the environment that matter.
//!
//! The only place that reads the environment. Flags with a variable name it; everything else is
//! [`Environment`], read once at the start and passed in.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use lb_model::value::Label;
use reqwest::Url;

/// Drives lb: checks, applies and watches configurations, and runs a fleet on this machine.
#[derive(Debug, Parser)]
#[command(name = "lbctl", version, propagate_version = false, max_term_width = 100)]
#[command(after_help = "Examples:
  lbctl up                          run a control plane and two proxies here, with a demo
  lbctl check lb.yaml               find every fault of a configuration, without a server
  lbctl apply -f lb.yaml -m \"more\"  make it the current version and wait until it is live
  lbctl status                      how everything is

Exit codes: 0 ok, 1 failure, 3 invalid configuration, 4 unreachable or too late,
5 not authorised, 6 not found, 7 conflict, 64 wrong use, 130 interrupted.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Flags of every command")]
pub(crate) struct Global {
    /// The control plane to talk to
    #[arg(long, global = true, env = "LBCTL_SERVER", value_name = "URL",
        default_value = "http://127.0.0.1:9700", value_parser = server, hide_env_values = true)]
    pub(crate) server: Url,
    /// How to write data
    #[arg(short, long, global = true, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: Format,
    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: Color,
    /// Write tables without their first line
    #[arg(long, global = true)]
    pub(crate) no_headers: bool,
    /// Say nothing but data and errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
}

/// How data is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// For people with wide screens
    Wide,
    /// For programs; keys are only ever added
    Json,
    /// The same keys, as YAML
    Yaml,
    /// Names only, one a line
    Name,
}

/// When colours are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a control plane and proxies on this machine, with a demo if nothing is configured
    Up(Up),
    /// Find every fault of a configuration, without a server
    Check(Check),
    /// Make a configuration the current version
    Apply(Apply),
    /// Show the documents of the current version
    #[command(after_help = "Examples:
  lbctl get > lb.yaml               the text as it was applied
  lbctl get -o json                 version, documents and files
  lbctl get -o name                 the names of the documents")]
    Get,
    /// Say how everything is: control plane, proxies and backends
    #[command(after_help = "Examples:
  lbctl status
  lbctl status -o json | jq .health.status")]
    Status,
    /// List proxies and what they run
    #[command(
        visible_alias = "proxy",
        after_help = "Examples:
  lbctl proxies
  lbctl proxies -o wide             with admin addresses and software
  lbctl proxies -o name             their ids only"
    )]
    Proxies(Proxies),
    /// Let proxies into the fleet: tokens, each good for one
    #[command(visible_alias = "token")]
    Tokens(Tokens),
    /// Save everything the control plane keeps; worth nothing without its key file
    Backup(Backup),
    /// Fill a new control plane's data directory from a backup
    Restore(Restore),
    /// Show or replace the authority that signs the fleet's certificates
    Authority(Authority),
    /// List backends and how they are
    #[command(
        visible_aliases = ["backend", "be"],
        after_help = "Examples:
  lbctl backends
  lbctl backends -o wide            with weights, requests and last checks
  lbctl backends -o json | jq '.backends[] | select(.health != \"up\")'"
    )]
    Backends,
    /// List versions: who changed the configuration, when and why
    History(History),
    /// Make an older version current again
    Rollback(Rollback),
    /// Show the versions of this program, the control plane and the proxies
    #[command(after_help = "Examples:
  lbctl version
  lbctl version -o json")]
    Version,
    /// Write a completion script for a shell
    #[command(after_help = "Examples:
  lbctl completion bash > /etc/bash_completion.d/lbctl
  lbctl completion zsh > ~/.zfunc/_lbctl
  source <(lbctl completion bash)")]
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  lbctl check                       ./lb.yaml
  lbctl check conf.d --strict       every *.yaml of a directory; warnings fail too
  generate | lbctl check - -o json  standard input; faults for programs

Exits with 3 when the configuration is invalid.")]
pub(crate) struct Check {
    /// Files, directories of *.yaml and *.yml, or `-` for standard input
    #[arg(value_name = "FILE", default_value = "lb.yaml")]
    pub(crate) files: Vec<PathBuf>,
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
    pub(crate) change: Change,
    /// Ask the control plane what it thinks, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Change nothing unless this version is the current one
    #[arg(long, value_name = "N")]
    pub(crate) if_version: Option<u64>,
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
  lbctl history --before 40         older ones")]
pub(crate) struct History {
    /// How many
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) limit: u32,
    /// Only versions before this one
    #[arg(long, value_name = "N")]
    pub(crate) before: Option<u64>,
}

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

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  lbctl rollback 41 -m \"42 broke the shop\"
  lbctl rollback 41 --no-wait

The content of version 41 becomes a new version; history is never rewritten.")]
pub(crate) struct Rollback {
    /// The version to go back to
    #[arg(value_name = "N")]
    pub(crate) version: u64,
    #[command(flatten)]
    pub(crate) change: Change,
    /// Change nothing unless this version is the current one
    #[arg(long, value_name = "N")]
    pub(crate) if_version: Option<u64>,
}

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

/// What matters of the environment besides flags.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    /// `NO_COLOR` is set and not empty.
    pub(crate) no_color: bool,
    /// `CLICOLOR_FORCE` is set, not empty and not 0.
    pub(crate) force_color: bool,
    /// `TERM` is `dumb`.
    pub(crate) dumb_terminal: bool,
    /// Who runs this.
    pub(crate) user: Option<String>,
    /// Where programs are looked for.
    pub(crate) path: Option<OsString>,
}

impl Environment {
    /// Reads it, once.
    pub(crate) fn read() -> Self {
        let text = |name: &str| {
            std::env::var_os(name).and_then(|v| v.into_string().ok()).filter(|v| !v.is_empty())
        };
        Self {
            no_color: text("NO_COLOR").is_some(),
            force_color: text("CLICOLOR_FORCE").is_some_and(|value| value != "0"),
            dumb_terminal: text("TERM").is_some_and(|value| value == "dumb"),
            user: text("USER").or_else(|| text("LOGNAME")),
            path: std::env::var_os("PATH"),
        }
    }

    /// `user@host`, as far as either is known.
    pub(crate) fn author(&self) -> String {
        let system = rustix::system::uname();
        let host = system.nodename().to_string_lossy();
        let user = self.user.clone().unwrap_or_else(|| {
            let id = rustix::process::getuid();
            if id.is_root() { "root".to_owned() } else { format!("uid-{}", id.as_raw()) }
        });
        format!("{user}@{host}")
    }
}

/// Reads the address of a control plane; the scheme may be left out.
fn server(text: &str) -> Result<Url, String> {
    let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&whole).map_err(|error| format!("{error}; write http://HOST:PORT"))?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        scheme => Err(format!("`{scheme}` is not http or https; write http://HOST:PORT")),
    }
}

/// Reads a label.
fn label(text: &str) -> Result<Label, String> {
    Label::parse(text).map_err(|error| helped(&error))
}

/// Reads a label of one of the proxies that `up` starts.
fn placed(text: &str) -> Result<(u16, Label), String> {
    let (proxy, text) = text.split_once('=').ok_or("write PROXY=LABEL, such as proxy-1=edge")?;
    let number = proxy.strip_prefix("proxy-").and_then(|number| number.parse().ok());
    let number = number.filter(|number| *number > 0);
    let number = number.ok_or_else(|| format!("`{proxy}` is none of proxy-1, proxy-2, ..."))?;
    Ok((number, label(text)?))
}

/// What is wrong with a value, and what to write instead.
fn helped(error: &lb_model::value::InvalidValue) -> String {
    match &error.help {
        Some(help) => format!("{error}; {help}"),
        None => error.to_string(),
    }
}

/// Reads a duration as the configuration writes it.
fn duration(text: &str) -> Result<Duration, String> {
    match lb_model::value::Duration::parse(text) {
        Ok(duration) => Ok(duration.get()),
        Err(error) => Err(helped(&error)),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_has_a_line_and_examples() {
        for command in Arguments::command().get_subcommands() {
            let name = command.get_name();
            assert!(command.get_about().is_some(), "{name} has no description");
            let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(after.matches(&format!("lbctl {name}")).count() >= 2, "{name} has no examples");
        }
    }

    #[test]
    fn a_server_may_be_written_without_its_scheme() {
        assert_eq!(server("10.0.0.7:9700").unwrap().as_str(), "http://10.0.0.7:9700/");
        assert_eq!(server("https://lb.example/x").unwrap().as_str(), "https://lb.example/x");
        assert!(server("ftp://lb.example").unwrap_err().contains("not http"));
        assert!(server("http://").is_err());
    }

    #[test]
    fn times_are_written_as_in_the_configuration() {
        for (text, millis) in [("500ms", 500), ("60s", 60_000), ("1m30s", 90_000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert!(duration("soon").unwrap_err().contains("such as 250ms, 30s"));
    }

    #[test]
    fn labels_are_checked_where_they_are_typed() {
        assert_eq!(label("edge").unwrap().as_str(), "edge");
        assert!(label("Edge").unwrap_err().contains("use small letters"));
        assert_eq!(placed("proxy-2=inner").unwrap(), (2, label("inner").unwrap()));
        for (bad, why) in [
            ("edge", "such as proxy-1=edge"),
            ("proxy-0=edge", "`proxy-0` is none of"),
            ("edge-1=edge", "`edge-1` is none of"),
            ("proxy-1=", "it is empty"),
        ] {
            assert!(placed(bad).unwrap_err().contains(why), "{bad}");
        }
    }

    #[test]
    fn waiting_is_the_default_on_a_terminal_only() {
        let parse = |line: &[&str]| {
            let line = [&["lbctl", "rollback", "1"], line].concat();
            match Arguments::try_parse_from(line).unwrap().command {
                Command::Rollback(rollback) => rollback.change.wait,
                other => panic!("{other:?}"),
            }
        };
        for (line, on_terminal, in_script) in [
            (&[][..], true, false),
            (&["--wait"], true, true),
            (&["--no-wait"], false, false),
            (&["--wait", "--no-wait"], false, false),
            (&["--no-wait", "--wait"], true, true),
        ] {
            let wait = parse(line);
            assert_eq!((wait.is_wanted(true), wait.is_wanted(false)), (on_terminal, in_script));
        }
    }
}
