//! Tells the control plane how this proxy and its backends are.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use futures_util::StreamExt;
use lb_proto::v1::{
    BackendHealth, BackendReport, ReportBatch, RouteReport, telemetry_client::TelemetryClient,
};
use lb_upstream::HealthChange;
use tokio::sync::{Mutex, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use crate::{runtime::RuntimeHandle, stats::RuntimeStats};

/// The interval until the control plane names another.
const INTERVAL: Duration = Duration::from_secs(1);
/// The shortest and longest interval that is taken from the control plane.
const BOUNDS: std::ops::RangeInclusive<u64> = 100..=60_000;
/// How long changes of health are gathered before they are told.
const GATHER: Duration = Duration::from_millis(100);

/// Makes and sends reports.
#[derive(Debug)]
pub struct Reporter {
    /// Who reports.
    pub proxy: String,
    /// Which run of it.
    pub instance: String,
    /// What is reported.
    pub runtime: RuntimeHandle,
    /// Changes of health, which are told at once.
    pub changes: Mutex<mpsc::Receiver<HealthChange>>,
    /// When the proxy started.
    pub started: Instant,
    /// Numbers the batches of this run.
    pub sequence: AtomicU64,
}

impl Reporter {
    /// Reports over `channel` until the stream breaks.
    pub async fn run(&self, channel: Channel) -> Result<(), tonic::Status> {
        let (batches, stream) = mpsc::channel(1);
        let request = ReceiverStream::new(stream);
        let mut controls = TelemetryClient::new(channel).report(request).await?.into_inner();
        let mut changes = self.changes.lock().await;
        let mut interval = INTERVAL;
        loop {
            if batches.send(self.batch()).await.is_err() {
                return Ok(());
            }
            let mut changed = false;
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                change = changes.recv() => changed = change.is_some(),
                control = controls.next() => match control {
                    Some(control) => {
                        let millis = control?.min_interval_ms;
                        let millis = millis.clamp(*BOUNDS.start(), *BOUNDS.end());
                        interval = Duration::from_millis(millis);
                    }
                    None => return Ok(()),
                },
            }
            if changed {
                // Changes seldom come alone.
                tokio::time::sleep(GATHER).await;
                while changes.try_recv().is_ok() {}
            }
        }
    }

    fn batch(&self) -> ReportBatch {
        let RuntimeStats { routes, backends, listeners, .. } = self.runtime.stats();
        let backends = backends.into_iter().map(|backend| {
            let counts = backend.counts;
            let health = match (backend.health.checked, backend.health.up) {
                (false, _) => BackendHealth::Unchecked,
                (true, true) => BackendHealth::Up,
                (true, false) => BackendHealth::Down,
            };
            BackendReport {
                service: backend.service.to_string(),
                backend: backend.backend.to_string(),
                health: health.into(),
                last_error: backend.health.last_error.as_deref().unwrap_or_default().to_owned(),
                since_ms: millis(Some(backend.health.since)),
                checked_at_ms: millis(backend.health.last_check),
                in_flight: counts.in_flight,
                requests: counts.requests,
                failures: counts.connect_errors + counts.timeouts + counts.resets + counts.invalid,
                admin_state: lb_model::wire::admin_state(backend.admin_state).into(),
                server_errors: counts.server_errors,
                ..BackendReport::default()
            }
        });
        let routes = routes.into_iter().map(|route| RouteReport {
            route: route.route.to_string(),
            by_class: route.classes.to_vec(),
            in_flight: 0,
        });
        ReportBatch {
            proxy: self.proxy.clone(),
            instance: self.instance.clone(),
            sequence: self.sequence.fetch_add(1, Ordering::Relaxed) + 1,
            backends: backends.collect(),
            routes: routes.collect(),
            open_connections: listeners.iter().map(|listener| listener.open).sum(),
            uptime_ms: self.started.elapsed().as_millis() as u64,
            ..ReportBatch::default()
        }
    }
}

fn millis(time: Option<SystemTime>) -> i64 {
    let since = time.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// A reporter that several streams may use, one at a time.
pub type SharedReporter = Arc<Reporter>;
