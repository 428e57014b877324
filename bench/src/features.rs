//! `lb-bench features`: what all of traffic management together costs a request.
//!
//! The same requests through the same pool of backends, by turns: with nothing configured beside
//! it, and with stickiness, a canary, breakers, outlier detection, retries, slow start, peak-EWMA
//! and limits. The bare proxy takes part twice; how far it is from itself says what differences
//! mean.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use clap::Args;
use http::{HeaderValue, header};

use crate::{
    Common,
    counting::{Cost, count},
    document::{Features, InService, Pair},
    http::{Caller, get},
    lanes::{Entry, Protocol},
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
/// How much dearer all features may make a request.
const MORE: f64 = 1.08;

#[derive(Debug, Args)]
pub(crate) struct Settings {
    /// How often everything is measured
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How long each measurement takes
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=60))]
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
    let mut times: [Vec<f64>; Kind::ALL.len()] = Default::default();
    for round in 0..settings.rounds as usize {
        for turn in 0..Kind::ALL.len() {
            let place = (round + turn) % Kind::ALL.len();
            let kind = Kind::ALL[place];
            let time = stand.time(settings, kind).await?;
            say(&format!("[{}/{}] {:28} {time:.2} us", round + 1, settings.rounds, kind.name()));
            times[place].push(time);
        }
    }
    let mut report = Report::new(format!(
        "features: {BACKENDS} backends and a canary, {} rounds of {} s, {} requests counted",
        settings.rounds, settings.seconds, settings.requests
    ));
    let times = times.map(median);
    let bare = f64::midpoint(times[0], times[1]);
    for (kind, time) in Kind::ALL.iter().zip(times) {
        let what = format!("{}, processor time", kind.name());
        if matches!(kind, Kind::Known | Kind::New) {
            report.target(what, time, "us", bare * MORE);
            report.row(format!("{}, beside bare", kind.name()), 100.0 * (time / bare - 1.0), "%");
        } else {
            report.row(what, time, "us");
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

    /// The processor time that a request takes, in microseconds.
    async fn time(&mut self, settings: &Settings, kind: Kind) -> Result<f64> {
        let cookie = self.cookie(kind);
        let subject = self.subject(kind);
        let entry = subject.launch(settings.placement.prefix()).await?;
        let time = timed(settings, subject, entry, cookie).await;
        subject.end().await?;
        time
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

async fn timed(
    settings: &Settings,
    subject: &mut Subject,
    entry: Entry,
    cookie: Option<HeaderValue>,
) -> Result<f64> {
    // A new backend is not to be in its slow start.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let url = format!("http://{}/s", entry.plain);
    let cookie = cookie.as_ref().map(HeaderValue::to_str).transpose()?;
    let wrk = Wrk { cookie, ..Wrk::default() };
    wrk.run(&url, WARM_UP).await?;
    let tree = Tree::of(subject.process().pid()?)?;
    let before = tree.processor()?;
    let done = wrk.run(&url, settings.seconds).await?;
    let taken = (tree.processor()? - before) as f64;
    ensure!(done.requests > 0, "nothing was measured");
    Ok(taken / 1e3 / done.requests as f64)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
