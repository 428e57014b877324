//! What `lbctl bg` and `lbctl canary` share: which service or route is meant, and waiting until a
//! decision is live.

use lb_model::api::{DeploymentChanged, DeploymentOverride, ScheduleView};
use serde::Serialize;

use super::wait;
use crate::{
    args::{Deploy, Environment},
    client::{Client, Signature, operate::Scope},
    exit::{Exit, Failure},
    output::{Output, diagnostics::plural, table::Field},
};

/// What a list tells of something that has slots or a canary: its service, and its route if it is
/// of one.
pub(super) type Listed<'l> = (&'l String, Option<&'l String>);

/// What is meant: what was named, or the only thing that `list` gives.
///
/// # Errors
///
/// Nothing was named, and there is not exactly one.
pub(super) async fn scope(
    deploy: &Deploy,
    (what, remedy): (&str, &str),
    list: impl AsyncFnOnce() -> Result<Vec<Scope>, Failure>,
) -> Result<Scope, Failure> {
    match (&deploy.service, &deploy.route) {
        (_, Some(route)) => Ok(Scope::Route(route.clone())),
        (Some(service), None) => Ok(Scope::Service(service.clone())),
        (None, None) => only(list().await?, (what, remedy)),
    }
}

fn only(all: Vec<Scope>, (what, remedy): (&str, &str)) -> Result<Scope, Failure> {
    match <[Scope; 1]>::try_from(all) {
        Ok([only]) => Ok(only),
        Err(all) if all.is_empty() => {
            let text = format!("no service and no route has {what}");
            Err(Failure::new(text).exit(Exit::NotFound).fix(remedy))
        }
        Err(all) => {
            let names: Vec<_> = all.iter().map(Scope::typed).collect();
            Err(Failure::new(format!("{} have {what}", counted(&all)))
                .exit(Exit::Usage)
                .fix(format!("name one of {}", names.join(", "))))
        }
    }
}

/// How many services and routes these are.
pub(super) fn counted(all: &[Scope]) -> String {
    let routes = all.iter().filter(|scope| matches!(scope, Scope::Route(_))).count();
    match (all.len() - routes, routes) {
        (services, 0) => plural(services, "service"),
        (0, routes) => plural(routes, "route"),
        (services, routes) => {
            format!("{} and {}", plural(services, "service"), plural(routes, "route"))
        }
    }
}

/// What something listed is.
pub(super) fn listed((service, route): Listed<'_>) -> Scope {
    match route {
        Some(route) => Scope::Route(route.clone()),
        None => Scope::Service(service.clone()),
    }
}

/// What something listed is called with `-o name`.
pub(super) fn name((service, route): Listed<'_>) -> String {
    match route {
        Some(route) => format!("{service}/{route}"),
        None => service.clone(),
    }
}

/// The columns that say what a row is about, before others; routes have one if there are some.
pub(super) fn header<'h>(has_routes: bool, rest: &[&'h str]) -> Vec<&'h str> {
    let place: &[_] = if has_routes { &["SERVICE", "ROUTE"] } else { &["SERVICE"] };
    [place, rest].concat()
}

/// What stands in these columns.
pub(super) fn place(
    (service, route): Listed<'_>,
    has_routes: bool,
) -> impl Iterator<Item = Field> + use<> {
    let route = has_routes.then(|| route.cloned().unwrap_or_default());
    std::iter::once(service.clone()).chain(route).map(Field::from)
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
    let DeploymentChanged { kind, before, value, changed: is_new, version, .. } = changed;
    let what = listed((&changed.service, changed.route.as_ref())).said();
    match (kind.as_str(), is_new) {
        ("slot", true) => format!("{what}: {before} → {value}, as version {version}"),
        ("slot", false) => format!("{what}: {value} serves already"),
        (_, true) => format!("{what}: canary {before}% → {value}%, as version {version}"),
        (_, false) => format!("{what}: the canary gets {value}% already"),
    }
}

/// What was decided about a service or route, in one line.
pub(super) fn words(decided: &DeploymentOverride) -> String {
    let DeploymentOverride { kind, value, owner, reason, dormant, schedule, .. } = decided;
    let what = listed((&decided.service, decided.route.as_ref())).said();
    let mut text = match kind.as_str() {
        "slot" => format!("{what}: {value} serves by decision of {owner}"),
        _ => format!("{what}: the canary gets {value}% by decision of {owner}"),
    };
    if let Some(schedule) = schedule {
        text += &format!(", {}", progress(schedule));
    }
    let own = format!("{what}: ");
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
    fn a_name_may_be_left_out_when_there_is_one() {
        let shop = Scope::Service("shop".into());
        let (api, web) = (Scope::Route("api".into()), Scope::Route("web".into()));
        let of = |all: &[&Scope]| {
            only(all.iter().map(|scope| (*scope).clone()).collect(), ("slots", "write blue_green"))
        };
        assert_eq!(of(&[&shop]).unwrap(), shop);
        assert_eq!(of(&[&api]).unwrap(), api);
        for (all, expected) in [
            (
                vec![&shop, &api, &web],
                "1 service and 2 routes have slots; name one of shop, --route api, --route web",
            ),
            (vec![&api, &web], "2 routes have slots; name one of --route api, --route web"),
        ] {
            let several = of(&all).unwrap_err();
            assert_eq!((several.exit, &*several.to_string()), (Exit::Usage, expected));
        }
        assert_eq!(of(&[]).unwrap_err().exit, Exit::NotFound);
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
            route: None,
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
        let own = "route api: canary at 25%, step 2 of 3";
        let decided = DeploymentOverride {
            route: Some("api".into()),
            ..decided("split", "25", Some(schedule("running")), own)
        };
        let expected = "route api: the canary gets 25% by decision of ann, step 2 of 3";
        assert_eq!(words(&decided), expected, "the reason says nothing more");
    }
}
