//! `POST /admin/backends/{id}/enable` and `/disable`, and `GET /api/v1/overrides`.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::StatusCode,
    response::Response,
};
use jiff::{SignedDuration, Timestamp};
use lb_model::{
    Version,
    api::{BackendChanged, OverrideList},
    config::AdminState,
    value::{self, BackendName},
};
use lb_store::StoreError;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    Admin, Shared,
    access::Caller,
    config::{bad_query, tagged, text},
    error::{ApiError, named, shown, suggestions},
};
use crate::{
    decisions::Decisions,
    overrides::{Override, Overrides, OverridesError, emptied, keeper},
    snapshot::Release,
    sync::registry::Progress,
};

/// How long the proxies are waited for when nobody says, and at most.
const WAIT: Duration = Duration::from_secs(10);
const LONGEST_WAIT: Duration = Duration::from_mins(5);
/// How long a commit may take to become a snapshot before the one before is taken to judge by.
const BUILD: Duration = Duration::from_secs(5);
/// The most overrides.
const MOST: usize = 10_000;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DisableQuery {
    /// Who decides; the name in a token counts instead.
    author: String,
    /// Why.
    reason: String,
    /// For how long the backend drains before it is disabled, such as `30s`.
    #[param(pattern = "^([0-9]+|([0-9]+(ms|s|m|h|d))+)$")]
    drain: Option<String>,
    /// After how long it is enabled again by itself, such as `30m`.
    #[param(pattern = "^([0-9]+|([0-9]+(ms|s|m|h|d))+)$")]
    r#for: Option<String>,
    /// Even if a service is left without an enabled backend.
    force: bool,
    /// Answer when every connected proxy has it.
    wait: bool,
    /// For how long to wait at most, `10s` by default.
    #[param(pattern = "^([0-9]+|([0-9]+(ms|s|m|h|d))+)$")]
    timeout: Option<String>,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EnableQuery {
    /// Who decides; the name in a token counts instead.
    author: String,
    /// Why.
    reason: String,
    /// Answer when every connected proxy has it.
    wait: bool,
    /// For how long to wait at most, `10s` by default.
    #[param(pattern = "^([0-9]+|([0-9]+(ms|s|m|h|d))+)$")]
    timeout: Option<String>,
}

/// What becomes of a backend.
#[derive(Debug, Clone, Copy)]
enum Wish {
    Enable,
    Disable { drain: Option<SignedDuration>, lasts: Option<SignedDuration>, force: bool },
}

/// Who wishes it, why, and whether the answer waits for the proxies.
#[derive(Debug)]
struct Order {
    wish: Wish,
    author: String,
    reason: String,
    wait: Option<Duration>,
}

/// Lets a backend take requests again.
#[utoipa::path(
    post,
    path = "/admin/backends/{id}/enable",
    operation_id = "enableBackend",
    params(("id" = String, Path, description = "The backend"), EnableQuery),
    responses((status = 200, description = "What became of it", body = BackendChanged)),
)]
pub(super) async fn enable(
    State(admin): State<Shared>,
    path: Result<Path<String>, PathRejection>,
    caller: Caller,
    query: Result<Query<EnableQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|rejection| bad_query(&rejection))?;
    let order = Order {
        wish: Wish::Enable,
        author: caller.author(query.author),
        reason: text(query.reason, ""),
        wait: waits(query.wait, query.timeout.as_deref())?,
    };
    admin.decide(&named(path)?, order).await
}

/// Gives a backend no new request, on every proxy.
#[utoipa::path(
    post,
    path = "/admin/backends/{id}/disable",
    operation_id = "disableBackend",
    params(("id" = String, Path, description = "The backend"), DisableQuery),
    responses(
        (status = 200, description = "What became of it", body = BackendChanged),
        (status = 409, description = "`would_empty_pool`, `full`"),
    ),
)]
pub(super) async fn disable(
    State(admin): State<Shared>,
    path: Result<Path<String>, PathRejection>,
    caller: Caller,
    query: Result<Query<DisableQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|rejection| bad_query(&rejection))?;
    let wish = Wish::Disable {
        drain: query.drain.as_deref().map(|text| span("drain", text)).transpose()?,
        lasts: query.r#for.as_deref().map(|text| span("for", text)).transpose()?,
        force: query.force,
    };
    let order = Order {
        wish,
        author: caller.author(query.author),
        reason: text(query.reason, ""),
        wait: waits(query.wait, query.timeout.as_deref())?,
    };
    admin.decide(&named(path)?, order).await
}

