//! What the endpoints of blue-green and canary share: reading what is asked, finding what it is
//! about, and committing a decision about it.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    Json,
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::StatusCode,
    response::Response,
};
use jiff::Timestamp;
use lb_model::{
    Version,
    api::{BackendView, DeploymentChanged},
    config::AdminState,
    value::BackendName,
};
use lb_store::StoreError;
use serde::{Deserialize, de::DeserializeOwned};
use utoipa::IntoParams;

use super::{
    Admin, Shared,
    access::Caller,
    config::{bad_query, tagged, text},
    error::{ApiError, shown, suggestions, unreadable},
    overrides::waits,
};
use crate::{
    deployments::{Decided, Deployable, Deployments, Scope, deployable},
    snapshot::Release,
};

/// The most services and routes about which something is decided.
const MOST: usize = 10_000;
/// How many of what could be asked for are named.
const NAMED: usize = 8;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DecideQuery {
    /// Who decides; the name in a token counts instead.
    author: String,
    /// Answer when every connected proxy has it.
    wait: bool,
    /// For how long to wait at most, `10s` by default.
    #[param(pattern = "^([0-9]+|([0-9]+(ms|s|m|h|d))+)$")]
    timeout: Option<String>,
}

/// A request to decide something. Its path names a `{service}` or a `{route}`.
pub(super) struct Asked {
    scope: Scope,
    caller: Caller,
    query: DecideQuery,
    body: Bytes,
}

impl FromRequest<Shared> for Asked {
    type Rejection = ApiError;

    async fn from_request(request: Request, admin: &Shared) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let path = Path::<Vec<(String, String)>>::from_request_parts(&mut parts, admin).await;
        let Path(path) = path.map_err(|rejection| {
            ApiError::new(StatusCode::BAD_REQUEST, "invalid_path", rejection.body_text())
        })?;
        let scope = path.into_iter().find_map(|(key, name)| match key.as_str() {
            "service" => Some(Scope::Service(name)),
            "route" => Some(Scope::Route(name)),
            _ => None,
        });
        let scope = scope.ok_or_else(|| ApiError::internal("a path that names nothing"))?;
        let caller = Caller::from_request_parts(&mut parts, admin).await?;
        let query = Query::from_request_parts(&mut parts, admin).await;
        let Query(query) = query.map_err(|rejection| bad_query(&rejection))?;
        let body = Bytes::from_request(Request::from_parts(parts, body), admin).await;
        let body = body.map_err(|rejection| unreadable(&rejection))?;
        Ok(Self { scope, caller, query, body })
    }
}

impl Asked {
    /// The JSON object in its body, such as `example`; the default where it may be left out and is.
    pub(super) fn body<T: DeserializeOwned>(
        &self,
        example: &str,
        default: Option<T>,
    ) -> Result<T, ApiError> {
        if let Some(default) = default.filter(|_| self.body.is_empty()) {
            return Ok(default);
        }
        let invalid = |detail| ApiError::new(StatusCode::BAD_REQUEST, "invalid_request", detail);
        let wrong = |error| invalid(format!("the body is not {example}: {error}"));
        let value: serde_json::Value = serde_json::from_slice(&self.body).map_err(wrong)?;
        // A list of the values in order would be read as well.
        if !value.is_object() {
            return Err(invalid(format!("the body is no object, such as {example}")));
        }
        serde_json::from_value(value).map_err(wrong)
    }

    /// Who decides about what, for this reason.
    pub(super) fn order(self, reason: String) -> Result<Order, ApiError> {
        let Self { scope, caller, query, body: _ } = self;
        let wait = waits(query.wait, query.timeout.as_deref())?;
        let (author, reason) = (caller.author(query.author), text(reason, ""));
        Ok(Order { scope, author, reason, wait })
    }
}

/// Who decides about what, why, and whether the answer waits for the proxies.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) scope: Scope,
    author: String,
    reason: String,
    wait: Option<Duration>,
}

impl Order {
    /// The signature of a decision that is taken now.
    pub(super) fn sign(&self, now: Timestamp) -> Decided {
        Decided { owner: self.author.clone(), reason: self.reason.clone(), since: now }
    }
}

/// What becomes of what is decided about.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) kind: &'static str,
    pub(super) before: String,
    pub(super) value: String,
}

/// Something to decide about: what is so, and what was decided.
pub(super) struct Case<'r> {
    pub(super) release: &'r Release,
    pub(super) made: Deployable<'r>,
    pub(super) now: Timestamp,
}

