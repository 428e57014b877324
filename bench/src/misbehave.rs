//! `lb-bench misbehave`: one of ten backends turns bad under load, behind lb and behind others.
//!
//! What counts is how many requests clients lose or wait for over the next minute, with each
//! proxy as its documentation recommends. Every run has new backends and a new proxy, in a
//! network that the benchmark has to itself, so that packets can be lost.

mod configuration;
mod contender;
mod server;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};

use self::{
    contender::Contender,
    server::{Server, Way},
};
use crate::{
    Common, duration,
    load::{Load, Over, Tally},
    namespace,
    report::{Report, say},
    rotation::Rotation,
};

/// How many backends there are.
const BACKENDS: usize = 10;

#[derive(Debug, Args)]
pub(crate) struct Settings {
    /// Requests a second
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    rate: u32,
    /// How long a backend is bad
    #[arg(long = "for", value_name = "DURATION", default_value = "60s", value_parser = duration)]
    lasting: Duration,
    /// How long all are well before that
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    warm_up: Duration,
    /// How it turns bad
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Way::value_variants().iter().copied())]
    ways: Vec<Way>,
    /// Behind whom
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Contender::value_variants().iter().copied())]
    peers: Vec<Contender>,
    /// How often each is measured
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// Where the peers are that no distribution brings; by default `peers/` in the target folder
    #[arg(long, value_name = "DIR")]
    peers_dir: Option<PathBuf>,
    /// That this is in a network of its own
    #[arg(long, hide = true)]
    inside: bool,
    #[command(flatten)]
    pub(crate) common: Common,
}

impl Settings {
    /// Goes into a network of its own.
    pub(crate) fn enter(&self) -> Result<()> {
        if !self.inside {
            namespace::enter()?;
        }
        namespace::begin()
    }
}

/// What clients saw.
#[derive(Debug)]
struct Seen {
    way: Way,
    contender: Contender,
    tally: Tally,
}

pub(crate) async fn run(settings: &Settings) -> Result<Report> {
    let mut directory = tempfile::Builder::new().prefix("lb-misbehave-").tempdir()?;
    if settings.common.keep {
        directory.disable_cleanup(true);
        say(&format!("what each was told is kept in {}", directory.path().display()));
    }
    let mut all = Vec::new();
    for way in &settings.ways {
        for contender in &settings.peers {
            all.push(Seen { way: *way, contender: *contender, tally: Tally::default() });
        }
    }
    for round in 0..settings.rounds {
        for seen in &mut all {
            let tally = one(settings, directory.path(), seen.way, seen.contender).await?;
            say(&format!(
                "round {}, {}, {}: {} failed and {} slow of {}",
                round + 1,
                name(seen.way),
                seen.contender.name(),
                tally.failed,
                tally.slow,
                tally.sent()
            ));
            seen.tally = std::mem::take(&mut seen.tally).with(tally);
        }
    }
    Ok(report(settings, &all))
}

/// One way behind one proxy.
async fn one(
    settings: &Settings,
    directory: &Path,
    way: Way,
    contender: Contender,
) -> Result<Tally> {
    let mut servers = Vec::new();
    for _ in 0..BACKENDS {
        servers.push(Server::start().await?);
    }
    let addresses: Vec<_> = servers.iter().map(|server| server.address).collect();
    let directory = directory.join(contender.name());
    fs::create_dir_all(&directory)?;
    let folder = settings.peers_dir.as_deref();
    let running = contender.start(&addresses, &directory, folder, &settings.common).await?;
    let web = Arc::new(Rotation::new(&[running.address]));

    let warm = Load::start(Arc::clone(&web), settings.rate, Over::KeptConnections);
    tokio::time::sleep(settings.warm_up).await;
    let warm = warm.stop().await?;
    ensure!(
        warm.failed == 0,
        "{} lost {} requests while all was well",
        contender.name(),
        warm.failed
    );
    let bad = &mut servers[BACKENDS / 2];
    bad.turn(way)?;
    let load = Load::start(web, settings.rate, Over::KeptConnections);
    tokio::time::sleep(settings.lasting).await;
    let requests = bad.requests();
    let tally = load.stop().await?;
    if matches!(way, Way::Slow | Way::Failing) {
        say(&format!("{requests} requests, checks among them, reached the bad backend"));
    }
    Ok(tally)
}

fn report(settings: &Settings, all: &[Seen]) -> Report {
    let mut report = Report::new(format!(
        "misbehave: one of {BACKENDS} backends turns bad for {:.0} s, {} requests/s, {} rounds",
        settings.lasting.as_secs_f64(),
        settings.rate,
        settings.rounds
    ));
    let share = |tally: &Tally| 100.0 * tally.lost() as f64 / tally.sent().max(1) as f64;
    for way in &settings.ways {
        let seen = || all.iter().filter(|seen| seen.way == *way);
        let others = seen().filter(|seen| seen.contender != Contender::Lb);
        let best = others.map(|seen| share(&seen.tally)).reduce(f64::min);
        for Seen { contender, tally, .. } in seen() {
            let what = |what: &str| format!("{}, {}: {what}", name(*way), contender.name());
            report.row(what("failed"), tally.failed as f64, "");
            report.row(what("longer than 1 s"), tally.slow as f64, "");
            match best {
                Some(best) if *contender == Contender::Lb => {
                    report.target(what("both"), share(tally), "%", best);
                }
                _ => report.row(what("both"), share(tally), "%"),
            }
        }
    }
    report
}

fn name(way: Way) -> &'static str {
    match way {
        Way::Slow => "slow",
        Way::Failing => "failing",
        Way::Gone => "gone",
        Way::Silent => "silent",
    }
}
