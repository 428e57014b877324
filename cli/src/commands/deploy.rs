//! What `lbctl bg` and `lbctl canary` share: which service is meant, and waiting until a decision
//! is live.

use lb_model::api::{DeploymentChanged, DeploymentOverride, ScheduleView};
use serde::Serialize;

use super::wait;
use crate::{
    args::{Deploy, Environment},
    client::{Client, Signature},
    exit::{Exit, Failure},
    output::{Output, diagnostics::plural},
};

/// The service that is meant: the one that was named, or the only one.
///
/// # Errors
///
/// None was named, and there is not exactly one.
pub(super) fn service(
    named: Option<&str>,
    (what, remedy): (&str, &str),
    all: Vec<String>,
) -> Result<String, Failure> {
    if let Some(named) = named {
        return Ok(named.to_owned());
    }
    match <[String; 1]>::try_from(all) {
        Ok([only]) => Ok(only),
        Err(all) if all.is_empty() => {
            Err(Failure::new(format!("no service has {what}")).exit(Exit::NotFound).fix(remedy))
        }
        Err(all) => Err(Failure::new(format!("{} have {what}", plural(all.len(), "service")))
            .exit(Exit::Usage)
            .fix(format!("name one of {}", all.join(", ")))),
    }
}

/// Who signs a decision.
pub(super) fn signature(deploy: &Deploy, environment: &Environment) -> Signature {
    let author = deploy.author.clone().unwrap_or_else(|| environment.author());
    Signature { author, reason: deploy.reason.clone() }
}

/// A decision and how far it came, for programs.
#[derive(Debug, Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    changed: &'a DeploymentChanged,
    /// How far the version came; absent when nobody waited.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<wait::Outcome>,
}

/// Says what was decided, and waits for the proxies if that is wanted.
pub(super) async fn finish(
    client: &Client,
    changed: &DeploymentChanged,
    deploy: &Deploy,
    (output, back): (&Output, &str),
) -> Result<Exit, Failure> {
    if !output.is_structured() {
        output.summary(&said(changed))?;
    }
    if !deploy.wait.is_wanted(output.on_terminal) {
        if output.is_structured() {
            output.structured(&Report { changed, outcome: None })?;
        }
        return Ok(Exit::Ok);
    }
    let version = changed.version;
    let awaited = wait::Awaited { version, is_new: changed.changed, at_least: 1 };
    match wait::until_live(client, awaited, deploy.wait.timeout).await? {
        wait::Ended::With(outcome) => {
            if output.is_structured() {
                output.structured(&Report { changed, outcome: Some(outcome.clone()) })?;
                return Ok(outcome.exit());
            }
            let exit = wait::tell(&outcome, version, deploy.wait.timeout, output)?;
            if changed.changed {
                output.hint(format_args!("go back with: {back}"));
            }
            Ok(exit)
        }
        wait::Ended::Interrupted => {
            output.important(format_args!(
                "stopped waiting; version {version} is committed. Look again with: lbctl proxies \
                 --watch"
            ));
            Ok(Exit::Interrupted)
        }
    }
}

fn said(changed: &DeploymentChanged) -> String {
    let DeploymentChanged { service, kind, before, value, changed: is_new, version, .. } = changed;
    match (kind.as_str(), is_new) {
        ("slot", true) => format!("{service}: {before} → {value}, as version {version}"),
        ("slot", false) => format!("{service}: {value} serves already"),
        (_, true) => format!("{service}: canary {before}% → {value}%, as version {version}"),
        (_, false) => format!("{service}: the canary gets {value}% already"),
    }
}

/// What was decided about a service, in one line.
pub(super) fn words(decided: &DeploymentOverride) -> String {
    let DeploymentOverride { service, kind, value, owner, reason, dormant, schedule, .. } = decided;
    let mut text = match kind.as_str() {
        "slot" => format!("{service}: {value} serves by decision of {owner}"),
        _ => format!("{service}: the canary gets {value}% by decision of {owner}"),
    };
    if let Some(schedule) = schedule {
        text += &format!(", {}", progress(schedule));
    }
    let own = format!("{service}: ");
    // What a schedule gives as its reason says the same once more.
    if !reason.is_empty() && !reason.starts_with(&own) {
        text += &format!(" ({reason})");
    }
    if *dormant {
        text += "; dormant: the configuration has no such deployment";
    }
    text
}

/// How far a schedule has come.
pub(super) fn progress(schedule: &ScheduleView) -> String {
    let ScheduleView { state, step, steps, why, .. } = schedule;
    match state.as_str() {
        "running" => format!("step {step} of {steps}"),
        "holding" => format!("step {step} of {steps}, waiting for traffic to judge by"),
        "finished" => format!("all {steps} steps done"),
        "aborted" => format!("aborted in step {step} of {steps}: {why}"),
        _ => format!("stopped in step {step} of {steps}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_may_be_left_out_when_there_is_one() {
        let what = ("slots", "write blue_green");
        let of = |named, all: &[&str]| {
            service(named, what, all.iter().map(ToString::to_string).collect())
        };
        assert_eq!(of(None, &["shop"]).unwrap(), "shop");
        assert_eq!(of(Some("api"), &["shop", "api"]).unwrap(), "api");
        let several = of(None, &["shop", "api"]).unwrap_err();
        assert_eq!(several.exit, Exit::Usage);
        assert_eq!(several.to_string(), "2 services have slots; name one of shop, api");
        assert_eq!(of(None, &[]).unwrap_err().exit, Exit::NotFound);
    }

    #[test]
    fn a_decision_is_told_in_words() {
        let schedule = |state: &str| ScheduleView {
            state: state.into(),
            step: 2,
            steps: 3,
            since: String::new(),
            until: None,
            why: "it is slow".into(),
        };
        let decided = |kind: &str, value: &str, schedule, reason: &str| DeploymentOverride {
            service: "shop".into(),
            kind: kind.into(),
            value: value.into(),
            owner: "ann".into(),
            reason: reason.into(),
            since: String::new(),
            dormant: false,
            schedule,
        };
        for (decided, expected) in [
            (
                decided("slot", "green", None, "release 7"),
                "shop: green serves by decision of ann (release 7)",
            ),
            (
                decided("split", "25", Some(schedule("running")), "shop: canary at 25%"),
                "shop: the canary gets 25% by decision of ann, step 2 of 3",
            ),
            (
                decided("split", "0", Some(schedule("aborted")), ""),
                "shop: the canary gets 0% by decision of ann, aborted in step 2 of 3: it is slow",
            ),
        ] {
            assert_eq!(words(&decided), expected);
        }
    }
}
