//! Waits until a version is live: on every connected proxy, or refused by one.
//!
//! [`outcome`] decides, from what the control plane says and who was connected; [`until_live`]
//! asks again and again until there is something to say or time is up.

use std::{collections::BTreeSet, time::Duration};

use lb_model::{
    Version,
    api::{ProxyList, ProxyView, ResourceFault, SyncState},
};
use serde::Serialize;
use tokio::time::Instant;

use crate::{
    client::Client,
    exit::{Exit, Failure},
    output::{Output, diagnostics::plural},
};

/// From one question to the next.
const PAUSE: Duration = Duration::from_millis(150);
/// How long a refusal may be one of an earlier attempt, when the same was applied again.
const SETTLE: Duration = Duration::from_secs(2);

/// What is waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Awaited {
    /// The version.
    pub(crate) version: Version,
    /// Whether this is its first attempt. Else proxies that refused it try again, and are listed
    /// with their old refusal until they have.
    pub(crate) is_new: bool,
    /// How many proxies have to be connected at least.
    pub(crate) at_least: usize,
}

/// How far a version has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Outcome {
    /// The proxies that run it, or a newer one.
    pub(crate) live: Vec<String>,
    /// The proxies that will not run it.
    pub(crate) refused: Vec<Refusal>,
    /// The proxies that have not answered.
    pub(crate) pending: Vec<Pending>,
}

/// A proxy that will not run a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Refusal {
    /// The proxy.
    pub(crate) proxy: String,
    /// What it runs instead.
    pub(crate) runs: Version,
    /// Why, one entry a resource.
    pub(crate) errors: Vec<ResourceFault>,
}

/// A proxy that has not answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Pending {
    /// The proxy.
    pub(crate) proxy: String,
    /// What it ran when it was last heard of.
    pub(crate) runs: Version,
    /// Whether it is connected.
    pub(crate) is_connected: bool,
}

/// What can be said of an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Every proxy runs it.
    Live,
    /// Every proxy answered, and one or more refused.
    Refused,
    /// Somebody has not answered.
    Waiting,
    /// There is nobody to answer.
    Nobody,
}

impl Outcome {
    /// What can be said now.
    pub(crate) const fn verdict(&self) -> Verdict {
        match (self.live.is_empty(), self.refused.is_empty(), self.pending.is_empty()) {
            (true, true, true) => Verdict::Nobody,
            (_, _, false) => Verdict::Waiting,
            (_, false, true) => Verdict::Refused,
            (false, true, true) => Verdict::Live,
        }
    }

    /// How to exit when no more can be waited for.
    pub(crate) const fn exit(&self) -> Exit {
        match self.verdict() {
            Verdict::Live => Exit::Ok,
            Verdict::Refused => Exit::Failure,
            // A refusal is final, whatever the others would still say.
            Verdict::Waiting if !self.refused.is_empty() => Exit::Failure,
            Verdict::Waiting | Verdict::Nobody => Exit::Unreachable,
        }
    }

    /// The outcome in words, one line first and then one for each proxy that is not there.
    pub(crate) fn describe(&self, version: Version, waited: Duration) -> String {
        let all = self.live.len() + self.refused.len() + self.pending.len();
        if all == 0 {
            return format!(
                "version {version}: committed, but no proxy is connected; start one with \
                 `lb-data-plane --control-plane http://CONTROL-PLANE:9701`\n"
            );
        }
        let of = format!("{} of {}", self.live.len(), plural(all, "proxy"));
        let mut text = format!("version {version}: live on {of}\n");
        for Refusal { proxy, runs, errors } in &self.refused {
            text += &format!("{proxy} refused it and {}:\n", goes_on(*runs));
            if errors.is_empty() {
                text += "  it gave no reason; look at its log\n";
            }
            for fault in errors {
                text += &format!("  {}\n", fault_line(fault));
            }
        }
        for Pending { proxy, runs, is_connected } in &self.pending {
            let within = format!("within {}", seconds(waited));
            let state = if *is_connected { "" } else { " and is not connected" };
            text += &format!("{proxy} did not answer {within}{state}; it {}\n", last_ran(*runs));
        }
        text
    }
}

/// A fault of a resource in one line.
pub(crate) fn fault_line(fault: &ResourceFault) -> String {
    let ResourceFault { kind, name, code, message } = fault;
    let what = [kind.as_str(), name.as_str()].into_iter().filter(|part| !part.is_empty());
    let what = what.collect::<Vec<_>>().join(" ");
    match (what.is_empty(), code.is_empty()) {
        (true, true) => message.clone(),
        (true, false) => format!("[{code}] {message}"),
        (false, true) => format!("{what}: {message}"),
        (false, false) => format!("{what}: {message} [{code}]"),
    }
}

fn goes_on(runs: Version) -> String {
    if runs == Version::NONE {
        "runs nothing".into()
    } else {
        format!("goes on with version {runs}")
    }
}

