//! `lbctl bg`: which slot serves, and switching.

use lb_model::api::{BlueGreenList, BlueGreenView, SlotView};

use super::deploy;
use crate::{
    args::{BlueGreen, BlueGreenAction, Deploy, Environment, Watch},
    client::{Client, operate::Switch},
    exit::{Exit, Failure},
    output::{
        Output,
        table::{self, Field, Mood},
    },
    watch::{self, Frame},
};

const WHAT: (&str, &str) = ("slots", "write traffic_management.blue_green; see docs/traffic.md");

/// Shows, or switches.
pub(crate) async fn run(
    client: &Client,
    settings: &BlueGreen,
    environment: &Environment,
    output: &Output,
) -> Result<Exit, Failure> {
    let (to, deploy, force) = match &settings.action {
        None => return status(client, &settings.watch, output).await,
        Some(BlueGreenAction::Status { watch }) => return status(client, watch, output).await,
        Some(BlueGreenAction::Switch { slot, deploy, force }) => {
            (Some(slot.as_str()), deploy, *force)
        }
        Some(BlueGreenAction::Rollback { deploy, force }) => (None, deploy, *force),
    };
    switch(client, (to, deploy, force), environment, output).await
}

async fn status(client: &Client, watch: &Watch, output: &Output) -> Result<Exit, Failure> {
    watch::show(output, watch, async |output| {
        let list = client.blue_green().await?;
        let names = |list: &BlueGreenList| each(list).map(deploy::name).collect();
        let text = output.render(&list, names, |list| draw(list, output))?;
        let none = "nothing has slots; write traffic_management.blue_green into a service or route";
        Ok(Frame::new(text, list.services.is_empty(), none))
    })
    .await
}

async fn switch(
    client: &Client,
    (to, deploy, force): (Option<&str>, &Deploy, bool),
    environment: &Environment,
    output: &Output,
) -> Result<Exit, Failure> {
    let listed = async || Ok(each(&client.blue_green().await?).map(deploy::listed).collect());
    let scope = deploy::scope(deploy, WHAT, listed).await?;
    let what = match to {
        Some(to) => format!("{to} will serve {} on every proxy", scope.said()),
        None => format!("the other slot will serve {} on every proxy", scope.said()),
    };
    output.permit(&what)?;
    let signature = deploy::signature(deploy, environment);
    let changed = client.switch(&scope, &Switch { to, force }, &signature).await?;
    let back = format!("lbctl bg rollback {}", scope.typed());
    deploy::finish(client, &changed, deploy, (output, &back)).await
}

fn each(list: &BlueGreenList) -> impl Iterator<Item = deploy::Listed<'_>> {
    list.services.iter().map(|each| (&each.service, each.route.as_ref()))
}

/// The table, with what was decided below it; empty when nothing has slots.
pub(crate) fn draw(list: &BlueGreenList, output: &Output) -> String {
    if list.services.is_empty() {
        return String::new();
    }
    let has_routes = list.services.iter().any(|each| each.route.is_some());
    let mut rows = Vec::new();
    for service in &list.services {
        for (slot, view) in [("blue", &service.blue), ("green", &service.green)] {
            let place = deploy::place((&service.service, service.route.as_ref()), has_routes);
            rows.push(place.chain(row(service, slot, view)).collect());
        }
    }
    let header = deploy::header(has_routes, &["SLOT", "SERVES", "HEALTHY", "RPS", "BACKENDS"]);
    let mut text = table::draw(output, &header, rows);
    for decided in list.services.iter().filter_map(|service| service.decided.as_ref()) {
        text += &format!("{}\n", deploy::words(decided));
    }
    text
}

fn row(service: &BlueGreenView, slot: &str, view: &SlotView) -> [Field; 5] {
    let is_active = service.active == slot;
    let serves = if is_active { "yes" } else { "no" };
    let all = view.backends.len();
    let mood = match (view.healthy, is_active) {
        (0, true) => Mood::Bad,
        (healthy, _) if healthy == all => Mood::Good,
        _ => Mood::Unsure,
    };
    [
        slot.to_owned().into(),
        serves.into(),
        Field::in_mood(format!("{}/{all}", view.healthy), mood),
        format!("{:.1}", view.requests_per_second).into(),
        view.backends.join(", ").into(),
    ]
}

#[cfg(test)]
mod tests {
    use lb_model::Version;

    use super::*;
    use crate::output::table::tests::output;

    #[test]
    fn slots_are_shown_with_how_well_they_are() {
        let slot = |backends: &[&str], healthy, requests_per_second| SlotView {
            backends: backends.iter().map(ToString::to_string).collect(),
            healthy,
            requests_per_second,
        };
        let service = BlueGreenView {
            service: "shop".into(),
            route: None,
            active: "blue".into(),
            configured: "blue".into(),
            decided: None,
            fallback: false,
            blue: slot(&["web1", "web2"], 2, 812.0),
            green: slot(&["web3", "web4"], 1, 0.0),
        };
        let own =
            BlueGreenView { route: Some("api".into()), active: "green".into(), ..service.clone() };
        let mut list = BlueGreenList { version: Version(7), services: vec![service] };
        let expected = "\
SERVICE  SLOT   SERVES  HEALTHY  RPS    BACKENDS
shop     blue   yes     2/2      812.0  web1, web2
shop     green  no      1/2      0.0    web3, web4
";
        assert_eq!(draw(&list, &output(&[])), expected);
        list.services.push(own);
        let expected = "\
SERVICE  ROUTE  SLOT   SERVES  HEALTHY  RPS    BACKENDS
shop     -      blue   yes     2/2      812.0  web1, web2
shop     -      green  no      1/2      0.0    web3, web4
shop     api    blue   no      2/2      812.0  web1, web2
shop     api    green  yes     1/2      0.0    web3, web4
";
        assert_eq!(draw(&list, &output(&[])), expected);
    }
}
