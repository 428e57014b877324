//! `lbctl status`: how everything is, in one sentence and its tables.

use jiff::Timestamp;
use lb_model::api::{BackendList, BlueGreenList, CanaryList, HealthView, OverrideList, ProxyList};
use serde::Serialize;

use super::{backends, blue_green, canary, overrides, proxies};
use crate::{
    args::{Filter, Watch},
    client::{Answer, Client},
    exit::{Exit, Failure},
    output::{Output, diagnostics::plural, time},
    watch::{self, Frame},
};

/// Everything at once, for programs.
#[derive(Debug, Serialize)]
struct Status {
    health: HealthView,
    proxies: ProxyList,
    backends: BackendList,
    overrides: OverrideList,
    #[serde(skip_serializing_if = "Option::is_none")]
    blue_green: Option<BlueGreenList>,
    #[serde(skip_serializing_if = "Option::is_none")]
    canaries: Option<CanaryList>,
}

/// Fetches and shows.
pub(crate) async fn run(client: &Client, watch: &Watch, output: &Output) -> Result<Exit, Failure> {
    watch::show(output, watch, async |output| frame(client, output).await).await
}

async fn frame(client: &Client, output: &Output) -> Result<Frame, Failure> {
    let health = client.health().await?;
    let status = Status {
        health,
        proxies: client.proxies().await?,
        backends: client.backends(&Filter::default()).await?,
        overrides: client.overrides().await?,
        blue_green: if_known(client.blue_green().await)?,
        canaries: if_known(client.canaries().await)?,
    };
    let names = |status: &Status| vec![status.health.status.clone()];
    let text = output.render(&status, names, |status| draw(status, output, Timestamp::now()))?;
    Ok(Frame { text, note: None })
}

/// What a control plane of an older release does not know is left out.
fn if_known<T>(answer: Answer<T>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(known) => Ok(Some(known)),
        Err(error) if error.is_unknown() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn draw(status: &Status, output: &Output, now: Timestamp) -> String {
    let mut text = sentence(&status.health);
    text.push('\n');
    for (part, state) in &status.health.components {
        if state != "ok" {
            text += &format!("{part}: {state}\n");
        }
    }
    let proxies = proxies::draw(&status.proxies, output, now);
    let backends = backends::draw(&status.backends, output, now);
    for (table, none) in [(proxies, proxies::NONE), (backends, backends::NONE)] {
        text.push('\n');
        text += if table.is_empty() { none } else { &table };
        if table.is_empty() {
            text.push('\n');
        }
    }
    // Decisions about services are told where these are.
    let mut list = status.overrides.clone();
    list.deployments.retain(|decided| decided.dormant);
    let overrides = overrides::draw(&list, output, now);
    let blue_green = status.blue_green.as_ref().map(|list| blue_green::draw(list, output));
    let canaries = status.canaries.as_ref().map(|list| canary::draw(list, output, now));
    for table in [blue_green, canaries, Some(overrides)].into_iter().flatten() {
        if !table.is_empty() {
            text.push('\n');
            text += &table;
        }
    }
    text
}

/// How everything is, in one sentence.
fn sentence(health: &HealthView) -> String {
    let HealthView { status, snapshot, proxies, backends, .. } = health;
    let fleet = if snapshot.0 == 0 {
        format!(
            "nothing is configured; {}",
            match proxies.connected {
                0 => "no proxy is connected".to_owned(),
                count => format!("{} connected", plural(count, "proxy")),
            }
        )
    } else {
        match (proxies.connected, proxies.in_sync) {
            (0, _) => format!("version {snapshot} is current, but no proxy is connected"),
            (1, 1) => format!("the only proxy runs version {snapshot}"),
            (all, in_sync) if all == in_sync => format!("all {all} proxies run version {snapshot}"),
            (all, in_sync) => {
                let mut text =
                    format!("{in_sync} of {} run version {snapshot}", plural(all, "proxy"));
                if proxies.rejected > 0 {
                    text += &format!(", {} refused it", proxies.rejected);
                }
                text
            }
        }
    };
    let mut parts = vec![fleet];
    let total = backends.healthy + backends.unhealthy + backends.disabled + backends.draining;
    match (total, backends.unhealthy) {
        (0, _) => {}
        (1, 0) if backends.healthy == 1 => parts.push("the only backend is up".to_owned()),
        (_, 0) if backends.healthy == total => parts.push(format!("all {total} backends are up")),
        (_, down) => parts.push(format!("{down} of {} down", plural(total, "backend"))),
    }
    for (count, word) in [(backends.disabled, "disabled"), (backends.draining, "draining")] {
        if count > 0 {
            parts.push(format!("{count} {word}"));
        }
    }
    format!("{status}: {} (up {})", parts.join("; "), time::span(health.uptime_seconds))
}

#[cfg(test)]
mod tests {
    use lb_model::{
        Version,
        api::{BackendCounts, ProxyCounts},
    };

    use super::*;
    use crate::output::table::tests::output;

    fn health(
        status: &str,
        version: u64,
        (connected, in_sync, rejected): (usize, usize, usize),
        (healthy, unhealthy): (usize, usize),
    ) -> HealthView {
        HealthView {
            status: status.into(),
            version: "0.1.0".into(),
            software_version: "0.1.0".into(),
            snapshot: Version(version),
            uptime_seconds: 7_500,
            proxies: ProxyCounts { connected, in_sync, stale: 0, rejected },
            backends: BackendCounts { healthy, unhealthy, ..BackendCounts::default() },
            components: [("store".to_owned(), "ok".to_owned())].into(),
        }
    }

    #[test]
    fn health_is_one_sentence() {
        for (health, expected) in [
            (
                health("healthy", 42, (2, 2, 0), (3, 0)),
                "healthy: all 2 proxies run version 42; all 3 backends are up (up 2h5m)",
            ),
            (
                health("healthy", 1, (1, 1, 0), (1, 0)),
                "healthy: the only proxy runs version 1; the only backend is up (up 2h5m)",
            ),
            (
                health("degraded", 42, (3, 2, 1), (2, 1)),
                "degraded: 2 of 3 proxies run version 42, 1 refused it; 1 of 3 backends down \
                 (up 2h5m)",
            ),
            (
                health("unhealthy", 42, (0, 0, 0), (0, 0)),
                "unhealthy: version 42 is current, but no proxy is connected (up 2h5m)",
            ),
            (
                health("healthy", 0, (2, 0, 0), (0, 0)),
                "healthy: nothing is configured; 2 proxies connected (up 2h5m)",
            ),
        ] {
            assert_eq!(sentence(&health), expected);
        }
    }

    #[test]
    fn empty_tables_say_what_to_do_and_faults_of_parts_are_named() {
        let mut health = health("degraded", 0, (0, 0, 0), (0, 0));
        health.components.insert("disk".into(), "97% full".into());
        let status = Status {
            health,
            proxies: ProxyList { version: Version(0), proxies: vec![] },
            backends: BackendList { backends: vec![], next: None },
            overrides: OverrideList { version: Version(0), overrides: vec![], deployments: vec![] },
            blue_green: None,
            canaries: Some(CanaryList { version: Version(0), services: vec![] }),
        };
        let text = draw(&status, &output(&[]), Timestamp::UNIX_EPOCH);
        assert!(text.contains("\ndisk: 97% full\n"), "{text}");
        assert!(text.contains("lb-data-plane --control-plane"), "{text}");
        assert!(text.contains("lbctl apply -f lb.yaml"), "{text}");
    }
}
