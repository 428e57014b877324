//! Wires the parts together and runs them. No logic.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::{Duration, Instant},
};

use anyhow::Context;
use lb_model::{
    api::{AuditEntry, Role},
    resource::HashKey,
};
use lb_proto::v1::{
    config_sync_server::ConfigSyncServer, enrollment_server::EnrollmentServer,
    identity_server::IdentityServer, telemetry_server::TelemetryServer,
};
use lb_source::Sources;
use lb_store::{EmbeddedStore, Store, embedded};
use lb_telemetry::{addresses, logging::LogLevel, shutdown};
use tokio::{net::TcpListener, sync::watch};
use tonic::transport::Server;

use crate::{
    admin::{
        self, Admin,
        listener::{AdminListener, Peer},
        tls,
    },
    audit::{self, Audit},
    backup::{self, Stores},
    config_file::{self, ConfigFile, Outcome, watch::Reloading},
    deployments::driver::Driver,
    identity::{ledger::Ledger, operator::Appointment, rotation, service::IdentityService},
    metrics::Metrics,
    overrides::keeper,
    pipeline::{Pipeline, bundle_at},
    report::Reports,
    scrub,
    secrets::{self, SealedStore},
    settings::{Command, Settings},
    snapshot::SnapshotCache,
    sync::{
        registry::Registry,
        service::{MAX_MESSAGE, SyncService},
        session::Identity,
        transport,
    },
};

/// How long connections may take to end once the control plane was told to.
const GRACE: Duration = Duration::from_secs(3);
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
pub fn run(settings: Settings, log: Arc<LogLevel>) -> anyhow::Result<()> {
    if let Some(file) = &settings.restore {
        return Ok(backup::restore(file, &settings.data_dir)?);
    }
    let command = settings.command;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("control-plane")
        .build()
        .context("could not start the runtime")?;
    match command {
        Some(Command::RecoverToken) => runtime.block_on(recover(settings)),
        None => runtime.block_on(serve(settings, log)),
    }
}

/// Everything that is kept, opened.
struct Kept {
    stores: Stores,
    configuration: Arc<dyn Store>,
    audit: Arc<Audit>,
    ledger: Arc<Ledger>,
}

/// Opens everything that is kept.
async fn keep(settings: &Settings) -> anyhow::Result<Kept> {
    let directory = &settings.data_dir;
    let key_file =
        settings.secrets_key_file.clone().unwrap_or_else(|| secrets::default_path(directory));
    if let Some(parent) = directory.parent() {
        std::fs::create_dir_all(parent)
            .with_context(|| format!("could not make {}", parent.display()))?;
    }
    let key = secrets::key(&key_file, directory)?;
    let audit = audit::settings(&directory.join("audit"));
    let stores = Stores {
        configuration: open(directory, settings.ballast).await?,
        identity: open(&directory.join("identity"), 0).await?,
        audit: Arc::new(EmbeddedStore::open(audit).await?),
        directory: directory.clone(),
    };
    let seal = |inner: &Arc<EmbeddedStore>| -> Arc<dyn Store> {
        Arc::new(SealedStore::new(Arc::clone(inner) as Arc<dyn Store>, key.clone()))
    };
    let ledger = Ledger::open(seal(&stores.identity), settings.proxy_certificate_life);
    let ledger = Arc::new(ledger.await.with_context(|| {
        format!("could not read the identity store with the key in {}", key_file.display())
    })?);
    let configuration = seal(&stores.configuration);
    let audit = Arc::new(Audit::new(seal(&stores.audit)));
    Ok(Kept { stores, configuration, audit, ledger })
}

/// Makes a token for an admin and prints it. Whoever can read the data directory and its key may
/// do so: they hold the fleet anyway.
#[expect(clippy::print_stdout, reason = "the token is what was asked for, and shown only here")]
async fn recover(settings: Settings) -> anyhow::Result<()> {
    anyhow::ensure!(
        settings.data_dir.join("log").exists(),
        "there is no control plane's data in {}",
        settings.data_dir.display()
    );
    let kept = keep(&settings).await?;
    let appointment = Appointment { name: "recovered".to_owned(), role: Role::Admin, life: None };
    let token = kept.ledger.appoint("recover-token", appointment).await?;
    let entry = AuditEntry {
        time: jiff::Timestamp::now().to_string(),
        who: "recover-token".to_owned(),
        token: None,
        role: None,
        from: "this machine".to_owned(),
        method: "RUN".to_owned(),
        path: "recover-token".to_owned(),
        object: Some(token.record.id.clone()),
        status: 201,
        code: None,
        version: None,
    };
    kept.audit.record(&entry).await.context("could not write into the audit log")?;
    println!("{}", token.text.expose_secret());
    Ok(())
}

/// How operators reach the REST API; an error says how they could.
fn admin_tls(settings: &Settings, ledger: &Ledger) -> anyhow::Result<Option<tls::Source>> {
    let address = settings.admin_addr;
    let data = settings.data_dir.display();
    anyhow::ensure!(
        address.ip().is_loopback() || ledger.knows_operators(),
        "{address} can be reached from other machines, and no operator has a token yet, so \
         everybody could do everything; make one first: lb-control-plane --data-dir {data} \
         recover-token"
    );
    Ok(settings.admin_tls())
}

