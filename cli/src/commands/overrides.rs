//! `lbctl overrides`: what operators decided about single backends.

use jiff::Timestamp;
use lb_model::api::{OverrideList, OverrideView};

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
    let names = |list: &OverrideList| list.overrides.iter().map(|o| o.backend.clone()).collect();
    let text = output.render(&list, names, |list| draw(list, output, Timestamp::now()))?;
    let note = "there is no override: every backend is as the configuration says";
    Ok(Frame::new(text, list.overrides.is_empty(), note))
}

/// The table; empty when there is no override.
pub(crate) fn draw(list: &OverrideList, output: &Output, now: Timestamp) -> String {
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
    use lb_model::{Version, config::AdminState};

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
            deployments: vec![],
            version: Version(7),
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
";
        assert_eq!(draw(&list, &output(&[]), now), expected);
    }
}
