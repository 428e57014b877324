//! `lbctl plan`: what a configuration would change.

use std::io;

use lb_model::api;

use super::{apply, check, deploy};
use crate::{
    args::{Environment, Plan},
    client::Client,
    exit::{Exit, Failure},
    output::{Output, changes, diagnostics::plural},
    source,
};

/// Checks, asks and draws.
pub(crate) async fn run(
    client: &Client,
    plan: &Plan,
    environment: &Environment,
    output: &Output,
) -> Result<Exit, Failure> {
    let reading = source::read(&plan.files, &plan.layers, environment, &mut io::stdin().lock())?;
    check::report(&reading, output)?;
    let planned = client.plan(&reading.bundle, None).await;
    let planned = planned.map_err(|error| {
        let base = error.current().unwrap_or_default();
        apply::refused(error, base, &reading, output)
    })?;
    output.value(
        &planned,
        |planned| changes::names(&planned.changes),
        |planned| draw(planned, output),
    )?;
    if planned.changed {
        let names = plan.files.iter().map(|file| format!(" -f {}", file.display()));
        output.hint(format_args!("make it so with: lbctl apply{}", names.collect::<String>()));
    }
    Ok(exit(&planned.changes, plan.detailed_exitcode))
}

/// How to exit when somebody compared.
pub(super) fn exit(changes: &[api::Change], is_detailed: bool) -> Exit {
    if is_detailed && !changes.is_empty() { Exit::Changes } else { Exit::Ok }
}

/// A plan for people.
pub(super) fn draw(plan: &api::Plan, output: &Output) -> String {
    let api::Plan { base, changes: found, changed, connected_proxies, .. } = plan;
    if found.is_empty() {
        return match changed {
            true => format!("no value changes; the documents of version {base} read otherwise\n"),
            false => format!("no changes: version {base} says the same\n"),
        };
    }
    let next = plan.current.0 + 1;
    let mut text = format!("plan   {base} → {next}   {}\n", changes::summary(found));
    text += &changes::draw(found, output.color);
    for decided in &plan.overrides {
        let dormant = if decided.dormant { ", which is not in it" } else { "" };
        text += &format!(
            "override: {} stays {} by {}{dormant}\n",
            decided.backend,
            decided.state.as_str(),
            decided.owner
        );
    }
    for decided in &plan.deployments {
        text += &format!("override: {}\n", deploy::words(decided));
    }
    text += &match connected_proxies {
        0 => "no proxy is connected; it would be live once one is\n".to_owned(),
        count => format!("it would go to {}\n", plural(*count, "proxy")),
    };
    text
}
