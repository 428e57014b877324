//! `lbctl canary`: how much a new version gets, how it does, and what becomes of it.

use jiff::Timestamp;
use lb_model::api::{ArmView, CanaryList, CanaryView};

use super::{backends::millis, deploy};
use crate::{
    args::{Canary, CanaryAction, Deploy, Environment, Watch},
    client::{Client, operate::Share},
    exit::{Exit, Failure},
    output::{
        Output,
        table::{self, Field, Mood},
        time,
    },
    watch::{self, Frame},
};

const WHAT: (&str, &str) = ("a canary", "write traffic_management.canary; see docs/traffic.md");

/// Shows, or gives the canary another share.
pub(crate) async fn run(
    client: &Client,
    settings: &Canary,
    environment: &Environment,
    output: &Output,
) -> Result<Exit, Failure> {
    let (share, deploy) = match &settings.action {
        None => return status(client, &settings.watch, output).await,
        Some(CanaryAction::Status { watch }) => return status(client, watch, output).await,
        Some(CanaryAction::Set { split, deploy }) => (Share::Set(*split), deploy),
        Some(CanaryAction::Promote { deploy }) => (Share::Promote, deploy),
        Some(CanaryAction::Abort { deploy }) => (Share::Abort, deploy),
    };
    give(client, (share, deploy), environment, output).await
}

async fn status(client: &Client, watch: &Watch, output: &Output) -> Result<Exit, Failure> {
    watch::show(output, watch, async |output| {
        let list = client.canaries().await?;
        let names = |list: &CanaryList| each(list).map(deploy::name).collect();
        let text = output.render(&list, names, |list| draw(list, output, Timestamp::now()))?;
        let none = "nothing has a canary; write traffic_management.canary into a service or route";
        Ok(Frame::new(text, list.services.is_empty(), none))
    })
    .await
}

async fn give(
    client: &Client,
    (share, deploy): (Share, &Deploy),
    environment: &Environment,
    output: &Output,
) -> Result<Exit, Failure> {
    let listed = async || Ok(each(&client.canaries().await?).map(deploy::listed).collect());
    let scope = deploy::scope(deploy, WHAT, listed).await?;
    let share_said = match share {
        Share::Set(split) => format!("{split}%"),
        Share::Promote => "all".to_owned(),
        Share::Abort => "none".to_owned(),
    };
    let said = scope.said();
    output.permit(&format!("the canary of {said} will get {share_said} of its requests"))?;
    let signature = deploy::signature(deploy, environment);
    let changed = client.share(&scope, share, &signature).await?;
    let back = format!("lbctl canary set {} {}", changed.before, scope.typed());
    deploy::finish(client, &changed, deploy, (output, &back)).await
}

fn each(list: &CanaryList) -> impl Iterator<Item = deploy::Listed<'_>> {
    list.services.iter().map(|each| (&each.service, each.route.as_ref()))
}

/// Both versions of each canary side by side, with what was decided below them; empty when there
/// is none.
pub(crate) fn draw(list: &CanaryList, output: &Output, now: Timestamp) -> String {
    if list.services.is_empty() {
        return String::new();
    }
    let has_routes = list.services.iter().any(|each| each.route.is_some());
    let place = |view: &CanaryView| deploy::place((&view.service, view.route.as_ref()), has_routes);
    let mut rows = Vec::new();
    for service in &list.services {
        let (split, rest) = (service.split, 100.0 - service.split);
        let healthy = format!("{}/{}", service.healthy, service.backends.len());
        let is_well = service.healthy == service.backends.len();
        let mood = if is_well { Mood::Good } else { Mood::Unsure };
        let healthy = Field::in_mood(healthy, mood);
        let stable = row(("stable", rest), String::new().into(), &service.stable);
        let canary = row(("canary", split), healthy, &service.canary);
        rows.extend([stable, canary].map(|row| place(service).chain(row).collect()));
    }
    let header = ["VERSION", "SHARE", "HEALTHY", "RPS", "ERR %", "P50", "P95", "P99"];
    let header = deploy::header(has_routes, &header);
    let mut text = table::draw(output, &header, rows);
    for service in &list.services {
        text += &below(service, now);
    }
    text
}

