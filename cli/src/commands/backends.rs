//! `lbctl backends`: every backend and how it is.

use jiff::Timestamp;
use lb_model::api::{BackendList, BackendView};

use crate::{
    args::Format,
    client::Client,
    exit::{Exit, Failure},
    output::{
        Output,
        table::{self, Field, Mood},
        time,
    },
};

/// Fetches and lists.
pub(crate) async fn run(client: &Client, output: &Output) -> Result<Exit, Failure> {
    let list = client.backends().await?;
    let names = |list: &BackendList| {
        list.backends.iter().map(|backend| format!("{}/{}", backend.service, backend.id)).collect()
    };
    output.value(&list, names, |list| draw(list, output, Timestamp::now()))?;
    if list.backends.is_empty() {
        output.note(NONE);
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
    let mut header = vec!["BACKEND", "SERVICE", "URL", "HEALTH", "UP ON", "RPS", "IN FLIGHT"];
    if is_wide {
        header.extend(["WEIGHT", "STATE", "REQUESTS", "FAILURES", "CHECKED", "SOURCE"]);
    }
    header.push("PROBLEM");
    let rows = list.backends.iter().map(|backend| {
        let mut row = vec![
            backend.id.clone().into(),
            backend.service.clone().into(),
            backend.url.clone().into(),
            Field::in_mood(backend.health.clone(), mood(&backend.health)),
            up_on(backend).into(),
            format!("{:.1}", backend.requests_per_second).into(),
            backend.in_flight.to_string().into(),
        ];
        if is_wide {
            let checked = backend.last_check.as_ref().map(|time| time::ago(time, now));
            row.extend([
                backend.weight.to_string().into(),
                backend.admin_state.clone().into(),
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
            admin_state: "enabled".into(),
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
        };
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        let expected = "\
BACKEND  SERVICE  URL                    HEALTH     UP ON  RPS   IN FLIGHT  PROBLEM
web1     shop     http://127.0.0.1:9001  up         2/2    12.6  4          -
web2     shop     http://127.0.0.1:9001  down       0/2    12.6  4          connection refused
web3     shop     http://127.0.0.1:9001  unchecked  -      12.6  4          -
";
        assert_eq!(draw(&list, &output(&[]), now), expected);
        let wide = draw(&list, &output(&["-o", "wide"]), now);
        assert!(wide.contains("2s ago") && wide.contains("1000"), "{wide}");
    }
}
