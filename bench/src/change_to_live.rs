//! `lb-bench change-to-live`: how long a commit takes until every proxy serves it, under load.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use clap::Args;
use lb_model::Version;

use crate::{
    Common,
    backend::Backend,
    cluster::{Cluster, commit, eventually, synced},
    document::Served,
    http::{Caller, get},
    load::{Load, Over, timed},
    report::{Distribution, Report},
    rotation::Rotation,
};

/// How often the control plane and the proxies are asked.
const PAUSE: Duration = Duration::from_millis(2);
/// Between two changes.
const REST: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
pub(crate) struct Settings {
    /// How many commits are made
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    changes: u32,
    /// Requests a second meanwhile, over all proxies
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    rate: u32,
    /// How many proxies there are
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=50))]
    proxies: u16,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// What one change took.
struct Change {
    committed: Duration,
    acknowledged: Duration,
    seen: Duration,
}

pub(crate) async fn run(settings: &Settings) -> Result<Report> {
    let backends = [Backend::start().await?, Backend::start().await?];
    let served = Served {
        backends: [backends[0].address, backends[1].address],
        change: 0,
        extra_listener: false,
        certificate: None,
    };
    let proxies = usize::from(settings.proxies);
    let mut cluster = Cluster::start(&settings.common, proxies).await?;
    let mut version = cluster.apply(served.document()).await?;
    let addresses = cluster.addresses("web").await?;
    let load =
        Load::start(Arc::new(Rotation::new(&addresses)), settings.rate, Over::KeptConnections);
    tokio::time::sleep(Duration::from_secs(1)).await;

    let mut changes = Vec::new();
    for change in 1..=settings.changes as usize {
        version = version.next();
        let served = Served { change, ..served };
        changes.push(one(&cluster, &addresses, &served, version).await?);
        tokio::time::sleep(REST).await;
    }
    let load = load.stop().await?;

    let times = |time: fn(&Change) -> Duration| changes.iter().map(time).collect::<Distribution>();
    let mut report = Report::new(format!(
        "change-to-live: {} changes, {} proxies, {} requests/s",
        settings.changes, settings.proxies, settings.rate
    ));
    report.quantiles("commit answered", &times(|change| change.committed), &[]);
    report.quantiles("acknowledged by all", &times(|change| change.acknowledged), &[]);
    report.quantiles("seen on all", &times(|change| change.seen), &[]);
    let live = times(|change| change.acknowledged.max(change.seen));
    report.quantiles("live: acknowledged and seen", &live, &[("p99", 300.0)]);
    report.quantiles("a request", &load.times(), &[]);
    load.tell("requests", &mut report);
    Ok(report)
}

async fn one(
    cluster: &Cluster,
    addresses: &[SocketAddr],
    served: &Served<'_>,
    version: Version,
) -> Result<Change> {
    let control_plane = &cluster.control_plane;
    let (mut committing, mut asking) = (control_plane.caller(), control_plane.caller());
    let start = Instant::now();
    let commit = async {
        let committed = commit(&mut committing, served.document()).await?;
        ensure!(committed.version == version, "{committed:?} instead of version {version}");
        Ok(())
    };
    let acknowledged = synced(&mut asking, addresses.len(), version, PAUSE);
    let path = Served::probe(served.change);
    let seen = async {
        let probes = addresses.iter().map(|address| async {
            let mut caller = Caller::new(*address);
            eventually("the change is seen", PAUSE, async || {
                let answer = caller.send(get(&path)).await?;
                ensure!(answer.status.is_success(), "{}", answer.status);
                Ok(())
            })
            .await
        });
        futures_util::future::try_join_all(probes).await
    };
    let (commit, acknowledged, seen) =
        tokio::try_join!(timed(start, commit), timed(start, acknowledged), timed(start, seen))?;
    Ok(Change { committed: commit.1, acknowledged: acknowledged.1, seen: seen.1 })
}