fn row((version, share): (&str, f64), healthy: Field, arm: &ArmView) -> [Field; 8] {
    let answered = arm.requests_per_second > 0.0;
    let latency = |of: fn(&lb_model::api::LatencyView) -> f64| {
        Field::from(millis(arm.latency.as_ref().map(of)))
    };
    let errors = if answered { format!("{:.1}", arm.error_percent) } else { String::new() };
    [
        version.into(),
        // Rounded to what a document may say.
        format!("{}%", (share * 10_000.0).round() / 10_000.0).into(),
        healthy,
        format!("{:.1}", arm.requests_per_second).into(),
        errors.into(),
        latency(|latency| latency.p50_ms),
        latency(|latency| latency.p95_ms),
        latency(|latency| latency.p99_ms),
    ]
}

/// What was decided about a canary, and what comes next.
fn below(service: &CanaryView, now: Timestamp) -> String {
    let Some(decided) = &service.decided else { return String::new() };
    let mut text = deploy::words(decided);
    if let Some(schedule) = decided.schedule.as_ref().filter(|s| s.state == "running") {
        let left = time::left(schedule.until.as_deref(), now);
        text += &match service.steps.get(schedule.step) {
            Some(next) => format!("; {}% in {left}", next.split),
            None => format!("; done in {left}"),
        };
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use lb_model::{
        Version,
        api::{CanaryStepView, DeploymentOverride, LatencyView, ScheduleView},
    };

    use super::*;
    use crate::output::table::tests::output;

    #[test]
    fn both_versions_stand_side_by_side_with_what_comes_next() {
        let latency = Some(LatencyView { p50_ms: 3.1, p95_ms: 12.0, p99_ms: 48.0 });
        let arm = |requests_per_second, error_percent| ArmView {
            requests_per_second,
            error_percent,
            latency,
        };
        let schedule = ScheduleView {
            state: "running".into(),
            step: 1,
            steps: 2,
            since: "2026-03-01T11:55:00Z".into(),
            until: Some("2026-03-01T12:05:00Z".into()),
            why: String::new(),
        };
        let decided = DeploymentOverride {
            service: "shop".into(),
            route: None,
            kind: "split".into(),
            value: "5".into(),
            owner: "canary".into(),
            reason: String::new(),
            since: "2026-03-01T11:55:00Z".into(),
            dormant: false,
            schedule: Some(schedule),
        };
        let step = |split: f64| CanaryStepView { split, r#for: "10m".into() };
        let service = CanaryView {
            service: "shop".into(),
            route: None,
            split: 5.0,
            configured: 5.0,
            decided: Some(decided),
            backends: vec!["canary1".into()],
            healthy: 1,
            steps: vec![step(5.0), step(25.0)],
            stable: arm(770.4, 0.1),
            canary: arm(40.6, 0.0),
        };
        let own = CanaryView { route: Some("api".into()), decided: None, ..service.clone() };
        let mut list = CanaryList { version: Version(7), services: vec![service] };
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        let expected = "\
SERVICE  VERSION  SHARE  HEALTHY  RPS    ERR %  P50    P95   P99
shop     stable   95%    -        770.4  0.1    3.1ms  12ms  48ms
shop     canary   5%     1/1      40.6   0.0    3.1ms  12ms  48ms
shop: the canary gets 5% by decision of canary, step 1 of 2; 25% in 5m0s
";
        assert_eq!(draw(&list, &output(&[]), now), expected);
        list.services.push(own);
        let text = draw(&list, &output(&[]), now);
        let rows: Vec<_> = text.lines().map(|line| line.split_whitespace().take(3)).collect();
        let rows: Vec<Vec<_>> = rows.into_iter().map(Iterator::collect).collect();
        assert_eq!(rows[0], ["SERVICE", "ROUTE", "VERSION"]);
        assert_eq!(
            (&*rows[1], &*rows[4]),
            (&["shop", "-", "stable"][..], &["shop", "api", "canary"][..])
        );
    }
}