fn last_ran(runs: Version) -> String {
    if runs == Version::NONE { "ran nothing".into() } else { format!("last ran version {runs}") }
}

fn seconds(time: Duration) -> String {
    if time.subsec_millis() == 0 {
        format!("{}s", time.as_secs())
    } else {
        format!("{:.1}s", time.as_secs_f64())
    }
}

/// Which proxies a version is waited for on: those connected now, and those that were.
pub(crate) fn await_connected(awaited: &mut BTreeSet<String>, list: &ProxyList) {
    for proxy in &list.proxies {
        if is_connected(proxy) {
            awaited.insert(proxy.id.clone());
        }
    }
}

/// How far `version` has come on the proxies that are waited for.
///
/// A proxy that was connected and went away has not answered: it may be restarting with the very
/// version that was sent. One that nobody waits for does not count.
pub(crate) fn outcome(list: &ProxyList, version: Version, awaited: &BTreeSet<String>) -> Outcome {
    let mut outcome = Outcome::default();
    for id in awaited {
        let Some(proxy) = list.proxies.iter().find(|proxy| proxy.id == *id) else {
            outcome.pending.push(Pending {
                proxy: id.clone(),
                runs: Version::NONE,
                is_connected: false,
            });
            continue;
        };
        let refuses = match proxy.state {
            SyncState::Rejected => proxy.rejected_version.unwrap_or(list.version) >= version,
            SyncState::Declined => true,
            SyncState::Synced | SyncState::Applying | SyncState::Disconnected => false,
        };
        if is_connected(proxy) && proxy.version >= version {
            outcome.live.push(proxy.id.clone());
        } else if refuses {
            outcome.refused.push(Refusal {
                proxy: proxy.id.clone(),
                runs: proxy.version,
                errors: proxy.errors.clone(),
            });
        } else {
            outcome.pending.push(Pending {
                proxy: proxy.id.clone(),
                runs: proxy.version,
                is_connected: is_connected(proxy),
            });
        }
    }
    outcome
}

const fn is_connected(proxy: &ProxyView) -> bool {
    matches!(proxy.state, SyncState::Synced | SyncState::Applying | SyncState::Rejected)
}

/// How waiting ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// Every proxy answered, or time is up.
    With(Outcome),
    /// Ctrl-C: the version stays committed.
    Interrupted,
}

/// Waits until every connected proxy answered, at most for `timeout`.
///
/// # Errors
///
/// The control plane could not be asked, and could not until time was up.
pub(crate) async fn until_live(
    client: &Client,
    awaited: Awaited,
    timeout: Duration,
) -> Result<Ended, Failure> {
    tokio::select! {
        outcome = answered(client, awaited, timeout) => outcome.map(Ended::With),
        _ = tokio::signal::ctrl_c() => Ok(Ended::Interrupted),
    }
}

/// As [`until_live`], without an ear for Ctrl-C.
pub(crate) async fn answered(
    client: &Client,
    Awaited { version, is_new, at_least }: Awaited,
    timeout: Duration,
) -> Result<Outcome, Failure> {
    let start = Instant::now();
    let deadline = start + timeout;
    let settled = if is_new { start } else { start + SETTLE };
    let mut awaited = BTreeSet::new();
    loop {
        let asked = tokio::time::timeout_at(deadline.max(Instant::now() + PAUSE), client.proxies());
        let asked = asked.await;
        let is_late = Instant::now() + PAUSE > deadline;
        match asked {
            Ok(Ok(list)) => {
                await_connected(&mut awaited, &list);
                let outcome = outcome(&list, version, &awaited);
                let is_decided = match outcome.verdict() {
                    Verdict::Live => awaited.len() >= at_least,
                    Verdict::Refused => awaited.len() >= at_least && Instant::now() >= settled,
                    Verdict::Waiting | Verdict::Nobody => false,
                };
                if is_decided || is_late {
                    return Ok(outcome);
                }
            }
            Ok(Err(error)) if !error.is_passing() || is_late => return Err(error.into()),
            Ok(Err(_)) => {}
            Err(_) => {
                let what = format!("{} did not answer within {}", client.name(), seconds(timeout));
                return Err(Failure::new(what)
                    .exit(Exit::Unreachable)
                    .fix(format!("version {version} is committed; look with `lbctl proxies`")));
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Says how waiting ended, and how to exit.
pub(crate) fn tell(
    outcome: &Outcome,
    version: Version,
    waited: Duration,
    output: &Output,
) -> Result<Exit, Failure> {
    let text = outcome.describe(version, waited);
    match text.split_once('\n') {
        Some((first, rest)) if outcome.verdict() != Verdict::Nobody => {
            output.summary(first)?;
            if !rest.is_empty() {
                output.important(rest);
            }
        }
        _ => output.important(text),
    }
    Ok(outcome.exit())
}

#[cfg(test)]
mod tests;