async fn serve(settings: Settings, log: Arc<LogLevel>) -> anyhow::Result<()> {
    let stop = shutdown::on_signal().context("could not listen for signals")?;
    // Fails only when another provider is there already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let Kept { stores, configuration: store, audit, ledger } = keep(&settings).await?;
    let source = admin_tls(&settings, &ledger)?;
    let configs = match source {
        Some(source) => Some((watch::Sender::new(tls::config(&source, &ledger)?), source)),
        None => None,
    };
    let held_by = match &settings.config {
        Some(file) => Some(hold(&*store, file.clone(), &settings).await?),
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
        registry: Arc::clone(&registry),
        metrics: Arc::clone(&metrics),
        fault: Arc::clone(&fault),
    };
    let pipeline = tokio::spawn(pipeline.run(stop.clone()));
    tokio::spawn(keeper::run(Arc::clone(&store), Arc::clone(&audit), stop.clone()));
    let driver = Driver {
        store: Arc::clone(&store),
        cache: Arc::clone(&cache),
        reports: Arc::clone(&reports),
        metrics: Arc::clone(&metrics),
        audit: Arc::clone(&audit),
    };
    tokio::spawn(driver.run(stop.clone()));
    let scrubbed = scrub::Fault::default();
    tokio::spawn(scrub::run(stores.clone(), Arc::clone(&scrubbed), stop.clone()));

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
    if let Some(file) = &held_by {
        let failing = file.view().failure.is_some();
        metrics.reloaded(if failing { Outcome::Failed } else { Outcome::Same });
        let reloading = Reloading {
            file: Arc::clone(file),
            store: Arc::clone(&store),
            cache: Arc::clone(&cache),
            metrics: Arc::clone(&metrics),
            poll: settings.config_poll,
        };
        tokio::spawn(config_file::watch::run(reloading, stop.clone()));
    }
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
    let tls = configs.as_ref().map(|(configs, _)| configs.subscribe());
    let scheme = if tls.is_some() { "https" } else { "http" };
    let configs = configs.map(|(configs, source)| (source, configs));
    let follow = tls::follow(configs, Arc::clone(&ledger), settings.data_dir.clone(), stop.clone());
    tokio::spawn(follow);
    let knows_operators = ledger.knows_operators();
    let admin_listener = AdminListener::start(admin_listener, tls, stop.clone())?;
    let admin = Admin {
        store,
        cache,
        registry,
        reports,
        metrics,
        fault,
        held_by,
        ledger,
        stores,
        scrubbed,
        audit,
        throttle: Mutex::default(),
        log,
        started: Instant::now(),
    };
    let router = admin::router(Arc::new(admin)).into_make_service_with_connect_info::<Peer>();
    let admin =
        axum::serve(admin_listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());

    addresses::write(
        &settings.data_dir,
        &[
            ("admin", admin_addr.to_string()),
            ("admin_scheme", scheme.to_owned()),
            ("sync", sync_addr.to_string()),
        ],
    )
    .with_context(|| format!("could not write into {}", settings.data_dir.display()))?;
    tracing::info!(%admin_addr, scheme, %sync_addr, "control plane ready");
    if !knows_operators {
        tracing::warn!(
            "no operator has a token: whoever reaches {admin_addr} may do everything; make one \
             with `lbctl tokens create --role admin --name NAME`"
        );
    }

    let late = async {
        stop.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        (sync, admin) = async { tokio::join!(sync, admin) } => {
            sync.context("the sync endpoint failed")?;
            admin.context("the REST API failed")?;
        }
        // A peer that does not read what it was sent would keep the process for ever.
        () = late => tracing::warn!("connections that did not end in {GRACE:?} were cut"),
    }
    pipeline.await.context("the pipeline failed")?;
    tracing::info!("control plane stopped");
    Ok(())
}

/// Reads the documents that hold the configuration. Where a valid version is stored, a bad
/// document is shown and that version served; else there is nothing to start with.
async fn hold(
    store: &dyn Store,
    path: PathBuf,
    settings: &Settings,
) -> anyhow::Result<Arc<ConfigFile>> {
    let file = ConfigFile::new(Sources {
        paths: vec![path],
        environment: settings.environment.clone(),
        flags: settings.set.clone(),
    });
    let failed = file.reload(store, true).await == Outcome::Failed;
    if failed && bundle_at(store, store.head().await?).await?.is_none() {
        let name = file.name();
        let failure = file.view().failure.map(|failure| failure.to_string()).unwrap_or_default();
        return Err(InvalidConfiguration(format!("{name}: {failure}")).into());
    }
    Ok(file)
}

/// There is no valid configuration to start with.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct InvalidConfiguration(String);

async fn open(directory: &Path, ballast: u64) -> anyhow::Result<Arc<EmbeddedStore>> {
    let settings =
        embedded::Settings { ballast_size: ballast, ..embedded::Settings::new(directory) };
    Ok(Arc::new(EmbeddedStore::open(settings).await?))
}

async fn bind(address: SocketAddr, who: &str, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("could not listen on {address} for {who}; choose another with {flag}")
    })
}
