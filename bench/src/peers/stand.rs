//! What stands during a run, and how one figure is measured on it.
//!
//! One origin, one lb for each number of routes with its control plane; proxies come and go, one
//! at a time.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Pid;
use tempfile::TempDir;

use super::{
    Kind, Placement, Settings,
    client::{Way, at_a_rate},
    comparison::{Comparison, Contender},
    configuration::Task,
    contenders, folder_or_usual,
    generator::{Done, POST_SCRIPT, Wrk, h2load},
    load_average,
    peer::free_entry,
    scenario::{Figure, Part, Scenario},
    usage::Tree,
};
use crate::{
    counting::{Countable, count},
    document::{HOST, Pair, in_service},
    lanes::{Entry, Protocol},
    origin::Origin,
    process::{Process, file_limit},
    report::{milliseconds, say},
    subject::Subject,
};

/// How long a proxy is under load before that is measured.
const WARM_UP: u32 = 1;
/// How long connections have been idle when memory is looked at.
const SETTLED: Duration = Duration::from_secs(1);
/// Requests that are counted, of each kind.
const COUNTED: u32 = 6_400;

/// Everything that stands during a run.
pub(super) struct Stand<'a> {
    settings: &'a Settings,
    subjects: Vec<(usize, Subject)>,
    origin: Origin,
    folder: PathBuf,
    directory: TempDir,
    certificate: PathBuf,
    key: PathBuf,
    script: PathBuf,
}

/// A proxy that serves.
struct Running {
    entry: Entry,
    pid: Pid,
    /// A peer ends when dropped; lb is ended by its subject.
    _peer: Option<Process>,
}

