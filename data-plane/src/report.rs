//! Tells the control plane how this proxy and its backends are.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use futures_util::StreamExt;
use lb_http::Reason;
use lb_model::value::Label;
use lb_proto::v1::{
    ArmReport, BackendHealth, BackendReport, BreakerReport, BreakerState, ReportBatch, RouteReport,
    ServiceReport, telemetry_client::TelemetryClient,
};
use lb_upstream::{ArmCounts, HealthChange, breaker};
use tokio::sync::{Mutex, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use crate::{
    runtime::RuntimeHandle,
    stats::{RuntimeStats, ServiceStats},
};

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
    /// Where it stands.
    pub zone: Option<Label>,
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
        let RuntimeStats { routes, backends, listeners, services, reasons, .. } =
            self.runtime.stats();
        let shed = reasons.iter().filter(|(reason, _)| *reason == Reason::OverloadShed);
        let clock = Clock::now();
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
                breaker: backend.breaker.map(|summary| breaker(&summary, &clock)),
                ejected_until_ms: backend.ejected_until.map_or(0, |until| clock.millis(until)),
                server_errors: counts.server_errors,
                latency: backend.latency.buckets.to_vec(),
                latency_us: backend.latency.sum.as_micros() as u64,
                waiting: backend.waiting,
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
            services: services.into_iter().map(service).collect(),
            overload_shed: shed.map(|(_, count)| count).sum(),
            zone: self.zone.as_ref().map(ToString::to_string).unwrap_or_default(),
            ..ReportBatch::default()
        }
    }
}

/// What a monotonic clock says, in Unix time.
struct Clock {
    instant: tokio::time::Instant,
    time: SystemTime,
}

impl Clock {
    fn now() -> Self {
        Self { instant: tokio::time::Instant::now(), time: SystemTime::now() }
    }

    /// In milliseconds since 1970.
    fn millis(&self, at: tokio::time::Instant) -> i64 {
        let ahead = at.checked_duration_since(self.instant);
        let time = match ahead {
            Some(ahead) => self.time.checked_add(ahead),
            None => self.time.checked_sub(self.instant.saturating_duration_since(at)),
        };
        millis(time)
    }
}

fn breaker(summary: &breaker::Summary, clock: &Clock) -> BreakerReport {
    BreakerReport {
        state: match summary.state {
            breaker::State::Closed => BreakerState::Closed,
            breaker::State::HalfOpen => BreakerState::HalfOpen,
            breaker::State::Open => BreakerState::Open,
        }
        .into(),
        requests: summary.requests,
        failures: summary.failures,
        opened_at_ms: summary.opened_at.map_or(0, |at| clock.millis(at)),
        next_attempt_ms: summary.next_attempt.map_or(0, |at| clock.millis(at)),
        opened: summary.opened,
    }
}

fn service(stats: ServiceStats) -> ServiceReport {
    let ServiceStats { service, route, counts, arms, sessions } = stats;
    ServiceReport {
        service: service.to_string(),
        route: route.map(String::from).unwrap_or_default(),
        stable_arm: arms.map(|arms| arm(&arms.stable)),
        canary_arm: arms.map(|arms| arm(&arms.canary)),
        stable: counts.stable,
        canary: counts.canary,
        blue: counts.blue,
        green: counts.green,
        canary_fallbacks: counts.canary_fallbacks,
        slot_fallbacks: counts.slot_fallbacks,
        headers_ignored: counts.headers_ignored,
        sessions,
        sessions_begun: counts.sessions_begun,
        sessions_kept: counts.sessions_kept,
        sessions_moved: counts.sessions_moved,
        retries: counts.retries,
        retries_denied: counts.retries_denied,
        failovers: counts.failovers,
        panics: counts.panics,
        queued: counts.queued,
        queue_overflows: counts.queue_overflows,
    }
}

fn arm(counts: &ArmCounts) -> ArmReport {
    ArmReport {
        requests: counts.requests,
        failures: counts.failures,
        server_errors: counts.server_errors,
        latency: counts.latency.buckets.to_vec(),
    }
}

fn millis(time: Option<SystemTime>) -> i64 {
    let since = time.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// A reporter that several streams may use, one at a time.
pub type SharedReporter = Arc<Reporter>;
