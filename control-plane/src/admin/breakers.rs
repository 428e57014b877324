//! `GET /admin/circuit-breakers` and `POST /admin/circuit-breakers/{id}/reset`.
//!
//! Each proxy has breakers of its own. They are shown as the proxies report them; a reset goes to
//! every connected proxy over its stream, and is kept nowhere.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    Json,
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
};
use futures_util::future::join_all;
use jiff::Timestamp;
use lb_model::api::{BreakerList, BreakerView, BreakersClosed, ProxyReset};
use lb_proto::v1::{BreakersReset, ResetBreakers, to_proxy};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    Admin, Shared,
    config::bad_query,
    error::{ApiError, named, shown, suggestions},
    listing,
};
use crate::sync::registry::Resetter;

/// How long the proxies may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// What `state` may ask for.
const STATES: [&str; 3] = ["closed", "half_open", "open"];

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Only those of a service.
    pool: Option<String>,
    /// Only those that are `closed`, `half_open` or `open`.
    #[param(pattern = "^(closed|half_open|open)$")]
    state: Option<String>,
    /// Only those with this in the id of their backend or its service.
    q: Option<String>,
    /// The most of one page; all when absent.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// Every circuit breaker, on all proxies together and on each.
#[utoipa::path(
    get,
    path = "/admin/circuit-breakers",
    operation_id = "listCircuitBreakers",
    params(ListQuery),
    responses((status = 200, description = "A page of breakers", body = BreakerList)),
)]
pub(super) async fn list(
    State(admin): State<Shared>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<BreakerList>, ApiError> {
    let Query(query) = query.map_err(|rejection| bad_query(&rejection))?;
    listing::check((query.state.as_deref(), &STATES), query.limit)?;
    let mut breakers = admin.breakers();
    breakers.retain(|view| query.asks_for(view));
    let next = listing::page(&mut breakers, (query.limit, query.cursor.as_deref()), |view| {
        (&view.service, &view.id)
    });
    Ok(Json(BreakerList { breakers, next }))
}

/// Every circuit breaker, where the rest of the API is.
#[utoipa::path(
    get,
    path = "/api/v1/circuit-breakers",
    operation_id = "listCircuitBreakersOfApi",
    params(ListQuery),
    responses((status = 200, description = "A page of breakers", body = BreakerList)),
)]
pub(super) async fn list_in_api(
    admin: State<Shared>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<BreakerList>, ApiError> {
    list(admin, query).await
}

/// Closes the circuit breakers of a backend on every connected proxy.
#[utoipa::path(
    post,
    path = "/admin/circuit-breakers/{id}/reset",
    operation_id = "resetCircuitBreaker",
    params(("id" = String, Path, description = "The backend")),
    responses((status = 200, description = "What each proxy did", body = BreakersClosed)),
)]
pub(super) async fn reset(
    State(admin): State<Shared>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<BreakersClosed>, ApiError> {
    let id = named(path)?;
    let breakers = admin.breakers();
    if !breakers.iter().any(|view| view.id == id) {
        return Err(unknown(&id, &breakers));
    }
    let closed = admin.reset_breakers(id).await;
    let BreakersClosed { id, closed: count, acked, total, .. } = &closed;
    tracing::info!(backend = id, closed = count, acked, total, "circuit breakers reset");
    Ok(Json(closed))
}

/// The same, where the rest of the API is.
#[utoipa::path(
    post,
    path = "/api/v1/circuit-breakers/{id}/reset",
    operation_id = "resetCircuitBreakerOfApi",
    params(("id" = String, Path, description = "The backend")),
    responses((status = 200, description = "What each proxy did", body = BreakersClosed)),
)]
pub(super) async fn reset_in_api(
    admin: State<Shared>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<BreakersClosed>, ApiError> {
    reset(admin, path).await
}

impl Admin {
    fn breakers(&self) -> Vec<BreakerView> {
        let newest = self.cache.newest();
        newest.map_or_else(Vec::new, |release| {
            self.reports.breakers(&release.config, Timestamp::now())
        })
    }

    /// Tells every connected proxy, and waits for what they say.
    async fn reset_breakers(&self, id: String) -> BreakersClosed {
        let told = self.registry.resetters();
        let mut ear = self.registry.resets.hear(told.len());
        let command = ResetBreakers { id: ear.id, backend: id.clone() };
        let able: Vec<_> = told.iter().filter_map(|proxy| proxy.commands.as_ref()).collect();
        let mut answers = BTreeMap::new();
        let answered = async {
            // One that cannot be handed over is one whose stream ended: it does not answer.
            let sent = able
                .iter()
                .map(|commands| commands.send(to_proxy::Message::ResetBreakers(command.clone())));
            join_all(sent).await;
            while answers.len() < able.len() {
                let Some((proxy, answer)) = ear.next().await else { return };
                answers.insert(proxy, answer);
            }
        };
        // Who did not answer in time shows in what is given back.
        let _ = tokio::time::timeout(PATIENCE, answered).await;
        closed(id, told, &answers)
    }
}

/// What came of it.
fn closed(
    id: String,
    told: Vec<Resetter>,
    answers: &BTreeMap<String, BreakersReset>,
) -> BreakersClosed {
    let (mut found, mut closed, mut acked) = (0, 0, 0);
    let mut proxies = Vec::with_capacity(told.len());
    for Resetter { name, commands } in told {
        let answer = answers.get(&name);
        if let Some(answer) = answer {
            found += u64::from(answer.found);
            closed += u64::from(answer.closed);
            acked += 1;
        }
        let problem = match (answer, commands) {
            (Some(_), _) => None,
            (None, Some(_)) => Some("no_answer".to_owned()),
            (None, None) => Some("unsupported".to_owned()),
        };
        proxies.push(ProxyReset {
            proxy: name,
            found: answer.map(|answer| answer.found),
            closed: answer.map(|answer| answer.closed),
            problem,
        });
    }
    BreakersClosed { id, found, closed, acked, total: proxies.len(), proxies }
}

fn unknown(id: &str, breakers: &[BreakerView]) -> ApiError {
    let near = suggestions(id, breakers.iter().map(|view| view.id.as_str()));
    let lacks = format!("there is no circuit breaker for `{}`", shown(id));
    if breakers.is_empty() {
        let lacks = format!("{lacks}, nor for any other backend");
        return ApiError::missing(&lacks, &near, "write traffic_management.circuit_breaker");
    }
    ApiError::missing(&lacks, &near, "see which there are with `lbctl circuit-breakers`")
}

impl ListQuery {
    fn asks_for(&self, view: &BreakerView) -> bool {
        let is_asked =
            |asked: &Option<String>, said: &str| asked.as_ref().is_none_or(|asked| asked == said);
        let state = view.state.map_or("", |state| state.as_str());
        is_asked(&self.pool, &view.service)
            && is_asked(&self.state, state)
            && listing::holds(self.q.as_deref(), &[&view.id, &view.service])
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    #[test]
    fn who_did_not_answer_is_named_with_the_reason() {
        let able = |name: &str| Resetter { name: name.into(), commands: Some(mpsc::channel(1).0) };
        let told = vec![able("p"), able("q"), Resetter { name: "old".into(), commands: None }];
        let answers = [("p".to_owned(), BreakersReset { id: 1, found: 2, closed: 1 })].into();
        let view = closed("web1".into(), told, &answers);
        assert_eq!((view.found, view.closed, view.acked, view.total), (2, 1, 1, 3));
        let problems: Vec<_> = view.proxies.iter().map(|p| p.problem.as_deref()).collect();
        assert_eq!(problems, [None, Some("no_answer"), Some("unsupported")]);
    }
}
