//! `lb-bench pushes`: many commits in a row, with listeners and certificates, under load.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use clap::Args;
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    Common,
    backend::Backend,
    cluster::{Cluster, commit, synced},
    document::{Pair, Served},
    duration,
    http::trusting_tls,
    load::{Load, Over},
    report::{Distribution, Report, milliseconds, say},
    rotation::Rotation,
};

/// How long the load runs before and after the pushes.
const CALM: Duration = Duration::from_secs(10);
/// Every how manyth push adds or removes a listener, and swaps the certificate.
const LISTENER: usize = 3;
const CERTIFICATE: usize = 2;
/// How many certificates take turns.
const CERTIFICATES: usize = 16;
/// How often memory is looked at.
const SAMPLE: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
pub(crate) struct Settings {
    /// Commits a second
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=200))]
    rate: u32,
    /// How long commits are made
    #[arg(long = "for", value_name = "DURATION", default_value = "60s", value_parser = duration)]
    lasting: Duration,
    /// Requests a second meanwhile, over kept connections to all proxies
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    load: u32,
    /// TLS handshakes a second meanwhile, each with one request
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    handshakes: u32,
    /// How many proxies there are
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=50))]
    proxies: u16,
    #[command(flatten)]
    pub(crate) common: Common,
}

pub(crate) async fn run(settings: &Settings) -> Result<Report> {
    let backends = [Backend::start().await?, Backend::start().await?];
    let pairs = (0..CERTIFICATES).map(|_| Pair::new()).collect::<Result<Vec<_>>>()?;
    let served = |change: usize| Served {
        backends: [backends[0].address, backends[1].address],
        change,
        extra_listener: (change / LISTENER) % 2 == 1,
        certificate: pairs.get((change / CERTIFICATE) % CERTIFICATES),
    };
    let mut cluster = Cluster::start(&settings.common, usize::from(settings.proxies)).await?;
    cluster.apply(served(0).document()).await?;
    let web = Arc::new(Rotation::new(&cluster.addresses("web").await?));
    let secure = Arc::new(Rotation::new(&cluster.addresses("websecure").await?));
    let load = Load::start(web, settings.load, Over::KeptConnections);
    let handshakes = Load::start(secure, settings.handshakes, Over::NewTls(trusting_tls()?));

    tokio::time::sleep(Duration::from_secs(2)).await;
    let warm_up = (load.cut(), handshakes.cut());
    tokio::time::sleep(CALM).await;
    let before = (load.cut(), handshakes.cut());
    let mut memory = Memory::of(&mut cluster)?;
    say("pushing");

    let mut caller = cluster.control_plane.caller();
    let count = (settings.lasting.as_secs_f64() * f64::from(settings.rate)) as usize;
    let mut ticks = interval(Duration::from_secs(1) / settings.rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (start, mut commits, mut sampled) = (Instant::now(), Vec::new(), Instant::now());
    let mut version = lb_model::Version::NONE;
    for change in 1..=count {
        ticks.tick().await;
        let sent = Instant::now();
        version = commit(&mut caller, served(change).document()).await?.version;
        commits.push(sent.elapsed());
        if sampled.elapsed() > SAMPLE {
            memory.sample(&mut cluster)?;
            sampled = Instant::now();
        }
    }
    let lasted = start.elapsed();
    let during = (load.cut(), handshakes.cut());
    let proxies = usize::from(settings.proxies);
    synced(&mut caller, proxies, version, Duration::from_millis(10)).await?;
    let settled = start.elapsed().saturating_sub(lasted);
    tokio::time::sleep(CALM).await;
    memory.sample(&mut cluster)?;
    let after = (load.stop().await?, handshakes.stop().await?);

    let mut report = Report::new(format!(
        "pushes: {} a second for {:.0} s, {} proxies, {} requests/s, {} handshakes/s",
        settings.rate,
        settings.lasting.as_secs_f64(),
        settings.proxies,
        settings.load,
        settings.handshakes
    ));
    report.row("commits", count as f64, "");
    report.row("commits a second", count as f64 / lasted.as_secs_f64(), "/s");
    report.quantiles("a commit answered", &commits.into_iter().collect::<Distribution>(), &[]);
    report.row("last commit answered to live", milliseconds(settled), "ms");
    for (when, (load, handshakes)) in [("before", &before), ("during", &during), ("after", &after)]
    {
        report.quantiles(&format!("a request, {when}"), &load.times(), &[]);
        let p99 = milliseconds(handshakes.times().quantile(0.99));
        report.row(format!("handshake and request, {when}, p99"), p99, "ms");
    }
    let all = warm_up.0.with(before.0).with(during.0).with(after.0);
    all.tell("requests", &mut report);
    let all = warm_up.1.with(before.1).with(during.1).with(after.1);
    all.tell("handshakes", &mut report);
    memory.tell(&mut report);
    Ok(report)
}

/// Resident memory of each process.
struct Memory(Vec<Resident>);

#[derive(Debug, Clone)]
struct Resident {
    process: String,
    before: u64,
    peak: u64,
    after: u64,
}

impl Memory {
    fn of(cluster: &mut Cluster) -> Result<Self> {
        let resident =
            |process: String, now| Resident { process, before: now, peak: now, after: now };
        let control_plane = cluster.control_plane.process().usage()?.memory;
        let mut all = vec![resident("the control plane".to_owned(), control_plane)];
        for (index, proxy) in cluster.proxies.iter_mut().enumerate() {
            all.push(resident(format!("proxy {index}"), proxy.process().usage()?.memory));
        }
        Ok(Self(all))
    }

    /// Looks again.
    fn sample(&mut self, cluster: &mut Cluster) -> Result<()> {
        for (known, now) in self.0.iter_mut().zip(Self::of(cluster)?.0) {
            known.after = now.after;
            known.peak = known.peak.max(now.after);
        }
        Ok(())
    }

    fn tell(&self, report: &mut Report) {
        let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        for Resident { process, before, peak, after } in &self.0 {
            for (when, bytes) in [("before", before), ("peak", peak), ("after", after)] {
                report.row(format!("memory of {process}, {when}"), mebibytes(*bytes), "MiB");
            }
        }
    }
}
