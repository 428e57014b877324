//! `lb-bench outage`: the control plane is killed under load, proxies restart without it, and
//! it comes back.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use clap::Args;
use http::StatusCode;
use tokio::task::AbortHandle;

use crate::{
    Common,
    backend::Backend,
    cluster::{Cluster, Proxy, entry_point, eventually, synced},
    document::Served,
    duration,
    http::{Caller, get},
    load::{self, Load, Over, timed},
    report::{Report, milliseconds, say},
    rotation::Rotation,
};

/// How often a client looks whether a proxy is ready.
const READINESS: Duration = Duration::from_millis(50);

#[derive(Debug, Args)]
pub(crate) struct Settings {
    /// How long the control plane is gone
    #[arg(long, default_value = "30s", value_parser = duration)]
    down: Duration,
    /// Requests a second, over all proxies
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    rate: u32,
    /// How many proxies there are
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=50))]
    proxies: u16,
    /// Meanwhile, restart the proxies one after the other, with SIGTERM
    #[arg(long)]
    restart_proxies: bool,
    #[command(flatten)]
    pub(crate) common: Common,
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
    let version = cluster.apply(served.document()).await?;
    let rotation = Arc::new(Rotation::new(&cluster.addresses("web").await?));
    let clients: Vec<_> = cluster
        .proxies
        .iter()
        .enumerate()
        .map(|(index, proxy)| follow_readiness(proxy, index, Arc::clone(&rotation)))
        .collect();
    let load = Load::start(rotation, settings.rate, Over::KeptConnections);
    tokio::time::sleep(Duration::from_secs(2)).await;

    cluster.control_plane.process().kill();
    let gone = Instant::now();
    say("the control plane is gone");
    let mut starts = Vec::new();
    if settings.restart_proxies {
        for (index, proxy) in cluster.proxies.iter_mut().enumerate() {
            proxy.process().terminate()?;
            let status = proxy.process().ended().await?;
            ensure!(status.success(), "proxy {index} ended with {status}");
            let first = restart(proxy).await?;
            say(&format!("proxy {index} served {:.0} ms after its start", milliseconds(first)));
            starts.push(first);
            // The client has to notice as well, before the next proxy leaves.
            tokio::time::sleep(4 * READINESS).await;
        }
    }
    tokio::time::sleep(settings.down.saturating_sub(gone.elapsed())).await;
    let was_down = gone.elapsed();
    cluster.control_plane.restart().await?;
    let back = Instant::now();
    say("the control plane is back");
    let mut caller = cluster.control_plane.caller();
    let all = synced(&mut caller, proxies, version, Duration::from_millis(10));
    let ((), resync) = timed(back, all).await?;
    let pushed = cluster.control_plane.pushed_bytes().await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let load = load.stop().await?;
    drop(clients);

    let mut report = Report::new(format!(
        "outage: {} proxies, {} requests/s, proxies {}",
        settings.proxies,
        settings.rate,
        if settings.restart_proxies { "restarted meanwhile" } else { "not restarted" }
    ));
    report.row("control plane gone", was_down.as_secs_f64(), "s");
    load.tell("requests", &mut report);
    report.quantiles("a request", &load.times(), &[]);
    for (index, first) in starts.iter().enumerate() {
        let what = format!("proxy {index}: start to first request served");
        report.target(what, milliseconds(*first), "ms", 1_000.0);
    }
    report.target("all proxies synced after the return", resync.as_secs_f64(), "s", 60.0);
    report.target("configuration pushed after the return", pushed, "bytes", 0.0);
    Ok(report)
}

/// Starts a proxy and gives the time until it served a request.
async fn restart(proxy: &mut Proxy) -> Result<Duration> {
    let start = Instant::now();
    proxy.spawn()?;
    proxy.listens().await?;
    let mut admin = Caller::new(proxy.admin);
    let served = eventually("a request is served", Duration::from_millis(2), async || {
        let address = entry_point(&mut admin, "web").await?;
        let answer = Caller::new(address).send(get(load::PATH)).await?;
        ensure!(answer.status.is_success(), "{}", answer.status);
        Ok(())
    });
    Ok(timed(start, served).await?.1)
}

struct Client(AbortHandle);

impl Drop for Client {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Leaves the proxy when it is not ready, comes back when it is.
fn follow_readiness(proxy: &Proxy, index: usize, rotation: Arc<Rotation>) -> Client {
    let mut caller = Caller::new(proxy.admin);
    let task = tokio::spawn(async move {
        loop {
            let answer = caller.send(get("/readyz")).await;
            let is_ready = answer.is_ok_and(|answer| answer.status == StatusCode::OK);
            // After a restart it listens elsewhere: its port is one that the system picked.
            let address = if is_ready { entry_point(&mut caller, "web").await.ok() } else { None };
            rotation.set(index, address);
            tokio::time::sleep(READINESS).await;
        }
    });
    Client(task.abort_handle())
}
