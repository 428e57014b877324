//! `GET /api/v1/blue-green`, and switching from slot to slot.
//!
//! A switch is a version of its own beside the configuration; see [`crate::deployments`].

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
        BackendView, BlueGreenList, BlueGreenView, DeploymentChanged, SlotView, SwitchBackRequest,
        SwitchRequest,
    },
    config::{BlueGreen, Slot},
    value::BackendName,
};

use super::{
    Admin, Shared,
    access::Caller,
    config::bad_query,
    deployments::{Case, DecideQuery, Order, Outcome, healthy, read, unknown},
    error::{ApiError, named},
};
use crate::deployments::{Deployable, Deployments, SlotChoice, deployable, slot_of};

const EXAMPLE: &str = "{\"slot\": \"green\", \"reason\": \"release 7\"}";

/// Every service with slots, which serves, and how well the other one is.
#[utoipa::path(
    get,
    path = "/api/v1/blue-green",
    operation_id = "listBlueGreen",
    responses((status = 200, description = "Every service with slots", body = BlueGreenList)),
)]
pub(super) async fn list(State(admin): State<Shared>) -> Json<BlueGreenList> {
    let Some(release) = admin.cache.newest() else {
        return Json(BlueGreenList { version: Version::NONE, services: Vec::new() });
    };
    let now = Timestamp::now();
    let seen = admin.seen(&release, now);
    let mut services = Vec::new();
    for (name, service) in deployable(&release.config) {
        let Some(slots) = service.blue_green else { continue };
        let decided = release.deployments.0.get(name);
        let configured = release.configured.get(name).and_then(|said| said.slot);
        services.push(BlueGreenView {
            service: name.to_owned(),
            active: slots.active.as_str().to_owned(),
            configured: configured.unwrap_or(slots.active).as_str().to_owned(),
            decided: decided.and_then(|decided| decided.slot_view(name, service)),
            fallback: slots.fallback,
            blue: slot_view(&seen, name, &slots.blue),
            green: slot_view(&seen, name, &slots.green),
        });
    }
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
    path: Result<Path<String>, PathRejection>,
    caller: Caller,
    query: Result<Query<DecideQuery>, QueryRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|rejection| bad_query(&rejection))?;
    let SwitchRequest { slot, reason, force } = read(body, EXAMPLE, None)?;
    let slot = slot_of(&slot).ok_or_else(|| {
        let detail = format!("`{slot}` is no slot; write blue or green");
        ApiError::new(StatusCode::BAD_REQUEST, "invalid_request", detail)
    })?;
    let order = Order::new(named(path)?, &caller, query, reason)?;
    admin.switch(order, |_| slot, force).await
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
    path: Result<Path<String>, PathRejection>,
    caller: Caller,
    query: Result<Query<DecideQuery>, QueryRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|rejection| bad_query(&rejection))?;
    let default = Some(SwitchBackRequest::default());
    let SwitchBackRequest { reason, force } = read(body, "{\"reason\": \"it is slow\"}", default)?;
    let order = Order::new(named(path)?, &caller, query, reason)?;
    admin.switch(order, |slots| other(slots.active), force).await
}

impl Admin {
    async fn switch(
        &self,
        order: Order,
        to: impl Fn(&BlueGreen) -> Slot,
        force: bool,
    ) -> Result<Response, ApiError> {
        self.deploy(order, |case, order, decided| {
            let Some(slots) = case.service.blue_green else {
                return Err(without_slots(case, &order.service));
            };
            let to = to(slots);
            if to != slots.active && !force {
                is_ready(&self.seen(case.release, case.now), &order.service, (slots, to))?;
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
    let configured = case.release.configured.get(&order.service).and_then(|said| said.slot);
    if before != to {
        let choice = SlotChoice { slot: to, by: order.sign(case.now) };
        decided.change(&order.service, |decided| {
            decided.slot = Some(choice).filter(|_| configured != Some(to));
        });
    }
    let (before, value) = (before.as_str().to_owned(), to.as_str().to_owned());
    Outcome { kind: "slot", before, value }
}

/// Refuses a slot without a backend that could take requests.
fn is_ready(
    seen: &[BackendView],
    service: &str,
    (slots, to): (&BlueGreen, Slot),
) -> Result<(), ApiError> {
    let backends = slots.backends(to);
    if healthy(seen, service, backends.iter()) > 0 {
        return Ok(());
    }
    let detail = format!(
        "none of the {} backends in the slot {} of {service} is enabled and up on a proxy, so every \
         request would be answered with 503; see `lbctl bg status`, or ask with force",
        backends.len(),
        to.as_str()
    );
    Err(ApiError::new(StatusCode::CONFLICT, "slot_unhealthy", detail))
}

const fn other(slot: Slot) -> Slot {
    match slot {
        Slot::Blue => Slot::Green,
        Slot::Green => Slot::Blue,
    }
}

fn without_slots(case: &Case<'_>, asked: &str) -> ApiError {
    let config = &case.release.config;
    let is_there = config.services.contains_key(asked);
    let all = deployable(config);
    let with = |(_, service): &(&&str, &Deployable<'_>)| service.blue_green.is_some();
    unknown((asked, "slots"), is_there, all.iter().filter(with).map(|(name, _)| *name))
}

fn slot_view(seen: &[BackendView], service: &str, backends: &[BackendName]) -> SlotView {
    let ids: Vec<_> = backends.iter().map(ToString::to_string).collect();
    let own = seen.iter().filter(|view| view.service == service && ids.contains(&view.id));
    let requests_per_second = own.map(|view| view.requests_per_second).sum();
    SlotView {
        healthy: healthy(seen, service, backends.iter()),
        backends: ids,
        requests_per_second,
    }
}
