//! `lb-bench gate`: what one proxy does for a request, counted and held against a baseline.
//!
//! Instructions and system calls do not depend on how busy the machine is, so a few thousand
//! requests tell a change of some per cent. They say nothing about caches, the kernel or
//! waiting; `peers` measures those.

mod baseline;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::Args;

use self::baseline::{Baseline, Cost, Environment, judge};
use crate::{
    Common,
    counting::{Instructions, SystemCalls},
    lanes::{Lanes, Protocol},
    origin::Origin,
    process::{processors, stay_on},
    report::{Outcome, say},
    subject::Subject,
};

/// Requests before anything is counted.
const WARM_UP: u32 = 640;

#[derive(Debug, Args)]
pub(crate) struct Settings {
    /// The file with what a request may cost
    #[arg(long, value_name = "FILE", default_value = "bench/baseline.json")]
    baseline: PathBuf,
    /// Make what is counted now the baseline
    #[arg(long)]
    bless: bool,
    /// Requests that are counted, of each kind
    #[arg(long, default_value_t = 6_400, value_parser = clap::value_parser!(u32).range(320..=100_000))]
    requests: u32,
    /// The lb-data-plane that is counted, built for release; by default beside this program
    #[arg(long, value_name = "FILE")]
    data_plane: Option<PathBuf>,
    /// Leave profiles for `callgrind_annotate` in this directory, a file for each kind of request
    #[arg(long, value_name = "DIR")]
    profiles: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Puts everything on one processor. Client, proxy and origin then take turns in the same way
/// each time; with two, how many requests a proxy finds when it looks is chance.
pub(crate) fn stay() -> Result<()> {
    let last = processors()?.pop().context("there is no processor")?;
    stay_on(&[last])
}

pub(crate) async fn run(settings: &Settings) -> Result<Outcome> {
    let known = if settings.bless { None } else { Some(Baseline::read(&settings.baseline)?) };
    let profiles = settings.profiles.as_deref();
    if let Some(directory) = profiles {
        fs::create_dir_all(directory)?;
    }
    let origin = Origin::start()?;
    let document = Subject::document(&origin)?;
    let data_plane = settings.data_plane.clone();
    let mut subject = Subject::prepare(&settings.common, data_plane, 1, document).await?;
    let mut costs = count(&mut subject, &Protocol::ALL, settings.requests, profiles).await?;
    let environment = Environment::here().await;

    let Some(known) = known else {
        let baseline = Baseline { environment, requests: settings.requests, costs };
        baseline.write(&settings.baseline)?;
        let text = format!(
            "gate: recorded in {}; commit it with the change that is the reason\n{}",
            settings.baseline.display(),
            baseline.table()
        );
        return Ok(Outcome { text, json: baseline.json()?, passed: true });
    };

    // What looks too dear is counted once more: a check or a timer may have come in between.
    let too_dear = dearer(&known, &costs);
    if !too_dear.is_empty() {
        say("something costs more than it did; counting it once more");
        for (protocol, again) in count(&mut subject, &too_dear, settings.requests, profiles).await?
        {
            let first = costs.iter_mut().find(|(known, _)| *known == protocol);
            let (_, first) = first.context("counted only once")?;
            *first = first.lower(again);
        }
    }
    let judgement = judge(&known, &costs);
    let counted = Baseline { environment, requests: settings.requests, costs };
    let text = judgement.tell(&known, &counted, &settings.baseline);
    Ok(Outcome { text, json: counted.json()?, passed: judgement.passed() })
}

fn dearer(known: &Baseline, costs: &[(Protocol, Cost)]) -> Vec<Protocol> {
    let dear = |cost: &&(Protocol, Cost)| !judge(known, std::slice::from_ref(*cost)).passed();
    costs.iter().filter(dear).map(|(protocol, _)| *protocol).collect()
}

/// Counts what a request costs, first under strace, then under callgrind.
pub(crate) async fn count(
    subject: &mut Subject,
    protocols: &[Protocol],
    requests: u32,
    profiles: Option<&Path>,
) -> Result<Vec<(Protocol, Cost)>> {
    let directory = subject.directory();
    let mut system_calls = Vec::new();
    let entry = subject.launch(Vec::new()).await?;
    for protocol in protocols {
        let mut lanes = Lanes::open(*protocol, entry).await?;
        lanes.send(WARM_UP).await?;
        let counting = SystemCalls::begin(subject.process().pid()?, &directory).await?;
        let sent = lanes.send(requests).await?;
        system_calls.push(counting.end().await? as f64 / f64::from(sent));
    }
    subject.end().await?;

    let counter = Instructions::new(&directory)?;
    let entry = subject.launch(counter.prefix()).await?;
    let pid = subject.process().pid()?;
    let mut costs = Vec::new();
    for (protocol, system_calls) in protocols.iter().zip(system_calls) {
        let mut lanes = Lanes::open(*protocol, entry).await?;
        lanes.send(WARM_UP).await?;
        counter.begin(pid).await?;
        let sent = lanes.send(requests).await?;
        let profile = profiles.map(|directory| directory.join(protocol.name()));
        let instructions = counter.end(pid, profile.as_deref()).await? as f64 / f64::from(sent);
        say(&format!(
            "{}: {instructions:.0} instructions, {system_calls:.2} system calls a request",
            protocol.name()
        ));
        costs.push((*protocol, Cost { instructions, system_calls }));
    }
    subject.end().await?;
    Ok(costs)
}