/// A kind of deployment, as refusals speak of it.
#[derive(Debug)]
pub(super) struct Kind {
    /// After "no".
    pub(super) bare: &'static str,
    /// After "with".
    pub(super) one: &'static str,
    /// Its key in `traffic_management`.
    pub(super) key: &'static str,
    /// Whether something has one.
    pub(super) has: fn(&Deployable<'_>) -> bool,
}

impl Admin {
    /// Takes a decision and answers how far it has come. `decide` changes what was decided, and
    /// says what it comes to.
    pub(super) async fn deploy(
        &self,
        order: Order,
        decide: impl Fn(&Case<'_>, &Order, &mut Deployments) -> Result<Outcome, ApiError>,
    ) -> Result<Response, ApiError> {
        let (version, (service, outcome), changed) = self.commit_deployment(&order, decide).await?;
        let progress = self.settled(version, order.wait).await;
        let Outcome { kind, before, value } = outcome;
        let answer = DeploymentChanged {
            service,
            route: order.scope.route().map(ToOwned::to_owned),
            kind: kind.to_owned(),
            before,
            value,
            version,
            changed,
            acked: progress.acked,
            total: progress.total,
        };
        Ok(tagged(version, Json(answer)))
    }

    async fn commit_deployment(
        &self,
        order: &Order,
        decide: impl Fn(&Case<'_>, &Order, &mut Deployments) -> Result<Outcome, ApiError>,
    ) -> Result<(Version, (String, Outcome), bool), ApiError> {
        loop {
            let (head, release) = self.judged_by().await?;
            let release = release.ok_or_else(nothing)?;
            let before = Deployments::at(&*self.store, head).await?;
            let (mut after, now) = (before.clone(), Timestamp::now());
            let made = deployable(&release.config).remove(&order.scope).unwrap_or_default();
            let service = made.service.to_owned();
            let outcome = decide(&Case { release: &release, made, now }, order, &mut after)?;
            let outcome = (service, outcome);
            if after == before {
                return Ok((head, outcome, false));
            }
            if after.0.len() > MOST {
                let detail = format!(
                    "something is decided about {MOST} services and routes already; see `lbctl \
                     overrides`"
                );
                return Err(ApiError::new(StatusCode::CONFLICT, "full", detail));
            }
            let reason = said(order, &outcome.1);
            let signature = (order.author.as_str(), reason.as_str());
            match after.commit(&*self.store, head, signature, now).await {
                Ok(version) => {
                    let author = &order.author;
                    tracing::info!(version = version.0, author, reason, "deployment committed");
                    return Ok((version, outcome, true));
                }
                // Somebody was faster: judged anew, on what is so now.
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// How every backend of a release is.
    pub(super) fn seen(&self, release: &Release, now: Timestamp) -> Vec<BackendView> {
        self.reports.backends(&release.config, now)
    }
}

/// What was decided, for the history.
fn said(order: &Order, outcome: &Outcome) -> String {
    let Order { scope, reason, .. } = order;
    let did = match outcome.kind {
        "slot" => format!("{scope}: {} serves", outcome.value),
        _ => format!("{scope}: canary at {}%", outcome.value),
    };
    if reason.is_empty() { did } else { format!("{did}: {reason}") }
}

/// How many of these backends of a service could take requests: they are enabled, and up on a
/// proxy. Of what no proxy reports, the best is thought.
pub(super) fn healthy<'b>(
    seen: &[BackendView],
    service: &str,
    ids: impl Iterator<Item = &'b BackendName>,
) -> usize {
    let could = |view: &&BackendView| {
        view.admin_state == AdminState::Enabled && (view.up_on > 0 || view.reported_by == 0)
    };
    let is_well = |id: &&BackendName| {
        let mut views =
            seen.iter().filter(|view| view.service == service && view.id == id.as_str());
        views.any(|view| could(&view))
    };
    ids.filter(is_well).count()
}

impl Kind {
    /// Why nothing of this kind can be decided about what was asked for, and what it could be
    /// decided about.
    pub(super) fn missing(&self, release: &Release, asked: &Scope) -> ApiError {
        let (config, Self { bare, one, key, has }) = (&release.config, self);
        let all: BTreeMap<_, _> =
            deployable(config).into_iter().filter(|(_, made)| has(made)).collect();
        let name = shown(asked.name());
        let is_known = |scope: Scope| all.contains_key(&scope);
        let own: Vec<_> = all
            .iter()
            .filter(|(scope, made)| scope.route().is_some() && made.service == name)
            .map(|(scope, _)| scope)
            .collect();
        let lacks = match (asked, config.routes.get(&*name)) {
            (Scope::Service(_), _) if !own.is_empty() => {
                let own = listed(&own);
                format!("the service `{name}` has no {bare} of its own; ask for that of {own}")
            }
            (Scope::Service(_), _) if config.services.contains_key(&*name) => {
                format!("the service `{name}` has no {bare}")
            }
            (Scope::Service(_), _) if is_known(Scope::Route(name.clone())) => {
                format!("there is no service `{name}` with {one}, but a route: ask for that")
            }
            (Scope::Service(_), _) => format!("there is no service `{name}` with {one}"),
            (Scope::Route(_), Some(route)) => {
                let service = &route.service;
                let of_service = if is_known(Scope::Service(service.to_string())) {
                    format!("its service `{service}` has; ask for that")
                } else {
                    format!("nor has its service `{service}`")
                };
                format!("the route `{name}` has no {bare} of its own, {of_service}")
            }
            (Scope::Route(_), None) if is_known(Scope::Service(name.clone())) => {
                format!("there is no route `{name}` with {one}, but a service: ask for that")
            }
            (Scope::Route(_), None) => {
                format!("there is no route `{name}` with {one} of its own")
            }
        };
        let is_same_kind = |scope: &&Scope| scope.route().is_some() == asked.route().is_some();
        let names = all.keys().filter(is_same_kind).map(Scope::name);
        let near = suggestions(&name, names);
        let otherwise = match &*all.keys().collect::<Vec<_>>() {
            [] => format!("nothing has: write traffic_management.{key}"),
            [only] => format!("only {} has {one}", listed(&[*only])),
            several => format!("these have {one}: {}", listed(several)),
        };
        ApiError::missing(&lacks, &near, &otherwise)
    }
}

/// What could be asked for, as far as that helps.
fn listed(all: &[&Scope]) -> String {
    let names = all.iter().take(NAMED).map(|scope| match scope {
        Scope::Service(name) => format!("`{name}`"),
        Scope::Route(name) => format!("the route `{name}`"),
    });
    let names = names.collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(NAMED) {
        0 => names,
        more => format!("{names} and {more} more"),
    }
}

fn nothing() -> ApiError {
    let detail = "nothing is configured yet; write a document and run `lbctl apply`";
    ApiError::new(StatusCode::NOT_FOUND, "not_found", detail)
}