impl<'a> Stand<'a> {
    /// Starts what stands, and configures lb.
    pub(super) async fn prepare(settings: &'a Settings) -> Result<Self> {
        let files = 2 * u64::from(settings.connections) + 2_000;
        ensure!(
            file_limit() >= files,
            "{} connections take {files} open files, the limit is {}; choose fewer with \
             --connections",
            settings.connections,
            file_limit()
        );
        let folder = folder_or_usual(settings.peers_dir.as_deref())?;
        let directory = tempfile::Builder::new().prefix("lb-peers-").tempdir()?;
        let names = [HOST, "localhost", "127.0.0.1"].map(str::to_owned).to_vec();
        let made = rcgen::generate_simple_self_signed(names)?;
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let pair = Pair::of(&certificate, &key);
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            fs::write(&path, text).map(|()| path)
        };
        let mut stand = Self {
            settings,
            subjects: Vec::new(),
            origin: Origin::start()?,
            folder,
            certificate: write("certificate.pem", &certificate)?,
            key: write("key.pem", &key)?,
            script: write("post.lua", POST_SCRIPT)?,
            directory,
        };
        let kinds = settings.scenarios.iter().flat_map(|one| contenders(*one, &settings.peers));
        for (_, kind) in kinds {
            if let Kind::Lb(routes) = kind
                && !stand.subjects.iter().any(|(known, _)| *known == routes)
            {
                let document = in_service(routes, stand.origin.address, &pair);
                let program = settings.data_plane.clone();
                let workers = settings.workers.into();
                let subject =
                    Subject::prepare(&settings.common, program, workers, document).await?;
                stand.subjects.push((routes, subject));
            }
        }
        Ok(stand)
    }

    /// The circumstances.
    pub(super) async fn facts(&self) -> Result<Vec<(&'static str, String)>> {
        let Placement { proxy, others } = &self.settings.placement;
        let kernel = rustix::system::uname();
        let program = self.settings.data_plane.as_deref().and_then(Path::parent);
        let profile = program
            .and_then(Path::file_name)
            .map_or("release".into(), |name| name.to_string_lossy().into_owned());
        let mut versions = vec![format!("lb {} ({profile})", env!("CARGO_PKG_VERSION"))];
        for peer in &self.settings.peers {
            versions.push(format!("{} {}", peer.name(), peer.version(&self.folder).await?));
        }
        Ok(vec![
            ("measured", format!("{} rounds of {} s", self.settings.rounds, self.settings.seconds)),
            ("processors", format!("proxy on {proxy:?}, all else on {others:?}")),
            ("kernel", kernel.release().to_string_lossy().into_owned()),
            ("load", format!("{} before the first round", load_average())),
            ("rate", format!("{}/s where it is fixed", self.settings.rate)),
            ("idle", format!("{} connections", self.settings.connections)),
            ("versions", versions.join(", ")),
        ])
    }

    fn subject(&mut self, routes: usize) -> Result<&mut Subject> {
        let found = self.subjects.iter_mut().find(|(known, _)| *known == routes);
        Ok(&mut found.context("lb was not prepared")?.1)
    }

    async fn start(&mut self, kind: Kind, prefix: &[String], alone: bool) -> Result<Running> {
        match kind {
            Kind::Lb(routes) => {
                let subject = self.subject(routes)?;
                let entry = subject.launch(prefix.to_vec()).await?;
                Ok(Running { entry, pid: subject.process().pid()?, _peer: None })
            }
            Kind::Peer(peer) => {
                let task = Task {
                    directory: &self.directory.path().join(peer.name()),
                    entry: free_entry()?,
                    origin: self.origin.address,
                    certificate: &self.certificate,
                    key: &self.key,
                    workers: self.settings.workers.into(),
                    connections: self.settings.connections as usize,
                    alone,
                };
                let process = peer.start(&task, &self.folder, prefix).await?;
                Ok(Running { entry: task.entry, pid: process.pid()?, _peer: Some(process) })
            }
        }
    }

    /// One measurement of a process of its own.
    pub(super) async fn sample(
        &mut self,
        scenario: Scenario,
        kind: Kind,
    ) -> Result<Vec<(Figure, f64)>> {
        let prefix = self.settings.placement.prefix();
        let running = self.start(kind, &prefix, false).await;
        let sample = match &running {
            Ok(running) => self.measure(scenario, running).await,
            Err(error) => Err(anyhow::anyhow!("it did not start: {error:#}")),
        };
        if let Kind::Lb(routes) = kind {
            let subject = self.subject(routes)?;
            if running.is_ok() {
                if let Err(error) = subject.end().await {
                    // The next one must not find it still there.
                    subject.process().kill();
                    return sample.and(Err(error));
                }
            } else {
                subject.process().kill();
            }
        }
        sample
    }

    async fn measure(&self, scenario: Scenario, proxy: &Running) -> Result<Vec<(Figure, f64)>> {
        match scenario {
            Scenario::Latency | Scenario::LatencyTls => {
                let way = Way::to(proxy.entry, scenario == Scenario::LatencyTls)?;
                let (rate, seconds) = (self.settings.rate, self.settings.seconds);
                self.latency(way, proxy.pid, rate, Duration::from_secs(seconds.into())).await
            }
            Scenario::Memory | Scenario::MemoryTls => {
                let way = Way::to(proxy.entry, scenario == Scenario::MemoryTls)?;
                memory(way, proxy.pid, self.settings.connections as usize).await
            }
            Scenario::Counts => bail!("counts are not sampled"),
            _ => {
                self.load(scenario, proxy.entry, WARM_UP).await?;
                let tree = Tree::of(proxy.pid)?;
                let before = tree.processor()?;
                let done = self.load(scenario, proxy.entry, self.settings.seconds).await?;
                let taken = (tree.processor()? - before) as f64;
                let workers = f64::from(self.settings.workers);
                Ok(vec![
                    (Figure::Processor, taken / 1e3 / done.requests as f64),
                    (Figure::Rate, done.requests as f64 / done.seconds),
                    (Figure::Busy, taken / 1e9 / done.seconds / workers),
                ])
            }
        }
    }

    async fn load(&self, scenario: Scenario, entry: Entry, seconds: u32) -> Result<Done> {
        let (plain, tls) = (format!("http://{}", entry.plain), format!("https://{}", entry.tls));
        let kept = Wrk::default();
        match scenario {
            Scenario::Large => kept.run(&format!("{plain}/64k"), seconds).await,
            Scenario::Post => {
                let script = Some(self.script.as_path());
                Wrk { script, ..kept }.run(&format!("{plain}/s"), seconds).await
            }
            Scenario::H1Tls => kept.run(&format!("{tls}/s"), seconds).await,
            Scenario::TlsHandshake => {
                Wrk { closes: true, ..kept }.run(&format!("{tls}/s"), seconds).await
            }
            Scenario::H2Tls => h2load(&format!("{tls}/s"), seconds).await,
            _ => kept.run(&format!("{plain}/s"), seconds).await,
        }
    }

    async fn latency(
        &self,
        way: Way,
        pid: Pid,
        rate: u32,
        lasting: Duration,
    ) -> Result<Vec<(Figure, f64)>> {
        let times = tokio::task::spawn_blocking(move || {
            at_a_rate(&way, rate, Duration::from_secs(WARM_UP.into()))?;
            let tree = Tree::of(pid)?;
            let before = tree.processor()?;
            let times = at_a_rate(&way, rate, lasting)?;
            anyhow::Ok((times, tree.processor()? - before))
        });
        let (times, taken) = times.await.context("the client ended early")??;
        let microseconds = |share| 1e3 * milliseconds(times.quantile(share));
        Ok(vec![
            (Figure::Slowest, microseconds(0.99)),
            (Figure::Median, microseconds(0.5)),
            (Figure::Processor, taken as f64 / 1e3 / times.count() as f64),
        ])
    }

    /// Counts instructions and system calls, for each protocol.
    pub(super) async fn count(
        &mut self,
        place: &str,
        contender: &Contender,
        kind: Kind,
        comparison: &mut Comparison,
    ) {
        let directory = self.directory.path().join(format!("counted-{}", contender.name));
        let mut counted = Counted { stand: self, kind, running: None };
        let costs = match fs::create_dir_all(&directory) {
            Ok(()) => count(&mut counted, &directory, &Protocol::ALL, (COUNTED, None)).await,
            Err(error) => Err(error.into()),
        };
        if costs.is_err()
            && let Err(error) = counted.end().await
        {
            say(&format!("{}: {error:#}", contender.name));
        }
        for protocol in Protocol::ALL {
            let sample = match &costs {
                Ok(costs) => costs.iter().find(|(known, _)| *known == protocol).map_or_else(
                    || Err("not counted".to_owned()),
                    |(_, cost)| {
                        Ok(vec![
                            (Figure::Instructions, cost.instructions),
                            (Figure::SystemCalls, cost.system_calls),
                        ])
                    },
                ),
                Err(error) => Err(format!("{error:#}")),
            };
            if let Err(fault) = &sample {
                say(&format!("{place} counts {}: {fault}", contender.name));
            }
            comparison.add(Part::Count(protocol), contender, sample);
        }
    }
}

