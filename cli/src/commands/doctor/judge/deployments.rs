//! What slots and canaries mean for whoever is about to switch, or waits for an end.

use lb_model::api::{BlueGreenView, CanaryView, ScheduleView};

use super::{Check, Fleet, Group, Verdict, plural, time};
use crate::commands::deploy;

/// A share that grows by hand, or was given everything, is seldom meant to stay for longer.
const LONG_SECONDS: u64 = 24 * 60 * 60;

/// Every service and route with slots or a canary.
pub(super) fn deployments((fleet, now): (&Fleet, jiff::Timestamp), checks: &mut Vec<Check>) {
    let mut group = Group("deployments", checks);
    let (Some(slots), Some(canaries)) = (&fleet.blue_green, &fleet.canaries) else {
        return group.skip("slots", "the control plane is too old to say");
    };
    match slots.services.as_slice() {
        [] => group.well("slots", "nothing has any"),
        all => slots_of(all, &mut group),
    }
    match canaries.services.as_slice() {
        [] => group.well("canary", "nothing has one"),
        all => canaries_of(all, now, &mut group),
    }
}

fn slots_of(all: &[BlueGreenView], group: &mut Group<'_>) {
    let before = group.1.len();
    for view in all {
        let scope = deploy::listed((&view.service, view.route.as_ref()));
        let (name, typed, active) = (scope.said(), scope.typed(), &view.active);
        let is_blue = active == "blue";
        let (serving, idle) =
            if is_blue { (&view.blue, &view.green) } else { (&view.green, &view.blue) };
        let other = if is_blue { "green" } else { "blue" };
        let of =
            |count: usize| format!("none of its {} could take requests", plural(count, "backend"));
        if serving.healthy == 0 {
            let fallback = view.fallback && idle.healthy > 0;
            let (verdict, then) = if fallback {
                (Verdict::Warning, format!("{other} answers in its place"))
            } else {
                (Verdict::Failed, "requests end in 503".to_owned())
            };
            let detail =
                format!("{name}: {active} serves and {}; {then}", of(serving.backends.len()));
            let fix = if idle.healthy > 0 {
                format!("start them, or: lbctl bg switch {other} {typed}")
            } else {
                "start them; lbctl backends says what is wrong with each".to_owned()
            };
            group.add(verdict, "active slot", detail, Some(&fix));
        }
        if idle.healthy == 0 {
            let detail = format!(
                "{name}: {other} is idle and {}; a switch to it would be refused",
                of(idle.backends.len())
            );
            let fix = format!("start them before: lbctl bg switch {other} {typed}");
            group.warn("idle slot", detail, &fix);
        }
    }
    if group.1.len() == before {
        let scopes = all.iter().map(|view| deploy::listed((&view.service, view.route.as_ref())));
        let counted = deploy::counted(&scopes.collect::<Vec<_>>());
        group.well("slots", format!("both of {counted} could serve"));
    }
}

fn canaries_of(all: &[CanaryView], now: jiff::Timestamp, group: &mut Group<'_>) {
    let before = group.1.len();
    for view in all {
        canary(view, now, group);
    }
    if group.1.len() == before {
        let scopes = all.iter().map(|view| deploy::listed((&view.service, view.route.as_ref())));
        let counted = deploy::counted(&scopes.collect::<Vec<_>>());
        group.well("canary", format!("nothing is wrong with that of {counted}"));
    }
}

fn canary(view: &CanaryView, now: jiff::Timestamp, group: &mut Group<'_>) {
    let scope = deploy::listed((&view.service, view.route.as_ref()));
    let (name, typed, split) = (scope.said(), scope.typed(), view.split);
    if view.healthy == 0 && split > 0.0 {
        let detail = format!(
            "{name}: none of the {} of the canary could take requests; its {split}% go to the \
             stable version",
            plural(view.backends.len(), "backend")
        );
        let fix = format!("start them; meanwhile: lbctl canary abort {typed}");
        group.warn("canary", detail, &fix);
    }
    let Some(decided) = &view.decided else { return };
    let age = seconds_since(&decided.since, now);
    let ago = age.map_or_else(
        || "at a time that cannot be read".to_owned(),
        |age| format!("{} ago", time::span(age)),
    );
    let state = decided.schedule.as_ref().map_or("", |schedule| schedule.state.as_str());
    if let Some(ScheduleView { step, steps, why, .. }) =
        decided.schedule.as_ref().filter(|_| state == "aborted")
    {
        let detail = format!("{name}: aborted in step {step} of {steps} {ago}: {why}");
        let fix = format!(
            "mend the new version and give it a share again: lbctl canary set PERCENT {typed}; or \
             take the canary out of the configuration"
        );
        return group.warn("canary schedule", detail, &fix);
    }
    let is_long = age.is_some_and(|age| age >= LONG_SECONDS);
    if let Some(ScheduleView { step, steps, .. }) =
        decided.schedule.as_ref().filter(|_| state == "holding" && is_long)
    {
        let detail = format!(
            "{name}: waits in step {step} of {steps}, which began {ago}, for enough traffic to judge \
             by"
        );
        let fix = format!("decide yourself: lbctl canary set PERCENT {typed}, promote or abort");
        return group.warn("canary schedule", detail, &fix);
    }
    // What grows by itself is not forgotten.
    if !is_long || state == "running" || state == "holding" {
        return;
    }
    let whose = &decided.owner;
    if split >= 100.0 {
        let detail = format!("{name}: gets all requests by decision of {whose}, {ago}");
        let fix = "put its backends in the place of the stable ones, take the canary out of the \
                   configuration, and apply";
        group.warn("canary promoted", detail, fix);
    } else if split > 0.0 {
        let detail = format!("{name}: stays at {split}% by decision of {whose}, {ago}");
        let fix = format!("end it: lbctl canary promote {typed}, or abort {typed}");
        group.warn("canary paused", detail, &fix);
    }
}

/// How long ago that was; nothing where it cannot be read.
fn seconds_since(text: &str, now: jiff::Timestamp) -> Option<u64> {
    let since: jiff::Timestamp = text.parse().ok()?;
    Some(now.duration_since(since).as_secs().max(0).unsigned_abs())
}
