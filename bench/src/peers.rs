//! `lb-bench peers`: lb beside other proxies, by turns, on the same machine in the same run.
//!
//! A proxy has its processors to itself; the origin, the generators of load and the control plane
//! share the others. Time moves from minute to minute on shared machines, so what is compared is
//! measured close together: rounds are outermost, within a round come the scenarios, within a
//! scenario all contenders, in an order that rotates. lb takes part twice; how far it is from
//! itself says what differences mean. Each measurement is of a process that just started.

mod client;
mod comparison;
mod configuration;
pub(crate) mod generator;
mod peer;
mod plot;
mod scenario;
mod stand;
pub(crate) mod usage;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};

use self::{
    comparison::{AGAIN, Comparison, Contender, OURS},
    peer::Peer,
    scenario::{Figure, Part, Scenario},
    stand::Stand,
};
use crate::{
    Common,
    process::{processors, stay_on},
    report::{Outcome, say},
};

/// Routes of lb when nothing else is said.
const ROUTES: usize = 100;
/// And when routes are what is measured.
const FEW_AND_MANY: [(usize, &str); 2] = [(10, "lb 10"), (10_000, "lb 10,000")];

#[derive(Debug, Args)]
pub(crate) struct Settings {
    /// Whom lb is measured beside
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Peer::value_variants().iter().copied())]
    peers: Vec<Peer>,
    /// What is measured
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Scenario::value_variants().iter().copied())]
    scenarios: Vec<Scenario>,
    /// How often everything is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How long each measurement takes
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: u32,
    /// Threads that serve, and processors that a proxy gets
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: u16,
    /// Requests a second of the scenarios about latency
    #[arg(long, default_value_t = 4_000, value_parser = clap::value_parser!(u32).range(100..=100_000))]
    rate: u32,
    /// Idle connections of the scenarios about memory
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(100..=50_000))]
    connections: u32,
    /// The lb-data-plane that is measured; by default beside this program
    #[arg(long, value_name = "FILE")]
    data_plane: Option<PathBuf>,
    /// Where the peers are that no distribution brings; by default `peers/` in the target folder
    #[arg(long, value_name = "DIR")]
    peers_dir: Option<PathBuf>,
    /// Also draw the comparison into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) common: Common,
    #[arg(skip)]
    placement: Placement,
}

/// Who runs where.
#[derive(Debug, Clone, Default)]
pub(crate) struct Placement {
    proxy: Vec<usize>,
    /// What is left for all else.
    pub(crate) others: Vec<usize>,
}

impl Placement {
    /// A proxy gets the first processors, all else the rest, or the last one if there is no rest.
    pub(crate) fn of(all: &[usize], workers: usize) -> Result<Self> {
        ensure!(all.len() >= 2, "this takes two processors, here is one");
        ensure!(workers <= all.len(), "here are fewer than {workers} processors");
        let (proxy, rest) = all.split_at(workers);
        let others = if rest.is_empty() { &all[all.len() - 1..] } else { rest };
        Ok(Self { proxy: proxy.to_vec(), others: others.to_vec() })
    }

    /// The command that keeps a proxy where it should be.
    pub(crate) fn prefix(&self) -> Vec<String> {
        let list: Vec<_> = self.proxy.iter().map(ToString::to_string).collect();
        vec!["taskset".to_owned(), "-c".to_owned(), list.join(",")]
    }
}

impl Settings {
    /// Leaves the processors of the proxies to them.
    pub(crate) fn stay(&mut self) -> Result<()> {
        self.placement = Placement::of(&processors()?, self.workers.into())?;
        stay_on(&self.placement.others)
    }
}

/// Whom a measurement is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// lb with so many routes.
    Lb(usize),
    Peer(Peer),
}

/// Where the program of a peer is. `folder` holds those that no distribution brings.
pub(crate) fn program_of(name: &str, folder: Option<&Path>) -> Result<PathBuf> {
    let peer = Peer::from_str(name, true).map_err(|why| anyhow::anyhow!(why))?;
    peer.program(&folder_or_usual(folder)?)
}

/// The folder of peers: beside the folder of the profile, in the target folder.
fn folder_or_usual(folder: Option<&Path>) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let usual = own.parent().and_then(Path::parent).map(|target| target.join("peers"));
    folder.map(Path::to_owned).or(usual).context("no target folder")
}

