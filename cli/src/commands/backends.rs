//! `lbctl backends`: every backend and how it is; takes them out of service and puts them back.

use jiff::Timestamp;
use lb_model::{
    api::{BackendChanged, BackendList, BackendView},
    config::AdminState,
};

use crate::{
    args::{Backends, BackendsAction, Decision, Environment, Filter, Format, Out, Watch},
    client::{Client, Signature, operate::Asked},
    exit::{Exit, Failure},
    output::{
        Output,
        table::{self, Field, Mood},
        time,
    },
    watch::{self, Frame},
};

/// Lists, or decides about one.
pub(crate) async fn run(
    client: &Client,
    backends: &Backends,
    environment: &Environment,
    output: &Output,
) -> Result<Exit, Failure> {
    let asked =
        |drain, out: &Out| Asked { drain, lasts: out.lasts, force: out.force, ..Asked::default() };
    let (verb, decision, asked) = match &backends.action {
        None => return list(client, (&backends.filter, &backends.watch), output).await,
        Some(BackendsAction::List { filter, watch }) => {
            return list(client, (filter, watch), output).await;
        }
        Some(BackendsAction::Enable { decision }) => ("enable", decision, Asked::default()),
        Some(BackendsAction::Disable { decision, out, drain }) => {
            ("disable", decision, asked(*drain, out))
        }
        Some(BackendsAction::Drain { decision, out, drain }) => {
            ("disable", decision, asked(Some(*drain), out))
        }
    };
    decide(client, (verb, decision, asked), environment, output).await
}

async fn list(
    client: &Client,
    (filter, watch): (&Filter, &Watch),
    output: &Output,
) -> Result<Exit, Failure> {
    watch::show(output, watch, async |output| frame(client, filter, output).await).await
}

async fn frame(client: &Client, filter: &Filter, output: &Output) -> Result<Frame, Failure> {
    let list = client.backends(filter).await?;
    let names = |list: &BackendList| {
        list.backends.iter().map(|backend| format!("{}/{}", backend.service, backend.id)).collect()
    };
    let text = output.render(&list, names, |list| draw(list, output, Timestamp::now()))?;
    let is_all = filter.pool.is_none() && filter.state.is_none() && filter.search.is_none();
    let none = if is_all { NONE } else { "no backend is like that; see: lbctl backends" };
    Ok(Frame::new(text, list.backends.is_empty(), none))
}

async fn decide(
    client: &Client,
    (verb, decision, asked): (&str, &Decision, Asked),
    environment: &Environment,
    output: &Output,
) -> Result<Exit, Failure> {
    let author = decision.author.clone().unwrap_or_else(|| environment.author());
    let signature = Signature { author, reason: decision.reason.clone() };
    let wait = decision.wait.is_wanted(output.messages_on_terminal);
    let asked = Asked { wait: wait.then_some(decision.wait.timeout), ..asked };
    output.permit(&format!("{verb} backend {} on every proxy", decision.id))?;
    let changed = client.decide(&decision.id, verb, &asked, &signature).await?;
    let names = |changed: &BackendChanged| vec![changed.id.clone()];
    output.value(&changed, names, |changed| {
        let BackendChanged { id, admin_state, version, changed: is_new, acked, total } = changed;
        let already = if *is_new { "" } else { " already" };
        let state = admin_state.as_str();
        format!("{id} is {state}{already}: version {version}, on {acked} of {total} proxies\n")
    })?;
    if verb == "disable" && changed.changed && !output.is_structured() {
        output.note(format_args!("put it back with: lbctl backends enable {}", changed.id));
    }
    if wait && changed.acked < changed.total {
        output.important("not every proxy has it yet; look with `lbctl proxies`");
        return Ok(Exit::Unreachable);
    }
    Ok(Exit::Ok)
}

/// What to say when there is none.
pub(crate) const NONE: &str =
    "there is no backend yet; write one into lb.yaml and run: lbctl apply -f lb.yaml";

