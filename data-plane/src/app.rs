//! Wires the parts together and runs them. No logic.
//!
//! Traffic runs on the workers' threads; everything here runs on a runtime of its own, so that
//! neither takes the other's time.

use std::{
    fs, io,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use anyhow::Context;
use lb_model::value::Secret;
use lb_telemetry::{addresses, logging::LogLevel, shutdown};
use tokio::{net::TcpListener, sync::mpsc};

use crate::{
    admin::Admin,
    apply::{Applier, Budget, State},
    boot::Boot,
    identity::{Identity, material::Keys},
    metrics::ApplyMetrics,
    report::Reporter,
    runtime::{Runtime, RuntimeOptions},
    settings::Settings,
    sync::{client::Client, last_good::LastGood, seal, session},
};

/// Changes of health that may wait to be reported.
const CHANGES: usize = 1_024;
/// The file with the name that the proxy gave itself.
const NAME_FILE: &str = "name";

/// Runs the proxy until it is told to stop.
///
/// # Errors
///
/// When it cannot start.
pub fn run(settings: Settings, log: Arc<LogLevel>) -> anyhow::Result<()> {
    // Fails only when another provider is there already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .thread_name("control")
        .build()
        .context("could not start the runtime")?;
    runtime.block_on(serve(settings, log))
}

async fn serve(settings: Settings, log: Arc<LogLevel>) -> anyhow::Result<()> {
    let stop = shutdown::on_signal().context("could not listen for signals")?;
    let directory = &settings.data_dir;
    fs::create_dir_all(directory)
        .with_context(|| format!("could not use {} as data directory", directory.display()))?;
    let _lock = lock(directory)?;
    let wanted = match &settings.name {
        Some(name) => name.clone(),
        None => own_name(directory)
            .with_context(|| format!("could not keep a name in {}", directory.display()))?,
    };
    let token = join_token(settings.join_token_file.as_deref())?;
    let credentials = Identity::open(Keys::in_directory(directory), token, wanted.clone())?;
    let proxy = credentials.name().unwrap_or(&wanted).to_owned();
    let seal_key = seal::key(directory)
        .with_context(|| format!("could not keep a key in {}", directory.display()))?;
    let last_good = LastGood::open(directory.join("last-good"), seal_key)?;
    let listener = TcpListener::bind(settings.admin_addr).await.with_context(|| {
        format!("could not listen on {}; choose another with --admin-addr", settings.admin_addr)
    })?;
    let admin_address = listener.local_addr()?;

    let (changed, changes) = mpsc::channel(CHANGES);
    let mut options = RuntimeOptions {
        drain_timeout: settings.drain_timeout,
        health_changes: Some(changed),
        zone: settings.zone.clone(),
        ..RuntimeOptions::default()
    };
    if let Some(workers) = settings.workers {
        options.workers = workers.into();
    }
    let workers = options.workers;
    let runtime = Runtime::start(options)?;
    let handle = runtime.handle();
    let state = Arc::new(Mutex::new(State::default()));
    let metrics = Arc::new(ApplyMetrics::default());
    let mut applier = Applier::new(
        runtime,
        last_good,
        Boot::open(directory),
        Budget { bytes: settings.memory_budget, workers },
        Arc::clone(&state),
        Arc::clone(&metrics),
    );

    let admin = Arc::new(Admin {
        proxy: proxy.clone(),
        runtime: handle.clone(),
        state,
        metrics: Arc::clone(&metrics),
        draining: AtomicBool::new(false),
    });
    tokio::spawn(Arc::clone(&admin).serve(listener));
    let named = [("admin", admin_address.to_string()), ("proxy", proxy.clone())];
    addresses::write(directory, &named)
        .with_context(|| format!("could not write into {}", directory.display()))?;
    tracing::info!(proxy, %admin_address, "proxy started");

    // Serve first, then look for the control plane.
    let running = applier.restore().await;
    let instance = uuid::Uuid::new_v4().to_string();
    let client = Client {
        control_plane: settings.control_plane.clone(),
        credentials,
        identity: session::Identity {
            proxy: proxy.clone(),
            instance: instance.clone(),
            admin_address: admin_address.to_string(),
            adopt_lineage: settings.adopt_lineage,
        },
        applier,
        running,
        reporter: Arc::new(Reporter {
            proxy,
            instance,
            zone: settings.zone.clone(),
            runtime: handle,
            changes: tokio::sync::Mutex::new(changes),
            started: Instant::now(),
            sequence: AtomicU64::new(0),
        }),
        metrics,
        log,
    };
    let mut applier = client.run(stop).await;

    applier.survive();
    admin.draining.store(true, Ordering::Relaxed);
    tracing::info!("draining");
    let left = applier.runtime().drain(settings.drain_accept_grace, settings.drain_timeout).await;
    tracing::info!(left, "proxy stopped");
    Ok(())
}

/// The token in a file, if one was named. A file that is gone is no fault: the token was used.
fn join_token(path: Option<&Path>) -> anyhow::Result<Option<Secret<String>>> {
    let Some(path) = path else { return Ok(None) };
    match fs::read_to_string(path) {
        Ok(token) => Ok(Some(Secret::new(token.trim().to_owned()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            Err(error).with_context(|| format!("could not read the join token {}", path.display()))
        }
    }
}

/// Makes sure that no other proxy uses the directory.
fn lock(directory: &Path) -> anyhow::Result<fs::File> {
    let path = directory.join("lock");
    let file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .with_context(|| format!("could not use {} as data directory", directory.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => anyhow::bail!(
            "{} is used by another proxy; give each its own --data-dir",
            directory.display()
        ),
        Err(fs::TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("could not lock {}", path.display()))
        }
    }
}

/// The name kept in the directory, or a new one.
fn own_name(directory: &Path) -> io::Result<String> {
    let path = directory.join(NAME_FILE);
    match fs::read_to_string(&path) {
        Ok(name) if !name.trim().is_empty() => return Ok(name.trim().to_owned()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let unique = uuid::Uuid::new_v4().simple().to_string();
    let name = format!("proxy-{}", &unique[..8]);
    fs::write(&path, format!("{name}\n"))?;
    Ok(name)
}