pub(crate) async fn run(settings: &Settings) -> Result<Outcome> {
    let mut stand = Stand::prepare(settings).await?;
    let busy = load_average().parse().is_ok_and(|load: f64| load > 0.5);
    if busy {
        say("this machine has other things to do; figures will move, see `lb to lb`");
    }
    let mut comparison = Comparison::under(stand.facts().await?);
    for round in 0..settings.rounds {
        for (turn, scenario) in settings.scenarios.iter().enumerate() {
            if round >= scenario.rounds(settings.rounds) {
                continue;
            }
            let mut contenders = contenders(*scenario, &settings.peers);
            let first = (round as usize + turn) % contenders.len().max(1);
            contenders.rotate_left(first);
            for (contender, kind) in contenders {
                let place = format!("[{}/{}]", round + 1, settings.rounds);
                if *scenario == Scenario::Counts {
                    stand.count(&place, &contender, kind, &mut comparison).await;
                    continue;
                }
                let part = Part::Whole(*scenario);
                let sample = stand.sample(*scenario, kind).await;
                let sample = sample.map_err(|error| format!("{error:#}"));
                let told = match &sample {
                    Ok(values) => told(values),
                    Err(fault) => format!("not valid: {fault}"),
                };
                say(&format!("{place} {:13} {:10} {told}", part.name(), contender.name));
                comparison.add(part, &contender, sample);
            }
        }
        // Whoever ends this early keeps what there is.
        write(settings, &comparison)?;
    }
    Ok(Outcome { text: comparison.text(), json: comparison.json(), passed: true })
}

fn write(settings: &Settings, comparison: &Comparison) -> Result<()> {
    let files =
        [(&settings.common.json, comparison.json()), (&settings.svg, plot::svg(comparison))];
    for (file, text) in files {
        if let Some(file) = file {
            fs::write(file, text).with_context(|| format!("could not write {}", file.display()))?;
        }
    }
    Ok(())
}

/// How many processes wanted to run, over the last minute.
fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("unknown").to_owned()
}

fn told(values: &[(Figure, f64)]) -> String {
    let each = values.iter().map(|(figure, value)| {
        let value = figure.show(*value);
        format!("{value:>8} {}", figure.heading())
    });
    each.collect::<Vec<_>>().join("  ")
}

/// Who takes part in a scenario.
fn contenders(scenario: Scenario, peers: &[Peer]) -> Vec<(Contender, Kind)> {
    let lb = |name: &str, is_reference, routes| {
        (Contender { name: name.to_owned(), is_reference }, Kind::Lb(routes))
    };
    let peers = peers.iter().filter(|peer| scenario != Scenario::Counts || peer.is_countable());
    let peers = peers.map(|peer| {
        let contender = Contender { name: peer.name().to_owned(), is_reference: true };
        (contender, Kind::Peer(*peer))
    });
    let own = match scenario {
        Scenario::Routes => {
            let each = FEW_AND_MANY.iter().enumerate();
            return each.map(|(index, (routes, name))| lb(name, index == 0, *routes)).collect();
        }
        // Counts hardly move: a second look would say nothing.
        Scenario::Counts => vec![lb(OURS, false, ROUTES)],
        _ => vec![lb(OURS, false, ROUTES), lb(AGAIN, false, ROUTES)],
    };
    own.into_iter().chain(peers).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_has_its_processors_to_itself_while_there_are_enough() {
        let place = |all: &[usize], workers| {
            Placement::of(all, workers).map(|place| (place.proxy, place.others))
        };
        assert_eq!(place(&[0, 1], 1).unwrap(), (vec![0], vec![1]));
        assert_eq!(place(&[0, 1], 2).unwrap(), (vec![0, 1], vec![1]));
        assert_eq!(place(&[2, 3, 4, 5], 2).unwrap(), (vec![2, 3], vec![4, 5]));
        assert!(place(&[0], 1).is_err() && place(&[0, 1], 3).is_err());
    }

    #[test]
    fn lb_meets_itself_and_its_peers() {
        let names = |scenario| {
            let all = contenders(scenario, &[Peer::Nginx, Peer::Envoy]).into_iter();
            all.map(|(contender, _)| (contender.name, contender.is_reference)).collect::<Vec<_>>()
        };
        let named = |name: &str, is_reference| (name.to_owned(), is_reference);
        assert_eq!(
            names(Scenario::H1),
            [
                named("lb", false),
                named("lb again", false),
                named("nginx", true),
                named("envoy", true)
            ]
        );
        assert_eq!(names(Scenario::Counts), [named("lb", false), named("nginx", true)]);
        assert_eq!(names(Scenario::Routes), [named("lb 10", true), named("lb 10,000", false)]);
    }
}
