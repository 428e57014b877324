//! `lb-bench fleet`: many simulated proxies on one real control plane.
//!
//! Both share the machine, so times include what the simulation itself takes; the processor time
//! of each side is shown beside them.

mod connection;
mod ledger;
mod simulated;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use clap::Args;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::task::{AbortHandle, JoinSet};

use self::{
    connection::Member,
    ledger::Ledger,
    simulated::{Behaviour, Simulated},
};
use crate::{
    Common,
    cluster::{Cluster, commit, eventually, health},
    document::many_routes,
    duration,
    http::Caller,
    process::{Usage, file_limit},
    report::{Distribution, Report, milliseconds, say},
};

/// How often the control plane is asked.
const PAUSE: Duration = Duration::from_millis(5);
/// How many proxies join at once.
const JOINS: usize = 16;
/// Between two changes.
const REST: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
pub(crate) struct Settings {
    /// How many proxies are simulated
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    proxies: u32,
    /// How many commits are made
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    changes: u32,
    /// How many routes the document has
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    routes: u32,
    /// How long the control plane is gone before it comes back
    #[arg(long, default_value = "2s", value_parser = duration)]
    down: Duration,
    /// How long the fleet rests before memory is looked at
    #[arg(long, default_value = "10s", value_parser = duration)]
    idle: Duration,
    /// Let every proxy report about every second, as real ones do
    #[arg(long)]
    reports: bool,
    /// Then repeat the changes with a slow, a mute and a refusing proxy among the others
    #[arg(long)]
    misbehave: bool,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// What one change took.
struct Change {
    /// On each proxy.
    each: Vec<Duration>,
    /// On the last of them, as the control plane knows it.
    known: Duration,
}

/// A running simulation.
struct Fleet<'a> {
    settings: &'a Settings,
    ledger: Arc<Ledger>,
    tasks: JoinSet<()>,
    change: usize,
}

