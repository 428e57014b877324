//! `lb-bench mirror`: what clients notice of mirrors that are dead, hang or fail.
//!
//! Stretches without a mirror and with one of each kind take turns, so that whatever else the
//! machine does falls on all of them. Every request is copied.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use clap::Args;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
};

use crate::{
    Common,
    backend::Backend,
    cluster::Cluster,
    duration,
    load::{Load, Over, Tally},
    report::{Distribution, Report, milliseconds, say},
    rotation::Rotation,
};

/// How long a stretch settles before it is measured.
const SETTLE: Duration = Duration::from_secs(1);

/// How much longer the slowest hundredth may take with a mirror than without.
const MORE: f64 = 1.05;

#[derive(Debug, Args)]
pub(crate) struct Settings {
    /// Requests a second
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    load: u32,
    /// How long each stretch is measured
    #[arg(long = "for", value_name = "DURATION", default_value = "10s", value_parser = duration)]
    lasting: Duration,
    /// How many stretches there are of each kind
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// A server that is no good.
struct Bad {
    address: SocketAddr,
    task: Option<AbortHandle>,
}

/// What the server does with whoever connects.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Dead,
    Hanging,
    Failing,
}

/// What was measured with one kind of mirror.
struct Stretch {
    name: &'static str,
    mirror: Option<SocketAddr>,
    tally: Tally,
    memory: u64,
}

pub(crate) async fn run(settings: &Settings) -> Result<Report> {
    let backend = Backend::start().await?;
    let (dead, hanging, failing) = (
        Bad::start(Manner::Dead).await?,
        Bad::start(Manner::Hanging).await?,
        Bad::start(Manner::Failing).await?,
    );
    let stretch = |name, mirror: Option<&Bad>| Stretch {
        name,
        mirror: mirror.map(|mirror| mirror.address),
        tally: Tally::default(),
        memory: 0,
    };
    let mut stretches = [
        stretch("without a mirror", None),
        stretch("with a dead one", Some(&dead)),
        stretch("with a hanging one", Some(&hanging)),
        stretch("with a failing one", Some(&failing)),
    ];
    let mut cluster = Cluster::start(&settings.common, 1).await?;
    for round in 0..settings.rounds {
        for stretch in &mut stretches {
            say(&format!("round {}, {}", round + 1, stretch.name));
            cluster.apply(document(backend.address, stretch.mirror)).await?;
            let web = Arc::new(Rotation::new(&cluster.addresses("web").await?));
            let load = Load::start(web, settings.load, Over::KeptConnections);
            tokio::time::sleep(SETTLE).await;
            load.cut();
            let end = Instant::now() + settings.lasting;
            while Instant::now() < end {
                tokio::time::sleep(Duration::from_millis(100)).await;
                for proxy in &mut cluster.proxies {
                    stretch.memory = stretch.memory.max(proxy.process().usage()?.memory);
                }
            }
            let tally = std::mem::take(&mut stretch.tally);
            stretch.tally = tally.with(load.stop().await?);
        }
    }
    Ok(report(settings, &stretches))
}

fn report(settings: &Settings, stretches: &[Stretch]) -> Report {
    let mut report = Report::new(format!(
        "mirror: {} requests/s, {} rounds of {:.0} s each, all copied",
        settings.load,
        settings.rounds,
        settings.lasting.as_secs_f64()
    ));
    let times: Vec<Distribution> = stretches.iter().map(|stretch| stretch.tally.times()).collect();
    let without = times.first().map_or(0.0, |times| milliseconds(times.quantile(0.99)));
    for (stretch, times) in stretches.iter().zip(&times) {
        let target = ("p99", without * MORE);
        let targets = if stretch.mirror.is_some() { &[target][..] } else { &[] };
        report.quantiles(&format!("a request {}", stretch.name), times, targets);
        let memory = stretch.memory as f64 / f64::from(1 << 20);
        report.row(format!("memory of the proxy {}, peak", stretch.name), memory, "MiB");
    }
    let all = stretches.iter().map(|stretch| stretch.tally.clone()).reduce(Tally::with);
    all.unwrap_or_default().tell("requests", &mut report);
    report
}

fn document(backend: SocketAddr, mirror: Option<SocketAddr>) -> String {
    let mirroring = mirror.map_or_else(String::new, |mirror| {
        format!(
            "traffic_management:\n  traffic_mirroring:\n    enabled: true\n    \
             targets: [{{ url: \"http://{mirror}\", name: m, timeout: 2s }}]\n"
        )
    });
    format!(
        "entry_points: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         backends: {{ one: {{ url: \"http://{backend}\" }} }}\n{mirroring}"
    )
}

impl Bad {
    async fn start(manner: Manner) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let serves = manner != Manner::Dead;
        let task = serves.then(|| tokio::spawn(accept(listener, manner)).abort_handle());
        Ok(Self { address, task })
    }
}

impl Drop for Bad {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn accept(listener: TcpListener, manner: Manner) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        connections.spawn(serve(stream, manner));
        while connections.try_join_next().is_some() {}
    }
}

/// Requests have no body here, so each read that has something is one.
async fn serve(mut stream: TcpStream, manner: Manner) {
    let mut buffer = [0; 4096];
    while let Ok(1..) = stream.read(&mut buffer).await {
        let answer = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n";
        if manner == Manner::Failing && stream.write_all(answer).await.is_err() {
            return;
        }
    }
}
