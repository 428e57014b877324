//! `lb-bench objects`: one change in a configuration of ten thousand routes and as many backends,
//! on lb and on proxies that read files, under load.
//!
//! What counts is when the change answers, what it costs, and what it loses.

mod configuration;
mod peers;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use lb_model::{Bundle, Config, Version, api::ProxyList};

use self::{configuration::Many, peers::Reloading};
use crate::{
    Common,
    backend::Backend,
    cluster::{Cluster, commit, eventually, synced},
    http::{Caller, get},
    load::{Load, Over, timed},
    process::Usage,
    report::{Distribution, Report, milliseconds, say},
    rotation::Rotation,
};

/// How often it is asked whether a change answers.
const PAUSE: Duration = Duration::from_millis(2);
/// Between two changes.
const REST: Duration = Duration::from_millis(200);
/// How long the load runs alone, to know what it costs.
const ALONE: Duration = Duration::from_secs(3);

#[derive(Debug, Args)]
pub(crate) struct Settings {
    /// How many routes there are, and how many backends
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    objects: u32,
    /// How many changes are made
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    changes: u32,
    /// Requests a second meanwhile
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    rate: u32,
    /// How many proxies of lb there are
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=50))]
    proxies: u16,
    /// What reloads the same beside it, separated by commas; nothing with --peers ''
    #[arg(long, value_name = "NAMES", default_value = "nginx,traefik")]
    peers: String,
    /// Where the peers are that no distribution brings; by default `peers/` in the target folder
    #[arg(long, value_name = "DIR")]
    peers_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// What changes under load did.
#[derive(Debug, Default)]
struct Changes {
    answered: Vec<Duration>,
    /// Processor time of all processes together, without that of the load, for each change.
    processor: f64,
    /// Of the proxies alone.
    proxies: f64,
}

pub(crate) async fn run(settings: &Settings) -> Result<Report> {
    let backend = Backend::start().await?;
    let many = Many { objects: settings.objects as usize, backend: backend.address };
    let mut report = Report::new(format!(
        "objects: {} routes, {} backends, {} changes, {} requests/s",
        settings.objects, settings.objects, settings.changes, settings.rate
    ));
    parse(&many, &mut report)?;
    Box::pin(lb(settings, &many, &mut report)).await?;
    for name in settings.peers.split(',').filter(|name| !name.is_empty()) {
        say(&format!("{name} reloads"));
        let peer = Reloading::start(name, &many, settings.peers_dir.as_deref()).await?;
        let (changes, load) = Box::pin(reloads(settings, peer)).await?;
        tell(name, &changes, &mut report);
        load.tell(&format!("{name}: requests"), &mut report);
    }
    Ok(report)
}

/// How long one thread takes to read and check all of it.
fn parse(many: &Many, report: &mut Report) -> Result<()> {
    let bundle = Bundle::of_text("lb.yaml", &many.document(0));
    let mut times = Vec::new();
    for _ in 0..5 {
        let start = Instant::now();
        let parsed = Config::parse(&bundle, 0);
        times.push(start.elapsed());
        let parsed = parsed.ok().context("the document is not valid")?;
        ensure!(parsed.config.routes.len() > many.objects, "routes are missing");
    }
    let times: Distribution = times.into_iter().collect();
    let median = milliseconds(times.quantile(0.5));
    report.target("lb: parse and validate, median of 5", median, "ms", 1_000.0);
    Ok(())
}

async fn lb(settings: &Settings, many: &Many, report: &mut Report) -> Result<()> {
    say("lb changes");
    let proxies = usize::from(settings.proxies);
    let mut cluster = Cluster::start(&settings.common, proxies).await?;
    let mut version = cluster.apply(many.document(0)).await?;
    let addresses = cluster.addresses("web").await?;

    // What applying costs a proxy is measured without load, so that nothing else is in it.
    let pushed = cluster.control_plane.pushed_bytes().await?;
    let before = spent(&cluster)?;
    for change in 1..=settings.changes as usize {
        version = version.next();
        let document = many.document(change);
        committed(&cluster, &addresses, document, change, version).await?;
    }
    let after = spent(&cluster)?;
    let pushed = cluster.control_plane.pushed_bytes().await? - pushed;
    let count = f64::from(settings.changes);
    let applying = (after.proxies - before.proxies) / count / proxies as f64;
    let bytes = pushed / count / proxies as f64;

    let rotation = Arc::new(Rotation::new(&addresses));
    let load = Load::start(rotation, settings.rate, Over::KeptConnections);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let alone = spent(&cluster)?;
    tokio::time::sleep(ALONE).await;
    let start = spent(&cluster)?;
    let each_second = start.since(&alone);
    let (mut answered, mut active) = (Vec::new(), Vec::new());
    let began = Instant::now();
    for change in 1..=settings.changes as usize {
        let change = settings.changes as usize + change;
        version = version.next();
        let document = many.document(change);
        answered.push(committed(&cluster, &addresses, document, change, version).await?);
        active.push(propagation(&cluster).await?);
        tokio::time::sleep(REST).await;
    }
    let (took, end) = (began.elapsed(), spent(&cluster)?);
    let load = load.stop().await?;
    let seconds = took.as_secs_f64() / ALONE.as_secs_f64();
    let total = end.since(&start);
    let changes = Changes {
        answered,
        processor: (total.all() - each_second.all() * seconds) / count,
        proxies: (total.proxies - each_second.proxies * seconds) / count / proxies as f64,
    };
    let active: Distribution = active.into_iter().collect();
    report.quantiles("lb: commit to active on all", &active, &[("p99", 300.0)]);
    report.target("lb: bytes pushed to a proxy for a change", bytes, "", 4_096.0);
    report.target("lb: processor time of a proxy for a change", applying * 1e3, "ms", 20.0);
    tell("lb", &changes, report);
    report.row("lb: of it in each proxy, under load", changes.proxies * 1e3, "ms");
    load.tell("lb: requests", report);
    Ok(())
}

