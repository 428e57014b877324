//! `lb-bench soak`: one proxy under a steady load for long, and whether its memory stays flat.
//!
//! wrk first sends as much as goes; then each of its connections waits after each answer for so
//! long that a share of that remains, until the time is over. Nothing is pinned: what counts is
//! memory, and that nothing fails.

use std::{fs, time::Duration};

use anyhow::{Result, ensure};
use clap::Args;
use tokio::time::interval;

use crate::{
    Common, duration,
    origin::Origin,
    peers::generator::Wrk,
    report::{Report, say},
    subject::Subject,
};

/// Connections of wrk.
const CONNECTIONS: f64 = 64.0;

/// Seconds for which as much as goes is sent.
const FULL: u32 = 5;

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
    let full = Wrk::default().run(&url, FULL).await?;
    let most = full.requests as f64 / full.seconds;
    // Connections wait in whole milliseconds, so some wait and others do not.
    let wait = CONNECTIONS / most * 1e3 * (100.0 / f64::from(settings.load) - 1.0);
    let script = subject.directory().join("soak.lua");
    fs::write(
        &script,
        format!("function delay() return math.random() < {wait:.4} and 1 or 0 end"),
    )?;
    say(&format!("{most:.0} requests/s go; sending {} % of it", settings.load));

    let mut looks = Vec::new();
    let mut ticks = interval(LOOK);
    let wrk = Wrk { script: Some(&script), ..Wrk::default() };
    let sending = wrk.run(&url, settings.time.as_secs() as u32);
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
    let rate = done.requests as f64 / done.seconds;
    report.row("a second", rate, "/s");
    report.row("of what goes", rate / most * 100.0, "%");
    // A run with one of them is none.
    report.target("requests failed", 0.0, "", 0.0);
    report.row("memory, settled", mib(early), "MiB");
    report.row("memory, peak", mib(peak), "MiB");
    report.row("memory, last", mib(last), "MiB");
    let grown = (last as f64 / early as f64 - 1.0) * 100.0;
    report.target("memory, from settled to last", grown, "%", 5.0);
    Ok(report)
}
