//! What the fleet does: proxies, backends, health, metrics.

use std::{collections::BTreeMap, sync::PoisonError};

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use lb_model::{
    Config, Version,
    api::{Alive, HealthView, ProxyList},
};
use lb_telemetry::SOFTWARE_VERSION;
use tokio_util::io::ReaderStream;

use super::{Admin, Shared, error::ApiError};
use crate::{backup, overrides};

/// How every proxy stands to the current version.
#[utoipa::path(
    get,
    path = "/api/v1/proxies",
    operation_id = "listProxies",
    responses((status = 200, description = "Every proxy", body = ProxyList)),
)]
pub(super) async fn proxies(State(admin): State<Shared>) -> Result<Json<ProxyList>, ApiError> {
    let version = admin.store.head().await?;
    let mut proxies = admin.registry.view(version);
    for proxy in &mut proxies {
        proxy.open_connections = admin.reports.open_connections(&proxy.id);
        proxy.shed_at = admin.reports.shed_at(&proxy.id).map(|at| at.to_string());
    }
    Ok(Json(ProxyList { version, proxies }))
}

/// What is said while nobody needs a token. It is no fault of the fleet, so its health does not
/// suffer.
const UNGUARDED: &str = "no operator has a token: whoever reaches the loopback address may do \
                         everything; make one with `lbctl tokens create --role admin --name NAME`";

/// `healthy`: everything is as it should be. `degraded`: something needs a look, traffic is
/// served. `unhealthy`: the control plane cannot do its work.
#[utoipa::path(
    get,
    path = "/admin/health",
    operation_id = "getHealth",
    responses(
        (status = 200, description = "Healthy or degraded", body = HealthView),
        (status = 503, description = "Unhealthy", body = HealthView),
    ),
)]
pub(super) async fn health(State(admin): State<Shared>) -> Response {
    let head = admin.store.head().await;
    let snapshot = *head.as_ref().unwrap_or(&Version::NONE);
    let release = admin.cache.newest();
    let empty = Config::default();
    let config = release.as_ref().map_or(&empty, |release| &release.config);
    let proxies = admin.registry.counts(snapshot);
    let backends = admin.reports.counts(config, Timestamp::now());
    let mut components = BTreeMap::new();
    let scrubbed = admin.scrubbed.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let store = match &head {
        Ok(_) => scrubbed.unwrap_or_else(|| "ok".to_owned()),
        Err(error) => error.to_string(),
    };
    let configuration = admin.fault().unwrap_or_else(|| "ok".to_owned());
    if let Some(file) = &admin.held_by {
        let failure = file.view().failure.map(|failure| failure.to_string());
        let text = failure.unwrap_or_else(|| "ok".to_owned());
        components.insert("configuration file".to_owned(), text);
    }
    let overrides = left_empty(config);
    components.insert("store".to_owned(), store);
    components.insert("overrides".to_owned(), overrides);
    components.insert("configuration".to_owned(), configuration);
    let well = components.values().all(|text| text == "ok");
    let access = if admin.ledger.knows_operators() { "ok" } else { UNGUARDED };
    components.insert("access".to_owned(), access.to_owned());
    let status = if head.is_err() {
        "unhealthy"
    } else if !well || proxies.stale > 0 || backends.unhealthy > 0 {
        "degraded"
    } else {
        "healthy"
    };
    let view = HealthView {
        status: status.to_owned(),
        version: SOFTWARE_VERSION.to_owned(),
        software_version: SOFTWARE_VERSION.to_owned(),
        snapshot,
        uptime_seconds: admin.started.elapsed().as_secs(),
        proxies,
        backends,
        components,
    };
    let code = match status {
        "unhealthy" => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::OK,
    };
    (code, Json(view)).into_response()
}

/// What is counted.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "getMetrics",
    responses(
        (status = 200, description = "The text format of Prometheus", body = String, content_type = "text/plain"),
    ),
)]
pub(super) async fn metrics(State(admin): State<Shared>) -> Response {
    let version = admin.store.head().await.unwrap_or(Version::NONE);
    let counts = admin.registry.counts(version);
    admin.metrics.connected.set(i64::try_from(counts.connected).unwrap_or(i64::MAX));
    admin.metrics.in_sync.set(i64::try_from(counts.in_sync).unwrap_or(i64::MAX));
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], admin.metrics.render()).into_response()
}

/// Everything that is kept, in one file; sealed, so worth nothing without the key file.
#[utoipa::path(
    get,
    path = "/api/v1/backup",
    operation_id = "getBackup",
    responses(
        (status = 200, description = "Everything that is kept, sealed", body = Vec<u8>, content_type = "application/octet-stream"),
    ),
)]
pub(super) async fn backup(State(admin): State<Shared>) -> Result<Response, ApiError> {
    let stores = admin.stores.clone();
    let written = tokio::task::spawn_blocking(move || backup::write(&stores)).await;
    let file = written.map_err(|error| error.to_string()).and_then(|file| {
        file.map_err(|error| match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        })
    });
    let file = file.map_err(|detail| {
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", detail)
    })?;
    let stream = ReaderStream::new(tokio::fs::File::from_std(file));
    let kind = [(header::CONTENT_TYPE, "application/octet-stream")];
    Ok((kind, Body::from_stream(stream)).into_response())
}

/// Whether the process lives.
#[utoipa::path(
    get,
    path = "/health",
    operation_id = "getLiveness",
    responses((status = 200, description = "It does", body = Alive)),
)]
pub(super) async fn alive() -> Json<Alive> {
    Json(Alive { status: "ok".to_owned() })
}

/// The same, under the name that Kubernetes uses.
#[utoipa::path(
    get,
    path = "/livez",
    operation_id = "getLivez",
    responses((status = 200, description = "It does", body = Alive)),
)]
pub(super) async fn livez() -> Json<Alive> {
    alive().await
}

/// Whether the store is open, so that changes are taken.
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "getReadiness",
    responses((status = 200, description = "It is", body = Alive)),
)]
pub(super) async fn ready(State(admin): State<Shared>) -> Result<Response, ApiError> {
    admin.store.head().await?;
    Ok(alive().await.into_response())
}

/// What operators left without a backend, or `ok`.
fn left_empty(config: &Config) -> String {
    let empty: Vec<_> = overrides::empty(config).iter().map(ToString::to_string).collect();
    match empty.as_slice() {
        [] => "ok".to_owned(),
        names => format!(
            "no backend of {} takes requests, because of overrides; see `lbctl overrides`",
            names.join(", ")
        ),
    }
}

impl Admin {
    fn fault(&self) -> Option<String> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
