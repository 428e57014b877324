//! `lbctl circuit-breakers`: which are open on which proxies, and closes them.

use jiff::Timestamp;
use lb_model::api::{BreakerList, BreakerView, BreakersClosed, CircuitState, ProxyReset};

use super::backends;
use crate::{
    args::{Breakers, BreakersAction, Filter, Format, Watch},
    client::Client,
    exit::{Exit, Failure},
    output::{
        Output,
        diagnostics::plural,
        table::{self, Field},
        time,
    },
    watch::{self, Frame},
};

/// Lists, or closes those of one backend.
pub(crate) async fn run(
    client: &Client,
    settings: &Breakers,
    output: &Output,
) -> Result<Exit, Failure> {
    match &settings.action {
        None => list(client, ((&settings.filter).into(), &settings.watch), output).await,
        Some(BreakersAction::List { filter, watch }) => {
            list(client, (filter.into(), watch), output).await
        }
        Some(BreakersAction::Reset { id }) => reset(client, id, output).await,
    }
}

async fn list(
    client: &Client,
    (filter, watch): (Filter, &Watch),
    output: &Output,
) -> Result<Exit, Failure> {
    watch::show(output, watch, async |output| frame(client, &filter, output).await).await
}

async fn frame(client: &Client, filter: &Filter, output: &Output) -> Result<Frame, Failure> {
    let list = client.breakers(filter).await?;
    let names = |list: &BreakerList| {
        list.breakers.iter().map(|breaker| format!("{}/{}", breaker.service, breaker.id)).collect()
    };
    let text = output.render(&list, names, |list| draw(list, output, Timestamp::now()))?;
    let none = if filter.is_all() {
        "there is no circuit breaker; write traffic_management.circuit_breaker: { enabled: true }"
    } else {
        "no circuit breaker is like that; see: lbctl circuit-breakers"
    };
    Ok(Frame::new(text, list.breakers.is_empty(), none))
}

async fn reset(client: &Client, id: &str, output: &Output) -> Result<Exit, Failure> {
    output.permit(&format!("close the circuit breakers of {id} on every proxy"))?;
    let closed = client.reset_breakers(id).await?;
    let names = |closed: &BreakersClosed| vec![closed.id.clone()];
    output.value(&closed, names, said)?;
    let missing: Vec<_> = closed.proxies.iter().filter_map(missing).collect();
    if missing.is_empty() {
        return Ok(Exit::Ok);
    }
    output.important(missing.join("\n"));
    Ok(Exit::Unreachable)
}

/// What came of a reset, in one line.
fn said(closed: &BreakersClosed) -> String {
    let BreakersClosed { id, found, closed, acked, total, .. } = closed;
    if *total == 0 {
        return format!("{id}: no proxy is connected, so nothing was closed\n");
    }
    let did = match (found, closed) {
        (0, _) => "no breaker was found".to_owned(),
        (_, 0) => "was closed already".to_owned(),
        (_, count) => {
            format!("{} closed", plural(usize::try_from(*count).unwrap_or(usize::MAX), "breaker"))
        }
    };
    format!("{id}: {did}, on {acked} of {}\n", plural(*total, "proxy"))
}

fn missing(proxy: &ProxyReset) -> Option<String> {
    let name = &proxy.proxy;
    proxy.problem.as_deref().map(|problem| match problem {
        "unsupported" => format!("{name} cannot be told to: its software is too old"),
        _ => format!("{name} did not answer; look with `lbctl proxies`"),
    })
}