/// What operators decided about backends.
#[utoipa::path(
    get,
    path = "/api/v1/overrides",
    operation_id = "listOverrides",
    responses((status = 200, description = "Every override", body = OverrideList)),
)]
pub(super) async fn list(State(admin): State<Shared>) -> Result<Json<OverrideList>, ApiError> {
    let version = admin.store.head().await?;
    let Decisions { overrides, deployments } = Decisions::at(&*admin.store, version).await?;
    let release = admin.cache.newest();
    let config = release.map(|release| Arc::clone(&release.config)).unwrap_or_default();
    let overrides = overrides.0.iter().map(|(name, decided)| decided.view(name, &config));
    let deployments = deployments.views(&config, Timestamp::now());
    Ok(Json(OverrideList { version, overrides: overrides.collect(), deployments }))
}

impl Admin {
    /// Takes a decision about a backend and answers how far it has come.
    async fn decide(&self, id: &str, order: Order) -> Result<Response, ApiError> {
        let (version, state, changed) = self.commit_decision(id, &order).await?;
        let progress = self.settled(version, order.wait).await;
        let answer = BackendChanged {
            id: id.to_owned(),
            admin_state: state,
            version,
            changed,
            acked: progress.acked,
            total: progress.total,
        };
        Ok(tagged(version, Json(answer)))
    }

