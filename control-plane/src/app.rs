//! Wires the parts together and runs them. No logic.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::{Duration, Instant},
};

use anyhow::Context;
use lb_model::{resource::HashKey, seal::SealKey};
use lb_proto::v1::{
    config_sync_server::ConfigSyncServer, enrollment_server::EnrollmentServer,
    identity_server::IdentityServer, telemetry_server::TelemetryServer,
};
use lb_store::{EmbeddedStore, Store, embedded};
use lb_telemetry::{addresses, shutdown};
use tokio::net::TcpListener;
use tonic::transport::Server;

use crate::{
    admin::{self, Admin},
    config_file,
    identity::{ledger::Ledger, rotation, service::IdentityService},
    metrics::Metrics,
    pipeline::Pipeline,
    report::Reports,
    secrets::{self, SealedStore},
    settings::Settings,
    snapshot::SnapshotCache,
    sync::{
        registry::Registry,
        service::{MAX_MESSAGE, SyncService},
        session::Identity,
        transport,
    },
};

/// How often a silent peer is asked whether it is still there, and how long it may take.
const KEEPALIVE: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest message about identity.
const SMALL: usize = 64 << 10;

/// Runs the control plane until it is told to stop.
///
/// # Errors
///
/// When it cannot start, or a part of it ends by itself.
pub fn run(settings: Settings) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("control-plane")
        .build()
        .context("could not start the runtime")?;
    runtime.block_on(serve(settings))
}

async fn serve(settings: Settings) -> anyhow::Result<()> {
    let stop = shutdown::on_signal().context("could not listen for signals")?;
    // Fails only when another provider is there already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let directory = &settings.data_dir;
    let key_file =
        settings.secrets_key_file.clone().unwrap_or_else(|| secrets::default_path(directory));
    if let Some(parent) = directory.parent() {
        std::fs::create_dir_all(parent)
            .with_context(|| format!("could not make {}", parent.display()))?;
    }
    let key = secrets::key(&key_file, directory)?;
    let store = sealed(directory, &key, settings.ballast).await?;
    let identities = sealed(&directory.join("identity"), &key, 0).await?;
    let ledger = Arc::new(Ledger::open(identities, settings.proxy_certificate_life).await?);
    let held_by = match &settings.config {
        Some(file) => Some(config_file::apply(&*store, file).await?),
        None => None,
    };
    let admin_listener = bind(settings.admin_addr, "the REST API", "--admin-addr").await?;
    let sync_listener = bind(settings.sync_addr, "the proxies", "--sync-addr").await?;

    let metrics = Arc::new(Metrics::new()?);
    let cache = Arc::new(SnapshotCache::default());
    let registry = Arc::new(Registry::default());
    let reports = Arc::new(Reports::default());
    let fault = Arc::new(Mutex::new(None));
    let lineage = store.lineage();
    let identity = Identity {
        lineage: lineage.id.to_string().into(),
        parent: lineage.parent.map(|parent| parent.to_string().into()),
        hash_key: HashKey(lineage.hash_key),
    };

    let pipeline = Pipeline {
        store: Arc::clone(&store),
        cache: Arc::clone(&cache),
        metrics: Arc::clone(&metrics),
        fault: Arc::clone(&fault),
    };
    let pipeline = tokio::spawn(pipeline.run(stop.clone()));

    let service = SyncService {
        identity,
        cache: Arc::clone(&cache),
        registry: Arc::clone(&registry),
        reports: Arc::clone(&reports),
        metrics: Arc::clone(&metrics),
        stop: stop.clone(),
        ledger: Arc::clone(&ledger),
        streams: Arc::new(AtomicU64::new(1)),
    };
    tokio::spawn(rotation::run(Arc::clone(&ledger), Arc::clone(&registry), stop.clone()));
    let identity = IdentityService::new(Arc::clone(&ledger))
        .map_err(|_| anyhow::anyhow!("the system gave no randomness"))?;
    let tls = transport::server_config(&ledger.state().authorities)?;
    let (admin_addr, sync_addr) = (admin_listener.local_addr()?, sync_listener.local_addr()?);
    let sync = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(Some(16))
        .add_service(ConfigSyncServer::new(service.clone()).max_decoding_message_size(MAX_MESSAGE))
        .add_service(TelemetryServer::new(service).max_decoding_message_size(MAX_MESSAGE))
        .add_service(EnrollmentServer::new(identity.clone()).max_decoding_message_size(SMALL))
        .add_service(IdentityServer::new(identity).max_decoding_message_size(SMALL))
        .serve_with_incoming_shutdown(
            transport::accept(sync_listener, tls, Arc::clone(&ledger), stop.clone()),
            stop.clone().cancelled_owned(),
        );
    let admin = Admin {
        store,
        cache,
        registry,
        reports,
        metrics,
        fault,
        held_by,
        ledger,
        started: Instant::now(),
    };
    let admin = axum::serve(admin_listener, admin::router(Arc::new(admin)))
        .with_graceful_shutdown(stop.clone().cancelled_owned());

    addresses::write(
        &settings.data_dir,
        &[("admin", admin_addr.to_string()), ("sync", sync_addr.to_string())],
    )
    .with_context(|| format!("could not write into {}", settings.data_dir.display()))?;
    tracing::info!(%admin_addr, %sync_addr, "control plane ready; operators are not authenticated yet, so the API is on loopback only");

    let (sync, admin) = tokio::join!(sync, admin);
    sync.context("the sync endpoint failed")?;
    admin.context("the REST API failed")?;
    pipeline.await.context("the pipeline failed")?;
    tracing::info!("control plane stopped");
    Ok(())
}

/// A store in a directory, sealed with a key.
async fn sealed(directory: &Path, key: &SealKey, ballast: u64) -> anyhow::Result<Arc<dyn Store>> {
    let settings =
        embedded::Settings { ballast_size: ballast, ..embedded::Settings::new(directory) };
    let store = EmbeddedStore::open(settings).await?;
    Ok(Arc::new(SealedStore::new(Arc::new(store), key.clone())))
}

async fn bind(address: SocketAddr, who: &str, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("could not listen on {address} for {who}; choose another with {flag}")
    })
}
