//! `lb-bench features`: what all of traffic management together costs a request.
//!
//! The same requests through the same pool of backends, by turns: with nothing configured beside
//! it, and with stickiness, a canary, breakers, outlier detection, retries, slow start, peak-EWMA
//! and limits. The bare proxy takes part twice; how far it is from itself says what differences
//! mean.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use http::{HeaderValue, header};

use crate::{
    Common,
    counting::{Cost, count},
    document::{Features, InService, Pair},
    http::{Caller, get},
    lanes::Protocol,
    origin::Origin,
    peers::{Placement, generator::Wrk, usage::Tree},
    process::{processors, stay_on},
    report::{Report, say},
    subject::Subject,
};

/// How many backends the pool has.
const BACKENDS: usize = 10;
/// How many routes there are.
const ROUTES: usize = 100;
/// How long a proxy is under load before it is measured, in seconds.
const WARM_UP: u32 = 2;
/// How much dearer all features may make a request, in percent.
const MORE: f64 = 8.0;

#[derive(Debug, Args)]
pub(crate) struct Settings {
    /// How often everything is measured
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How long each measurement takes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: u32,
    /// Requests that are counted
    #[arg(long, default_value_t = 6_400, value_parser = clap::value_parser!(u32).range(320..=100_000))]
    requests: u32,
    /// The lb-data-plane that is measured; by default beside this program
    #[arg(long, value_name = "FILE")]
    data_plane: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) common: Common,
    #[arg(skip)]
    placement: Placement,
}

impl Settings {
    /// Leaves a processor to the proxy.
    pub(crate) fn stay(&mut self) -> Result<()> {
        self.placement = Placement::of(&processors()?, 1)?;
        stay_on(&self.placement.others)
    }
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bare,
    BareAgain,
    /// Everything is configured, and each request brings the cookie.
    Known,
    /// Everything is configured, and each request is that of a new client.
    New,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Bare, Self::BareAgain, Self::Known, Self::New];

    const fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::BareAgain => "bare again",
            Self::Known => "all features, known client",
            Self::New => "all features, new client",
        }
    }
}

/// Both proxies, and the cookie.
struct Stand {
    bare: Subject,
    featured: Subject,
    cookie: HeaderValue,
}

pub(crate) async fn run(settings: &Settings) -> Result<Report> {
    let origin = Origin::start()?;
    let mut stand = Stand::prepare(settings, &origin).await?;
    let mut rounds = Vec::new();
    for round in 0..settings.rounds as usize {
        let times = stand.round(settings, round).await?;
        for (kind, time) in Kind::ALL.iter().zip(times) {
            say(&format!("[{}/{}] {:28} {time:.2} us", round + 1, settings.rounds, kind.name()));
        }
        rounds.push(times);
    }
    let mut report = Report::new(format!(
        "features: {BACKENDS} backends and a canary, {} rounds of {} s, {} requests counted",
        settings.rounds, settings.seconds, settings.requests
    ));
    for (place, kind) in Kind::ALL.iter().enumerate() {
        let time = median(rounds.iter().map(|times| times[place]));
        report.row(format!("{}, processor time", kind.name()), time, "us");
        // Within a round, for the machine does not stay the same.
        let more = |times: &[f64; Kind::ALL.len()]| {
            let bare = f64::midpoint(times[0], times[1]);
            100.0 * (times[place] / bare - 1.0)
        };
        let more = median(rounds.iter().map(more));
        let what = format!("{}, beside bare", kind.name());
        match kind {
            Kind::Bare => {}
            Kind::BareAgain => report.row(what, more, "%"),
            Kind::Known | Kind::New => report.target(what, more, "%", MORE),
        }
    }
    for kind in [Kind::Bare, Kind::Known, Kind::New] {
        for (protocol, cost) in stand.count(settings, kind).await? {
            let what = |what: &str| format!("{}, {}, {what}", kind.name(), protocol.name());
            report.row(what("instructions"), cost.instructions.round(), "");
            report.row(what("system calls"), cost.system_calls, "");
        }
    }
    Ok(report)
}

