//! The REST API and the endpoints of operators and monitors.

mod access;
mod backends;
mod changes;
mod config;
mod error;
mod explain;
mod fleet;
mod identity;
pub mod listener;
mod objects;
mod overrides;
mod record;
pub mod tls;
mod versions;

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware::from_fn_with_state,
    routing::{delete, get, post},
};
use lb_store::Store;

use crate::{
    audit::Audit,
    backup::Stores,
    config_file::ConfigFile,
    identity::{ledger::Ledger, throttle::Throttle},
    metrics::Metrics,
    report::Reports,
    scrub,
    snapshot::SnapshotCache,
    sync::registry::Registry,
};

/// The largest request body, in bytes.
const MAX_BODY: usize = 48 << 20;

/// What the endpoints work on.
pub struct Admin {
    /// The configuration and its history.
    pub store: Arc<dyn Store>,
    /// The newest snapshot.
    pub cache: Arc<SnapshotCache>,
    /// How the proxies stand.
    pub registry: Arc<Registry>,
    /// What they report.
    pub reports: Arc<Reports>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Why the newest version could not be built.
    pub fault: Arc<Mutex<Option<String>>>,
    /// The file that holds the configuration.
    pub held_by: Option<Arc<ConfigFile>>,
    /// Who belongs to the fleet.
    pub ledger: Arc<Ledger>,
    /// The stores themselves, for backups.
    pub stores: Stores,
    /// What is wrong with them on the disk.
    pub scrubbed: scrub::Fault,
    /// What operators did.
    pub audit: Audit,
    /// Who failed to say who they are.
    pub throttle: Mutex<Throttle>,
    /// When the control plane started.
    pub started: Instant,
}

type Shared = Arc<Admin>;

/// All endpoints.
pub fn router(admin: Shared) -> Router {
    Router::new()
        .route("/api/v1/config", get(config::get_config).put(config::put_config))
        .route("/api/v1/config/sources", get(changes::sources))
        .route("/api/v1/plan", post(changes::plan))
        .route("/api/v1/explain", post(explain::post))
        .route("/api/v1/objects/{kind}", get(objects::list))
        .route("/api/v1/versions", get(versions::list))
        .route("/api/v1/versions/{version}/diff", get(changes::diff))
        .route("/api/v1/versions/{version}", get(versions::get))
        .route("/api/v1/versions/{version}/restore", post(versions::restore))
        .route("/api/v1/proxies", get(fleet::proxies))
        .route("/api/v1/proxies/{name}/revoke", post(identity::revoke_proxy))
        .route("/api/v1/backup", get(fleet::backup))
        .route("/api/v1/tokens", get(identity::tokens).post(identity::create_token))
        .route("/api/v1/tokens/{id}", delete(identity::revoke_token))
        .route("/api/v1/authority", get(identity::authority))
        .route("/api/v1/authority/rotate", post(identity::rotate))
        .route("/admin/health", get(fleet::health))
        .route("/admin/backends", get(backends::list))
        .route("/admin/backends/{id}/enable", post(overrides::enable))
        .route("/admin/backends/{id}/disable", post(overrides::disable))
        .route("/api/v1/audit", get(record::list))
        .route("/api/v1/overrides", get(overrides::list))
        .route("/metrics", get(fleet::metrics))
        .route("/health", get(fleet::alive))
        .route("/livez", get(fleet::alive))
        .route("/readyz", get(fleet::ready))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(Arc::clone(&admin), access::guard))
        .with_state(admin)
}
