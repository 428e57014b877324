//! Why a request goes where it goes: the decision that [`RouteTable`] makes for traffic, with its
//! reasons.
//!
//! Pure, like the rest of the crate: whoever asks brings the configuration and, where a fleet
//! runs, what it reports.

mod choice;
mod pool;
mod request;
mod steps;

use http::Method;
use lb_model::{
    Config,
    api::{
        Candidate, Choice, Decision, EntryPointExplanation, ExplainRequest, Explanation,
        RouteVerdict, SeenRequest,
    },
    config::{AdminState, Backend, EntryPoint, Route, Service},
    value::{BackendName, EntryPointName, RouteName, ServiceName},
};

use self::{request::Request, steps::Followed};
use crate::{
    request::RequestHead,
    table::{RouteEntry, RouteTable},
};

/// How many routes are listed; more would hide the answer.
const MOST_ROUTES: usize = 1_000;

/// A request that cannot be explained: what is wrong with it, and what to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unexplainable(pub String);

/// What a fleet reports of a backend in a service: `None` when nobody does.
pub trait Live {
    /// On how many of the proxies that report it the backend is up, on how many of them, and why
    /// a check failed last.
    fn health(&self, service: &str, backend: &str) -> Option<(usize, usize, Option<String>)>;

    /// What keeps requests from it although it is up.
    fn kept_away(&self, service: &str, backend: &str) -> KeptAway;

    /// How the proxies that report a service see these backends of it, in this order: each
    /// different view once.
    fn views(&self, service: &str, backends: &[&str]) -> Vec<View>;
}

/// How some proxies see the backends of a service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct View {
    /// Where these proxies stand.
    pub zone: Option<String>,
    /// Each backend, in the order in which they were named.
    pub sights: Vec<Sight>,
    /// Who sees them so, by id.
    pub proxies: Vec<String>,
}

/// Whether a proxy lets requests go to a backend, apart from what operators decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Sight {
    /// It does, or nobody says otherwise.
    #[default]
    Well,
    /// Its check fails.
    Down,
    /// It is out because it answers worse than others.
    Ejected,
    /// Its circuit breaker is open.
    Open,
}

/// What keeps requests from a backend on some proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeptAway {
    /// Its circuit breaker is open on at least one.
    pub is_open: bool,
    /// On so many it is out because it answers worse than others.
    pub ejected_on: usize,
    /// So many report it.
    pub reported_by: usize,
}

/// No fleet runs the configuration.
#[derive(Debug, Clone, Copy)]
pub struct NotRunning;

impl Live for NotRunning {
    fn health(&self, _: &str, _: &str) -> Option<(usize, usize, Option<String>)> {
        None
    }

    fn kept_away(&self, _: &str, _: &str) -> KeptAway {
        KeptAway::default()
    }

    fn views(&self, _: &str, _: &[&str]) -> Vec<View> {
        Vec::new()
    }
}

/// Says what becomes of a request.
///
/// # Errors
///
/// [`Unexplainable`] when it is no request, or names an entry point that is not there.
pub fn explain(
    config: &Config,
    asked: &ExplainRequest,
    live: Option<&dyn Live>,
) -> Result<Explanation, Unexplainable> {
    let request = Request::read(asked)?;
    let names = entry_points(config, asked.entry_point.as_deref(), &request)?;
    let mut entry_points = Vec::with_capacity(names.len());
    for (name, entry_point) in names {
        entry_points.push(at(config, name, entry_point, &request, live));
    }
    Ok(Explanation {
        version: asked.version,
        live: live.is_some(),
        request: SeenRequest {
            method: request.method.to_string(),
            host: request.host.clone(),
            path: request.path.clone(),
            query: request.query.clone(),
            client: request.client,
        },
        entry_points,
    })
}

