//! `lb-bench switch`: all requests go to the other slot, again and again, under load.
//!
//! A switch is over when no proxy sends a request to the slot before any more. Each answer tells
//! which slot it came from, so the last request that was still answered from the old one says
//! when that was.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use clap::Args;

use crate::{
    Common,
    backend::Backend,
    cluster::{Cluster, commit, synced},
    http::Answer,
    load::{Load, Over, Tally},
    report::{Distribution, Report, say},
    rotation::Rotation,
    shared::Shared,
};

/// How often it is asked whether all proxies have acknowledged.
const PAUSE: Duration = Duration::from_millis(2);
/// How long the answers are looked at after a switch: longer than one may take.
const REST: Duration = Duration::from_millis(1_500);
/// How long the load settles.
const SETTLE: Duration = Duration::from_secs(1);

/// The slots, which is also what their backends answer.
const SLOTS: [&str; 2] = ["blue", "green"];

#[derive(Debug, Args)]
pub(crate) struct Settings {
    /// Requests a second, over all proxies
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    rate: u32,
    /// How many switches are made over each protocol
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    switches: u32,
    /// How many proxies there are
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=50))]
    proxies: u16,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// What the answers tell of the slots.
#[derive(Debug, Default)]
struct Seen(Mutex<[Option<Instant>; 2]>);

impl Seen {
    /// A request that was sent then was answered so.
    fn answer(&self, sent: Instant, answer: &Answer) {
        let Some(slot) = SLOTS.iter().position(|slot| slot.as_bytes() == answer.body) else {
            return;
        };
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last[slot] = last[slot].max(Some(sent));
    }

    /// When the last request was sent that a slot answered.
    fn last(&self, slot: usize) -> Option<Instant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)[slot]
    }
}

/// What the switches over one protocol did.
#[derive(Debug, Default)]
struct Switches {
    committed: Vec<Duration>,
    acknowledged: Vec<Duration>,
    over: Vec<Duration>,
    tally: Tally,
}

pub(crate) async fn run(settings: &Settings) -> Result<Report> {
    let backends = [Backend::saying(SLOTS[0]).await?, Backend::saying(SLOTS[1]).await?];
    let addresses = [backends[0].address, backends[1].address];
    let mut cluster = Cluster::start(&settings.common, settings.proxies.into()).await?;
    cluster.apply(document(addresses, 0)).await?;
    let proxies = cluster.addresses("web").await?;

    let mut report = Report::new(format!(
        "switch: {} switches over each protocol, {} proxies, {} requests/s",
        settings.switches, settings.proxies, settings.rate
    ));
    let ways = [
        ("HTTP/1.1", Over::KeptConnections),
        ("HTTP/2", Over::SharedConnections(Arc::new(Shared::to(&proxies)))),
    ];
    let mut active = 0;
    for (name, over) in ways {
        let done = switch(settings, &cluster, &proxies, over, (addresses, &mut active)).await?;
        let times = |times: &[Duration]| times.iter().copied().collect::<Distribution>();
        report.quantiles(&format!("{name}, commit answered"), &times(&done.committed), &[]);
        report.quantiles(&format!("{name}, acknowledged by all"), &times(&done.acknowledged), &[]);
        let target = [("max", 1_000.0)];
        report.quantiles(&format!("{name}, all on the other slot"), &times(&done.over), &target);
        report.quantiles(&format!("{name}, a request"), &done.tally.times(), &[]);
        done.tally.tell(&format!("{name}, requests"), &mut report);
    }
    Ok(report)
}

/// Makes all switches under the load of one protocol.
async fn switch(
    settings: &Settings,
    cluster: &Cluster,
    proxies: &[SocketAddr],
    over: Over,
    (backends, active): ([SocketAddr; 2], &mut usize),
) -> Result<Switches> {
    let seen = Arc::new(Seen::default());
    let seeing = Arc::clone(&seen);
    let load = Load::watched(
        Arc::new(Rotation::new(proxies)),
        settings.rate,
        over,
        Arc::new(move |sent, answer| seeing.answer(sent, answer)),
    );
    tokio::time::sleep(SETTLE).await;
    let mut done = Switches::default();
    let (mut committing, mut asking) =
        (cluster.control_plane.caller(), cluster.control_plane.caller());
    for number in 0..settings.switches {
        let old = *active;
        *active = 1 - old;
        let start = Instant::now();
        let committed = commit(&mut committing, document(backends, *active)).await?;
        done.committed.push(start.elapsed());
        synced(&mut asking, proxies.len(), committed.version, PAUSE).await?;
        done.acknowledged.push(start.elapsed());
        tokio::time::sleep(REST).await;
        ensure!(
            seen.last(*active) > Some(start),
            "nobody was answered from {} after the switch",
            SLOTS[*active]
        );
        let over = seen.last(old).map_or(Duration::ZERO, |last| last.duration_since(start));
        say(&format!("switch {}: over after {over:?}", number + 1));
        done.over.push(over);
    }
    done.tally = load.stop().await?;
    Ok(done)
}

fn document([blue, green]: [SocketAddr; 2], active: usize) -> String {
    format!(
        "entry_points: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         backends:\n\
         \x20 one: {{ url: \"http://{blue}\" }}\n\
         \x20 two: {{ url: \"http://{green}\" }}\n\
         traffic_management:\n\
         \x20 blue_green:\n\
         \x20   enabled: true\n\
         \x20   active_slot: {}\n\
         \x20   blue_backends: [one]\n\
         \x20   green_backends: [two]\n",
        SLOTS[active]
    )
}

#[cfg(test)]
mod tests {
    use lb_model::{Bundle, Config};

    use super::*;

    #[test]
    fn both_documents_are_valid() {
        for active in [0, 1] {
            let document = document([SocketAddr::from(([127, 0, 0, 1], 1)); 2], active);
            let parsed = Config::parse(&Bundle::of_text("lb.yaml", &document), 0);
            assert!(parsed.is_ok(), "{document}: {:?}", parsed.err());
        }
    }
}
