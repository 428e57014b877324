//! What can be typed: commands, flags, and the few variables of the environment that matter.
//!
//! The only place that reads the environment. Flags with a variable name it; everything else is
//! [`Environment`], read once at the start and passed in.

mod change;
mod context;
mod deploy;
mod doctor;
mod environment;
mod explain;
mod fleet;
mod format;
mod objects;
mod operate;
mod up;
mod value;
mod watch;

use std::{ffi::OsString, path::PathBuf};

use clap::{
    Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, parser::ValueSource,
};
use clap_complete::engine::ArgValueCandidates;
use reqwest::Url;

pub(crate) use self::{
    change::{
        Apply, Change, Check, Config, ConfigAction, Diff, History, Layers, Plan, Rollback, Show,
        Wait,
    },
    context::{Context, ContextAction},
    deploy::{BlueGreen, BlueGreenAction, Canary, CanaryAction, Deploy},
    doctor::{ExplainError, Init},
    environment::Environment,
    explain::Explain,
    fleet::{
        Authority, AuthorityAction, Backup, Proxies, ProxiesAction, Restore, Tokens, TokensAction,
    },
    format::Format,
    objects::{Kind, Objects, ObjectsAction},
    operate::{
        Audit, Backends, BackendsAction, Breakers, BreakersAction, Decision, Filter, LogLevel, Out,
    },
    up::Up,
    value::server,
    watch::Watch,
};
use crate::complete;

/// Drives lb: checks, applies and watches configurations, and runs a fleet on this machine.
#[derive(Debug, Parser)]
#[command(name = "lbctl", version, propagate_version = false, max_term_width = 100)]
#[command(after_help = "Examples:
  lbctl up                          run a control plane and two proxies here, with a demo
  lbctl check lb.yaml               find every fault of a configuration, without a server
  lbctl plan -f lb.yaml             what it would change
  lbctl apply -f lb.yaml -m \"more\"  make it the current version and wait until it is live
  lbctl status                      how everything is

Exit codes: 0 ok, 1 failure, 2 changes present (--detailed-exitcode), 3 invalid configuration,
4 unreachable or too late, 5 not authorised, 6 not found, 7 conflict, 64 wrong use, 130 interrupted.")]
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
    /// The context to use: a control plane by name; see lbctl context
    #[arg(long, global = true, env = "LBCTL_CONTEXT", value_name = "NAME", hide_env_values = true,
        add = ArgValueCandidates::new(complete::contexts))]
    pub(crate) context: Option<String>,
    /// The control plane to talk to; http://127.0.0.1:9700 unless a context says another
    #[arg(long, global = true, env = "LBCTL_SERVER", value_name = "URL",
        value_parser = value::server, hide_env_values = true)]
    pub(crate) server: Option<Url>,
    /// Whom to trust over TLS: the fleet's authority, in PEM (`lbctl authority --pem`); whoever
    /// the system trusts by default
    #[arg(long, global = true, env = "LBCTL_CA", value_name = "FILE", hide_env_values = true)]
    pub(crate) ca: Option<PathBuf>,
    /// A file with the token that says who you are; LBCTL_TOKEN may hold the token itself
    #[arg(
        long,
        global = true,
        env = "LBCTL_TOKEN_FILE",
        value_name = "FILE",
        hide_env_values = true
    )]
    pub(crate) token_file: Option<PathBuf>,
    /// How to write data; table unless a context says another. jsonpath=EXPR writes what an
    /// expression finds in the JSON, one a line
    #[arg(short, long, global = true, value_name = "FORMAT", value_parser = format::FormatParser)]
    pub(crate) output: Option<Format>,
    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: Color,
    /// Write tables without their first line
    #[arg(long, global = true)]
    pub(crate) no_headers: bool,
    /// Say nothing but data and errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Answer every question with yes
    #[arg(short, long, global = true)]
    pub(crate) yes: bool,
    /// Never ask, as if there were no terminal
    #[arg(long, global = true)]
    pub(crate) no_input: bool,
    /// Say what led to a failure, cause by cause
    #[arg(long, global = true)]
    pub(crate) debug: bool,
    /// Which of these a variable said, by their ids.
    #[arg(skip)]
    variables: Vec<String>,
}

