//! `lbctl explain`: which route takes a request, why, and what happens to it.

use std::io;

use lb_model::{
    Version,
    api::{
        Candidate, Choice, Decision, EntryPointExplanation, ExplainRequest, Explanation,
        RouteVerdict,
    },
};
use lb_routing::explain::{Unexplainable, explain};

use super::check;
use crate::{
    args::{Environment, Explain},
    client::Client,
    exit::{Exit, Failure},
    output::{Output, diagnostics::plural},
    source,
};

const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

/// Asks the control plane, or a file.
pub(crate) async fn run(
    client: impl Fn() -> Result<Client, Failure>,
    settings: &Explain,
    environment: &Environment,
    output: &Output,
) -> Result<Exit, Failure> {
    let request = ExplainRequest {
        method: settings.method.clone(),
        url: settings.url.clone(),
        headers: settings.headers.clone(),
        client: settings.client,
        entry_point: settings.entry_point.clone(),
        version: settings.version.map(Version),
    };
    let explanation = if settings.files.is_empty() {
        client()?.explain(&request).await?
    } else {
        let stdin = &mut io::stdin().lock();
        let reading = source::read(&settings.files, &settings.layers, environment, stdin)?;
        let config = check::whole(&reading, output)?;
        explain(&config, &request, None)
            .map_err(|Unexplainable(why)| Failure::new(why).exit(Exit::Usage))?
    };
    let names = |explanation: &Explanation| {
        let decisions = explanation.entry_points.iter().filter_map(|e| e.decision.as_ref());
        decisions.map(|decision| decision.route.clone()).collect()
    };
    output.value(&explanation, names, |explanation| draw(explanation, settings.all, output))?;
    let is_served = explanation.entry_points.iter().all(|e| e.refused.is_none());
    Ok(if is_served && !explanation.entry_points.is_empty() { Exit::Ok } else { Exit::Failure })
}

/// Text that is coloured where colours are wanted.
struct Paint<'o>(&'o Output);

impl Paint<'_> {
    fn with(&self, color: &str, text: &str) -> String {
        if self.0.color { format!("{color}{text}{PLAIN}") } else { text.to_owned() }
    }
}

fn draw(explanation: &Explanation, all: bool, output: &Output) -> String {
    let paint = Paint(output);
    let seen = &explanation.request;
    let query = seen.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
    let host = if seen.host.is_empty() { "(no host)" } else { &seen.host };
    let mut text = format!("{} {host} {}{query}  from {}\n", seen.method, seen.path, seen.client);
    text += &match (explanation.version, explanation.live) {
        (Some(Version::NONE), _) => "nothing is configured yet\n".to_owned(),
        (Some(version), true) => format!("version {version}, as the fleet runs it\n"),
        (Some(version), false) => format!("version {version}; health is not considered\n"),
        (None, _) => "from files; health is not considered\n".to_owned(),
    };
    for entry_point in &explanation.entry_points {
        text += &at(entry_point, all, &paint);
    }
    text
}

fn at(entry_point: &EntryPointExplanation, all: bool, paint: &Paint<'_>) -> String {
    let EntryPointExplanation { name, address, refused, routes, routes_in_all, decision } =
        entry_point;
    let mut text = format!("\nentry point {name} ({address})\n");
    let taken = routes.iter().position(|route| route.takes);
    let shown = match taken {
        Some(taken) if !all => taken + 1,
        _ => routes.len(),
    };
    for (index, route) in routes.iter().take(shown).enumerate() {
        text += &verdict(route, taken.is_some_and(|taken| index > taken), paint);
    }
    if shown < *routes_in_all {
        let rest = plural(routes_in_all - shown, "route");
        let why = if taken.is_some() { " of lower priority; --all shows them" } else { "" };
        text += &format!("  {}\n", paint.with(DIM, &format!("… {rest}{why}")));
    }
    if let Some(decision) = decision {
        text += &decided(decision, paint);
    }
    if let Some(reason) = refused {
        let line = format!("✗ the proxy answers by itself: {reason}");
        text += &format!("  {}\n", paint.with(RED, &line));
    }
    text
}

fn verdict(route: &RouteVerdict, is_later: bool, paint: &Paint<'_>) -> String {
    let RouteVerdict { name, priority, rule, holds, takes, failed } = route;
    let (sign, why) = match (takes, holds, failed) {
        (true, ..) => (paint.with(GREEN, "✓"), "takes it".to_owned()),
        (_, true, _) if is_later => {
            (paint.with(DIM, "·"), "would hold, but was not asked".to_owned())
        }
        (_, _, Some(failed)) => (paint.with(DIM, "·"), format!("{failed} does not hold")),
        (_, _, None) => (paint.with(DIM, "·"), "was not asked".to_owned()),
    };
    let rule = paint.with(DIM, rule);
    format!("  {sign} route {name} (priority {priority}): {why}\n      {rule}\n")
}