pub(crate) async fn run(settings: &Settings) -> Result<Report> {
    let count = settings.proxies as usize;
    ensure!(
        file_limit() > u64::from(settings.proxies) + 200,
        "{count} proxies need more open files than this system gives: {}",
        file_limit()
    );
    let mut cluster = Cluster::start(&settings.common, 0).await?;
    say("proxies join");
    let joining = Instant::now();
    let members = join(&cluster, (0..count).map(|index| format!("sim-{index:05}"))).await?;
    let joined = joining.elapsed();
    let mut odd = join(&cluster, ["slow", "mute", "refusing"].map(str::to_owned)).await?;
    let control_plane = &mut cluster.control_plane;
    // Joining leaves free memory in its heap, which connections would take without it showing.
    control_plane.process().kill();
    control_plane.restart().await?;
    let mut fleet = Fleet { settings, ledger: Arc::default(), tasks: JoinSet::new(), change: 0 };
    let mut caller = control_plane.caller();
    commit(&mut caller, many_routes(settings.routes as usize, 0)).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let alone = control_plane.process().usage()?;

    let mut report = Report::new(format!(
        "fleet: {count} proxies{}, {} routes, {} changes",
        if settings.reports { " that report" } else { "" },
        settings.routes,
        settings.changes
    ));
    report.row("joining, a proxy", milliseconds(joined) / count as f64, "ms");
    let start = Instant::now();
    for (name, member) in members {
        fleet.add(name, Behaviour::Good, member);
    }
    fleet.synced(&mut caller).await?;
    report.row("first connection of all, to synced", start.elapsed().as_secs_f64(), "s");
    say("all proxies are synced");
    tokio::time::sleep(settings.idle).await;
    let idle = control_plane.process().usage()?;
    let each = (idle.memory as f64 - alone.memory as f64) / count as f64 / 1_024.0;
    report.target("control plane memory for an idle proxy", each, "KiB", 100.0);

    let (before, own) = (idle.processor, Usage::own()?.processor);
    let changes = fleet.changes(&mut caller).await?;
    let after = control_plane.process().usage()?;
    let per_change = |spent: Duration| milliseconds(spent) / f64::from(settings.changes);
    tell(&changes, "", &mut report);
    let spent = per_change(after.processor.saturating_sub(before));
    report.row("control plane processor time for a change", spent, "ms");
    let spent = per_change(Usage::own()?.processor.saturating_sub(own));
    report.row("simulation processor time for a change", spent, "ms");

    if settings.misbehave {
        let mut misbehaving = Vec::new();
        for (name, mut member) in odd.drain(..) {
            let behaviour = match name.as_str() {
                "slow" => Behaviour::Slow,
                "mute" => Behaviour::Mute,
                _ => Behaviour::Refusing,
            };
            if behaviour == Behaviour::Slow {
                member.crawl(control_plane.sync).await?;
            }
            misbehaving.push(fleet.add(name, behaviour, member));
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        let changes = fleet.changes(&mut caller).await?;
        tell(&changes, ", beside a slow, a mute and a refusing one", &mut report);
        misbehaving.iter().for_each(AbortHandle::abort);
    }

    control_plane.process().kill();
    say("the control plane is gone");
    tokio::time::sleep(settings.down).await;
    control_plane.restart().await?;
    let back = Instant::now();
    let mut caller = control_plane.caller();
    fleet.synced(&mut caller).await?;
    report.row("control plane gone", settings.down.as_secs_f64(), "s");
    report.target("all synced after its return", back.elapsed().as_secs_f64(), "s", 10.0);
    let pushed = control_plane.pushed_bytes().await? / count as f64;
    report.target("configuration pushed to each after it", pushed, "bytes", 1_024.0);
    let memory = control_plane.process().usage()?.memory as f64 / f64::from(1 << 20);
    report.row("control plane memory at the end", memory, "MiB");
    Ok(report)
}

impl Fleet<'_> {
    fn add(&mut self, name: String, behaviour: Behaviour, member: Member) -> AbortHandle {
        let proxy = Simulated {
            name,
            behaviour,
            member,
            reports: self.settings.reports,
            ledger: Arc::clone(&self.ledger),
            running: None,
        };
        self.tasks.spawn(proxy.run())
    }

    /// Waits until the control plane knows that all proxies run the current version.
    async fn synced(&self, caller: &mut Caller) -> Result<()> {
        let wanted = self.settings.proxies as usize;
        eventually("all proxies are synced", PAUSE, async || {
            let in_sync = health(caller).await?.proxies.in_sync;
            ensure!(in_sync >= wanted, "{in_sync} of {wanted}");
            Ok(())
        })
        .await
    }

    async fn changes(&mut self, caller: &mut Caller) -> Result<Vec<Change>> {
        let mut changes = Vec::new();
        for _ in 0..self.settings.changes {
            self.change += 1;
            let document = many_routes(self.settings.routes as usize, self.change);
            let start = Instant::now();
            let version = commit(caller, document).await?.version;
            let times = self.ledger.all(version, self.settings.proxies as usize).await?;
            self.synced(caller).await?;
            let known = start.elapsed();
            let each = times.iter().map(|time| time.saturating_duration_since(start)).collect();
            changes.push(Change { each, known });
            tokio::time::sleep(REST).await;
        }
        Ok(changes)
    }
}

/// Lets proxies join, a few at a time.
async fn join(
    cluster: &Cluster,
    names: impl IntoIterator<Item = String>,
) -> Result<Vec<(String, Member)>> {
    let control_plane = &cluster.control_plane;
    stream::iter(names)
        .map(|name| async move {
            let directory = cluster.directory().join(&name);
            let mut admin = control_plane.caller();
            let member = Member::join(&name, control_plane.sync, &mut admin, &directory).await?;
            anyhow::Ok((name, member))
        })
        .buffer_unordered(JOINS)
        .try_collect()
        .await
}

fn tell(changes: &[Change], beside: &str, report: &mut Report) {
    let each = changes.iter().flat_map(|change| change.each.iter().copied()).collect();
    report.quantiles(&format!("commit to a proxy's ACK{beside}"), &each, &[]);
    let last: Distribution = changes.iter().map(|change| change.known).collect();
    let targets = [("p50", 150.0), ("p99", 1_000.0)];
    report.quantiles(&format!("commit to the last ACK{beside}"), &last, &targets);
}