/// A contender that is counted: on the processors of the others, as nobody is in a hurry.
struct Counted<'a, 'b> {
    stand: &'a mut Stand<'b>,
    kind: Kind,
    running: Option<Running>,
}

impl Countable for Counted<'_, '_> {
    async fn launch(&mut self, prefix: Vec<String>) -> Result<(Entry, Pid)> {
        let running = self.stand.start(self.kind, &prefix, true).await?;
        let found = (running.entry, running.pid);
        self.running = Some(running);
        Ok(found)
    }

    async fn end(&mut self) -> Result<()> {
        self.running = None;
        if let Kind::Lb(routes) = self.kind {
            let subject = self.stand.subject(routes)?;
            if subject.process().is_running() {
                subject.end().await?;
            }
        }
        Ok(())
    }
}

/// What a connection takes while it waits, after one request.
async fn memory(way: Way, pid: Pid, connections: usize) -> Result<Vec<(Figure, f64)>> {
    let bytes = tokio::task::spawn_blocking(move || {
        // What comes with the first connection is not theirs.
        let first = way.open_many(8)?;
        let tree = Tree::of(pid)?;
        std::thread::sleep(SETTLED);
        let before = tree.memory()?;
        let opened = way.open_many(connections)?;
        std::thread::sleep(SETTLED);
        let after = tree.memory()?;
        drop((first, opened));
        anyhow::Ok(after.saturating_sub(before))
    });
    let bytes = bytes.await.context("the client ended early")??;
    Ok(vec![(Figure::Memory, bytes as f64 / 1024.0 / connections as f64)])
}
