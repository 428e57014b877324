//! What happens to a request between its route and its backend, as far as that follows from
//! configuration and request head. The rules themselves are the model's; here they are asked in
//! the order in which a proxy asks them, and put into words.

use std::fmt::Write;

use lb_model::{
    Config,
    api::Step,
    config::{
        BlueGreen, Canary, Jwt, Middleware, Need, RateLimit, Slot, TokenSource, TrafficManagement,
        Waf, WafMode,
    },
    value::{BackendName, EntryPointName, MiddlewareName, RouteName, ServiceName},
};

use super::{
    choice::{Known, Version},
    request::Request,
};
use crate::ask::Ask;

/// How deep chains of middlewares are followed; the model refuses circles.
const MOST_LEVELS: usize = 16;

/// What follows for a request.
#[derive(Debug, Default)]
pub(super) struct Followed {
    /// The steps, in order.
    pub(super) steps: Vec<Step>,
    /// The reason with which one of them surely ends it.
    pub(super) refused: Option<&'static str>,
    /// The only backends that remain, and why, where a step decides that.
    pub(super) pool: Option<(Vec<BackendName>, String)>,
}

/// Where a request is on its way.
struct Way<'a> {
    config: &'a Config,
    request: &'a Request,
    is_tls: bool,
    path: String,
    followed: Followed,
}

/// Follows a request from its route to the choice of a backend.
pub(super) fn follow(
    config: &Config,
    entry_point: &EntryPointName,
    (route, service): (&RouteName, &ServiceName),
    is_tls: bool,
    request: &Request,
) -> Followed {
    let (policies, path) = (&config.policies, request.path.clone());
    let mut way = Way { config, request, is_tls, path, followed: Followed::default() };
    let policy = policies.routes.get(route);
    if let Some(waf) = policy.and_then(|policy| policy.waf.as_deref()) {
        way.waf("waf", waf);
    }
    if let Some(limit) = policy.and_then(|policy| policy.rate_limit.as_deref()) {
        way.rate_limit("rate limit", limit);
    }
    if let Some(jwt) = policy.and_then(|policy| policy.jwt.as_deref()) {
        way.jwt("jwt", jwt);
    }
    for plugin in &policies.plugins {
        if plugin.sees(request.method.as_str(), &request.path) {
            way.at_run_time(format!("plugin {}", plugin.name), String::new());
        }
    }
    let of_service = policies.services.get(service);
    let middlewares = [
        policies.entry_points.get(entry_point),
        policy.map(|policy| &policy.middlewares),
        of_service.map(|policy| &policy.middlewares),
    ];
    for name in middlewares.into_iter().flatten().flatten() {
        way.middleware(name, 0);
    }
    let spec = config.routes.get(route);
    let pool = config.services.get(service);
    let of_route = spec.and_then(|route| route.traffic_management.as_ref());
    if let Some(traffic) = of_route.or(pool.map(|pool| &pool.traffic_management)) {
        way.traffic(traffic);
    }
    if let Some(pool) = pool.filter(|pool| !pool.weighted.is_empty()) {
        let parts = pool.weighted.iter();
        let parts: Vec<_> =
            parts.map(|(name, weight)| format!("{name} (weight {})", weight.get())).collect();
        way.at_run_time("services".to_owned(), format!("one of {}", parts.join(", ")));
    }
    if let Some(failover) = pool.and_then(|pool| pool.failover.as_ref()) {
        let codes: Vec<_> = failover.status.iter().map(ToString::to_string).collect();
        let mut detail = format!("{} answers if there is no backend to choose", failover.service);
        if !codes.is_empty() {
            let _ = write!(detail, ", or the answer is {}", codes.join(", "));
        }
        way.at_run_time("failover".to_owned(), detail);
    }
    let of_route = spec.and_then(|route| route.retry.as_ref());
    if let Some(retry) = of_route.or(pool.and_then(|pool| pool.retry.as_ref())) {
        way.at_run_time("retry".to_owned(), format!("up to {} tries", retry.attempts));
    }
    way.followed
}

