//! `lb-bench gate`: what one proxy does for a request, counted and held against a baseline.
//!
//! Instructions and system calls do not depend on how busy the machine is, so a few thousand
//! requests tell a change of some per cent. They say nothing about caches, the kernel or
//! waiting; `peers` measures those.

mod baseline;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use self::baseline::{Baseline, Environment, judge};
use crate::{
    Common,
    counting::{Cost, count},
    lanes::Protocol,
    origin::Origin,
    process::{processors, stay_on},
    report::{Outcome, say},
    subject::Subject,
};

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
    let origin = Origin::start()?;
    let document = Subject::document(&origin)?;
    let data_plane = settings.data_plane.clone();
    let mut subject = Subject::prepare(&settings.common, data_plane, 1, document).await?;
    let directory = subject.directory();
    let mut costs =
        count(&mut subject, &directory, &Protocol::ALL, (settings.requests, None)).await?;
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
        for (protocol, again) in
            count(&mut subject, &directory, &too_dear, (settings.requests, None)).await?
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
