//! Who may be chosen: active checks, and what they conclude.
//!
//! [`HealthState`] is pure: results in, transitions out. [`Health`] publishes its conclusion in
//! one atomic that workers read for each choice. [`HealthChecker`] runs the checks on the
//! runtime for control traffic, so a busy worker neither delays a check nor is delayed by one.
//!
//! Everything is in the hands of the check: responses to users' requests do not count here.

mod dial;
mod grpc;
mod http;
mod prober;
mod tcp;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::{runtime::Handle, sync::mpsc, task::AbortHandle, time::Instant};

use self::prober::Prober;
use crate::endpoint::Endpoint;

/// Counts results against thresholds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthState {
    up: bool,
    ever_passed: bool,
    run: u16,
}

/// Results in a row that change the conclusion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// Passes that make an ill backend well again.
    pub healthy: u16,
    /// Failures that make a well backend ill.
    pub unhealthy: u16,
}

impl HealthState {
    /// The state of a backend that is checked but was not yet.
    pub const fn unknown() -> Self {
        Self { up: false, ever_passed: false, run: 0 }
    }

    /// Takes one result in; tells the new conclusion if it changed. The very first pass is
    /// enough, so that a start does not take as long as a recovery.
    pub const fn observe(&mut self, passed: bool, thresholds: Thresholds) -> Option<bool> {
        if passed == self.up {
            self.run = 0;
            return None;
        }
        self.run = self.run.saturating_add(1);
        let needed = match (passed, self.ever_passed) {
            (true, false) => 1,
            (true, true) => thresholds.healthy,
            (false, _) => thresholds.unhealthy,
        };
        if self.run < needed {
            return None;
        }
        self.up = passed;
        self.ever_passed |= passed;
        self.run = 0;
        Some(passed)
    }
}

/// The published health of one endpoint.
#[derive(Debug)]
pub struct Health {
    up: AtomicBool,
    /// When it last came up, in milliseconds after `start`.
    up_at: AtomicU64,
    start: Instant,
    checked: bool,
    detail: Mutex<Detail>,
}

#[derive(Debug)]
struct Detail {
    state: HealthState,
    last_error: Option<Arc<str>>,
    last_check: Option<SystemTime>,
    since: SystemTime,
}

/// The health of one endpoint at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthSummary {
    /// Whether it may be chosen.
    pub up: bool,
    /// Whether it is checked at all.
    pub checked: bool,
    /// What the last failed check found.
    pub last_error: Option<Arc<str>>,
    /// When the last check ended.
    pub last_check: Option<SystemTime>,
    /// Since when it has been up or down.
    pub since: SystemTime,
}

/// An endpoint went up or down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthChange {
    /// The service.
    pub service: Arc<str>,
    /// The backend.
    pub backend: Arc<str>,
    /// Its health from now on.
    pub health: HealthSummary,
}

impl Health {
    /// Down until a check passes if there is one, up otherwise.
    pub fn new(checked: bool) -> Self {
        Self {
            up: AtomicBool::new(!checked),
            up_at: AtomicU64::new(0),
            start: Instant::now(),
            checked,
            detail: Mutex::new(Detail {
                state: HealthState::unknown(),
                last_error: None,
                last_check: None,
                since: SystemTime::now(),
            }),
        }
    }

    /// Whether the endpoint may be chosen.
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// For how long it has been up at `now`, if it is up; a backend without a check is from its
    /// beginning.
    pub fn up_for(&self, now: Instant) -> Duration {
        let came = Duration::from_millis(self.up_at.load(Ordering::Relaxed));
        now.saturating_duration_since(self.start + came)
    }

    /// What changes each time it comes up.
    pub(crate) fn came_up(&self) -> u64 {
        self.up_at.load(Ordering::Relaxed)
    }

    /// All that is known.
    pub fn summary(&self) -> HealthSummary {
        let detail = self.detail.lock().unwrap_or_else(PoisonError::into_inner);
        HealthSummary {
            up: self.is_up(),
            checked: self.checked,
            last_error: detail.last_error.clone(),
            last_check: detail.last_check,
            since: detail.since,
        }
    }

    /// Takes the result of a check in and says whether the endpoint went up or down by it.
    pub fn record(
        &self,
        result: Result<(), String>,
        thresholds: Thresholds,
        now: SystemTime,
    ) -> bool {
        let mut detail = self.detail.lock().unwrap_or_else(PoisonError::into_inner);
        let change = detail.state.observe(result.is_ok(), thresholds);
        detail.last_check = Some(now);
        if let Err(error) = result {
            detail.last_error = Some(error.into());
        }
        if let Some(up) = change {
            detail.since = now;
            if up {
                let since = self.start.elapsed().as_millis() as u64;
                self.up_at.store(since, Ordering::Relaxed);
            }
            self.up.store(up, Ordering::Relaxed);
        }
        change.is_some()
    }