    /// Commits a decision, unless it says what is so already.
    async fn commit_decision(
        &self,
        id: &str,
        order: &Order,
    ) -> Result<(Version, AdminState, bool), ApiError> {
        loop {
            let (head, release) = self.judged_by().await?;
            let mut overrides = Overrides::at(&*self.store, head).await?;
            let now = Timestamp::now();
            let state = change(id, order, &mut overrides, release.as_deref(), now)?;
            let Some(state) = state else {
                let state = overrides.0.get(id).map_or(AdminState::Enabled, Override::state);
                return Ok((head, state, false));
            };
            let reason = match (&*order.reason, state) {
                ("", AdminState::Enabled) => format!("{id} enabled"),
                ("", state) => format!("{id} {}", state.as_str()),
                (reason, state) => format!("{id} {}: {reason}", state.as_str()),
            };
            let signature = (order.author.as_str(), reason.as_str());
            match keeper::commit(&*self.store, head, &overrides, signature, now).await {
                Ok(version) => {
                    let author = &order.author;
                    tracing::info!(version = version.0, author, reason, "override committed");
                    return Ok((version, state, true));
                }
                // Somebody was faster: judged anew, on what is so now.
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// How far a version has come, after it was waited for if that is wanted.
    pub(super) async fn settled(&self, version: Version, wait: Option<Duration>) -> Progress {
        if let Some(limit) = wait {
            let mut changes = self.registry.watch();
            let settled = async {
                while !self.registry.progress(version).is_settled() {
                    if changes.changed().await.is_err() {
                        return;
                    }
                }
            };
            // What is not settled in time shows in the answer.
            let _ = tokio::time::timeout(limit, settled).await;
        }
        self.registry.progress(version)
    }

    /// The head, and the release of it: a decision is about what is, not about what was before
    /// the last commit.
    pub(super) async fn judged_by(&self) -> Result<(Version, Option<Arc<Release>>), ApiError> {
        let mut releases = self.cache.watch();
        let head = self.store.head().await?;
        let is_built =
            |release: &Option<Arc<Release>>| release.as_ref().is_some_and(|r| r.version >= head);
        if head != Version::NONE {
            // A head that this release cannot build never comes; the one before is served.
            let _ = tokio::time::timeout(BUILD, releases.wait_for(is_built)).await;
        }
        let release = self.cache.newest();
        Ok((head, release))
    }
}

/// Changes the overrides as ordered; none when it is so already.
fn change(
    id: &str,
    order: &Order,
    overrides: &mut Overrides,
    release: Option<&Release>,
    now: Timestamp,
) -> Result<Option<AdminState>, ApiError> {
    let config = release.map(|release| &*release.config);
    let known = BackendName::parse(id).ok();
    let known = known.filter(|name| config.is_some_and(|c| c.backends.contains_key(name)));
    let (drain, lasts, force) = match order.wish {
        Wish::Enable => {
            let removed = overrides.0.remove(id);
            if removed.is_none() && known.is_none() {
                return Err(unknown(id, release));
            }
            return Ok(removed.map(|_| AdminState::Enabled));
        }
        Wish::Disable { drain, lasts, force } => (drain, lasts, force),
    };
    let (Some(name), Some(config)) = (known, config) else { return Err(unknown(id, release)) };
    let emptied = emptied(config, &name);
    if !force && !emptied.is_empty() {
        let services: Vec<_> = emptied.iter().map(ToString::to_string).collect();
        let detail = format!(
            "{id} is the last enabled backend of {}: without it every request there is answered \
             with 503; enable another one first, or ask with force=true",
            services.join(", ")
        );
        return Err(ApiError::new(StatusCode::CONFLICT, "would_empty_pool", detail));
    }
    let later = |span: SignedDuration| now.checked_add(span).map_err(|_| too_long());
    let before = overrides.0.get(id);
    let is_disabled = before.is_some_and(|before| before.state() == AdminState::Disabled);
    let decided = Override {
        owner: order.author.clone(),
        reason: order.reason.clone(),
        since: now,
        // What is disabled has nothing to drain any more.
        drain_until: drain.filter(|_| !is_disabled).map(later).transpose()?,
        expires: lasts.map(later).transpose()?,
    };
    if before.is_some_and(|before| before.says_the_same(&decided)) {
        return Ok(None);
    }
    if before.is_none() && overrides.0.len() >= MOST {
        let detail = format!("there are {MOST} overrides already; see `lbctl overrides`");
        return Err(ApiError::new(StatusCode::CONFLICT, "full", detail));
    }
    let state = decided.state();
    overrides.0.insert(id.to_owned(), decided);
    Ok(Some(state))
}

fn unknown(id: &str, release: Option<&Release>) -> ApiError {
    let names = release.iter().flat_map(|release| release.config.backends.keys());
    let near = suggestions(id, names.map(BackendName::as_str));
    let lacks = format!("there is no backend `{}`", shown(id));
    ApiError::missing(&lacks, &near, "see which there are with `lbctl backends`")
}

fn too_long() -> ApiError {
    let detail = "the time lies too far ahead";
    ApiError::new(StatusCode::BAD_REQUEST, "invalid_query", detail)
}

/// A duration in a query, which must not be zero.
fn duration(field: &str, text: &str) -> Result<value::Duration, ApiError> {
    let refused = |why| ApiError::new(StatusCode::BAD_REQUEST, "invalid_query", why);
    match value::Duration::parse(text) {
        Ok(value::Duration::ZERO) => Err(refused(format!("`{field}` is zero; leave it out"))),
        Ok(duration) => Ok(duration),
        Err(error) => {
            let help = error.help.as_deref().unwrap_or_default();
            Err(refused(format!("`{field}`: {error}; {help}")))
        }
    }
}

fn span(field: &str, text: &str) -> Result<SignedDuration, ApiError> {
    SignedDuration::try_from(duration(field, text)?.get()).map_err(|_| too_long())
}

/// How long to wait for the proxies, if at all.
pub(super) fn waits(wait: bool, timeout: Option<&str>) -> Result<Option<Duration>, ApiError> {
    let limit = match timeout {
        Some(text) => duration("timeout", text)?.get(),
        None => WAIT,
    };
    if limit > LONGEST_WAIT {
        let detail = format!("`timeout` is at most {}s", LONGEST_WAIT.as_secs());
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "invalid_query", detail));
    }
    Ok(wait.then_some(limit))
}

impl From<OverridesError> for ApiError {
    fn from(error: OverridesError) -> Self {
        match error {
            OverridesError::Store(error) => error.into(),
            OverridesError::Unreadable(_) => {
                Self::new(StatusCode::CONFLICT, "unreadable_version", error.to_string())
            }
        }
    }
}
