//! `lb-bench soak`: one proxy under a steady load for long, and whether its memory stays flat.
//!
//! h2load first sends as much as goes; then a share of that is sent over kept connections until
//! the time is over. Nothing is pinned: what counts is memory, and that nothing fails.

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use tokio::{process::Command, time::interval};

use crate::{
    Common,
    document::HOST,
    duration,
    origin::Origin,
    peers::generator::{Done, run_h2load},
    report::{Report, say},
    subject::Subject,
};

/// Connections, each with one request at a time.
const CONNECTIONS: u32 = 64;

/// How long as much as goes is sent.
const FULL: Duration = Duration::from_secs(5);

/// How often memory is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// The part of the time after which memory counts as settled.
const SETTLED: f64 = 0.1;

#[derive(Debug, Args)]
pub(crate) struct Settings {
    /// How long the load lasts
    #[arg(long = "for", default_value = "60s", value_parser = duration)]
    time: Duration,
    /// The load, in per cent of what the proxy can do here
    #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u32).range(1..=100))]
    load: u32,
    #[command(flatten)]
    pub(crate) common: Common,
}

pub(crate) async fn run(settings: &Settings) -> Result<Report> {
    ensure!(settings.time >= Duration::from_secs(10), "--for: at least 10s");
    let origin = Origin::start()?;
    let document = Subject::document(&origin)?;
    let mut subject = Subject::prepare(&settings.common, None, 1, document).await?;
    let entry = subject.launch(Vec::new()).await?;
    let url = format!("http://{}/s", entry.plain);
    let full = send(&url, FULL, None).await?;
    let most = full.requests as f64 / full.seconds;
    let rate = most * f64::from(settings.load) / 100.0;
    say(&format!("{most:.0} requests/s go; sending {rate:.0}"));

    let mut looks = Vec::new();
    let mut ticks = interval(LOOK);
    let sending = send(&url, settings.time, Some(rate));
    tokio::pin!(sending);
    let done = loop {
        tokio::select! {
            done = &mut sending => break done?,
            _ = ticks.tick() => looks.push(subject.process().usage()?.memory),
        }
    };
    let settled = ((looks.len() as f64 * SETTLED) as usize).min(looks.len() - 1);
    let (early, last) = (looks[settled], looks[looks.len() - 1]);
    let peak = looks.iter().copied().max().unwrap_or(last);
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let mut report = Report::new(format!(
        "soak: {} s at {} % of what goes",
        settings.time.as_secs(),
        settings.load
    ));
    report.row("as much as goes", most, "/s");
    report.row("requests sent", done.requests as f64, "");
    report.row("a second", done.requests as f64 / done.seconds, "/s");
    // h2load fails with the first of them.
    report.target("requests failed", 0.0, "", 0.0);
    report.row("memory, settled", mib(early), "MiB");
    report.row("memory, peak", mib(peak), "MiB");
    report.row("memory, last", mib(last), "MiB");
    let grown = (last as f64 / early as f64 - 1.0) * 100.0;
    report.target("memory, from settled to last", grown, "%", 5.0);
    Ok(report)
}

async fn send(url: &str, time: Duration, rate: Option<f64>) -> Result<Done> {
    let seconds = time.as_secs() as u32;
    let mut command = Command::new("h2load");
    command.args(["--h1", "-t1", "-c", &CONNECTIONS.to_string(), "-D", &seconds.to_string()]);
    if let Some(rate) = rate {
        let each = (rate / f64::from(CONNECTIONS)).max(1.0);
        command.args(["--rps", &format!("{each:.0}")]);
    }
    command.args(["-H", &format!("Host: {HOST}"), url]);
    run_h2load(command, seconds).await
}