/// Commits a document and waits until every proxy answers by it; the time until then.
async fn committed(
    cluster: &Cluster,
    addresses: &[SocketAddr],
    document: String,
    change: usize,
    version: Version,
) -> Result<Duration> {
    let control_plane = &cluster.control_plane;
    let (mut committing, mut asking) = (control_plane.caller(), control_plane.caller());
    let start = Instant::now();
    let commit = async {
        let committed = commit(&mut committing, document).await?;
        ensure!(committed.version == version, "{committed:?} instead of version {version}");
        Ok(())
    };
    let seen = async {
        let seen = addresses.iter().map(|address| answers(*address, change));
        futures_util::future::try_join_all(seen).await
    };
    let (_, seen) = tokio::try_join!(timed(start, commit), timed(start, seen))?;
    synced(&mut asking, addresses.len(), version, PAUSE).await?;
    Ok(seen.1)
}

/// Waits until a change answers at an address.
async fn answers(address: SocketAddr, change: usize) -> Result<()> {
    let path = Many::probe(change);
    let mut caller = Caller::new(address);
    eventually("the change answers", PAUSE, async || {
        let answer = caller.send(get(&path)).await?;
        ensure!(answer.status.is_success(), "{}", answer.status);
        Ok(())
    })
    .await
}

/// From the commit of the current version to the last acknowledgement, by the control plane.
async fn propagation(cluster: &Cluster) -> Result<Duration> {
    let list = cluster.control_plane.caller().get("/api/v1/proxies").await?;
    let list: ProxyList = serde_json::from_slice(&list)?;
    let times = list.proxies.iter().filter_map(|proxy| proxy.propagation_ms);
    let last = times.fold(0.0, f64::max);
    ensure!(last > 0.0, "no proxy has acknowledged");
    Ok(Duration::from_secs_f64(last / 1_000.0))
}

/// Processor time in seconds.
#[derive(Debug, Clone, Copy)]
struct Spent {
    control_plane: f64,
    proxies: f64,
}

impl Spent {
    fn since(&self, before: &Self) -> Self {
        Self {
            control_plane: self.control_plane - before.control_plane,
            proxies: self.proxies - before.proxies,
        }
    }

    fn all(&self) -> f64 {
        self.control_plane + self.proxies
    }
}

fn spent(cluster: &Cluster) -> Result<Spent> {
    let seconds = |usage: Usage| usage.processor.as_secs_f64();
    let mut proxies = 0.0;
    for proxy in &cluster.proxies {
        proxies += seconds(proxy.usage()?);
    }
    Ok(Spent { control_plane: seconds(cluster.control_plane.usage()?), proxies })
}

/// Changes the file of a peer under load.
async fn reloads(
    settings: &Settings,
    mut peer: Reloading,
) -> Result<(Changes, crate::load::Tally)> {
    let rotation = Arc::new(Rotation::new(&[peer.address]));
    let load = Load::start(rotation, settings.rate, Over::KeptConnections);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let alone = peer.spent()?;
    tokio::time::sleep(ALONE).await;
    let start = peer.spent()?;
    let each_second = (start - alone) / ALONE.as_secs_f64();
    let began = Instant::now();
    let mut answered = Vec::new();
    for change in 1..=settings.changes as usize {
        let start = Instant::now();
        peer.change(change)?;
        answers(peer.address, change).await?;
        answered.push(start.elapsed());
        tokio::time::sleep(REST).await;
    }
    let total = peer.spent()? - start - each_second * began.elapsed().as_secs_f64();
    let load = load.stop().await?;
    let processor = total / f64::from(settings.changes);
    Ok((Changes { answered, processor, proxies: 0.0 }, load))
}

fn tell(who: &str, changes: &Changes, report: &mut Report) {
    let answered: Distribution = changes.answered.iter().copied().collect();
    report.quantiles(&format!("{who}: until the change answers"), &answered, &[]);
    let what = format!("{who}: processor time for a change, all processes");
    report.row(what, changes.processor * 1e3, "ms");
}
