//! What the endpoints of blue-green and canary share: finding a service, and committing a
//! decision about it.

use std::time::Duration;

use axum::{
    Json, body::Bytes, extract::rejection::BytesRejection, http::StatusCode, response::Response,
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
    Admin,
    access::Caller,
    config::{tagged, text},
    error::{ApiError, suggestions, unreadable},
    overrides::waits,
};
use crate::{
    deployments::{Decided, Deployable, Deployments, deployable},
    snapshot::Release,
};

/// The most services about which something is decided.
const MOST: usize = 10_000;

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

/// Who decides about which service, why, and whether the answer waits for the proxies.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) service: String,
    author: String,
    reason: String,
    wait: Option<Duration>,
}

impl Order {
    pub(super) fn new(
        service: String,
        caller: &Caller,
        query: DecideQuery,
        reason: String,
    ) -> Result<Self, ApiError> {
        let wait = waits(query.wait, query.timeout.as_deref())?;
        let (author, reason) = (caller.author(query.author), text(reason, ""));
        Ok(Self { service, author, reason, wait })
    }

    /// The signature of a decision that is taken now.
    pub(super) fn sign(&self, now: Timestamp) -> Decided {
        Decided { owner: self.author.clone(), reason: self.reason.clone(), since: now }
    }
}

/// What becomes of a service.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) kind: &'static str,
    pub(super) before: String,
    pub(super) value: String,
}

/// Something to decide about: what is so, and what was decided.
pub(super) struct Case<'r> {
    pub(super) release: &'r Release,
    pub(super) service: Deployable<'r>,
    pub(super) now: Timestamp,
}

impl Admin {
    /// Takes a decision about a service and answers how far it has come. `decide` changes what
    /// was decided, and says what becomes of the service.
    pub(super) async fn deploy(
        &self,
        order: Order,
        decide: impl Fn(&Case<'_>, &Order, &mut Deployments) -> Result<Outcome, ApiError>,
    ) -> Result<Response, ApiError> {
        let (version, outcome, changed) = self.commit_deployment(&order, decide).await?;
        let progress = self.settled(version, order.wait).await;
        let Outcome { kind, before, value } = outcome;
        let answer = DeploymentChanged {
            service: order.service,
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
    ) -> Result<(Version, Outcome, bool), ApiError> {
        loop {
            let (head, release) = self.judged_by().await?;
            let release = release.ok_or_else(|| nothing(&order.service))?;
            let before = Deployments::at(&*self.store, head).await?;
            let (mut after, now) = (before.clone(), Timestamp::now());
            let service = deployable(&release.config).get(order.service.as_str()).copied();
            let service = service.unwrap_or_default();
            let outcome = decide(&Case { release: &release, service, now }, order, &mut after)?;
            if after == before {
                return Ok((head, outcome, false));
            }
            if after.0.len() > MOST {
                let detail = format!("something is decided about {MOST} services already");
                return Err(ApiError::new(StatusCode::CONFLICT, "full", detail));
            }
            let reason = said(order, &outcome);
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
    let Order { service, reason, .. } = order;
    let did = match outcome.kind {
        "slot" => format!("{service}: {} serves", outcome.value),
        _ => format!("{service}: canary at {}%", outcome.value),
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

/// There is no such service, or it has not got what is asked for.
pub(super) fn unknown<'c>(
    (asked, what): (&str, &str),
    is_there: bool,
    names: impl Iterator<Item = &'c str>,
) -> ApiError {
    let near = suggestions(asked, names);
    let shown: String = asked.chars().take(128).collect();
    let lacks = if is_there {
        format!("the service `{shown}` has no {what}")
    } else {
        format!("there is no service `{shown}` with {what}")
    };
    let detail = if near.is_empty() { lacks } else { format!("{lacks}; did you mean {near}?") };
    ApiError::new(StatusCode::NOT_FOUND, "not_found", detail)
}

fn nothing(service: &str) -> ApiError {
    unknown((service, "a deployment"), false, std::iter::empty())
}

/// A JSON object in a body; nothing where it may be left out and is.
pub(super) fn read<T: DeserializeOwned>(
    body: Result<Bytes, BytesRejection>,
    example: &str,
    default: Option<T>,
) -> Result<T, ApiError> {
    let body = body.map_err(|rejection| unreadable(&rejection))?;
    if let Some(default) = default.filter(|_| body.is_empty()) {
        return Ok(default);
    }
    let invalid = |detail| ApiError::new(StatusCode::BAD_REQUEST, "invalid_request", detail);
    let wrong = |error| invalid(format!("the body is not {example}: {error}"));
    let value: serde_json::Value = serde_json::from_slice(&body).map_err(wrong)?;
    // A list of the values in order would be read as well.
    if !value.is_object() {
        return Err(invalid(format!("the body is no object, such as {example}")));
    }
    serde_json::from_value(value).map_err(wrong)
}