impl Global {
    /// Whether a variable of the environment said it, and no flag.
    pub(crate) fn is_variable(&self, id: &str) -> bool {
        self.variables.iter().any(|variable| variable == id)
    }
}

impl Arguments {
    /// Reads a command line.
    ///
    /// # Errors
    ///
    /// It is wrong, or asks for help.
    pub(crate) fn read<T: Into<OsString> + Clone>(
        line: impl IntoIterator<Item = T>,
    ) -> Result<Self, clap::Error> {
        let mut matches = Self::command().try_get_matches_from(line)?;
        let said = |id: &&str| matches.value_source(id) == Some(ValueSource::EnvVariable);
        let ids = ["context", "server", "ca", "token_file"];
        let variables = ids.iter().filter(|id| said(id)).map(ToString::to_string).collect();
        let mut arguments = Self::from_arg_matches_mut(&mut matches)?;
        arguments.global.variables = variables;
        Ok(arguments)
    }
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
    /// Print the JSON Schema of configurations, for editors
    #[command(after_help = "Examples:
  lbctl schema > lb.schema.json
  lbctl schema | jq '.properties | keys'
  # at the top of lb.yaml, for editors with a YAML language server:
  # yaml-language-server: $schema=./lb.schema.json")]
    Schema,
    /// Say what a configuration would change, and change nothing
    Plan(Plan),
    /// Make a configuration the current version
    Apply(Apply),
    /// Compare two configurations: versions, files, or one of each
    Diff(Diff),
    /// Say which route takes a request, why, and what happens to it
    Explain(Explain),
    /// Show the documents of the current version
    #[command(after_help = "Examples:
  lbctl get > lb.yaml               the text as it was applied
  lbctl get -o json                 version, documents and files
  lbctl get -o name                 the names of the documents")]
    Get,
    /// Show one version: who made it, why, what it changed and what it says
    Show(Show),
    /// Look at the configuration: documents, history, where each value comes from
    Config(Config),
    /// Say how everything is: control plane, proxies and backends
    #[command(after_help = "Examples:
  lbctl status
  lbctl status --watch              again every two seconds
  lbctl status -o json | jq .health.status")]
    Status(Watch),
    /// List proxies and what they run
    #[command(
        visible_alias = "proxy",
        args_conflicts_with_subcommands = true,
        after_help = "Examples:
  lbctl proxies
  lbctl proxies --watch             again every two seconds
  lbctl proxies -o wide             with admin addresses and software
  lbctl proxies -o name             their ids only"
    )]
    Proxies(Proxies),
    /// Let proxies into the fleet and operators at it: tokens
    #[command(visible_alias = "token")]
    Tokens(Tokens),
    /// Save everything the control plane keeps; worth nothing without its key file
    Backup(Backup),
    /// Fill a new control plane's data directory from a backup
    Restore(Restore),
    /// Show or replace the authority that signs the fleet's certificates
    Authority(Authority),
    /// List backends, take them out of service, and put them back
    #[command(
        visible_aliases = ["backend", "be"],
        args_conflicts_with_subcommands = true,
        after_help = "Examples:
  lbctl backends
  lbctl backends -o wide            with weights, requests and last checks
  lbctl backends --watch --interval 1s
  lbctl backends --state disabled
  lbctl backends drain web1 --for 30m -m \"kernel update\"
  lbctl backends enable web1
  lbctl backends -o json | jq '.backends[] | select(.health != \"up\")'"
    )]
    Backends(Backends),
    /// List circuit breakers, and close them
    #[command(
        visible_aliases = ["circuit-breaker", "cb"],
        args_conflicts_with_subcommands = true,
        after_help = "Examples:
  lbctl circuit-breakers
  lbctl circuit-breakers --state open
  lbctl circuit-breakers -o wide            what each proxy says
  lbctl circuit-breakers reset web1"
    )]
    CircuitBreakers(Breakers),
    /// Say which slots serve, and switch between them
    #[command(
        name = "bg",
        visible_alias = "blue-green",
        args_conflicts_with_subcommands = true,
        after_help = "Examples:
  lbctl bg status
  lbctl bg switch green -m \"release 7\"
  lbctl bg rollback
  lbctl bg status --watch"
    )]
    BlueGreen(BlueGreen),
    /// Say how new versions do, and give them more, all or none of the requests
    #[command(
        visible_alias = "canaries",
        args_conflicts_with_subcommands = true,
        after_help = "Examples:
  lbctl canary status --watch
  lbctl canary set 25
  lbctl canary promote
  lbctl canary abort -m \"too many errors\""
    )]
    Canary(Canary),
    /// List routes, in the order in which they are tried
    #[command(
        visible_aliases = ["route", "rt"],
        after_help = "Examples:
  lbctl routes
  lbctl routes -o json | jq '.objects[] | select(.service == \"shop\")'