fn decided(decision: &Decision, paint: &Paint<'_>) -> String {
    let Decision { steps, service, strategy, timeouts, backends, choices, .. } = decision;
    let mut text = String::new();
    for (index, step) in steps.iter().enumerate() {
        let what = step.decision.as_deref().unwrap_or("decided at run time");
        text += &format!("  {}. {}: {what}\n", index + 1, step.name);
        if !step.detail.is_empty() {
            text += &format!("      {}\n", step.detail);
        }
    }
    let limits: Vec<_> = timeouts.iter().map(|(name, limit)| format!("{name} {limit}")).collect();
    let eligible = backends.iter().filter(|backend| backend.eligible).count();
    text += &format!("  service {service}: {strategy}; time-outs {}\n", limits.join(", "));
    text += &format!("  {eligible} of {} may be chosen\n", plural(backends.len(), "backend"));
    for Candidate { id, url, weight, eligible, why, service, .. } in backends {
        let (color, sign) = if *eligible { (GREEN, "✓") } else { (RED, "✗") };
        let of = service.as_ref().map(|service| format!("  of {service}")).unwrap_or_default();
        let why = why.as_ref().map(|why| format!("  {why}")).unwrap_or_default();
        text += &format!("    {} {id}  {url}  weight {weight}{of}{why}\n", paint.with(color, sign));
    }
    for choice in choices {
        text += &format!("  {}\n", chosen(choice, paint));
    }
    text
}

/// The most proxies that are named; more are counted.
const MOST_NAMES: usize = 5;

fn chosen(choice: &Choice, paint: &Paint<'_>) -> String {
    let Choice { by, backend, service, detail, proxies } = choice;
    let of = service.as_ref().map(|service| format!(" of {service}")).unwrap_or_default();
    let who = match backend {
        Some(backend) => paint.with(GREEN, &format!("→ {backend}{of}")),
        None if by == "nobody" => paint.with(RED, &format!("→ nobody{of}")),
        None => format!("→ decided at run time{of}, by {by}"),
    };
    let on = match proxies.as_slice() {
        [] => String::new(),
        few if few.len() <= MOST_NAMES => format!(" on {}", few.join(", ")),
        many => {
            let rest = many.len() - MOST_NAMES;
            format!(" on {} and {rest} more", many[..MOST_NAMES].join(", "))
        }
    };
    format!("{who}{on}: {detail}")
}

#[cfg(test)]
mod tests {
    use lb_model::{Bundle, Config};

    use super::*;
    use crate::output::table::tests::output;

    #[test]
    fn an_explanation_reads_from_the_request_to_the_backends() {
        let text = "entry_points: { web: { address: \":80\" } }\n\
                    backends: { a: { url: \"http://a:1\" }, b: { url: \"http://b:1\", weight: 0 } }\n\
                    services: { s: { backends: [a, b] } }\n\
                    routes:\n  x: { rule: Path(`/x`) && Method(`PUT`), priority: 9 }\n  \
                    y: { rule: PathPrefix(`/`), priority: 5 }\n  z: { rule: Path(`/x`), priority: 1 }\n";
        let config = Config::parse(&Bundle::of_text("lb.yaml", text), 0).unwrap().config;
        let request = ExplainRequest { url: "http://h/x?q".into(), ..ExplainRequest::default() };
        let explanation = explain(&config, &request, None).unwrap();
        assert_eq!(
            draw(&explanation, false, &output(&[])),
            "GET h /x?q  from 127.0.0.1\n\
             from files; health is not considered\n\
             \n\
             entry point web (0.0.0.0:80)\n  \
             · route x (priority 9): Method(`PUT`) does not hold\n      \
             Path(`/x`) && Method(`PUT`)\n  \
             ✓ route y (priority 5): takes it\n      \
             PathPrefix(`/`)\n  \
             … 1 route of lower priority; --all shows them\n  \
             service s: round_robin; time-outs connect 5s, response_header 30s, idle 1m, total 0s\n  \
             1 of 2 backends may be chosen\n    \
             ✓ a  http://a:1  weight 1\n    \
             ✗ b  http://b:1  weight 0  its weight is 0\n  \
             → a: no other may be chosen\n"
        );
        assert!(draw(&explanation, true, &output(&[])).contains("would hold, but was not asked"));
    }

    #[test]
    fn who_gets_it_is_said_with_the_proxies_that_differ() {
        let (quiet, one) = (output(&[]), |by: &str, backend: Option<&str>, proxies: &[&str]| {
            let proxies = proxies.iter().map(ToString::to_string).collect();
            let (by, backend) = (by.to_owned(), backend.map(str::to_owned));
            Choice { by, backend, service: None, detail: "so it is".into(), proxies }
        });
        let said = |choice: &Choice| chosen(choice, &Paint(&quiet));
        assert_eq!(said(&one("hash", Some("a"), &["p", "q"])), "→ a on p, q: so it is");
        let many = one("hash", Some("a"), &["p", "q", "r", "s", "t", "u", "v"]);
        assert_eq!(said(&many), "→ a on p, q, r, s, t and 2 more: so it is");
        assert_eq!(said(&one("p2c", None, &[])), "→ decided at run time, by p2c: so it is");
        let other = Choice { service: Some("spare".into()), ..one("nobody", None, &[]) };
        assert_eq!(said(&other), "→ nobody of spare: so it is");
    }
}