/// The table; empty when there is no backend.
pub(crate) fn draw(list: &BackendList, output: &Output, now: Timestamp) -> String {
    if list.backends.is_empty() {
        return String::new();
    }
    let is_wide = output.format == Format::Wide;
    let mut header =
        vec!["BACKEND", "SERVICE", "URL", "STATE", "HEALTH", "UP ON", "RPS", "IN FLIGHT"];
    if is_wide {
        header.extend(["WEIGHT", "REQUESTS", "FAILURES", "CHECKED", "SOURCE"]);
    }
    header.push("PROBLEM");
    let rows = list.backends.iter().map(|backend| {
        let mut row = vec![
            backend.id.clone().into(),
            backend.service.clone().into(),
            backend.url.clone().into(),
            match backend.admin_state {
                AdminState::Enabled => "enabled".into(),
                state => Field::in_mood(state.as_str(), Mood::Unsure),
            },
            Field::in_mood(backend.health.clone(), mood(&backend.health)),
            up_on(backend).into(),
            format!("{:.1}", backend.requests_per_second).into(),
            backend.in_flight.to_string().into(),
        ];
        if is_wide {
            let checked = backend.last_check.as_ref().map(|time| time::ago(time, now));
            row.extend([
                backend.weight.to_string().into(),
                backend.requests.to_string().into(),
                backend.failures.to_string().into(),
                checked.unwrap_or_default().into(),
                backend.source.clone().into(),
            ]);
        }
        row.push(problem(backend).into());
        row
    });
    table::draw(output, &header, rows.collect())
}

fn mood(health: &str) -> Mood {
    match health {
        "up" => Mood::Good,
        "down" => Mood::Bad,
        "mixed" => Mood::Unsure,
        _ => Mood::Plain,
    }
}

/// On how many proxies it is up; nothing where nobody checks.
fn up_on(backend: &BackendView) -> String {
    match backend.health.as_str() {
        "up" | "down" | "mixed" => format!("{}/{}", backend.up_on, backend.reported_by),
        _ => String::new(),
    }
}

/// Why it is not up. An error of a check long passed is no problem.
fn problem(backend: &BackendView) -> String {
    match backend.health.as_str() {
        "up" => String::new(),
        _ => backend.last_error.clone().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::table::tests::output;

    fn backend(id: &str, health: &str, up_on: usize, error: Option<&str>) -> BackendView {
        BackendView {
            id: id.into(),
            url: "http://127.0.0.1:9001".into(),
            service: "shop".into(),
            weight: 1,
            admin_state: if id == "web2" { AdminState::Draining } else { AdminState::Enabled },
            admin_state_on: 2,
            overridden: None,
            health: health.into(),
            up_on,
            reported_by: 2,
            last_error: error.map(Into::into),
            last_check: Some("2026-03-01T11:59:58Z".into()),
            in_flight: 4,
            requests: 1000,
            failures: 7,
            requests_per_second: 12.55,
            source: "config".into(),
        }
    }

    #[test]
    fn backends_are_listed_with_their_health_and_what_is_wrong() {
        let list = BackendList {
            backends: vec![
                backend("web1", "up", 2, Some("an old one")),
                backend("web2", "down", 0, Some("connection refused")),
                backend("web3", "unchecked", 2, None),
            ],
            next: None,
        };
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        let expected = "\
BACKEND  SERVICE  URL                    STATE     HEALTH     UP ON  RPS   IN FLIGHT  PROBLEM
web1     shop     http://127.0.0.1:9001  enabled   up         2/2    12.6  4          -
web2     shop     http://127.0.0.1:9001  draining  down       0/2    12.6  4          connection refused
web3     shop     http://127.0.0.1:9001  enabled   unchecked  -      12.6  4          -
";
        assert_eq!(draw(&list, &output(&[]), now), expected);
        let wide = draw(&list, &output(&["-o", "wide"]), now);
        assert!(wide.contains("2s ago") && wide.contains("1000"), "{wide}");
    }
}