impl Stand {
    async fn prepare(settings: &Settings, origin: &Origin) -> Result<Self> {
        let pair = Pair::new()?;
        let document = |features| {
            let service = InService { routes: ROUTES, backends: BACKENDS, features };
            service.document(origin.address, &pair)
        };
        let prepare = |features| {
            let program = settings.data_plane.clone();
            Subject::prepare(&settings.common, program, 1, document(features))
        };
        let (bare, mut featured) = (prepare(Features::None).await?, prepare(Features::All).await?);
        let entry = featured.launch(Vec::new()).await?;
        let answer = Caller::new(entry.plain).send(get("/s")).await?;
        featured.end().await?;
        let cookie = answer.fields.get(header::SET_COOKIE).context("no cookie was set")?;
        let cookie = cookie.to_str()?.split(';').next().unwrap_or_default();
        Ok(Self { bare, featured, cookie: HeaderValue::from_str(cookie)? })
    }

    fn subject(&mut self, kind: Kind) -> &mut Subject {
        match kind {
            Kind::Bare | Kind::BareAgain => &mut self.bare,
            Kind::Known | Kind::New => &mut self.featured,
        }
    }

    /// What the clients bring. Fields that nobody looks at cost as well, so those of the bare
    /// proxy bring the cookie too.
    fn cookie(&self, kind: Kind) -> Option<HeaderValue> {
        (kind != Kind::New).then(|| self.cookie.clone())
    }

    /// The processor time that a request of each kind takes, in microseconds, of two proxies that
    /// run side by side and wait for each other's turn.
    async fn round(&mut self, settings: &Settings, round: usize) -> Result<[f64; Kind::ALL.len()]> {
        let mut entries = Vec::new();
        for subject in [&mut self.bare, &mut self.featured] {
            entries.push(subject.launch(settings.placement.prefix()).await?.plain);
        }
        let cookie = self.cookie.to_str()?;
        // Fields that nobody looks at cost as well, so those of the bare proxy are as long.
        let load = |kind: Kind, seconds| {
            let is_bare = matches!(kind, Kind::Bare | Kind::BareAgain);
            let url = format!("http://{}/s", entries[usize::from(!is_bare)]);
            let cookie = (kind != Kind::New).then_some(cookie);
            async move { Wrk { cookie, ..Wrk::default() }.run(&url, seconds).await }
        };
        load(Kind::Bare, WARM_UP).await?;
        load(Kind::Known, WARM_UP).await?;
        let trees =
            [Tree::of(self.bare.process().pid()?)?, Tree::of(self.featured.process().pid()?)?];
        let mut times = [0.0; Kind::ALL.len()];
        for turn in 0..times.len() {
            let place = (round + turn) % times.len();
            let kind = Kind::ALL[place];
            let tree = &trees[usize::from(place >= 2)];
            let before = tree.processor()?;
            let done = load(kind, settings.seconds).await?;
            times[place] = (tree.processor()? - before) as f64 / 1e3 / done.requests as f64;
        }
        self.bare.end().await?;
        self.featured.end().await?;
        Ok(times)
    }

    async fn count(&mut self, settings: &Settings, kind: Kind) -> Result<Vec<(Protocol, Cost)>> {
        let cookie = self.cookie(kind);
        let subject = self.subject(kind);
        let directory = subject.directory().join(kind.name().replace(' ', "-"));
        std::fs::create_dir_all(&directory)?;
        say(kind.name());
        count(subject, &directory, &Protocol::ALL, (settings.requests, cookie)).await
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.len().saturating_sub(1) / 2, values.len() / 2);
    match (values.get(low), values.get(high)) {
        (Some(low), Some(high)) => f64::midpoint(*low, *high),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_is_between_two() {
        assert!((median([3.0, 1.0, 2.0].into_iter()) - 2.0).abs() < 1e-9);
        assert!((median([4.0, 1.0, 2.0, 3.0].into_iter()) - 2.5).abs() < 1e-9);
        assert!(median(std::iter::empty()).abs() < 1e-9);
    }
}