impl Way<'_> {
    fn decided(&mut self, name: String, decision: impl Into<String>, detail: String) {
        self.followed.steps.push(Step { name, decision: Some(decision.into()), detail });
    }

    fn at_run_time(&mut self, name: String, detail: String) {
        self.followed.steps.push(Step { name, decision: None, detail });
    }

    fn refuse(&mut self, name: String, reason: &'static str, detail: String) {
        self.followed.refused.get_or_insert(reason);
        self.decided(name, format!("refused: {reason}"), detail);
    }

    fn field(&self, name: &str) -> Option<&str> {
        Ask::field(self.request, name).and_then(|value| str::from_utf8(value).ok())
    }

    fn waf(&mut self, name: &str, waf: &Waf) {
        let mode = match waf.mode {
            WafMode::Off => return,
            WafMode::Monitor => "what it finds is noted and passes",
            WafMode::Block => "what it finds is refused",
        };
        let method = self.request.method.as_str();
        let about = waf.rules.iter().filter(|rule| rule.is_about(method, &self.path)).count();
        let detail = format!("{mode}; {about} of its {} rules are about this", waf.rules.len());
        self.at_run_time(name.to_owned(), detail);
        if let Some(limit) = &waf.rate_limit {
            self.rate_limit("waf rate limit", limit);
        }
    }

    fn rate_limit(&mut self, name: &str, limit: &RateLimit) {
        let RateLimit { requests, per, burst, source } = limit;
        let detail = format!("{requests} requests in {per} by {source}, {burst} at once");
        self.at_run_time(name.to_owned(), detail);
    }

    fn jwt(&mut self, name: &str, jwt: &Jwt) {
        let name = name.to_owned();
        let detail = match jwt.need(self.request.method.as_str(), &self.path) {
            Need::Nothing => {
                self.decided(name, "passes", "this path needs no token".to_owned());
                return;
            }
            Need::Refused => {
                let detail = "no rule is about this path, and the default denies".to_owned();
                return self.refuse(name, "jwt_forbidden", detail);
            }
            Need::Token => "a valid token is needed".to_owned(),
            Need::Rule(rule) => {
                let mut detail = format!("{} needs a valid token", rule.path);
                if !rule.required_roles.is_empty() {
                    let roles = rule.required_roles.join(" or ");
                    let _ = write!(detail, " with the role {roles}");
                }
                if !rule.required_scopes.is_empty() {
                    let scopes = rule.required_scopes.join(" and ");
                    let _ = write!(detail, " with the scope {scopes}");
                }
                detail
            }
        };
        if jwt.token_sources.iter().any(|source| self.has_token(source)) {
            self.at_run_time(name, detail);
        } else {
            self.refuse(name, "jwt_missing", format!("{detail}; the request carries none"));
        }
    }

    fn has_token(&self, source: &TokenSource) -> bool {
        match source {
            TokenSource::Bearer => self.field("authorization").is_some_and(|value| {
                value.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("bearer "))
            }),
            TokenSource::Header(name) => self.field(name.as_str()).is_some(),
            TokenSource::Cookie(name) => self.cookie(name.as_str()),
            TokenSource::Query(name) => {
                let query = self.request.query.as_deref().unwrap_or_default();
                query.split('&').any(|pair| pair.split('=').next() == Some(name))
            }
        }
    }

    fn cookie(&self, name: &str) -> bool {
        Ask::cookie(self.request, name).is_some()
    }

    fn middleware(&mut self, name: &MiddlewareName, level: usize) {
        let config = self.config;
        let Some(middleware) = config.policies.middlewares.get(name) else { return };
        let title = format!("middleware {name} ({})", middleware.kind());
        match &**middleware {
            Middleware::Chain(names) if level < MOST_LEVELS => {
                for name in names {
                    self.middleware(name, level + 1);
                }
            }
            Middleware::Jwt(jwt) => self.jwt(&title, jwt),
            Middleware::Waf(waf) => self.waf(&title, waf),
            Middleware::RateLimit(limit) => self.rate_limit(&title, limit),
            Middleware::StripPrefix(prefixes) => {
                let prefix = prefixes.iter().find(|prefix| self.path.starts_with(prefix.as_str()));
                match prefix {
                    Some(prefix) => {
                        let rest = self.path[prefix.len()..].to_owned();
                        let path = if rest.starts_with('/') { rest } else { format!("/{rest}") };
                        self.rewritten(title, path);
                    }
                    None => self.decided(title, "passes", "no prefix of it fits".to_owned()),
                }
            }
            Middleware::AddPrefix(prefix) => {
                let path = format!("{prefix}{}", self.path);
                self.rewritten(title, path);
            }
            Middleware::ReplacePath(path) => self.rewritten(title, path.clone()),
            Middleware::RedirectScheme { scheme, permanent, .. } => {
                let wants_tls = scheme.as_str() == "https";
                if wants_tls == self.is_tls {
                    let detail = format!("it came by {} already", scheme.as_str());
                    self.decided(title, "passes", detail);
                } else {
                    let kind = if *permanent { "permanent" } else { "temporary" };
                    let detail = format!("a {kind} redirect to {}", scheme.as_str());
                    self.refuse(title, "redirected", detail);
                }
            }
            Middleware::IpAllowList { source_range, .. } => {
                let client = self.request.client;
                match source_range.iter().find(|range| range.contains(&client)) {
                    Some(range) => self.decided(title, "passes", format!("{client} is in {range}")),
                    None => self.refuse(title, "ip_denied", format!("{client} is in no range")),
                }
            }
            Middleware::BasicAuth { realm, .. } => {
                let is_given = self.field("authorization").is_some_and(|value| {
                    value.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("basic "))
                });
                if is_given {
                    self.at_run_time(title, format!("realm {realm}"));
                } else {
                    let detail = "the request carries no name and password".to_owned();
                    self.refuse(title, "unauthenticated", detail);
                }
            }
            Middleware::Headers(headers) => {
                let (asked, answered) = (headers.request.len(), headers.response.len());
                let detail = format!("{asked} fields of the request, {answered} of the response");
                self.decided(title, "passes", detail);
            }
            Middleware::InFlight { amount, source } => {
                let of = source.as_ref().map(|source| format!(" by {source}"));
                let detail = format!("{amount} requests at once{}", of.unwrap_or_default());
                self.at_run_time(title, detail);
            }
            _ => self.at_run_time(title, String::new()),
        }
    }

    fn rewritten(&mut self, title: String, path: String) {
        self.decided(title, "passes", format!("the path becomes {path}"));
        self.path = path;
    }

    fn traffic(&mut self, traffic: &TrafficManagement) {
        if let Some(blue_green) = &traffic.blue_green {
            self.blue_green(blue_green);
        }
        if let Some(canary) = &traffic.canary {
            self.canary(canary, &Known::of(traffic, self.request));
        }
        if let Some(sticky) = &traffic.session_stickiness {
            let cookie = sticky.cookie_name.as_ref().filter(|name| self.cookie(name.as_str()));
            let field = sticky.header_name.as_ref();
            let field = field.filter(|name| self.field(name.as_str()).is_some());
            let name = "session stickiness".to_owned();
            match (cookie, field) {
                (Some(cookie), _) => self.at_run_time(name, format!("by the cookie {cookie}")),
                (None, Some(field)) => {
                    self.at_run_time(name, format!("by the field {}", field.as_str()));
                }
                (None, None) => self.decided(name, "new session", String::new()),
            }
        }
        if let Some(breaker) = &traffic.circuit_breaker {
            let detail = format!(
                "opens at {} failures among {} requests",
                breaker.failure_threshold, breaker.request_volume_threshold
            );
            self.at_run_time("circuit breaker".to_owned(), detail);
        }
        if let Some(mirroring) = &traffic.traffic_mirroring {
            let names: Vec<_> = mirroring.targets.iter().map(|t| t.name.as_str()).collect();
            let detail = format!("a share of {} to {}", mirroring.sample_rate, names.join(", "));
            self.at_run_time("mirroring".to_owned(), detail);
        }
    }

    fn blue_green(&mut self, blue_green: &BlueGreen) {
        let value = blue_green.switch_header.as_ref().and_then(|name| self.field(name.as_str()));
        let slot: Slot = blue_green.slot(value, self.request.client);
        let why = match value {
            Some(value) if value.trim().eq_ignore_ascii_case(slot.as_str()) => {
                "the header asks for it"
            }
            Some(_) => "the active slot; the header names none, or its client may not choose",
            None => "the active slot",
        };
        let decision = format!("slot {}", slot.as_str());
        let pool = blue_green.backends(slot).to_vec();
        self.followed.pool = Some((pool, format!("not in the {decision}")));
        self.decided("blue-green".to_owned(), decision, why.to_owned());
    }

    fn canary(&mut self, canary: &Canary, known: &Known) {
        let name = "canary".to_owned();
        let all = || canary.backends.iter().map(|(name, _)| name.clone()).collect();
        match Version::of(canary, self.request, known) {
            Version::Stable(why) => self.decided(name, "stable", why.to_owned()),
            Version::Canary(why) => {
                self.followed.pool = Some((all(), "not of the canary".to_owned()));
                self.decided(name, "canary", why.to_owned());
            }
            Version::Backend(backend) => {
                let decision = format!("canary {backend}");
                self.followed.pool = Some((vec![backend.clone()], format!("not {backend}")));
                self.decided(name, decision, "the header names it".to_owned());
            }
            Version::Either(_) => {
                let backends: Vec<String> = canary
                    .backends
                    .iter()
                    .map(|(name, weight)| format!("{name} (weight {})", weight.get()))
                    .collect();
                let detail =
                    format!("{}% of requests to {}", canary.traffic_split, backends.join(", "));
                self.at_run_time(name, detail);
            }
        }
    }
}
