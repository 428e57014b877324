//! `lbctl apply`: makes a configuration the current version, and waits until it is live.

use std::{io, time::Duration};

use lb_model::{Diagnostics, Version, api::Committed};
use serde::Serialize;

use super::{check, plan, wait};
use crate::{
    args::{Apply, Environment, Wait},
    client::{ApiError, Client},
    exit::{Exit, Failure},
    output::{Output, changes, diagnostics::plural},
    source::{self, Reading},
};

/// Checks, sends and waits.
pub(crate) async fn run(
    client: &Client,
    apply: &Apply,
    environment: &Environment,
    output: &Output,
) -> Result<Exit, Failure> {
    let reading = source::read(&apply.files, &apply.layers, environment, &mut io::stdin().lock())?;
    check::report(&reading, output)?;
    let expected = match apply.if_version {
        Some(version) => Version(version),
        None => client.config().await?.version,
    };
    if !apply.dry_run {
        let what = if output.is_guarded() {
            let planned = client.plan(&reading.bundle, None).await;
            plan::draw(
                &planned.map_err(|error| refused(error, expected, &reading, output))?,
                output,
            )
        } else {
            String::new()
        };
        output.permit(&what)?;
    }
    let signature = apply.change.signature(environment);
    let committed = client.put_config(&reading.bundle, expected, &signature, apply.dry_run).await;
    let committed = committed.map_err(|error| refused(error, expected, &reading, output))?;
    tell_news(&committed.warnings, &reading, output);
    if !output.is_structured() && !committed.changes.is_empty() {
        output.note(format_args!(
            "{}{}",
            changes::draw(&committed.changes, output.message_color),
            changes::summary(&committed.changes)
        ));
    }
    if apply.dry_run {
        return dry_run(&committed, expected, output);
    }
    finish(client, committed, &apply.change.wait, output).await
}

/// Why a configuration was not taken, with its faults drawn.
pub(crate) fn refused(
    error: ApiError,
    expected: Version,
    reading: &Reading,
    output: &Output,
) -> Failure {
    if let Some(found) = error.diagnostics() {
        check::draw(found, &reading.bundle, output);
    }
    if error.is_conflict() { conflict(expected, error.current()) } else { error.into() }
}

/// Somebody was faster.
pub(crate) fn conflict(expected: Version, current: Option<Version>) -> Failure {
    let current = current
        .map_or_else(|| "another version".to_owned(), |current| format!("version {current}"));
    Failure::new(format!(
        "nothing was changed: version {expected} was expected, {current} is current"
    ))
    .exit(Exit::Conflict)
    .fix("see what changed with `lbctl history` and `lbctl get`, then apply again")
}

/// Draws the warnings that only the control plane has; the others were drawn before.
fn tell_news(warnings: &Diagnostics, reading: &Reading, output: &Output) {
    let Ok(parsed) = reading.check(jiff::Timestamp::now().as_second()) else { return };
    let mut news = Diagnostics::default();
    for warning in warnings {
        let is_known = |known: &lb_model::Diagnostic| {
            known.code == warning.code && known.place == warning.place && known.path == warning.path
        };
        if !parsed.warnings.iter().any(is_known) {
            news.push(warning.clone());
        }
    }
    check::draw(&news, &reading.bundle, output);
}

fn dry_run(committed: &Committed, current: Version, output: &Output) -> Result<Exit, Failure> {
    if output.is_structured() {
        output.structured(committed)?;
    } else if committed.changed {
        output.summary(&format!("dry run: valid; it would change version {current}"))?;
    } else {
        output.summary(&format!("dry run: valid; version {current} says the same already"))?;
    }
    Ok(Exit::Ok)
}

/// A commit and how far it came, for programs.
#[derive(Debug, Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    committed: &'a Committed,
    /// How far the version came; absent when nobody waited.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<wait::Outcome>,
}

/// Says what was committed, and waits for the proxies if that is wanted.
pub(crate) async fn finish(
    client: &Client,
    committed: Committed,
    wait: &Wait,
    output: &Output,
) -> Result<Exit, Failure> {
    let version = committed.version;
    if !committed.changed {
        output.note(format_args!("version {version} says the same already; nothing was changed"));
    }
    if !wait.is_wanted(output.on_terminal) {
        if output.is_structured() {
            output.structured(&Report { committed: &committed, outcome: None })?;
        } else {
            output.summary(&without_waiting(&committed))?;
        }
        return Ok(Exit::Ok);
    }
    let awaited = wait::Awaited { version, is_new: committed.changed, at_least: 1 };
    match wait::until_live(client, awaited, wait.timeout).await? {
        wait::Ended::With(outcome) => {
            let exit = tell(&outcome, &committed, wait.timeout, output)?;
            if exit != Exit::Ok && version > Version(1) && committed.changed {
                let back = version.0 - 1;
                output.note(format_args!("go back with: lbctl rollback {back}"));
            }
            if exit == Exit::Ok && version > Version(1) && committed.changed {
                output.hint(format_args!("go back with: lbctl rollback {}", version.0 - 1));
            }
            Ok(exit)
        }
        wait::Ended::Interrupted => {
            output.important(format_args!(
                "stopped waiting; version {version} is committed. Look again with: lbctl proxies --watch"
            ));
            Ok(Exit::Interrupted)
        }
    }
}

fn tell(
    outcome: &wait::Outcome,
    committed: &Committed,
    waited: Duration,
    output: &Output,
) -> Result<Exit, Failure> {
    if output.is_structured() {
        output.structured(&Report { committed, outcome: Some(outcome.clone()) })?;
        return Ok(outcome.exit());
    }
    wait::tell(outcome, committed.version, waited, output)
}

fn without_waiting(committed: &Committed) -> String {
    let Committed { version, changed, connected_proxies, .. } = committed;
    let did = if *changed { "committed" } else { "current" };
    match connected_proxies {
        0 => format!("version {version}: {did}; no proxy is connected"),
        _ => format!("version {version}: {did}; {} connected", plural(*connected_proxies, "proxy")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conflict_names_both_versions() {
        let failure = conflict(Version(41), Some(Version(43)));
        assert_eq!(failure.exit, Exit::Conflict);
        assert_eq!(
            failure.what,
            "nothing was changed: version 41 was expected, version 43 is current"
        );
    }

    #[test]
    fn without_waiting_the_commit_is_told() {
        let committed = |changed, connected_proxies| Committed {
            version: Version(7),
            changed,
            warnings: Diagnostics::default(),
            changes: Vec::new(),
            connected_proxies,
        };
        assert_eq!(
            without_waiting(&committed(true, 2)),
            "version 7: committed; 2 proxies connected"
        );
        assert_eq!(
            without_waiting(&committed(false, 0)),
            "version 7: current; no proxy is connected"
        );
    }
}
