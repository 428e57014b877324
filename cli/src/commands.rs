//! The commands, one file each, and what they share.

pub(crate) mod apply;
mod audit;
mod authority;
mod backends;
mod backup;
mod blue_green;
mod breakers;
mod canary;
pub(crate) mod check;
mod config;
mod context;
mod deploy;
mod diff;
pub(crate) mod doctor;
mod explain;
pub(crate) mod explain_error;
mod get;
mod history;
mod init;
mod log_level;
mod objects;
mod overrides;
mod plan;
mod proxies;
mod rollback;
mod schema;
mod show;
mod status;
mod tokens;
mod version;
pub(crate) mod wait;

use crate::{
    args::{Arguments, Change, Command, Environment, Kind},
    client::{Client, Signature},
    complete,
    context::settings::Settings,
    exit::{Exit, Failure},
    output::Output,
    up,
};

/// Runs the command that was typed.
pub(crate) async fn run(
    arguments: Arguments,
    settings: &Settings,
    environment: &Environment,
    output: &Output,
) -> Result<Exit, Failure> {
    let global = arguments.global;
    let client = || Client::open(settings);
    match arguments.command {
        Command::Check(check) => check::run(&check, environment, output),
        Command::Schema => schema::run(output),
        Command::Completion { shell } => completion(shell, output),
        Command::Context(context) => {
            context::run(&context, (&global, settings), environment, output)
        }
        Command::Doctor => doctor::run(Ok(settings), environment, output).await,
        Command::ExplainError(settings) => explain_error::run(&settings, output),
        Command::Init(settings) => init::run(&settings, output),
        Command::Up(settings) => up::run(&settings, environment, output).await,
        Command::Apply(apply) => apply::run(&client()?, &apply, environment, output).await,
        Command::Plan(plan) => plan::run(&client()?, &plan, environment, output).await,
        Command::Diff(diff) => diff::run(client, &diff, environment, output).await,
        Command::Explain(settings) => explain::run(client, &settings, environment, output).await,
        Command::Show(show) => show::run(&client()?, &show, output).await,
        Command::Config(config) => config::run(client, &config, environment, output).await,
        Command::Get => get::run(&client()?, output).await,
        Command::Status(watch) => status::run(&client()?, &watch, output).await,
        Command::Proxies(proxies) => proxies::run(&client()?, &proxies, environment, output).await,
        Command::Backup(settings) => backup::save(&client()?, &settings, output).await,
        Command::Restore(settings) => backup::restore(&settings, environment, output),
        Command::Tokens(tokens) => tokens::run(&client()?, &tokens, environment, output).await,
        Command::Authority(authority) => {
            authority::run(&client()?, &authority, environment, output).await
        }
        Command::Backends(backends) => {
            backends::run(&client()?, &backends, environment, output).await
        }
        Command::CircuitBreakers(settings) => breakers::run(&client()?, &settings, output).await,
        Command::BlueGreen(settings) => {
            blue_green::run(&client()?, &settings, environment, output).await
        }
        Command::Canary(settings) => canary::run(&client()?, &settings, environment, output).await,
        Command::LogLevel(settings) => log_level::run(&client()?, &settings, output).await,
        Command::Audit(audit) => audit::run(&client()?, &audit, output).await,
        Command::Routes(objects) => objects::run(&client()?, Kind::Routes, &objects, output).await,
        Command::Services(objects) => {
            objects::run(&client()?, Kind::Services, &objects, output).await
        }
        Command::EntryPoints(objects) => {
            objects::run(&client()?, Kind::EntryPoints, &objects, output).await
        }
        Command::Certs(objects) => {
            objects::run(&client()?, Kind::Certificates, &objects, output).await
        }
        Command::Overrides(watch) => overrides::run(&client()?, &watch, output).await,
        Command::History(history) => history::run(&client()?, &history, output).await,
        Command::Rollback(rollback) => {
            rollback::run(&client()?, &rollback, environment, output).await
        }
        Command::Version => version::run(&client()?, output).await,
    }
}

impl Change {
    /// Who signs this change.
    fn signature(&self, environment: &Environment) -> Signature {
        let author = self.author.clone().unwrap_or_else(|| environment.author());
        Signature { author, reason: self.reason.clone() }
    }
}

impl Command {
    /// Whether it works whatever the file of contexts says.
    pub(crate) const fn is_on_its_own(&self) -> bool {
        matches!(
            self,
            Self::Schema
                | Self::Completion { .. }
                | Self::Check(_)
                | Self::ExplainError(_)
                | Self::Init(_)
        )
    }
}

fn completion(shell: clap_complete::Shell, output: &Output) -> Result<Exit, Failure> {
    output.data(&complete::script(shell)?)?;
    Ok(Exit::Ok)
}
