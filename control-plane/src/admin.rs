//! The REST API and the endpoints of operators and monitors.

mod access;
mod backends;
mod blue_green;
mod breakers;
mod canary;
mod changes;
mod config;
mod deployments;
mod document;
mod error;
mod explain;
mod fleet;
mod identity;
pub mod listener;
mod listing;
mod log_level;
mod objects;
mod overrides;
mod record;
pub mod tls;
mod versions;

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use axum::{Extension, Router, extract::DefaultBodyLimit, middleware::from_fn_with_state};
use lb_store::Store;
use lb_telemetry::logging::LogLevel;
use utoipa_axum::{router::OpenApiRouter, routes};

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
    pub audit: Arc<Audit>,
    /// Who failed to say who they are.
    pub throttle: Mutex<Throttle>,
    /// How much the control plane logs.
    pub log: Arc<LogLevel>,
    /// When the control plane started.
    pub started: Instant,
}

type Shared = Arc<Admin>;

/// All endpoints, with their descriptions.
fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(document::base())
        .routes(routes!(document::get))
        .routes(routes!(config::get_config, config::put_config))
        .routes(routes!(changes::sources))
        .routes(routes!(changes::plan))
        .routes(routes!(explain::post))
        .routes(routes!(objects::list))
        .routes(routes!(versions::list))
        .routes(routes!(versions::get))
        .routes(routes!(versions::restore))
        .routes(routes!(changes::diff))
        .routes(routes!(overrides::list))
        .routes(routes!(blue_green::list))
        .routes(routes!(blue_green::switch))
        .routes(routes!(blue_green::rollback))
        .routes(routes!(blue_green::switch_of_route))
        .routes(routes!(blue_green::rollback_of_route))
        .routes(routes!(canary::list))
        .routes(routes!(canary::set))
        .routes(routes!(canary::promote))
        .routes(routes!(canary::abort))
        .routes(routes!(canary::set_of_route))
        .routes(routes!(canary::promote_of_route))
        .routes(routes!(canary::abort_of_route))
        .routes(routes!(record::list))
        .routes(routes!(fleet::proxies))
        .routes(routes!(identity::revoke_proxy))
        .routes(routes!(log_level::of_proxy, log_level::set_of_proxy))
        .routes(routes!(log_level::get, log_level::set))
        .routes(routes!(identity::tokens, identity::create_token))
        .routes(routes!(identity::revoke_token))
        .routes(routes!(identity::authority))
        .routes(routes!(identity::rotate))
        .routes(routes!(fleet::backup))
        .routes(routes!(fleet::health))
        .routes(routes!(backends::list))
        .routes(routes!(backends::list_in_api))
        .routes(routes!(breakers::list))
        .routes(routes!(breakers::list_in_api))
        .routes(routes!(breakers::reset))
        .routes(routes!(breakers::reset_in_api))
        .routes(routes!(overrides::enable))
        .routes(routes!(overrides::disable))
        .routes(routes!(fleet::metrics))
        .routes(routes!(fleet::alive))
        .routes(routes!(fleet::livez))
        .routes(routes!(fleet::ready))
}

/// All endpoints, behind the guard.
pub fn router(admin: Shared) -> Router {
    let (router, collected) = routes().split_for_parts();
    router
        .layer(Extension(document::Document::new(&collected)))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(Arc::clone(&admin), access::guard))
        .with_state(admin)
}
