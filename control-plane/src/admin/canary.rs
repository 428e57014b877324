//! `GET /api/v1/canary`, and how many requests a new version gets.
//!
//! A decision is a version of its own beside the configuration; see [`crate::deployments`]. It
//! ends the schedule of the canary, if that has one.

use axum::{
    Json,
    body::Bytes,
    extract::{
        Path, Query, State,
        rejection::{BytesRejection, PathRejection, QueryRejection},
    },
    http::StatusCode,
    response::Response,
};
use jiff::Timestamp;
use lb_model::{
    Version,
    api::{
        ArmView, CanaryList, CanaryStepView, CanaryView, DeploymentChanged, ReasonRequest,
        SplitRequest,
    },
    config::Canary,
    value::Percentage,
};

use super::{
    Admin, Shared,
    access::Caller,
    config::bad_query,
    deployments::{Case, DecideQuery, Order, Outcome, healthy, read, unknown},
    error::{ApiError, named},
};
use crate::{
    deployments::{
        Deployable, Deployments, SplitChoice, canary_id, deployable, schedule::Schedule,
    },
    report::totals::Totals,
};

/// All requests, in millionths.
const ALL: u32 = 1_000_000;

/// Every service with a canary, beside its stable version.
#[utoipa::path(
    get,
    path = "/api/v1/canary",
    operation_id = "listCanaries",
    responses((status = 200, description = "Every service with a canary", body = CanaryList)),
)]
pub(super) async fn list(State(admin): State<Shared>) -> Json<CanaryList> {
    let Some(release) = admin.cache.newest() else {
        return Json(CanaryList { version: Version::NONE, services: Vec::new() });
    };
    let now = Timestamp::now();
    let seen = admin.seen(&release, now);
    let mut services = Vec::new();
    for (name, service) in deployable(&release.config) {
        let Some(canary) = service.canary else { continue };
        let decided = release.deployments.0.get(name);
        let configured = release.configured.get(name).and_then(|said| said.split);
        let ids = || canary.backends.iter().map(|(id, _)| id);
        let rates = admin.reports.recent(name, now);
        let arm = |(requests_per_second, totals): (f64, Totals)| ArmView {
            requests_per_second,
            error_percent: totals.error_percent(),
            latency: totals.latencies(),
        };
        services.push(CanaryView {
            service: name.to_owned(),
            split: percent(canary.traffic_split),
            configured: percent(configured.unwrap_or(canary.traffic_split)),
            decided: decided.and_then(|decided| decided.split_view(name, service, now)),
            backends: ids().map(ToString::to_string).collect(),
            healthy: healthy(&seen, name, ids()),
            steps: steps(canary),
            stable: arm(rates.stable),
            canary: arm(rates.canary),
        });
    }
    Json(CanaryList { version: release.version, services })
}

/// Gives the new version a share of the requests.
#[utoipa::path(
    post,
    path = "/api/v1/canary/{service}/set",
    operation_id = "setCanary",
    params(("service" = String, Path, description = "The service"), DecideQuery),
    request_body = SplitRequest,
    responses(
        (status = 200, description = "What became of it", body = DeploymentChanged),
        (status = 409, description = "`full`"),
    ),
)]
pub(super) async fn set(
    State(admin): State<Shared>,
    path: Result<Path<String>, PathRejection>,
    caller: Caller,
    query: Result<Query<DecideQuery>, QueryRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|rejection| bad_query(&rejection))?;
    let SplitRequest { split, reason } = read(body, "{\"split\": 25}", None)?;
    let split = Percentage::parse(&split.to_string()).map_err(|error| {
        let detail = format!("`split`: {error}");
        ApiError::new(StatusCode::BAD_REQUEST, "invalid_request", detail)
    })?;
    let order = Order::new(named(path)?, &caller, query, reason)?;
    admin.split(order, split).await
}

