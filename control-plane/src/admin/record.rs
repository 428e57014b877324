//! The audit log: what the guard writes into it, and `GET /api/v1/audit`.

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use lb_model::{
    Version,
    api::{AuditEntry, AuditList},
};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    Shared,
    access::Made,
    config::bad_query,
    error::{ApiError, Code},
};
use crate::audit::Audit;

/// The most entries of one page.
const MOST: usize = 1_000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// The most of one page.
    #[param(default = 50, minimum = 1, maximum = 1000)]
    limit: usize,
    /// Only entries before this one.
    before: Option<Version>,
}

impl Default for PageQuery {
    fn default() -> Self {
        Self { limit: 50, before: None }
    }
}

/// What operators did and were refused, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/audit",
    operation_id = "listAudit",
    params(PageQuery),
    responses((status = 200, description = "A page of what operators did", body = AuditList)),
)]
pub(super) async fn list(
    State(admin): State<Shared>,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Json<AuditList>, ApiError> {
    let Query(query) = query.map_err(|rejection| bad_query(&rejection))?;
    if !(1..=MOST).contains(&query.limit) {
        let detail = format!("a page has 1 to {MOST} entries; ask for such a `limit`");
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "invalid_query", detail));
    }
    let entries = admin.audit.page(query.before, query.limit).await?;
    let oldest = entries.last().map(|entry| entry.number);
    let next = oldest.filter(|oldest| *oldest > 1 && entries.len() == query.limit);
    Ok(Json(AuditList { entries, next }))
}

/// Keeps what a request came to before its answer is given.
pub(super) async fn keep(audit: &Audit, mut entry: AuditEntry, response: Response) -> Response {
    let status = response.status();
    entry.time = Timestamp::now().to_string();
    entry.status = status.as_u16();
    entry.code = response.extensions().get::<Code>().map(|code| code.0.clone());
    let tag = response.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok());
    entry.version = tag.and_then(|tag| tag.trim_matches('"').parse().ok()).map(Version);
    if let Some(Made(name)) = response.extensions().get() {
        entry.object = Some(name.clone());
    }
    let Err(error) = audit.record(&entry).await else { return response };
    tracing::error!(%error, who = entry.who, path = entry.path, "not in the audit log");
    if !status.is_success() {
        return response;
    }
    let version = entry.version.map(|version| format!(" (version {version})")).unwrap_or_default();
    let detail = format!(
        "it was done{version}, but could not be written into the audit log: {error}; look at the \
         disk before you do more"
    );
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "audit_unavailable", detail).into_response()
}