    #[cfg(test)]
    pub(crate) fn force(&self, up: bool) {
        self.up.store(up, Ordering::Relaxed);
    }
}

/// A running check; it stops when this is dropped.
#[derive(Debug)]
pub struct HealthChecker {
    task: AbortHandle,
}

impl HealthChecker {
    /// Starts checking `endpoint` at once, then at its interval give or take a tenth, so that a
    /// fleet does not fall into step. The interval begins when a check has ended. Nothing if it has no check. A change that finds `changes`
    /// full is not sent: whoever reads them reads the current state as well.
    pub fn start(
        runtime: &Handle,
        endpoint: Arc<Endpoint>,
        changes: Option<mpsc::Sender<HealthChange>>,
    ) -> Option<Self> {
        endpoint.check()?;
        let task = runtime.spawn(run(endpoint, changes)).abort_handle();
        Some(Self { task })
    }
}

impl Drop for HealthChecker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(endpoint: Arc<Endpoint>, changes: Option<mpsc::Sender<HealthChange>>) {
    let Some(check) = endpoint.check() else {
        return;
    };
    let thresholds =
        Thresholds { healthy: check.healthy_threshold, unhealthy: check.unhealthy_threshold };
    let mut random = seed(&endpoint);
    let prober = Prober::new(&endpoint, check).await;
    loop {
        let result = prober.check().await;
        let result = result.map_err(|error| error.to_string());
        let failure = result.as_ref().err().cloned();
        if endpoint.health().record(result, thresholds, SystemTime::now()) {
            let health = endpoint.health().summary();
            let (service, backend) = (endpoint.service(), endpoint.name());
            if let Some(error) = failure {
                tracing::warn!(%service, %backend, error, "backend went down");
            } else {
                tracing::info!(%service, %backend, "backend came up");
            }
            if let Some(changes) = &changes {
                let change = HealthChange {
                    service: Arc::clone(service),
                    backend: Arc::clone(backend),
                    health,
                };
                drop(changes.try_send(change));
            }
        }
        let up = endpoint.health().is_up();
        let interval = if up { check.interval } else { check.unhealthy_interval };
        tokio::time::sleep(jittered(interval.get(), &mut random)).await;
    }
}

/// Each endpoint of each process draws differently; nothing here needs to be unpredictable.
fn seed(endpoint: &Arc<Endpoint>) -> u64 {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(1, |now| now.as_nanos() as u64);
    (now ^ (Arc::as_ptr(endpoint) as u64)) | 1
}

fn jittered(interval: Duration, random: &mut u64) -> Duration {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    let share = (*random % 2_001) as f64 / 10_000.0;
    interval.mul_f64(0.9 + share)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_UP_THREE_DOWN: Thresholds = Thresholds { healthy: 2, unhealthy: 3 };

    fn run_of(results: &str) -> String {
        let mut state = HealthState::unknown();
        results
            .chars()
            .map(|result| match state.observe(result == '+', TWO_UP_THREE_DOWN) {
                Some(true) => 'U',
                Some(false) => 'D',
                None => '.',
            })
            .collect()
    }

    #[test]
    fn the_first_pass_is_enough() {
        assert_eq!(run_of("+"), "U");
        assert_eq!(run_of("----+"), "....U");
    }

    #[test]
    fn afterwards_only_results_in_a_row_count() {
        assert_eq!(run_of("+--+---"), "U.....D");
        assert_eq!(run_of("+---+-++"), "U..D...U");
    }

    #[test]
    fn an_unchecked_backend_is_up_and_a_checked_one_waits() {
        assert!(Health::new(false).is_up());
        assert!(!Health::new(true).is_up());
    }

    #[test]
    fn the_last_failure_is_remembered() {
        let health = Health::new(true);
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(7);
        assert!(health.record(Ok(()), TWO_UP_THREE_DOWN, SystemTime::UNIX_EPOCH));
        assert!(!health.record(Err("status 503".into()), TWO_UP_THREE_DOWN, at));
        let summary = health.summary();
        assert!(summary.up);
        assert_eq!(summary.last_error.as_deref(), Some("status 503"));
        assert_eq!(summary.last_check, Some(at));
        assert_eq!(summary.since, SystemTime::UNIX_EPOCH);
    }

    #[test]
    fn jitter_stays_within_a_tenth() {
        let mut random = 99;
        for _ in 0..1_000 {
            let drawn = jittered(Duration::from_secs(10), &mut random);
            assert!((9.0..=11.001).contains(&drawn.as_secs_f64()), "{drawn:?}");
        }
    }
}
