//! `lbctl backends`: every backend and how it is; takes them out of service and puts them back.

use jiff::Timestamp;
use lb_model::{
    api::{BackendChanged, BackendList, BackendView, CircuitState},
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
    let none = if filter.is_all() { NONE } else { "no backend is like that; see: lbctl backends" };
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
    let has_circuits = is_wide || list.backends.iter().any(|backend| backend.circuit.is_some());
    let mut header = vec!["BACKEND", "SERVICE", "URL", "STATE", "HEALTH", "UP ON"];
    if has_circuits {
        header.push("CIRCUIT");
    }
    header.extend(["RPS", "ERR %", "P95", "IN FLIGHT"]);
    if is_wide {
        header.extend(["P50", "P99", "WAITING", "WEIGHT", "PART", "REQUESTS", "FAILURES"]);
        header.extend(["CHECKED", "SOURCE"]);
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
        ];
        if has_circuits {
            row.push(circuit(backend.circuit));
        }
        row.extend([
            format!("{:.1}", backend.requests_per_second).into(),
            errors(backend).into(),
            millis(backend.latency.map(|latency| latency.p95_ms)).into(),
            backend.in_flight.to_string().into(),
        ]);
        if is_wide {
            let checked = backend.last_check.as_ref().map(|time| time::ago(time, now));
            row.extend([
                millis(backend.latency.map(|latency| latency.p50_ms)).into(),
                millis(backend.latency.map(|latency| latency.p99_ms)).into(),
                backend.waiting.to_string().into(),
                backend.weight.to_string().into(),
                part(backend).into(),
                backend.requests.to_string().into(),
                backend.failures.saturating_add(backend.server_errors).to_string().into(),
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

/// A circuit breaker; nothing where there is none.
pub(super) fn circuit(state: Option<CircuitState>) -> Field {
    let Some(state) = state else { return String::new().into() };
    let mood = match state {
        CircuitState::Closed => Mood::Good,
        CircuitState::HalfOpen => Mood::Unsure,
        CircuitState::Open => Mood::Bad,
    };
    Field::in_mood(state.as_str(), mood)
}

/// Which share of the last requests failed; nothing when there was none.
fn errors(backend: &BackendView) -> String {
    let has_some = backend.requests_per_second > 0.0;
    if has_some { format!("{:.1}", backend.error_percent) } else { String::new() }
}

/// A time in milliseconds, as exactly as it is of use.
pub(super) fn millis(time: Option<f64>) -> String {
    match time {
        Some(time) if time < 10.0 => format!("{time:.1}ms"),
        Some(time) if time < 1_000.0 => format!("{time:.0}ms"),
        Some(time) => format!("{:.1}s", time / 1_000.0),
        None => String::new(),
    }
}

/// Its part in a deployment: a slot, or the canary.
fn part(backend: &BackendView) -> String {
    let canary = backend.canary.then_some("canary");
    let parts: Vec<_> = backend.slot.as_deref().into_iter().chain(canary).collect();
    parts.join(", ")
}

/// On how many proxies it is up; nothing where nobody checks.
fn up_on(backend: &BackendView) -> String {
    match backend.health.as_str() {
        "up" | "down" | "mixed" => format!("{}/{}", backend.up_on, backend.reported_by),
        _ => String::new(),
    }
}

/// Why it takes no requests. An error of a check long passed is no problem.
fn problem(backend: &BackendView) -> String {
    match backend.health.as_str() {
        "up" | "unchecked" if backend.ejected_on > 0 => {
            let BackendView { ejected_on, reported_by, .. } = backend;
            format!("ejected on {ejected_on} of {reported_by}: it answers worse than others")
        }
        "up" => String::new(),
        _ => backend.last_error.clone().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use lb_model::api::LatencyView;

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
            circuit: None,
            ejected_on: 0,
            in_flight: 4,
            waiting: 1,
            requests: 1000,
            failures: 7,
            server_errors: 3,
            requests_per_second: 12.55,
            error_percent: 0.42,
            latency: Some(LatencyView { p50_ms: 1.25, p95_ms: 48.2, p99_ms: 2_500.0 }),
            canary: false,
            slot: Some("blue".into()),
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
BACKEND  SERVICE  URL                    STATE     HEALTH     UP ON  RPS   ERR %  P95   IN FLIGHT  PROBLEM
web1     shop     http://127.0.0.1:9001  enabled   up         2/2    12.6  0.4    48ms  4          -
web2     shop     http://127.0.0.1:9001  draining  down       0/2    12.6  0.4    48ms  4          connection refused
web3     shop     http://127.0.0.1:9001  enabled   unchecked  -      12.6  0.4    48ms  4          -
";
        assert_eq!(draw(&list, &output(&[]), now), expected);
        let wide = draw(&list, &output(&["-o", "wide"]), now);
        assert!(wide.contains("2s ago") && wide.contains("1000"), "{wide}");
        assert!(wide.contains("1.2ms") && wide.contains("2.5s") && wide.contains("blue"), "{wide}");
    }

    #[test]
    fn open_circuits_and_ejections_are_shown() {
        let mut open = backend("web1", "up", 2, None);
        (open.circuit, open.ejected_on) = (Some(CircuitState::Open), 1);
        let list = BackendList { backends: vec![open], next: None };
        let text = draw(&list, &output(&[]), Timestamp::UNIX_EPOCH);
        assert!(text.contains("CIRCUIT") && text.contains("open"), "{text}");
        assert!(text.contains("ejected on 1 of 2"), "{text}");
    }
}