/// The entry points where a request may come in: the one that is named, else those on the port of
/// its URL, else those that fit its scheme, else all.
fn entry_points<'c>(
    config: &'c Config,
    named: Option<&str>,
    request: &Request,
) -> Result<Vec<(&'c EntryPointName, &'c EntryPoint)>, Unexplainable> {
    let all: Vec<_> = config.entry_points.iter().map(|(name, e)| (name, &**e)).collect();
    let known = || all.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
    if let Some(named) = named {
        let found = all.iter().find(|(name, _)| name.as_str() == named).copied();
        return found.map(|found| vec![found]).ok_or_else(|| {
            Unexplainable(format!("there is no entry point `{named}`; there are: {}", known()))
        });
    }
    let fits = |wanted: &dyn Fn(&EntryPoint) -> bool| -> Vec<_> {
        all.iter().filter(|(_, entry_point)| wanted(entry_point)).copied().collect()
    };
    let by_port = request.port.map(|port| fits(&|e| e.address.0.port() == port));
    let by_scheme = request.is_tls.map(|is_tls| fits(&|e| e.tls.is_some() == is_tls));
    let chosen = [by_port, by_scheme].into_iter().flatten().find(|found| !found.is_empty());
    Ok(chosen.unwrap_or(all))
}

fn at(
    config: &Config,
    name: &EntryPointName,
    entry_point: &EntryPoint,
    request: &Request,
    live: Option<&dyn Live>,
) -> EntryPointExplanation {
    let here = config.routes.iter().filter(|(_, route)| route.entry_points.contains(name));
    let table = RouteTable::build(here.map(|(name, route)| RouteEntry {
        name: name.to_arc(),
        rule: std::sync::Arc::clone(&route.rule),
        priority: route.priority,
        target: (name, &**route),
    }));
    let head = RequestHead {
        method: &request.method,
        host: &request.host,
        path: &request.path,
        query: request.query.as_deref(),
        headers: &request.headers,
        client: request.client,
    };
    let mut explanation = EntryPointExplanation {
        name: name.to_string(),
        address: entry_point.address.to_string(),
        refused: None,
        routes: Vec::new(),
        routes_in_all: table.routes().len(),
        decision: None,
    };
    if request.is_refused || request.method == Method::CONNECT {
        let reason = if request.is_refused { "bad_request" } else { "method_not_allowed" };
        explanation.refused = Some(reason.to_owned());
        return explanation;
    }
    // The very look-up that serves traffic; the verdicts only give its reasons.
    let taken = table.find(&head).copied();
    let verdicts = table.trace(&head);
    let mut listed = Vec::new();
    for verdict in verdicts {
        let takes = taken.is_some_and(|(name, _)| *name == *verdict.target.0);
        if listed.len() < MOST_ROUTES || takes {
            listed.push(RouteVerdict {
                name: verdict.name.to_owned(),
                priority: verdict.priority,
                rule: verdict.rule.as_str().to_owned(),
                holds: verdict.failure.is_none(),
                takes,
                failed: verdict.failure.map(ToString::to_string),
            });
        }
    }
    explanation.routes = listed;
    let Some((route_name, route)) = taken else {
        explanation.refused = Some("route_not_found".to_owned());
        return explanation;
    };
    let is_tls = entry_point.tls.is_some();
    let followed = steps::follow(config, name, (route_name, &route.service), is_tls, request);
    explanation.refused = followed.refused.map(str::to_owned);
    let choices = choice::choices(config, route, request, live);
    explanation.decision = decision(config, route_name, route, (followed, choices), live);
    if explanation.decision.as_ref().is_some_and(leads_nowhere) {
        explanation.refused.get_or_insert_with(|| "no_healthy_backend".to_owned());
    }
    explanation
}

/// Whether no proxy has a backend to choose.
fn leads_nowhere(decision: &Decision) -> bool {
    let any = decision.backends.iter().any(|backend| backend.eligible);
    let is_nobody =
        |choice: &Choice| choice.by == choice::NOBODY || (choice.by == choice::SERVICES && !any);
    decision.choices.iter().all(is_nobody)
}

