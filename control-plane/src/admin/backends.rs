//! `GET /admin/backends`: every backend as the fleet sees it, filtered and by pages.

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    http::StatusCode,
};
use jiff::Timestamp;
use lb_model::{
    api::{BackendList, BackendView},
    config::AdminState,
};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{Shared, config::bad_query, error::ApiError};
use crate::snapshot::Release;

/// The most backends of one page.
const MOST: usize = 1_000;
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
    query.check()?;
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
    Ok(Json(query.page(backends)))
}

/// Puts in what was decided about a backend.
fn overridden(view: &mut BackendView, release: &Release) {
    let decided = release.overrides.0.get(&view.id);
    view.overridden = decided.map(|decided| decided.view(&view.id, &release.config));
}

impl ListQuery {
    fn check(&self) -> Result<(), ApiError> {
        let refused = |detail| Err(ApiError::new(StatusCode::BAD_REQUEST, "invalid_query", detail));
        if let Some(state) = &self.state
            && !STATES.contains(&state.as_str())
        {
            return refused(format!("`{state}` is no state; ask for {}", STATES.join(", ")));
        }
        check_limit(self.limit)
    }

    fn asks_for(&self, view: &BackendView) -> bool {
        let pool = self.pool.as_ref().is_none_or(|pool| view.service == *pool);
        let state = self.state.as_ref().is_none_or(|state| {
            view.admin_state.as_str() == state
                // Whoever asks for what is up wants what takes requests.
                || (view.health == *state && view.admin_state == AdminState::Enabled)
        });
        let q = self.q.as_ref().is_none_or(|q| {
            let q = q.to_lowercase();
            [&view.id, &view.url, &view.service].iter().any(|text| text.to_lowercase().contains(&q))
        });
        pool && state && q
    }

    fn page(&self, mut backends: Vec<BackendView>) -> BackendList {
        let next = page(&mut backends, (self.limit, self.cursor.as_deref()), |view| {
            (&view.service, &view.id)
        });
        BackendList { backends, next }
    }
}

/// Leaves the part behind the cursor, and gives the next one. A cursor is the place of the last
/// object before it, so a page is right even if that object is gone.
pub(super) fn page<T>(
    all: &mut Vec<T>,
    (limit, cursor): (Option<usize>, Option<&str>),
    place: impl Fn(&T) -> (&String, &String),
) -> Option<String> {
    if let Some((service, id)) = cursor.and_then(|cursor| cursor.split_once('/')) {
        all.retain(|one| {
            let (its_service, its_id) = place(one);
            (its_service.as_str(), its_id.as_str()) > (service, id)
        });
    }
    let limit = limit.unwrap_or(all.len());
    let is_last = all.len() <= limit;
    all.truncate(limit);
    let last = all.last().filter(|_| !is_last);
    last.map(place).map(|(service, id)| format!("{service}/{id}"))
}

/// Refuses a page of no possible size.
pub(super) fn check_limit(limit: Option<usize>) -> Result<(), ApiError> {
    match limit {
        Some(limit) if !(1..=MOST).contains(&limit) => {
            let detail = format!("a page has 1 to {MOST} entries; ask for such a `limit`");
            Err(ApiError::new(StatusCode::BAD_REQUEST, "invalid_query", detail))
        }
        _ => Ok(()),
    }
}
