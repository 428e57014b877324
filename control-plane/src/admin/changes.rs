//! What a change would do, and what earlier ones did.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{
        Path, Query, State,
        rejection::{BytesRejection, PathRejection, QueryRejection},
    },
    http::HeaderMap,
};
use jiff::Timestamp;
use lb_model::{
    Bundle, Version,
    api::{Change, Diff, OriginList, Plan},
    difference::Written,
};
use lb_store::Key;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    Admin, Shared,
    config::{bad_query, read_body, validated},
    error::ApiError,
    versions::{bundle_of, number},
};
use crate::{checked::Checked, decisions::Decisions};

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PlanQuery {
    /// Compared with this version; with the current one when absent.
    base: Option<Version>,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DiffQuery {
    /// Compared with this version; with the one before when absent.
    from: Option<Version>,
}

/// What a configuration would change.
#[utoipa::path(
    post,
    path = "/api/v1/plan",
    operation_id = "plan",
    params(PlanQuery),
    request_body(content((String = "application/yaml"), (Bundle = "application/vnd.lb.bundle+json"))),
    responses(
        (status = 200, description = "What it would change", body = Plan),
        (status = 404, description = "`unknown_version`"),
        (status = 409, description = "`unreadable_version`"),
        (status = 410, description = "`forgotten`"),
    ),
)]
pub(super) async fn plan(
    State(admin): State<Shared>,
    query: Result<Query<PlanQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Plan>, ApiError> {
    let Query(query) = query.map_err(|rejection| bad_query(&rejection))?;
    let candidate = read_body(&headers, body)?;
    let current = admin.store.head().await?;
    let base = query.base.unwrap_or(current);
    // A version that cannot be read is said to be one.
    content(&admin, base).await?;
    let standing = standing(&admin, base).await?;
    let (_, candidate, warnings) = validated(&admin, candidate).await?;
    let changed = standing.content != candidate.content;
    let decided = decisions(&admin, current).await?;
    let overrides = decided.overrides.0.iter();
    let overrides =
        overrides.map(|(name, decided)| decided.view(name, &candidate.config)).collect();
    let deployments = decided.lasting(&candidate.config, Timestamp::now());
    let changes = standing.changes_to(&candidate.written).await?;
    let connected_proxies = admin.registry.counts(current).connected;
    Ok(Json(Plan {
        base,
        current,
        changes,
        changed,
        warnings,
        overrides,
        deployments,
        connected_proxies,
    }))
}

/// What leads from one version to another.
#[utoipa::path(
    get,
    path = "/api/v1/versions/{version}/diff",
    operation_id = "diffVersions",
    params(("version" = Version, Path, description = "A version"), DiffQuery),
    responses(
        (status = 200, description = "What differs", body = Diff),
        (status = 409, description = "`unreadable_version`"),
        (status = 410, description = "`forgotten`"),
    ),
)]
pub(super) async fn diff(
    State(admin): State<Shared>,
    version: Result<Path<u64>, PathRejection>,
    query: Result<Query<DiffQuery>, QueryRejection>,
) -> Result<Json<Diff>, ApiError> {
    let Query(query) = query.map_err(|rejection| bad_query(&rejection))?;
    let to = number(version)?;
    let after = bundle_of(&admin, to).await?;
    let from = query.from.unwrap_or(Version(to.0 - 1));
    let before = content(&admin, from).await?;
    // Decisions are versions as well, though no document says them.
    let (earlier, later) = (decisions(&admin, from).await?, decisions(&admin, to).await?);
    let key = admin.store.lineage().hash_key;
    let changes = blocking(move || {
        let written = |bundle: &Bundle, decisions: &Decisions| {
            let mut written = Written::read(bundle, &key);
            decisions.write_into(&mut written);
            written
        };
        written(&before, &earlier).changes_to(&written(&after, &later))
    });
    Ok(Json(Diff { from, to, changes: changes.await? }))
}

/// Where each value of the configuration comes from.
#[utoipa::path(
    get,
    path = "/api/v1/config/sources",
    operation_id = "getConfigSources",
    responses((status = 200, description = "Where each value comes from", body = OriginList)),
)]
pub(super) async fn sources(State(admin): State<Shared>) -> Result<Json<OriginList>, ApiError> {
    let version = admin.store.head().await?;
    let bundle = content(&admin, version).await?;
    let key = admin.store.lineage().hash_key;
    let values = blocking(move || Written::read(&bundle, &key).origins()).await?;
    Ok(Json(OriginList { version, values }))
}

/// What a version says.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// The hash of its content.
    pub(super) content: [u8; 32],
    written: Arc<Written>,
}

impl Standing {
    /// What leads from here to what was written.
    pub(super) async fn changes_to(&self, written: &Arc<Written>) -> Result<Vec<Change>, ApiError> {
        let (before, after) = (Arc::clone(&self.written), Arc::clone(written));
        blocking(move || before.changes_to(&after)).await
    }
}

/// What a version says; nothing, if it says what cannot be read. A bundle that was read to be
/// checked is not read again.
pub(super) async fn standing(admin: &Admin, version: Version) -> Result<Standing, ApiError> {
    let stored = admin.store.get_at(version, &Key::config()).await?;
    let Some(stored) = stored else {
        let content = Bundle::default().content_hash();
        return Ok(Standing { content, ..Standing::default() });
    };
    let (cache, key) = (Arc::clone(&admin.cache), admin.store.lineage().hash_key);
    blocking(move || {
        if let Some(Checked { content, written, .. }) = cache.checked.find(&stored) {
            return Standing { content, written };
        }
        let bundle: Bundle = serde_json::from_slice(&stored).unwrap_or_default();
        let written = Arc::new(Written::read(&bundle, &key));
        Standing { content: bundle.content_hash(), written }
    })
    .await
}

/// What had been decided as of a version.
async fn decisions(admin: &Admin, version: Version) -> Result<Decisions, ApiError> {
    let decisions = Decisions::at(&*admin.store, version).await;
    decisions.map_err(|error| ApiError::internal(error.to_string()))
}

/// What a version says; version 0 says nothing.
async fn content(admin: &Admin, version: Version) -> Result<Bundle, ApiError> {
    if version == Version::NONE {
        return Ok(Bundle::default());
    }
    bundle_of(admin, version).await
}

/// Runs what takes its time on large documents.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| ApiError::internal("comparing ended without an answer"))
}
