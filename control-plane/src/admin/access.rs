//! Who may ask for what: the one table of all routes, and the guard before them.
//!
//! A route that is not in the table cannot be reached, whatever the router says. Once there is a
//! token for an operator, every request needs one, but for those that monitors make. Before that,
//! whoever reaches the loopback address may do everything; a page in a browser may not, for it
//! can be made to send requests there.

use std::{convert::Infallible, net::IpAddr};

use axum::{
    extract::{ConnectInfo, FromRequestParts, MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use lb_model::api::{AuditEntry, Role};

use super::{Shared, config::text, error::ApiError, listener::Peer, record};

/// Who may ask, and what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Everybody: monitors have no token.
    Open,
    /// Whoever has this role or a higher one. It is not in the audit log.
    Looks(Role),
    /// The same, and every attempt is in the audit log.
    Acts(Role),
}

impl Access {
    /// Which role it takes.
    pub(super) const fn role(self) -> Option<Role> {
        match self {
            Self::Open => None,
            Self::Looks(role) | Self::Acts(role) => Some(role),
        }
    }
}

/// Who may ask for a route; nobody if it is not in the table.
pub(super) fn of(method: &str, path: &str) -> Option<Access> {
    let mut routes = ROUTES.iter();
    routes.find(|(verb, known, _)| (*verb, *known) == (method, path)).map(|(_, _, access)| *access)
}

use Access::{Acts, Looks, Open};
use Role::{Admin, Operator, Viewer};

/// Every route.
pub(super) const ROUTES: &[(&str, &str, Access)] = &[
    ("GET", "/health", Open),
    ("GET", "/livez", Open),
    ("GET", "/readyz", Open),
    ("GET", "/metrics", Open),
    ("GET", "/admin/health", Looks(Viewer)),
    ("GET", "/admin/backends", Looks(Viewer)),
    ("GET", "/api/v1/backends", Looks(Viewer)),
    ("POST", "/admin/backends/{id}/enable", Acts(Operator)),
    ("POST", "/admin/backends/{id}/disable", Acts(Operator)),
    ("GET", "/admin/circuit-breakers", Looks(Viewer)),
    ("GET", "/api/v1/circuit-breakers", Looks(Viewer)),
    ("POST", "/admin/circuit-breakers/{id}/reset", Acts(Operator)),
    ("POST", "/api/v1/circuit-breakers/{id}/reset", Acts(Operator)),
    ("GET", "/api/v1/openapi.json", Looks(Viewer)),
    ("GET", "/api/v1/config", Looks(Viewer)),
    ("PUT", "/api/v1/config", Acts(Operator)),
    ("GET", "/api/v1/config/sources", Looks(Viewer)),
    ("GET", "/api/v1/objects/{kind}", Looks(Viewer)),
    // These say what would be, and do nothing.
    ("POST", "/api/v1/plan", Looks(Viewer)),
    ("POST", "/api/v1/explain", Looks(Viewer)),
    ("GET", "/api/v1/versions/{version}/diff", Looks(Viewer)),
    ("GET", "/api/v1/versions", Looks(Viewer)),
    ("GET", "/api/v1/versions/{version}", Looks(Viewer)),
    ("POST", "/api/v1/versions/{version}/restore", Acts(Operator)),
    ("GET", "/api/v1/overrides", Looks(Viewer)),
    ("GET", "/api/v1/blue-green", Looks(Viewer)),
    ("POST", "/api/v1/blue-green/{service}/switch", Acts(Operator)),
    ("POST", "/api/v1/blue-green/{service}/rollback", Acts(Operator)),
    ("POST", "/api/v1/blue-green/routes/{route}/switch", Acts(Operator)),
    ("POST", "/api/v1/blue-green/routes/{route}/rollback", Acts(Operator)),
    ("GET", "/api/v1/canary", Looks(Viewer)),
    ("POST", "/api/v1/canary/{service}/set", Acts(Operator)),
    ("POST", "/api/v1/canary/{service}/promote", Acts(Operator)),
    ("POST", "/api/v1/canary/{service}/abort", Acts(Operator)),
    ("POST", "/api/v1/canary/routes/{route}/set", Acts(Operator)),
    ("POST", "/api/v1/canary/routes/{route}/promote", Acts(Operator)),
    ("POST", "/api/v1/canary/routes/{route}/abort", Acts(Operator)),
    ("GET", "/api/v1/audit", Looks(Viewer)),
    ("GET", "/api/v1/proxies", Looks(Viewer)),
    ("POST", "/api/v1/proxies/{name}/revoke", Acts(Admin)),
    ("GET", "/api/v1/proxies/{name}/log-level", Looks(Viewer)),
    ("PUT", "/api/v1/proxies/{name}/log-level", Acts(Operator)),
    ("GET", "/api/v1/log-level", Looks(Viewer)),
    ("PUT", "/api/v1/log-level", Acts(Operator)),
    ("GET", "/api/v1/tokens", Looks(Viewer)),
    ("POST", "/api/v1/tokens", Acts(Admin)),
    ("DELETE", "/api/v1/tokens/{id}", Acts(Admin)),
    ("GET", "/api/v1/authority", Looks(Viewer)),
    ("POST", "/api/v1/authority/rotate", Acts(Admin)),
    // Whoever holds a backup and the key file holds the fleet.
    ("GET", "/api/v1/backup", Acts(Admin)),
];

/// Who asks.
#[derive(Debug, Clone)]
pub(super) enum Caller {
    /// Somebody on this machine, while no token is needed.
    Loopback,
    /// An operator, by the token.
    Operator {
        /// Which token.
        id: String,
        /// The name in it.
        name: String,
        /// What it allows.
        role: Role,
    },
}

/// The name of what a request made, for the audit log.
#[derive(Debug, Clone)]
pub(super) struct Made(pub(super) String);

impl Caller {
    /// Who is named as the author of a change. What a client claims counts only while nobody can
    /// prove to be somebody.
    pub(super) fn author(&self, claimed: String) -> String {
        match self {
            Self::Loopback => text(claimed, "unknown"),
            Self::Operator { name, .. } => name.clone(),
        }
    }

    fn may(&self, role: Role) -> bool {
        match self {
            Self::Loopback => true,
            Self::Operator { role: own, .. } => *own >= role,
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        // The guard puts it there before any handler runs.
        let unknown = || {
            let detail = "the request passed no guard; nothing was done";
            ApiError::new(StatusCode::FORBIDDEN, "forbidden", detail)
        };
        parts.extensions.get().cloned().ok_or_else(unknown)
    }
}

/// Lets a request pass to its handler, or answers it.
pub(super) async fn guard(
    State(admin): State<Shared>,
    mut request: Request,
    next: Next,
) -> Result<Response, Infallible> {
    let matched = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let matched = matched.as_deref();
    let access = find(request.method(), matched);
    if access == Ok(Open) {
        return Ok(next.run(request).await);
    }
    let peer = request.extensions().get::<ConnectInfo<Peer>>().map(|info| info.0.0.ip());
    let caller = match authenticate(&admin, peer, request.headers()) {
        Ok(caller) => caller,
        Err(refusal) => return Ok(refusal.into_response()),
    };
    let (role, acts) = match access {
        Ok(Open) => (Viewer, false),
        Ok(Looks(role)) => (role, false),
        Ok(Acts(role)) => (role, !is_dry_run(&request)),
        Err(misplaced) => return Ok(misplaced.error(&request).into_response()),
    };
    let path = request.uri().path().to_owned();
    let mut entry = AuditEntry {
        time: String::new(),
        who: "loopback".to_owned(),
        token: None,
        role: None,
        from: peer.map(|ip| ip.to_string()).unwrap_or_default(),
        method: request.method().as_str().to_owned(),
        object: matched.and_then(|matched| object(matched, &path)),
        path: path.chars().take(512).collect(),
        status: 0,
        code: None,
        version: None,
    };
    if let Caller::Operator { id, name, role } = &caller {
        name.clone_into(&mut entry.who);
        (entry.token, entry.role) = (Some(id.clone()), Some(*role));
    }
    let response = if caller.may(role) {
        request.extensions_mut().insert(caller);
        next.run(request).await
    } else {
        let detail =
            format!("this takes the role {role}; the token of {} has not got it", entry.who);
        ApiError::new(StatusCode::FORBIDDEN, "forbidden", detail).into_response()
    };
    Ok(if acts { record::keep(&admin.audit, entry, response).await } else { response })
}

/// Why a request has no place in the table.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Misplaced {
    NotFound,
    Method(Vec<&'static str>),
}

/// What the table says about a request.
fn find(method: &Method, matched: Option<&str>) -> Result<Access, Misplaced> {
    // Whoever may GET may HEAD (RFC 9110 section 9.3.2).
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    let routes = || ROUTES.iter().filter(|(_, path, _)| Some(*path) == matched);
    if let Some((_, _, access)) = routes().find(|(verb, _, _)| *verb == method.as_str()) {
        return Ok(*access);
    }
    match routes().map(|(verb, _, _)| *verb).collect::<Vec<_>>() {
        known if known.is_empty() => Err(Misplaced::NotFound),
        known => Err(Misplaced::Method(known)),
    }
}

impl Misplaced {
    fn error(self, request: &Request) -> ApiError {
        let path = request.uri().path();
        match self {
            Self::NotFound => {
                let detail = format!("there is nothing at {path}; see docs/rest-api.md");
                ApiError::new(StatusCode::NOT_FOUND, "not_found", detail)
            }
            Self::Method(mut known) => {
                let method = request.method();
                let detail = format!("{path} does not take {method}; see docs/rest-api.md");
                if known.contains(&"GET") {
                    known.push("HEAD");
                }
                // Names of methods are field values.
                let allow = HeaderValue::from_str(&known.join(", "));
                let allow = allow.unwrap_or_else(|_| HeaderValue::from_static("GET"));
                ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
                    .with_field(header::ALLOW, allow)
            }
        }
    }
}

/// Who asks, or the answer to somebody who may not.
fn authenticate(
    admin: &Shared,
    peer: Option<IpAddr>,
    headers: &HeaderMap,
) -> Result<Caller, ApiError> {
    let state = admin.ledger.state();
    if !state.operators.are_known {
        return match foreign(headers) {
            None => Ok(Caller::Loopback),
            Some(detail) => Err(ApiError::new(StatusCode::FORBIDDEN, "cross_site", detail)),
        };
    }
    let failed = |reason: &str| admin.metrics.auth_failures.with_label_values(&[reason]).inc();
    let Some(token) = bearer(headers) else {
        failed("missing");
        let detail = "this needs a token: send Authorization: Bearer TOKEN, or set LBCTL_TOKEN \
                      or LBCTL_TOKEN_FILE for lbctl";
        return Err(challenge("Bearer realm=\"lb\"", detail));
    };
    let now = Timestamp::now().as_second();
    let invalid = match state.operators.find(token, now) {
        Ok(record) => {
            return Ok(Caller::Operator {
                id: record.id.clone(),
                name: record.name.clone(),
                role: record.role,
            });
        }
        Err(invalid) => invalid,
    };
    // A good token passes whatever else comes from its address: nobody guesses 256 bits, and a
    // script with an old token must not lock the operators beside it out.
    let source = peer.unwrap_or(IpAddr::from([0; 4]));
    let mut throttle = admin.throttle.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(seconds) = throttle.wait(source, now) {
        failed("throttled");
        let detail = format!("too many failed attempts from {source}; wait {seconds} seconds");
        let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_attempts", detail);
        return Err(error.with_field(header::RETRY_AFTER, seconds.into()));
    }
    throttle.fail(source, now);
    drop(throttle);
    failed("invalid");
    tracing::warn!(%source, reason = %invalid, "an operator was not let in");
    let kind = "Bearer realm=\"lb\", error=\"invalid_token\"";
    Err(challenge(kind, &invalid.to_string()))
}

fn challenge(kind: &'static str, detail: &str) -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail)
        .with_field(header::WWW_AUTHENTICATE, HeaderValue::from_static(kind))
}

/// The token in `Authorization` (RFC 6750 section 2.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// Why a request that needs no token is not taken: it comes from a page of another site, or by a
/// name that a stranger made point at this machine.
fn foreign(headers: &HeaderMap) -> Option<String> {
    let field = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let host = field(header::HOST).unwrap_or_default();
    let origin = field(header::ORIGIN)
        .map(|origin| origin.split_once("://").map_or(origin, |(_, authority)| authority));
    let remedy = "make a token, `lbctl tokens create --role admin --name NAME`, and send it";
    if !host.is_empty() && !is_loopback(host) {
        return Some(format!(
            "without a token only requests for a loopback address are taken, not for `{host}`; \
             {remedy}"
        ));
    }
    let is_other = origin.is_some_and(|origin| origin != host);
    is_other.then(|| format!("without a token no request of another site is taken; {remedy}"))
}

/// Whether `HOST` or `HOST:PORT` names this machine to itself.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, _)) => name,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// What a path names in the place of the last `{...}`.
fn object(matched: &str, path: &str) -> Option<String> {
    let parts = matched.split('/').zip(path.split('/'));
    let (_, part) = parts.filter(|(pattern, _)| pattern.starts_with('{')).last()?;
    Some(part.chars().take(128).collect())
}

fn is_dry_run(request: &Request) -> bool {
    request.uri().query().unwrap_or_default().split('&').any(|part| part == "dry_run=true")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_in_the_table_is_nowhere() {
        let of = |method: Method, path| find(&method, path);
        assert_eq!(of(Method::GET, Some("/api/v1/config")), Ok(Looks(Viewer)));
        assert_eq!(of(Method::HEAD, Some("/metrics")), Ok(Open));
        assert_eq!(of(Method::PUT, Some("/api/v1/config")), Ok(Acts(Operator)));
        let wrong = Err(Misplaced::Method(vec!["GET", "PUT"]));
        assert_eq!(of(Method::DELETE, Some("/api/v1/config")), wrong);
        assert_eq!(of(Method::GET, Some("/api/v1/secret")), Err(Misplaced::NotFound));
        assert_eq!(of(Method::GET, None), Err(Misplaced::NotFound));
    }

    #[test]
    fn whatever_changes_something_takes_a_role_above_viewer_and_is_recorded() {
        for (method, path, access) in ROUTES {
            match access {
                Acts(role) => assert!(*role > Viewer, "{method} {path}"),
                Looks(_) | Open => {
                    let asks = ["/api/v1/plan", "/api/v1/explain"].contains(path);
                    assert!(*method == "GET" || asks, "{path}");
                }
            }
        }
    }

    #[test]
    fn pages_of_other_sites_and_other_names_are_foreign() {
        let foreign = |fields: &[(header::HeaderName, &str)]| {
            let fields = fields.iter();
            let fields = fields.map(|(name, value)| (name.clone(), value.parse().unwrap()));
            foreign(&fields.collect()).is_some()
        };
        let host = |host| (header::HOST, host);
        let origin = |origin| (header::ORIGIN, origin);
        for good in ["127.0.0.1:9700", "localhost", "[::1]:9700", "127.0.0.9"] {
            assert!(!foreign(&[host(good)]), "{good}");
        }
        assert!(foreign(&[host("evil.example:9700")]));
        assert!(!foreign(&[host("localhost:9700"), origin("http://localhost:9700")]));
        assert!(foreign(&[host("localhost:9700"), origin("http://localhost:8080")]));
        assert!(foreign(&[host("localhost:9700"), origin("null")]));
    }

    #[test]
    fn the_object_of_a_path_is_its_last_name() {
        let of = |matched, path| object(matched, path);
        assert_eq!(of("/admin/backends/{id}/enable", "/admin/backends/a/enable").unwrap(), "a");
        assert_eq!(of("/api/v1/config", "/api/v1/config"), None);
    }

    #[test]
    fn a_bearer_token_is_read_whatever_the_case_of_its_scheme() {
        let read = |text: &str| {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, text.parse().unwrap())]);
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(read("bearer lbo1.a.b").as_deref(), Some("lbo1.a.b"));
        assert_eq!(read("Basic lbo1.a.b"), None);
        assert_eq!(read("lbo1.a.b"), None);
    }
}