fn decision(
    config: &Config,
    name: &RouteName,
    route: &Route,
    (followed, choices): (Followed, Vec<Choice>),
    live: Option<&dyn Live>,
) -> Option<Decision> {
    let service = config.services.get(&route.service)?;
    let Followed { steps, pool, .. } = followed;
    // What a step chose may be outside the pool: a canary is not one of the service's backends.
    let chosen = pool.iter().flat_map(|(chosen, _)| chosen);
    let more = chosen.filter(|id| !service.backends.contains(id));
    let own = service.backends.iter().chain(more).filter_map(|id| {
        let backend = config.backends.get(id)?;
        let mut candidate = candidate(&route.service, service, id, backend, live);
        if let Some((chosen, why)) = &pool
            && !chosen.contains(id)
        {
            (candidate.eligible, candidate.why) = (false, Some(why.clone()));
        }
        Some(candidate)
    });
    let mut backends: Vec<_> = own.collect();
    let in_place = service.weighted.iter().map(|(name, _)| name);
    stand_ins(config, in_place.collect(), None, live, &mut backends);
    if let Some(failover) = &service.failover {
        let why = Some("stands in when no other may be chosen");
        stand_ins(config, vec![&failover.service], why, live, &mut backends);
    }
    let limits = [
        ("connect", route.timeouts.connect.unwrap_or(service.timeouts.connect)),
        (
            "response_header",
            route.timeouts.response_header.unwrap_or(service.timeouts.response_header),
        ),
        ("idle", route.timeouts.idle.unwrap_or(service.timeouts.idle)),
        ("total", route.timeouts.total.unwrap_or(service.timeouts.total)),
    ];
    Some(Decision {
        route: name.to_string(),
        steps,
        service: route.service.to_string(),
        strategy: service.strategy.as_str().to_owned(),
        timeouts: limits.map(|(name, limit)| (name.to_owned(), limit.to_string())).to_vec(),
        backends,
        choices,
    })
}

/// The backends of services that stand in for the one that a route names, each service once.
fn stand_ins<'c>(
    config: &'c Config,
    mut next: Vec<&'c ServiceName>,
    why: Option<&str>,
    live: Option<&dyn Live>,
    backends: &mut Vec<Candidate>,
) {
    let mut seen = std::collections::BTreeSet::new();
    while let Some(name) = next.pop() {
        let Some(service) = config.services.get(name).filter(|_| seen.insert(name)) else {
            continue;
        };
        next.extend(service.weighted.iter().map(|(name, _)| name));
        for id in &service.backends {
            let Some(backend) = config.backends.get(id) else { continue };
            let mut candidate = candidate(name, service, id, backend, live);
            candidate.service = Some(name.to_string());
            candidate.why = candidate.why.or_else(|| why.map(str::to_owned));
            backends.push(candidate);
        }
    }
}

fn candidate(
    service_name: &ServiceName,
    service: &Service,
    id: &BackendName,
    backend: &Backend,
    live: Option<&dyn Live>,
) -> Candidate {
    let health = live.and_then(|live| live.health(service_name.as_str(), id.as_str()));
    let away = live.map(|live| live.kept_away(service_name.as_str(), id.as_str()));
    let away = away.unwrap_or_default();
    let (eligible, why) = match (backend.admin_state, backend.weight.get(), health) {
        (AdminState::Disabled, ..) => (false, Some("disabled by an operator".to_owned())),
        (AdminState::Draining, ..) => {
            (false, Some("draining: it finishes what it has and gets nothing new".to_owned()))
        }
        (_, 0, _) => (false, Some("its weight is 0".to_owned())),
        (.., Some((0, all, error))) if all > 0 => {
            let error = error.map(|error| format!(": {error}")).unwrap_or_default();
            (false, Some(format!("down on all of {all} proxies{error}")))
        }
        _ if away.ejected_on > 0 => {
            let KeptAway { ejected_on, reported_by, .. } = away;
            let why = format!("ejected on {ejected_on} of {reported_by} proxies");
            (ejected_on < reported_by, Some(why))
        }
        _ if away.is_open && away.reported_by == 1 => {
            (false, Some("its circuit breaker is open".to_owned()))
        }
        _ if away.is_open => (true, Some("its circuit breaker is open on some proxies".to_owned())),
        (.., Some((up, all, error))) if up < all => {
            let error = error.map(|error| format!(": {error}")).unwrap_or_default();
            (true, Some(format!("up on {up} of {all} proxies{error}")))
        }
        (.., None) if service.health_check.is_some() => {
            (true, Some("if its health check passes; no proxy reports it".to_owned()))
        }
        _ => (true, None),
    };
    Candidate {
        id: id.to_string(),
        url: backend.url.to_string(),
        weight: backend.weight.get(),
        eligible,
        why,
        admin_state: backend.admin_state,
        service: None,
    }
}

#[cfg(test)]
mod tests;
