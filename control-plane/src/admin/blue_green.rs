//! `GET /api/v1/blue-green`, and switching from slot to slot.
//!
//! A switch is a version of its own beside the configuration; see [`crate::deployments`].

use axum::{Json, extract::State, http::StatusCode, response::Response};
use jiff::Timestamp;
use lb_model::{
    Version,
    api::{
        BackendView, BlueGreenList, BlueGreenView, DeploymentChanged, SlotView, SwitchBackRequest,
        SwitchRequest,
    },
    config::{BlueGreen, Slot},
    value::BackendName,
};

use super::{
    Admin, Shared,
    deployments::{Asked, Case, DecideQuery, Kind, Order, Outcome, healthy},
    error::ApiError,
};
use crate::deployments::{Deployments, Scope, SlotChoice, deployable, slot_of};

const KIND: Kind =
    Kind { bare: "slots", one: "slots", key: "blue_green", has: |made| made.blue_green.is_some() };
const EXAMPLE: &str = "{\"slot\": \"green\", \"reason\": \"release 7\"}";

/// Every service and route with slots, which serves, and how well the other one is.
#[utoipa::path(
    get,
    path = "/api/v1/blue-green",
    operation_id = "listBlueGreen",
    responses((status = 200, description = "All slots", body = BlueGreenList)),
)]
pub(super) async fn list(State(admin): State<Shared>) -> Json<BlueGreenList> {
    let Some(release) = admin.cache.newest() else {
        return Json(BlueGreenList { version: Version::NONE, services: Vec::new() });
    };
    let now = Timestamp::now();
    let seen = admin.seen(&release, now);
    let mut services = Vec::new();
    for (scope, made) in deployable(&release.config) {
        let Some(slots) = &made.blue_green else { continue };
        let (said, counted) = (slots.said, &slots.counted);
        let decided = release.deployments.0.get(&scope);
        let configured = release.configured.get(&scope).and_then(|said| said.slot);
        let rates = admin.reports.recent(counted, now);
        services.push(BlueGreenView {
            service: made.service.to_owned(),
            route: scope.route().map(ToOwned::to_owned),
            active: said.active.as_str().to_owned(),
            configured: configured.unwrap_or(said.active).as_str().to_owned(),
            decided: decided.and_then(|decided| decided.slot_view(&scope, &made)),
            fallback: said.fallback,
            blue: slot_view(&seen, made.service, &said.blue, rates.blue),
            green: slot_view(&seen, made.service, &said.green, rates.green),
        });
    }
    services.sort_by(|one, two| (&one.service, &one.route).cmp(&(&two.service, &two.route)));
    Json(BlueGreenList { version: release.version, services })
}

/// Makes a slot the one that serves, on every proxy.
#[utoipa::path(
    post,
    path = "/api/v1/blue-green/{service}/switch",
    operation_id = "switchSlot",
    params(("service" = String, Path, description = "The service"), DecideQuery),
    request_body = SwitchRequest,
    responses(
        (status = 200, description = "What became of it", body = DeploymentChanged),
        (status = 409, description = "`slot_unhealthy`, `full`"),
    ),
)]
pub(super) async fn switch(
    State(admin): State<Shared>,
    asked: Asked,
) -> Result<Response, ApiError> {
    let SwitchRequest { slot, reason, force } = asked.body(EXAMPLE, None)?;
    let slot = slot_of(&slot).ok_or_else(|| {
        let detail = format!("`{slot}` is no slot; write blue or green");
        ApiError::new(StatusCode::BAD_REQUEST, "invalid_request", detail)
    })?;
    admin.switch(asked.order(reason)?, |_| slot, force).await
}

/// The same, where a route has slots of its own.
#[utoipa::path(
    post,
    path = "/api/v1/blue-green/routes/{route}/switch",
    operation_id = "switchSlotOfRoute",
    params(("route" = String, Path, description = "The route"), DecideQuery),
    request_body = SwitchRequest,
    responses(
        (status = 200, description = "What became of it", body = DeploymentChanged),
        (status = 409, description = "`slot_unhealthy`, `full`"),
    ),
)]
pub(super) async fn switch_of_route(
    admin: State<Shared>,
    asked: Asked,
) -> Result<Response, ApiError> {
    switch(admin, asked).await
}

