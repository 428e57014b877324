//! `GET /admin/backends`: every backend as the fleet sees it, filtered and by pages.

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use jiff::Timestamp;
use lb_model::{
    api::{BackendList, BackendView},
    config::AdminState,
};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{Shared, config::bad_query, error::ApiError, listing};
use crate::snapshot::Release;

/// What `state` may ask for: what operators decided, or how a backend is.
const STATES: [&str; 8] =
    ["enabled", "draining", "disabled", "up", "down", "mixed", "unchecked", "unknown"];

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Only those of a service.
    pool: Option<String>,
    /// Only those that are `enabled`, `draining`, `disabled`, `up`, `down`, `mixed`, `unchecked`
    /// or `unknown`.
    #[param(pattern = "^(enabled|draining|disabled|up|down|mixed|unchecked|unknown)$")]
    state: Option<String>,
    /// Only those with this in their id, URL or service.
    q: Option<String>,
    /// The most of one page; all when absent.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// Every backend as the fleet sees it, where the rest of the API is.
#[utoipa::path(
    get,
    path = "/api/v1/backends",
    operation_id = "listBackendsOfApi",
    params(ListQuery),
    responses((status = 200, description = "A page of backends", body = BackendList)),
)]
pub(super) async fn list_in_api(
    admin: State<Shared>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<BackendList>, ApiError> {
    list(admin, query).await
}

/// Every backend as the fleet sees it.
#[utoipa::path(
    get,
    path = "/admin/backends",
    operation_id = "listBackends",
    params(ListQuery),
    responses((status = 200, description = "A page of backends", body = BackendList)),
)]
pub(super) async fn list(
    State(admin): State<Shared>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<BackendList>, ApiError> {
    let Query(query) = query.map_err(|rejection| bad_query(&rejection))?;
    listing::check((query.state.as_deref(), &STATES), query.limit)?;
    let mut backends = match admin.cache.newest() {
        Some(release) => {
            let mut views = admin.reports.backends(&release.config, Timestamp::now());
            for view in &mut views {
                overridden(view, &release);
            }
            views
        }
        None => Vec::new(),
    };
    backends.retain(|view| query.asks_for(view));
    let next = listing::page(&mut backends, (query.limit, query.cursor.as_deref()), |view| {
        (&view.service, &view.id)
    });
    Ok(Json(BackendList { backends, next }))
}

/// Puts in what was decided about a backend.
fn overridden(view: &mut BackendView, release: &Release) {
    let decided = release.overrides.0.get(&view.id);
    view.overridden = decided.map(|decided| decided.view(&view.id, &release.config));
}

impl ListQuery {
    fn asks_for(&self, view: &BackendView) -> bool {
        let pool = self.pool.as_ref().is_none_or(|pool| view.service == *pool);
        let state = self.state.as_ref().is_none_or(|state| {
            view.admin_state.as_str() == state
                // Whoever asks for what is up wants what takes requests.
                || (view.health == *state && view.admin_state == AdminState::Enabled)
        });
        pool && state && listing::holds(self.q.as_deref(), &[&view.id, &view.url, &view.service])
    }
}