/// Gives the new version all requests.
#[utoipa::path(
    post,
    path = "/api/v1/canary/{service}/promote",
    operation_id = "promoteCanary",
    params(("service" = String, Path, description = "The service"), DecideQuery),
    request_body(content = Option<ReasonRequest>),
    responses(
        (status = 200, description = "What became of it", body = DeploymentChanged),
        (status = 409, description = "`full`"),
    ),
)]
pub(super) async fn promote(
    State(admin): State<Shared>,
    path: Result<Path<String>, PathRejection>,
    caller: Caller,
    query: Result<Query<DecideQuery>, QueryRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let order = order(path, &caller, query, body)?;
    admin.split(order, Percentage::of_millionths(ALL).unwrap_or(Percentage::ZERO)).await
}

/// Gives the new version no request.
#[utoipa::path(
    post,
    path = "/api/v1/canary/{service}/abort",
    operation_id = "abortCanary",
    params(("service" = String, Path, description = "The service"), DecideQuery),
    request_body(content = Option<ReasonRequest>),
    responses(
        (status = 200, description = "What became of it", body = DeploymentChanged),
        (status = 409, description = "`full`"),
    ),
)]
pub(super) async fn abort(
    State(admin): State<Shared>,
    path: Result<Path<String>, PathRejection>,
    caller: Caller,
    query: Result<Query<DecideQuery>, QueryRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let order = order(path, &caller, query, body)?;
    admin.split(order, Percentage::ZERO).await
}

fn order(
    path: Result<Path<String>, PathRejection>,
    caller: &Caller,
    query: Result<Query<DecideQuery>, QueryRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Order, ApiError> {
    let Query(query) = query.map_err(|rejection| bad_query(&rejection))?;
    let default = Some(ReasonRequest::default());
    let ReasonRequest { reason } = read(body, "{\"reason\": \"it is well\"}", default)?;
    Order::new(named(path)?, caller, query, reason)
}

impl Admin {
    async fn split(&self, order: Order, split: Percentage) -> Result<Response, ApiError> {
        self.deploy(order, |case, order, decided| change(case, order, split, decided)).await
    }
}

/// Puts a share among the decisions, or takes the decision back where the configuration says it.
fn change(
    case: &Case<'_>,
    order: &Order,
    split: Percentage,
    decided: &mut Deployments,
) -> Result<Outcome, ApiError> {
    let Some(canary) = case.service.canary else {
        return Err(without_canary(case, &order.service));
    };
    let before = canary.traffic_split;
    let outcome = Outcome { kind: "split", before: before.to_string(), value: split.to_string() };
    let known = decided.0.get(&order.service).and_then(|decided| decided.split.as_ref());
    let schedule = known.and_then(|choice| choice.schedule.as_ref());
    let is_led = schedule.is_some_and(Schedule::is_running)
        || (schedule.is_none() && !canary.steps.is_empty());
    if before == split && !is_led {
        return Ok(outcome);
    }
    let by = order.sign(case.now);
    // It is remembered for which steps it was stopped, or they would begin anew.
    let stopped = schedule.cloned().or_else(|| Schedule::begin(&canary.steps, case.now));
    let why = format!("{} decided otherwise", by.owner);
    let schedule = stopped.map(|schedule| schedule.stopped(&why));
    let configured = case.release.configured.get(&order.service).and_then(|said| said.split);
    let is_said = schedule.is_none() && configured == Some(split);
    let id = canary_id(canary, &case.release.config.backends);
    let choice = SplitChoice { split, canary: id, by, schedule };
    decided.change(&order.service, |decided| {
        decided.split = Some(choice).filter(|_| !is_said);
    });
    Ok(outcome)
}

fn without_canary(case: &Case<'_>, asked: &str) -> ApiError {
    let config = &case.release.config;
    let is_there = config.services.contains_key(asked);
    let all = deployable(config);
    let with = |(_, service): &(&&str, &Deployable<'_>)| service.canary.is_some();
    unknown((asked, "a canary"), is_there, all.iter().filter(with).map(|(name, _)| *name))
}

fn percent(split: Percentage) -> f64 {
    f64::from(split.parts_per_million()) / 10_000.0
}

fn steps(canary: &Canary) -> Vec<CanaryStepView> {
    let step = |step: &lb_model::config::CanaryStep| CanaryStepView {
        split: percent(step.split),
        r#for: step.hold.to_string(),
    };
    canary.steps.iter().map(step).collect()
}
