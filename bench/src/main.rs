//! `lb-bench`: what the product does under load, measured on the real binaries.
//!
//! Everything runs on this machine's loopback and is bounded in count and time. Whatever was
//! started ends with the benchmark, also when it fails or is interrupted.

mod backend;
mod change_to_live;
mod cluster;
mod counting;
mod document;
mod features;
mod fleet;
mod gate;
mod http;
mod lanes;
mod load;
mod mirror;
mod misbehave;
mod namespace;
mod objects;
mod origin;
mod outage;
mod peers;
mod process;
mod pushes;
mod report;
mod rotation;
mod shared;
mod soak;
mod subject;
mod switch;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::report::Outcome;

/// Measures what lb does under load, on the real binaries.
#[derive(Debug, Parser)]
#[command(name = "lb-bench", version, args_override_self = true)]
struct Arguments {
    #[command(subcommand)]
    benchmark: Benchmark,
}

#[derive(Debug, Subcommand)]
enum Benchmark {
    /// From a commit to its service on every proxy, under load
    ChangeToLive(change_to_live::Settings),
    /// The control plane is killed under load, and comes back
    Outage(outage::Settings),
    /// Many commits in a row, with listeners and certificates, under load
    Pushes(pushes::Settings),
    /// What clients notice of mirrors that are dead, hang or fail
    Mirror(mirror::Settings),
    /// One of ten backends turns bad, behind lb and behind other proxies
    Misbehave(misbehave::Settings),
    /// From one slot to the other and back, under load
    Switch(switch::Settings),
    /// What all of traffic management costs a request
    Features(features::Settings),
    /// A steady load on one proxy for long
    Soak(soak::Settings),
    /// A large fleet of simulated proxies on one control plane
    Fleet(fleet::Settings),
    /// One change among ten thousand routes, beside proxies that reload files
    Objects(objects::Settings),
    /// Instructions and system calls of a request, held against a baseline
    Gate(gate::Settings),
    /// lb beside other proxies, by turns, on the same machine
    Peers(Box<peers::Settings>),
}

/// What every benchmark is told.
#[derive(Debug, Clone, Args)]
struct Common {
    /// Where lb-control-plane and lb-data-plane are; by default beside this program
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,

    /// Also write the numbers into this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Keep the directory with the logs of the processes
    #[arg(long)]
    keep: bool,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            report::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs a benchmark; false when what it found must not be.
fn run(mut arguments: Arguments) -> Result<bool> {
    process::raise_file_limit()?;
    // Before there are other threads: these stay where this one is.
    match &mut arguments.benchmark {
        Benchmark::Gate(_) => gate::stay()?,
        Benchmark::Peers(settings) => settings.stay()?,
        Benchmark::Features(settings) => settings.stay()?,
        Benchmark::Misbehave(settings) => settings.enter()?,
        _ => {}
    }
    // Fails only when there is one already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        // A benchmark that is dropped ends its processes.
        let (outcome, json) = tokio::select! {
            done = measure(arguments.benchmark) => done?,
            _ = interrupt.recv() => bail!("interrupted"),
            _ = terminate.recv() => bail!("told to end"),
        };
        report::out(&outcome.text);
        if let Some(file) = json {
            std::fs::write(&file, &outcome.json)
                .with_context(|| format!("could not write {}", file.display()))?;
        }
        Ok(outcome.passed)
    })
}

async fn measure(benchmark: Benchmark) -> Result<(Outcome, Option<PathBuf>)> {
    Ok(match benchmark {
        Benchmark::ChangeToLive(settings) => {
            (Box::pin(change_to_live::run(&settings)).await?.into(), settings.common.json)
        }
        Benchmark::Outage(settings) => {
            (Box::pin(outage::run(&settings)).await?.into(), settings.common.json)
        }
        Benchmark::Pushes(settings) => {
            (Box::pin(pushes::run(&settings)).await?.into(), settings.common.json)
        }
        Benchmark::Mirror(settings) => {
            (Box::pin(mirror::run(&settings)).await?.into(), settings.common.json)
        }
        Benchmark::Misbehave(settings) => {
            (Box::pin(misbehave::run(&settings)).await?.into(), settings.common.json)
        }
        Benchmark::Switch(settings) => {
            (Box::pin(switch::run(&settings)).await?.into(), settings.common.json)
        }
        Benchmark::Features(settings) => {
            (Box::pin(features::run(&settings)).await?.into(), settings.common.json)
        }
        Benchmark::Soak(settings) => {
            (Box::pin(soak::run(&settings)).await?.into(), settings.common.json)
        }
        Benchmark::Fleet(settings) => {
            (Box::pin(fleet::run(&settings)).await?.into(), settings.common.json)
        }
        Benchmark::Objects(settings) => {
            (Box::pin(objects::run(&settings)).await?.into(), settings.common.json)
        }
        Benchmark::Peers(settings) => {
            (Box::pin(peers::run(&settings)).await?, settings.common.json)
        }
        Benchmark::Gate(settings) => (Box::pin(gate::run(&settings)).await?, settings.common.json),
    })
}

/// A duration as the configuration language writes it.
fn duration(text: &str) -> Result<Duration, String> {
    match lb_model::value::Duration::parse(text) {
        Ok(duration) => Ok(duration.get()),
        Err(error) => Err(format!("{error}; {}", error.help.as_deref().unwrap_or_default())),
    }
}