See also: lbctl explain URL, which says why a route takes a request."
    )]
    Routes(Objects),
    /// List services: pools of backends, and how one is chosen
    #[command(
        visible_aliases = ["service", "svc"],
        after_help = "Examples:
  lbctl services
  lbctl services -o name

See also: lbctl backends, which says how the servers are."
    )]
    Services(Objects),
    /// List entry points: where clients connect
    #[command(
        visible_aliases = ["entry-point", "ep"],
        after_help = "Examples:
  lbctl entry-points
  lbctl entry-points -o json | jq '.objects[] | select(.tls)'

See also: lbctl proxies, which says where each proxy really listens."
    )]
    EntryPoints(Objects),
    /// List certificates and how long they are good
    #[command(
        visible_aliases = ["cert", "certificates", "certificate"],
        after_help = "Examples:
  lbctl certs
  lbctl certs -o json | jq '.objects[] | {name, not_after}'

See also: lbctl doctor, which warns in the last quarter of a certificate's life."
    )]
    Certs(Objects),
    /// List what was decided about backends, slots and canaries, beside the configuration
    #[command(
        visible_alias = "override",
        after_help = "Examples:
  lbctl overrides
  lbctl overrides --watch
  lbctl overrides -o json | jq '.overrides[] | select(.expires == null)'"
    )]
    Overrides(Watch),
    /// Show what a server logs, or log more or less for a while
    LogLevel(LogLevel),
    /// List what operators did, and what they were refused
    Audit(Audit),
    /// List versions: who changed the configuration, when and why
    History(History),
    /// Make an older version current again
    Rollback(Rollback),
    /// Look at everything between here and the backends, and say what to do
    #[command(after_help = "Examples:
  lbctl doctor
  lbctl doctor -o json | jq '.checks[] | select(.verdict == \"failed\")'

Exits with 1 when a check failed.")]
    Doctor,
    /// Say what a code of `check` or `apply` means, with an example
    ExplainError(ExplainError),
    /// Write a first configuration
    Init(Init),
    /// Name control planes, choose one, and see which settings hold
    #[command(visible_alias = "contexts")]
    Context(Context),
    /// Show the versions of this program, the control plane and the proxies
    #[command(after_help = "Examples:
  lbctl version
  lbctl version -o json")]
    Version,
    /// Write a completion script for a shell
    #[command(after_help = "Examples:
  source <(lbctl completion bash)                 in ~/.bashrc
  source <(lbctl completion zsh)                  in ~/.zshrc, after compinit
  lbctl completion fish | source                  in ~/.config/fish/config.fish

Names of backends, proxies, versions, tokens and contexts are asked for while you type.")]
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[cfg(test)]
mod tests {
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
