//! Requests at a fixed rate, and what became of them.
//!
//! The rate does not depend on the answers, so a server that stalls is not spared, and every
//! time is taken from the moment at which the request was due. What was sent and not answered
//! with a 2xx has failed; nothing is tried a second time.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tokio::{
    task::{JoinHandle, JoinSet},
    time::{MissedTickBehavior, interval},
};
use tokio_rustls::TlsConnector;

use crate::{
    http::{Answer, Connection, get},
    report::{Distribution, Report},
    rotation::Rotation,
    shared::{self, Shared},
};

/// How many failures are told in full.
const TOLD: usize = 5;

/// A request that is answered later than this is a slow one.
const SLOW: Duration = Duration::from_secs(1);

/// What is requested.
pub(crate) const PATH: &str = "/load";

/// How the requests reach the proxies.
#[derive(Clone)]
pub(crate) enum Over {
    /// Connections that are kept.
    KeptConnections,
    /// A connection and a handshake for each request.
    NewTls(TlsConnector),
    /// HTTP/2 connections that stand, to the proxies that they lead to.
    SharedConnections(Arc<Shared>),
}

/// Is told of each answer, and when its request was sent.
pub(crate) type Watch = Arc<dyn Fn(Instant, &Answer) + Send + Sync>;

/// Requests on their way until [`Load::stop`].
#[derive(Debug)]
pub(crate) struct Load {
    tally: Arc<Mutex<Tally>>,
    task: JoinHandle<()>,
    stop: tokio::sync::watch::Sender<bool>,
}

/// What became of the requests of a stretch of time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    /// Answered with a 2xx.
    pub(crate) good: u64,
    /// Everything else.
    pub(crate) failed: u64,
    /// Of the good ones, those that took longer than a second.
    pub(crate) slow: u64,
    failures: Vec<String>,
    times: Vec<Duration>,
}

impl Load {
    /// Sends `rate` requests a second.
    pub(crate) fn start(rotation: Arc<Rotation>, rate: u32, over: Over) -> Self {
        Self::watched(rotation, rate, over, Arc::new(|_, _| {}))
    }

    /// The same, and `watch` is told of each answer.
    pub(crate) fn watched(rotation: Arc<Rotation>, rate: u32, over: Over, watch: Watch) -> Self {
        let tally = Arc::new(Mutex::default());
        let (stop, mut stopped) = tokio::sync::watch::channel(false);
        let counting = Arc::clone(&tally);
        let task = tokio::spawn(async move {
            let mut ticks = interval(Duration::from_secs(1) / rate.max(1));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let mut requests = JoinSet::new();
            loop {
                let due = tokio::select! {
                    _ = stopped.changed() => break,
                    due = ticks.tick() => due.into_std(),
                };
                let (rotation, tally) = (Arc::clone(&rotation), Arc::clone(&counting));
                let (over, watch) = (over.clone(), Arc::clone(&watch));
                requests.spawn(async move {
                    let outcome = one(&rotation, &over, &watch).await;
                    lock(&tally).count(due.elapsed(), outcome);
                });
                while requests.try_join_next().is_some() {}
            }
            requests.join_all().await;
        });
        Self { tally, task, stop }
    }

    /// What became of the requests since the start or the last cut.
    pub(crate) fn cut(&self) -> Tally {
        std::mem::take(&mut *lock(&self.tally))
    }

    /// Sends no more, waits for what is on its way, and tells what became of the rest.
    pub(crate) async fn stop(self) -> Result<Tally> {
        self.stop.send_replace(true);
        self.task.await.context("the load ended early")?;
        Ok(std::mem::take(&mut *lock(&self.tally)))
    }
}

impl Tally {
    fn count(&mut self, time: Duration, outcome: Result<()>) {
        self.times.push(time);
        match outcome {
            Ok(()) => {
                self.good += 1;
                self.slow += u64::from(time > SLOW);
            }
            Err(error) => {
                self.failed += 1;
                if self.failures.len() < TOLD {
                    self.failures.push(format!("{error:#}"));
                }
            }
        }
    }

    /// Both stretches together.
    #[must_use]
    pub(crate) fn with(mut self, other: Self) -> Self {
        self.good += other.good;
        self.failed += other.failed;
        self.slow += other.slow;
        self.failures.extend(other.failures);
        self.failures.truncate(TOLD);
        self.times.extend(other.times);
        self
    }

    /// All requests.
    pub(crate) const fn sent(&self) -> u64 {
        self.good + self.failed
    }

    /// Those that failed or took longer than a second.
    pub(crate) const fn lost(&self) -> u64 {
        self.failed + self.slow
    }

    /// The times of all requests.
    pub(crate) fn times(&self) -> Distribution {
        self.times.iter().copied().collect()
    }

    /// Adds the number of requests and failures, and tells the first of these.
    pub(crate) fn tell(&self, what: &str, report: &mut Report) {
        report.row(format!("{what} sent"), (self.good + self.failed) as f64, "");
        report.target(format!("{what} failed"), self.failed as f64, "", 0.0);
        for failure in &self.failures {
            report.note(format!("failed: {failure}"));
        }
    }
}

async fn one(rotation: &Rotation, over: &Over, watch: &Watch) -> Result<()> {
    if let Over::SharedConnections(shared) = over {
        let sender = shared.sender().await?;
        let sent = Instant::now();
        let answer = shared::get(sender, PATH).await?;
        watch(sent, &answer);
        return good(&answer);
    }
    let mut pick = rotation.pick().context("no proxy was ready")?;
    let mut connection = match over {
        Over::NewTls(tls) => Connection::open_tls(pick.address, tls).await?,
        _ => loop {
            let Some(kept) = pick.kept.take() else {
                break Connection::open(pick.address).await?;
            };
            match kept.if_open().await {
                Some(kept) => break kept,
                None => pick.kept = rotation.another(&pick),
            }
        },
    };
    let sent = Instant::now();
    let answer = connection.send(get(PATH)).await?;
    watch(sent, &answer);
    good(&answer)?;
    if matches!(over, Over::KeptConnections) && !answer.is_last {
        rotation.keep(&pick, connection);
    }
    Ok(())
}

fn good(answer: &Answer) -> Result<()> {
    if !answer.status.is_success() {
        bail!("{} {}", answer.status, String::from_utf8_lossy(&answer.body).trim_end());
    }
    Ok(())
}

/// The time since `start`, while `wait` runs to its end.
pub(crate) async fn timed<T>(
    start: Instant,
    wait: impl Future<Output = Result<T>>,
) -> Result<(T, Duration)> {
    let value = wait.await?;
    Ok((value, start.elapsed()))
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}
