//! The history: `GET /api/v1/versions`, and `GET` and `POST .../restore` of one of them.

use axum::{
    Json,
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{HeaderMap, StatusCode},
    response::Response,
};
use lb_model::{
    Bundle, Version,
    api::{ConfigView, VersionList, VersionView},
    resource::Digest,
};
use lb_store::CommitRecord;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    Admin, Shared,
    access::Caller,
    config::{ChangeQuery, Precondition, bad_query, change, if_match, tagged, view},
    error::ApiError,
};
use crate::pipeline::bundle_at;

/// The most versions of one page.
const MOST: usize = 1_000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// The most of one page.
    #[serde(default = "default_limit")]
    #[param(default = 50)]
    limit: usize,
    /// Only versions before this one.
    before: Option<Version>,
}

const fn default_limit() -> usize {
    50
}

/// The history, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/versions",
    operation_id = "listVersions",
    params(PageQuery),
    responses((status = 200, description = "The history", body = VersionList)),
)]
pub(super) async fn list(
    State(admin): State<Shared>,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Json<VersionList>, ApiError> {
    let Query(query) = query.map_err(|rejection| bad_query(&rejection))?;
    let current = admin.store.head().await?;
    let records = admin.store.records(query.before, query.limit.clamp(1, MOST)).await?;
    let versions = records.into_iter().map(commit_view).collect();
    Ok(Json(VersionList { current, versions }))
}

pub(super) fn commit_view(record: CommitRecord) -> VersionView {
    VersionView {
        version: record.version,
        author: record.author,
        reason: record.reason,
        time: record.time.to_string(),
        hash: Digest(record.hash).to_hex(),
    }
}

/// The documents of one version, and who made it when and why.
#[utoipa::path(
    get,
    path = "/api/v1/versions/{version}",
    operation_id = "getVersion",
    params(("version" = Version, Path, description = "A version")),
    responses(
        (status = 200, description = "The documents of a version", body = ConfigView),
        (status = 409, description = "`unreadable_version`"),
        (status = 410, description = "`forgotten`"),
    ),
)]
pub(super) async fn get(
    State(admin): State<Shared>,
    version: Result<Path<u64>, PathRejection>,
) -> Result<Response, ApiError> {
    let version = number(version)?;
    let bundle = bundle_of(&admin, version).await?;
    let commit = Some(commit_view(admin.store.record(version).await?));
    Ok(tagged(version, Json(ConfigView { commit, ..view(&admin, version, &bundle) })))
}

/// Makes a new version with the content of an older one.
#[utoipa::path(
    post,
    path = "/api/v1/versions/{version}/restore",
    operation_id = "restoreVersion",
    params(
        ("version" = Version, Path, description = "A version"),
        ChangeQuery,
        ("If-Match" = Option<String>, Header, description = "The ETag of the version that the change is made on top of, or `*`"),
    ),
    responses(
        (status = 200, description = "What was committed", body = lb_model::api::Committed),
        (status = 409, description = "`held_by_file`, `unreadable_version`"),
        (status = 410, description = "`forgotten`"),
        (status = 412, description = "`version_conflict`"),
        (status = 422, description = "`invalid_config`"),
    ),
)]
pub(super) async fn restore(
    State(admin): State<Shared>,
    caller: Caller,
    version: Result<Path<u64>, PathRejection>,
    query: Result<Query<ChangeQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let version = number(version)?;
    let Query(query) = query.map_err(|rejection| bad_query(&rejection))?;
    if let Some(file) = &admin.held_by {
        return Err(ApiError::held_by(file.name()));
    }
    let bundle = bundle_of(&admin, version).await?;
    let precondition = if_match(&headers)?.unwrap_or(Precondition::Any);
    let query = query.signed_by(&caller).with_reason(|| format!("rollback to version {version}"));
    let committed = change(&admin, bundle, precondition, query).await?;
    Ok(tagged(committed.version, Json(committed)))
}

pub(super) fn number(version: Result<Path<u64>, PathRejection>) -> Result<Version, ApiError> {
    let Path(version) = version.map_err(|rejection| {
        ApiError::new(StatusCode::BAD_REQUEST, "invalid_version", rejection.body_text())
    })?;
    Ok(Version(version))
}

pub(super) async fn bundle_of(admin: &Admin, version: Version) -> Result<Bundle, ApiError> {
    let head = admin.store.head().await?;
    if version == Version::NONE || version > head {
        return Err(ApiError::unknown_version(version, head));
    }
    bundle_at(&*admin.store, version).await?.ok_or_else(|| {
        let detail = format!("version {version} is stored in a form that this release cannot read");
        ApiError::new(StatusCode::CONFLICT, "unreadable_version", detail)
    })
}
