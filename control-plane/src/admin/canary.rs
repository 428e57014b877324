//! `GET /api/v1/canary`, and how many requests a new version gets.
//!
//! A decision is a version of its own beside the configuration; see [`crate::deployments`]. It
//! ends the schedule of the canary, if that has one.

use axum::{Json, extract::State, http::StatusCode, response::Response};
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
    deployments::{Asked, Case, DecideQuery, Kind, Order, Outcome, healthy},
    error::ApiError,
};
use crate::{
    deployments::{Deployments, SplitChoice, canary_id, deployable, schedule::Schedule},
    report::totals::Totals,
};

const KIND: Kind =
    Kind { bare: "canary", one: "a canary", key: "canary", has: |made| made.canary.is_some() };

/// Every service and route with a canary, beside its stable version.
#[utoipa::path(
    get,
    path = "/api/v1/canary",
    operation_id = "listCanaries",
    responses((status = 200, description = "Every canary", body = CanaryList)),
)]
pub(super) async fn list(State(admin): State<Shared>) -> Json<CanaryList> {
    let Some(release) = admin.cache.newest() else {
        return Json(CanaryList { version: Version::NONE, services: Vec::new() });
    };
    let now = Timestamp::now();
    let seen = admin.seen(&release, now);
    let mut services = Vec::new();
    for (scope, made) in deployable(&release.config) {
        let Some(canary) = &made.canary else { continue };
        let (said, counted) = (canary.said, &canary.counted);
        let decided = release.deployments.0.get(&scope);
        let configured = release.configured.get(&scope).and_then(|said| said.split);
        let ids = || said.backends.iter().map(|(id, _)| id);
        let rates = admin.reports.recent(counted, now);
        let arm = |(requests_per_second, totals): (f64, Totals)| ArmView {
            requests_per_second,
            error_percent: totals.error_percent(),
            latency: totals.latencies(),
        };
        services.push(CanaryView {
            service: made.service.to_owned(),
            route: scope.route().map(ToOwned::to_owned),
            split: percent(said.traffic_split),
            configured: percent(configured.unwrap_or(said.traffic_split)),
            decided: decided.and_then(|decided| decided.split_view(&scope, &made, now)),
            backends: ids().map(ToString::to_string).collect(),
            healthy: healthy(&seen, made.service, ids()),
            steps: steps(said),
            stable: arm(rates.stable),
            canary: arm(rates.canary),
        });
    }
    services.sort_by(|one, two| (&one.service, &one.route).cmp(&(&two.service, &two.route)));
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
pub(super) async fn set(State(admin): State<Shared>, asked: Asked) -> Result<Response, ApiError> {
    let SplitRequest { split, reason } = asked.body("{\"split\": 25}", None)?;
    let split = Percentage::parse(&split.to_string()).map_err(|error| {
        let detail = format!("`split`: {error}");
        ApiError::new(StatusCode::BAD_REQUEST, "invalid_request", detail)
    })?;
    admin.split(asked.order(reason)?, split).await
}

/// The same, where a route has a canary of its own.
#[utoipa::path(
    post,
    path = "/api/v1/canary/routes/{route}/set",
    operation_id = "setCanaryOfRoute",
    params(("route" = String, Path, description = "The route"), DecideQuery),
    request_body = SplitRequest,
    responses(
        (status = 200, description = "What became of it", body = DeploymentChanged),
        (status = 409, description = "`full`"),
    ),
)]
pub(super) async fn set_of_route(admin: State<Shared>, asked: Asked) -> Result<Response, ApiError> {
    set(admin, asked).await
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
    asked: Asked,
) -> Result<Response, ApiError> {
    admin.split(order(asked)?, Percentage::ALL).await
}

/// The same, where a route has a canary of its own.
#[utoipa::path(
    post,
    path = "/api/v1/canary/routes/{route}/promote",
    operation_id = "promoteCanaryOfRoute",
    params(("route" = String, Path, description = "The route"), DecideQuery),
    request_body(content = Option<ReasonRequest>),
    responses(
        (status = 200, description = "What became of it", body = DeploymentChanged),
        (status = 409, description = "`full`"),
    ),
)]
pub(super) async fn promote_of_route(
    admin: State<Shared>,
    asked: Asked,
) -> Result<Response, ApiError> {
    promote(admin, asked).await
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
pub(super) async fn abort(State(admin): State<Shared>, asked: Asked) -> Result<Response, ApiError> {
    admin.split(order(asked)?, Percentage::ZERO).await
}

/// The same, where a route has a canary of its own.
#[utoipa::path(
    post,
    path = "/api/v1/canary/routes/{route}/abort",
    operation_id = "abortCanaryOfRoute",
    params(("route" = String, Path, description = "The route"), DecideQuery),
    request_body(content = Option<ReasonRequest>),
    responses(
        (status = 200, description = "What became of it", body = DeploymentChanged),
        (status = 409, description = "`full`"),
    ),
)]
pub(super) async fn abort_of_route(
    admin: State<Shared>,
    asked: Asked,
) -> Result<Response, ApiError> {
    abort(admin, asked).await
}

fn order(asked: Asked) -> Result<Order, ApiError> {
    let default = Some(ReasonRequest::default());
    let ReasonRequest { reason } = asked.body("{\"reason\": \"it is well\"}", default)?;
    asked.order(reason)
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
    let Some(canary) = case.made.canary.as_ref().map(|canary| canary.said) else {
        return Err(KIND.missing(case.release, &order.scope));
    };
    let before = canary.traffic_split;
    let outcome = Outcome { kind: "split", before: before.to_string(), value: split.to_string() };
    let known = decided.0.get(&order.scope).and_then(|decided| decided.split.as_ref());
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
    let configured = case.release.configured.get(&order.scope).and_then(|said| said.split);
    let is_said = schedule.is_none() && configured == Some(split);
    let id = canary_id(canary, &case.release.config.backends);
    let choice = SplitChoice { split, canary: id, by, schedule };
    decided.change(&order.scope, |decided| {
        decided.split = Some(choice).filter(|_| !is_said);
    });
    Ok(outcome)
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
