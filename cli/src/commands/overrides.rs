//! `lbctl overrides`: what was decided about backends, slots and canaries.

use jiff::Timestamp;
use lb_model::api::{OverrideList, OverrideView};

use super::deploy;
use crate::{
    args::Watch,
    client::Client,
    exit::{Exit, Failure},
    output::{
        Output,
        table::{self, Field, Mood},
        time,
    },
    watch::{self, Frame},
};

/// Fetches and lists.
pub(crate) async fn run(client: &Client, watch: &Watch, output: &Output) -> Result<Exit, Failure> {
    watch::show(output, watch, async |output| frame(client, output).await).await
}

async fn frame(client: &Client, output: &Output) -> Result<Frame, Failure> {
    let list = client.overrides().await?;
    let names = |list: &OverrideList| {
        let backends = list.overrides.iter().map(|decided| decided.backend.clone());
        let deployments = list.deployments.iter();
        let deployments =
            deployments.map(|decided| deploy::name((&decided.service, decided.route.as_ref())));
        backends.chain(deployments).collect()
    };
    let text = output.render(&list, names, |list| draw(list, output, Timestamp::now()))?;
    let note = "there is no override: everything is as the configuration says";
    let is_empty = list.overrides.is_empty() && list.deployments.is_empty();
    Ok(Frame::new(text, is_empty, note))
}

/// The table, and a line for each service or route; empty when there is no override.
pub(crate) fn draw(list: &OverrideList, output: &Output, now: Timestamp) -> String {
    let mut text = backends(list, output, now);
    for decided in &list.deployments {
        text += &format!("{}, {}\n", deploy::words(decided), time::ago(&decided.since, now));
    }
    text
}

fn backends(list: &OverrideList, output: &Output, now: Timestamp) -> String {
    if list.overrides.is_empty() {
        return String::new();
    }
    let rows = list.overrides.iter().map(|decided| {
        vec![
            decided.backend.clone().into(),
            Field::in_mood(decided.state.as_str(), Mood::Unsure),
            decided.owner.clone().into(),
            time::ago(&decided.since, now).into(),
            time::left(decided.drain_until.as_deref(), now).into(),
            time::left(decided.expires.as_deref(), now).into(),
            note(decided).into(),
        ]
    });
    let header = ["OVERRIDE", "STATE", "OWNER", "SINCE", "DRAINS FOR", "ENDS IN", "REASON"];
    table::draw(output, &header, rows.collect())
}

fn note(decided: &OverrideView) -> String {
    match (decided.dormant, decided.reason.as_str()) {
        (false, reason) => reason.to_owned(),
        (true, "") => "dormant: the configuration has no such backend".to_owned(),
        (true, reason) => format!("{reason} (dormant: the configuration has no such backend)"),
    }
}

#[cfg(test)]
mod tests {
    use lb_model::{Version, api::DeploymentOverride, config::AdminState};

    use super::*;
    use crate::output::table::tests::output;

    #[test]
    fn overrides_say_who_why_and_how_much_longer() {
        let decided =
            |backend: &str, state, drain: Option<&str>, ends: Option<&str>| OverrideView {
                backend: backend.into(),
                state,
                owner: "ann".into(),
                reason: "kernel".into(),
                since: "2026-03-01T11:50:00Z".into(),
                drain_until: drain.map(Into::into),
                expires: ends.map(Into::into),
                dormant: backend == "gone",
            };
        let draining = Some("2026-03-01T12:00:20Z");
        let list = OverrideList {
            version: Version(7),
            deployments: vec![DeploymentOverride {
                service: "shop".into(),
                route: None,
                kind: "slot".into(),
                value: "green".into(),
                owner: "ann".into(),
                reason: "release 7".into(),
                since: "2026-03-01T11:50:00Z".into(),
                dormant: false,
                schedule: None,
            }],
            overrides: vec![
                decided("gone", AdminState::Disabled, None, None),
                decided("web1", AdminState::Draining, draining, Some("2026-03-01T12:20:00Z")),
            ],
        };
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        let expected = "\
OVERRIDE  STATE     OWNER  SINCE    DRAINS FOR  ENDS IN  REASON
gone      disabled  ann    10m ago  -           -        kernel (dormant: the configuration has no such backend)
web1      draining  ann    10m ago  20s         20m      kernel
shop: green serves by decision of ann (release 7), 10m ago
";
        assert_eq!(draw(&list, &output(&[]), now), expected);
    }
}