/// The table; empty when there is no breaker.
pub(crate) fn draw(list: &BreakerList, output: &Output, now: Timestamp) -> String {
    if list.breakers.is_empty() {
        return String::new();
    }
    let is_wide = output.format == Format::Wide;
    let mut header = vec!["BACKEND", "SERVICE", "CIRCUIT"];
    header.push(if is_wide { "PROXY" } else { "OPEN ON" });
    header.extend(["REQUESTS", "FAILURES", "OPENED", "SINCE", "TRIES IN"]);
    let mut rows = Vec::new();
    for breaker in &list.breakers {
        let (opened_at, next) = (breaker.opened_at.as_deref(), breaker.next_attempt.as_deref());
        if !is_wide || breaker.proxies.is_empty() {
            let counts = (breaker.requests, breaker.failures, breaker.opened);
            let place = if is_wide { String::new() } else { open_on(breaker) };
            rows.push(row((breaker, breaker.state), place, counts, (opened_at, next, now)));
            continue;
        }
        for proxy in &breaker.proxies {
            let counts = (proxy.requests, proxy.failures, proxy.opened);
            let times = (proxy.opened_at.as_deref(), proxy.next_attempt.as_deref(), now);
            rows.push(row((breaker, Some(proxy.state)), proxy.proxy.clone(), counts, times));
        }
    }
    table::draw(output, &header, rows)
}

fn row(
    (breaker, state): (&BreakerView, Option<CircuitState>),
    place: String,
    (requests, failures, opened): (u64, u64, u64),
    (opened_at, next, now): (Option<&str>, Option<&str>, Timestamp),
) -> Vec<Field> {
    vec![
        breaker.id.clone().into(),
        breaker.service.clone().into(),
        backends::circuit(state),
        place.into(),
        requests.to_string().into(),
        failures.to_string().into(),
        opened.to_string().into(),
        opened_at.map(|time| time::ago(time, now)).unwrap_or_default().into(),
        time::left(next, now).into(),
    ]
}

/// On how many of the proxies that report it, it is not closed.
fn open_on(breaker: &BreakerView) -> String {
    let open = breaker.proxies.iter().filter(|proxy| proxy.state != CircuitState::Closed).count();
    match breaker.proxies.len() {
        0 => String::new(),
        all => format!("{open}/{all}"),
    }
}

#[cfg(test)]
mod tests {
    use lb_model::api::ProxyBreaker;

    use super::*;
    use crate::output::table::tests::output;

    fn list() -> BreakerList {
        let proxy = |proxy: &str, state, opened_at: Option<&str>| ProxyBreaker {
            proxy: proxy.into(),
            state,
            requests: 20,
            failures: 6,
            opened: 1,
            opened_at: opened_at.map(Into::into),
            next_attempt: opened_at.map(|_| "2026-03-01T12:00:20Z".into()),
        };
        let breaker = BreakerView {
            id: "web1".into(),
            service: "shop".into(),
            state: Some(CircuitState::Open),
            requests: 40,
            failures: 12,
            opened: 2,
            opened_at: Some("2026-03-01T11:59:50Z".into()),
            next_attempt: Some("2026-03-01T12:00:20Z".into()),
            proxies: vec![
                proxy("p", CircuitState::Open, Some("2026-03-01T11:59:50Z")),
                proxy("q", CircuitState::Closed, None),
            ],
        };
        BreakerList { breakers: vec![breaker], next: None }
    }

    #[test]
    fn breakers_are_listed_with_where_they_are_open() {
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        let expected = "\
BACKEND  SERVICE  CIRCUIT  OPEN ON  REQUESTS  FAILURES  OPENED  SINCE    TRIES IN
web1     shop     open     1/2      40        12        2       10s ago  20s
";
        assert_eq!(draw(&list(), &output(&[]), now), expected);
        let expected = "\
BACKEND  SERVICE  CIRCUIT  PROXY  REQUESTS  FAILURES  OPENED  SINCE    TRIES IN
web1     shop     open     p      20        6         1       10s ago  20s
web1     shop     closed   q      20        6         1       -        -
";
        assert_eq!(draw(&list(), &output(&["-o", "wide"]), now), expected);
    }

    #[test]
    fn a_reset_says_what_was_closed_where() {
        let closed = |found, closed, acked, total| BreakersClosed {
            id: "web1".into(),
            found,
            closed,
            acked,
            total,
            proxies: vec![],
        };
        for (answer, expected) in [
            (closed(3, 1, 3, 3), "web1: 1 breaker closed, on 3 of 3 proxies\n"),
            (closed(2, 0, 1, 2), "web1: was closed already, on 1 of 2 proxies\n"),
            (closed(0, 0, 0, 0), "web1: no proxy is connected, so nothing was closed\n"),
        ] {
            assert_eq!(said(&answer), expected);
        }
    }
}
