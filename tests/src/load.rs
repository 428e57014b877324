//! Requests at a fixed rate, and what became of them.
//!
//! The rate does not depend on the answers, so a server that stalls is not spared. Connections
//! are kept and used again, and given up only when the server says so: every reset and every
//! silent close is a failure, as it would be for a client that cannot repeat its request.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::{MissedTickBehavior, interval},
};

use crate::client::{Connection, Response};

/// The most failures that are kept in full.
const SHOWN: usize = 10;

/// Requests on their way until [`Load::stop`].
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    targets: Vec<SocketAddr>,
    host: String,
    path: String,
    idle: Mutex<Vec<(usize, Connection)>>,
    report: Mutex<Report>,
}

/// What became of the requests.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Answered with a success.
    pub good: u64,
    /// Everything else.
    pub failed: u64,
    /// What happened, for the first few.
    pub failures: Vec<String>,
    /// From the request to the end of the response.
    pub latencies: Vec<Duration>,
}

impl Report {
    /// The latency that this share of the requests kept within.
    pub fn quantile(&self, share: f64) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let at = (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
        sorted.get(at).copied().unwrap_or_default()
    }

    /// Ends the test unless requests were made and all of them went well.
    pub fn assert_clean(&self) {
        assert!(self.good > 0, "there was no load: {self:?}");
        assert_eq!(self.failed, 0, "of {} requests: {:#?}", self.good + self.failed, self.failures);
    }
}

impl Load {
    /// Sends `rate` requests a second, by turns to each of `targets`.
    pub fn start(targets: Vec<SocketAddr>, host: &str, path: &str, rate: u32) -> Self {
        let shared = Arc::new(Shared {
            targets,
            host: host.to_owned(),
            path: path.to_owned(),
            idle: Mutex::default(),
            report: Mutex::default(),
        });
        let (stop, mut stopped) = watch::channel(false);
        let driven = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            let mut ticks = interval(Duration::from_secs(1) / rate);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let mut requests = JoinSet::new();
            for turn in 0.. {
                tokio::select! {
                    _ = stopped.changed() => break,
                    _ = ticks.tick() => {}
                }
                requests.spawn(one(Arc::clone(&driven), turn % driven.targets.len()));
                while requests.try_join_next().is_some() {}
            }
            requests.join_all().await;
        });
        Self { shared, stop, task }
    }

    /// How many requests went well so far.
    pub fn good(&self) -> u64 {
        lock(&self.shared.report).good
    }

    /// Waits until `count` more requests went well.
    pub async fn good_more(&self, count: u64) {
        let until = self.good() + count;
        crate::eventually::eventually(&format!("{count} more requests went well"), async || {
            let report = lock(&self.shared.report).clone();
            if report.good >= until { Ok(()) } else { Err(format!("{:?}", report.failures)) }
        })
        .await;
    }

    /// Sends no more, waits for what is on its way, and tells what became of it.
    pub async fn stop(self) -> Report {
        self.stop.send_replace(true);
        self.task.await.expect("the load runs to its end");
        lock(&self.shared.report).clone()
    }
}

async fn one(shared: Arc<Shared>, target: usize) {
    let kept = {
        let mut idle = lock(&shared.idle);
        let at = idle.iter().rposition(|(each, _)| *each == target);
        at.map(|at| idle.swap_remove(at).1)
    };
    let (was_kept, started) = (kept.is_some(), Instant::now());
    let mut failure = None;
    match exchange(kept, shared.targets[target], &shared.host, &shared.path).await {
        Ok((connection, response)) if (200..400).contains(&response.status) => {
            if !response.is_last() {
                lock(&shared.idle).push((target, connection));
            }
        }
        Ok((_, response)) => failure = Some(format!("{} {}", response.status, response.text())),
        Err(error) => failure = Some(format!("{error} (kept connection: {was_kept})")),
    }
    let mut report = lock(&shared.report);
    report.latencies.push(started.elapsed());
    match failure {
        None => report.good += 1,
        Some(failure) => {
            report.failed += 1;
            if report.failures.len() < SHOWN {
                report.failures.push(failure);
            }
        }
    }
}

async fn exchange(
    kept: Option<Connection>,
    target: SocketAddr,
    host: &str,
    path: &str,
) -> std::io::Result<(Connection, Response)> {
    let mut connection = match kept {
        Some(connection) => connection,
        None => Connection::open(target).await?,
    };
    let response = connection.get(host, path).await?;
    Ok((connection, response))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
