//! Completes command lines, with names that a control plane knows now.
//!
//! A shell calls this program with what was typed so far. Somebody waits for every key, so a
//! control plane that does not answer at once is not waited for, and nothing here is ever an
//! error: no name is offered then.

use std::{ffi::OsString, time::Duration};

use clap::{CommandFactory, FromArgMatches};
use clap_complete::{
    CompleteEnv,
    engine::CompletionCandidate,
    env::{EnvCompleter, Shells},
};
use lb_model::api::ObjectList;

use crate::{
    args::{Arguments, Environment, Filter, Global},
    client::{Answer, Client},
    commands::explain_error,
    context::{Contexts, settings::Settings},
    exit::Failure,
};

/// What the scripts set when they call this program.
const VARIABLE: &str = "LBCTL_COMPLETE";
/// How long a name may take.
const PATIENCE: Duration = Duration::from_millis(800);
/// How many versions are offered.
const VERSIONS: u32 = 50;

/// Answers a shell. Says whether it was one that asked.
pub(crate) fn answer() -> bool {
    let directory = std::env::current_dir().ok();
    let complete = CompleteEnv::with_factory(Arguments::command).var(VARIABLE);
    match complete.try_complete(std::env::args_os(), directory.as_deref()) {
        Ok(was_asked) => was_asked,
        Err(error) => {
            // The shell has no place for it; whoever calls by hand has.
            let _ = error.print();
            true
        }
    }
}

/// The script that makes a shell ask.
pub(crate) fn script(shell: clap_complete::Shell) -> Result<String, Failure> {
    let shells = Shells::builtins();
    let shell = shell.to_string();
    let completer = shells.completer(&shell).ok_or_else(|| {
        Failure::new(format!("there is no completion for {shell}"))
            .fix("take bash, zsh, fish, powershell or elvish")
    })?;
    let mut script = Vec::new();
    write(completer, &mut script)
        .map_err(|error| Failure::new(format!("could not write the script: {error}")))?;
    Ok(String::from_utf8_lossy(&script).into_owned())
}

fn write(completer: &dyn EnvCompleter, script: &mut Vec<u8>) -> std::io::Result<()> {
    completer.write_registration(VARIABLE, "lbctl", "lbctl", "lbctl", script)
}

/// Names of contexts.
pub(crate) fn contexts() -> Vec<CompletionCandidate> {
    let contexts = Contexts::read(&Environment::read()).unwrap_or_default();
    let each = contexts.all().iter();
    each.map(|(name, context)| candidate(name, context.server.as_str())).collect()
}

/// Ids of backends.
pub(crate) fn backends() -> Vec<CompletionCandidate> {
    ask(async |client| {
        let list = client.backends(&Filter::default()).await?;
        let mut found: Vec<_> = list.backends.into_iter().map(|b| (b.id, b.url)).collect();
        found.sort();
        found.dedup();
        Ok(found.iter().map(|(id, url)| candidate(id, url)).collect())
    })
}

/// Services that have backends.
pub(crate) fn services() -> Vec<CompletionCandidate> {
    ask(async |client| {
        let list = client.backends(&Filter::default()).await?;
        let mut found: Vec<_> = list.backends.into_iter().map(|b| b.service).collect();
        found.sort();
        found.dedup();
        Ok(found.into_iter().map(CompletionCandidate::new).collect())
    })
}

/// Routes, with their services.
pub(crate) fn routes() -> Vec<CompletionCandidate> {
    ask(async |client| {
        let ObjectList::Routes { objects, .. } = client.objects("routes").await? else {
            return Ok(Vec::new());
        };
        Ok(objects.iter().map(|each| candidate(&each.name, &each.service)).collect())
    })
}

/// Ids of proxies.
pub(crate) fn proxies() -> Vec<CompletionCandidate> {
    ask(async |client| {
        let list = client.proxies().await?;
        Ok(list.proxies.iter().map(|proxy| candidate(&proxy.id, proxy.state.as_str())).collect())
    })
}

/// Entry points, with their addresses.
pub(crate) fn entry_points() -> Vec<CompletionCandidate> {
    ask(async |client| {
        let ObjectList::EntryPoints { objects, .. } = client.objects("entry_points").await? else {
            return Ok(Vec::new());
        };
        Ok(objects.iter().map(|each| candidate(&each.name, &each.address)).collect())
    })
}

/// The newest versions, with their reasons.
pub(crate) fn versions() -> Vec<CompletionCandidate> {
    ask(async |client| {
        let list = client.versions(VERSIONS, None).await?;
        let each = list.versions.iter();
        Ok(each.map(|each| candidate(&each.version.to_string(), &each.reason)).collect())
    })
}

/// Codes of findings.
pub(crate) fn codes() -> Vec<CompletionCandidate> {
    let known = explain_error::all().unwrap_or_default();
    known.iter().map(|known| candidate(&known.code, &known.title)).collect()
}

/// Ids of tokens.
pub(crate) fn tokens() -> Vec<CompletionCandidate> {
    ask(async |client| {
        let list = client.tokens().await?;
        let what = |name: &Option<String>| name.clone().unwrap_or_default();
        Ok(list.tokens.iter().map(|token| candidate(&token.id, &what(&token.name))).collect())
    })
}

fn candidate(name: &str, help: &str) -> CompletionCandidate {
    let help = (!help.is_empty()).then(|| help.to_owned().into());
    CompletionCandidate::new(name).help(help)
}

/// Asks the control plane that the line names so far, and gives up soon.
fn ask(
    names: impl AsyncFnOnce(&Client) -> Answer<Vec<CompletionCandidate>>,
) -> Vec<CompletionCandidate> {
    let Some(client) = client(std::env::args_os().collect()) else { return Vec::new() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return Vec::new() };
    let asked = runtime.block_on(async { tokio::time::timeout(PATIENCE, names(&client)).await });
    // A name that is being looked up would be waited for.
    runtime.shutdown_background();
    asked.ok().and_then(Result::ok).unwrap_or_default()
}

fn client(line: Vec<OsString>) -> Option<Client> {
    // What was typed stands behind `--`, and is no whole command yet.
    let typed = line.into_iter().skip_while(|word| word != "--").skip(1);
    let matches = Arguments::command().ignore_errors(true).try_get_matches_from(typed).ok()?;
    let global = Global::from_arg_matches(&matches).ok()?;
    let environment = Environment::read();
    let contexts = Contexts::read(&environment).ok()?;
    Client::open(&Settings::resolve(&global, &environment, &contexts).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_the_one_that_the_line_names_so_far() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let line = ["lbctl", "--", "lbctl", "--server", "lb.example:1", "backends", "disable", ""];
        let client = client(line.map(OsString::from).to_vec()).unwrap();
        assert_eq!(client.name(), "http://lb.example:1");
    }
}
