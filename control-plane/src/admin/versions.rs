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

use super::{
    Admin, Shared,
    access::Caller,
    config::{ChangeQuery, Precondition, bad_query, change, if_match, tagged, view},
    error::ApiError,
};
use crate::pipeline::bundle_at;

/// The most versions of one page.
const MOST: usize = 1_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PageQuery {
    #[serde(default = "default_limit")]
    limit: usize,
    before: Option<Version>,
}

const fn default_limit() -> usize {
    50
}

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