/// Makes the other slot the one that serves, as it did before.
#[utoipa::path(
    post,
    path = "/api/v1/blue-green/{service}/rollback",
    operation_id = "switchSlotBack",
    params(("service" = String, Path, description = "The service"), DecideQuery),
    request_body(content = Option<SwitchBackRequest>),
    responses(
        (status = 200, description = "What became of it", body = DeploymentChanged),
        (status = 409, description = "`slot_unhealthy`, `full`"),
    ),
)]
pub(super) async fn rollback(
    State(admin): State<Shared>,
    asked: Asked,
) -> Result<Response, ApiError> {
    let default = Some(SwitchBackRequest::default());
    let SwitchBackRequest { reason, force } =
        asked.body("{\"reason\": \"it is slow\"}", default)?;
    admin.switch(asked.order(reason)?, |slots| slots.active.other(), force).await
}

/// The same, where a route has slots of its own.
#[utoipa::path(
    post,
    path = "/api/v1/blue-green/routes/{route}/rollback",
    operation_id = "switchSlotBackOfRoute",
    params(("route" = String, Path, description = "The route"), DecideQuery),
    request_body(content = Option<SwitchBackRequest>),
    responses(
        (status = 200, description = "What became of it", body = DeploymentChanged),
        (status = 409, description = "`slot_unhealthy`, `full`"),
    ),
)]
pub(super) async fn rollback_of_route(
    admin: State<Shared>,
    asked: Asked,
) -> Result<Response, ApiError> {
    rollback(admin, asked).await
}

impl Admin {
    async fn switch(
        &self,
        order: Order,
        to: impl Fn(&BlueGreen) -> Slot,
        force: bool,
    ) -> Result<Response, ApiError> {
        self.deploy(order, |case, order, decided| {
            let Some(slots) = case.made.blue_green.as_ref().map(|slots| slots.said) else {
                return Err(KIND.missing(case.release, &order.scope));
            };
            let to = to(slots);
            if to != slots.active && !force {
                let seen = self.seen(case.release, case.now);
                is_ready(&seen, (&order.scope, case.made.service), (slots, to))?;
            }
            Ok(change(case, order, (slots.active, to), decided))
        })
        .await
    }
}

/// Puts a slot among the decisions, or takes the decision back where the configuration says it.
fn change(
    case: &Case<'_>,
    order: &Order,
    (before, to): (Slot, Slot),
    decided: &mut Deployments,
) -> Outcome {
    let configured = case.release.configured.get(&order.scope).and_then(|said| said.slot);
    if before != to {
        let choice = SlotChoice { slot: to, by: order.sign(case.now) };
        decided.change(&order.scope, |decided| {
            decided.slot = Some(choice).filter(|_| configured != Some(to));
        });
    }
    let (before, value) = (before.as_str().to_owned(), to.as_str().to_owned());
    Outcome { kind: "slot", before, value }
}

/// Refuses a slot without a backend that could take requests.
fn is_ready(
    seen: &[BackendView],
    (scope, service): (&Scope, &str),
    (slots, to): (&BlueGreen, Slot),
) -> Result<(), ApiError> {
    let backends = slots.backends(to);
    if healthy(seen, service, backends.iter()) > 0 {
        return Ok(());
    }
    let detail = format!(
        "none of the {} backends in the slot {} of {scope} is enabled and up on a proxy, so every \
         request would be answered with 503; see `lbctl bg status`, or ask with force",
        backends.len(),
        to.as_str()
    );
    Err(ApiError::new(StatusCode::CONFLICT, "slot_unhealthy", detail))
}

fn slot_view(
    seen: &[BackendView],
    service: &str,
    backends: &[BackendName],
    requests_per_second: f64,
) -> SlotView {
    SlotView {
        healthy: healthy(seen, service, backends.iter()),
        backends: backends.iter().map(ToString::to_string).collect(),
        requests_per_second,
    }
}
