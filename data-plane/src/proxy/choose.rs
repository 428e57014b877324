//! Finds the backend for a request, through services that stand in the place of others.

use lb_http::{Fields, Known, Reason};
use lb_routing::Headers;
use lb_upstream::{Acquaintance, Ask, LocalCluster, Picked, ask::cookie_in};
use tokio::time::Instant;

use super::client::Entry;

/// How many services a request is led through at most; the model allows fewer.
const MOST: usize = 16;

/// A request as rules and balancers look at it.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Its fields.
    pub fields: &'a Fields,
    /// Its path.
    pub path: &'a str,
    /// Its client.
    pub client: std::net::IpAddr,
    /// Whether it came over TLS.
    pub is_secure: bool,
}

impl Headers for Seen<'_> {
    fn any(&self, name: &str, wanted: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.fields.named(name).any(wanted)
    }
}

impl Ask for Seen<'_> {
    fn field<'s>(&'s self, name: &str) -> Option<&'s [u8]> {
        self.fields.first(name)
    }

    fn cookie<'s>(&'s self, name: &str) -> Option<&'s [u8]> {
        cookie_in(self.fields.values(Known::Cookie), name)
    }

    fn path(&self) -> &str {
        self.path
    }

    fn client(&self) -> std::net::IpAddr {
        self.client
    }

    fn is_secure(&self) -> bool {
        self.is_secure
    }
}

/// A backend for a request.
#[derive(Debug)]
pub struct Chosen {
    /// The cluster that it is of.
    pub cluster: usize,
    /// The backend.
    pub picked: Picked,
}

/// Why there is no backend for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nobody {
    /// In a word.
    pub reason: Reason,
    /// After how many seconds it may be worth asking again.
    pub retry_after: Option<u32>,
}

/// Chooses a backend, beginning with a cluster; not one of those that were `tried`, each given by
/// its cluster and its place there.
///
/// # Errors
///
/// [`Nobody`] when no service on the way has one.
pub fn choose(
    entry: &Entry,
    cluster: usize,
    ask: &dyn Ask,
    tried: &[(usize, usize)],
    now: Instant,
) -> Result<Chosen, Nobody> {
    let clusters = entry.view.clusters();
    let links = &entry.view.snapshot().links;
    if links.is_empty() && tried.is_empty() {
        // No service leads to another: nearly always so, and worth its own short way.
        return match clusters[cluster].pick(ask, &[], now) {
            Ok(picked) => Ok(Chosen { cluster, picked }),
            Err(reason) => Err(nobody(&clusters[cluster], reason, now)),
        };
    }
    let mut at = cluster;
    for _ in 0..MOST {
        let local = &clusters[at];
        let lead = links.get(at);
        let weighted = lead.map_or(&[][..], |lead| &lead.weighted);
        let reason = if weighted.is_empty() {
            let outcome = if tried.is_empty() {
                local.pick(ask, &[], now)
            } else {
                let here = tried.iter().filter(|(cluster, _)| *cluster == at);
                let here: Vec<_> = here.map(|(_, member)| *member).collect();
                local.pick(ask, &here, now)
            };
            match outcome {
                Ok(picked) => return Ok(Chosen { cluster: at, picked }),
                Err(reason) => reason,
            }
        } else {
            let can = |place: &usize| is_available(entry, weighted[*place], (ask, tried, now), 0);
            let mut client = None;
            let mut has_session = |place: &usize| match knows(entry, weighted[*place], ask, now, 0)
            {
                Acquaintance::Session => true,
                Acquaintance::Named(key) => {
                    client.get_or_insert(key);
                    false
                }
                Acquaintance::Stranger => false,
            };
            let before = (0..weighted.len()).find(|place| has_session(place) && can(place));
            let next = before.or_else(|| local.next_other(client, |place| can(&place)));
            let in_panic = |place: usize| may_panic(entry, weighted[place], 0);
            match next.or_else(|| local.next_other(client, in_panic)) {
                Some(place) => {
                    at = weighted[place];
                    continue;
                }
                None => Reason::NoHealthyBackend,
            }
        };
        let Some(next) = lead.and_then(|lead| lead.failover) else {
            return Err(nobody(local, reason, now));
        };
        local.counters().failovers.bump();
        at = next;
    }
    Err(Nobody { reason: Reason::Internal, retry_after: None })
}

#[cold]
fn nobody(cluster: &LocalCluster, reason: Reason, now: Instant) -> Nobody {
    let again = (reason == Reason::CircuitOpen).then(|| cluster.opens_again(now)).flatten();
    let retry_after = again.map(|again| again.as_secs().saturating_add(1) as u32);
    Nobody { reason, retry_after }
}

/// What a cluster knows of a client, or one that it leads to.
fn knows(entry: &Entry, at: usize, ask: &dyn Ask, now: Instant, level: usize) -> Acquaintance {
    let mut known = entry.view.clusters()[at].acquaintance(ask, now);
    let parts = entry.view.snapshot().links.get(at).filter(|_| level < MOST);
    for part in parts.into_iter().flat_map(|lead| &lead.weighted) {
        if known == Acquaintance::Session {
            break;
        }
        match knows(entry, *part, ask, now, level + 1) {
            Acquaintance::Stranger => {}
            other => known = other,
        }
    }
    known
}

/// Whether a cluster, or one that it leads to, chooses among backends that seem ill when none is
/// well.
fn may_panic(entry: &Entry, at: usize, level: usize) -> bool {
    let parts = entry.view.snapshot().links.get(at).filter(|_| level < MOST);
    let mut parts = parts.into_iter().flat_map(|lead| &lead.weighted);
    entry.view.clusters()[at].may_panic() || parts.any(|part| may_panic(entry, *part, level + 1))
}

/// Whether a cluster, or one in its place, has a backend to choose that was not tried.
fn is_available(
    entry: &Entry,
    at: usize,
    request: (&dyn Ask, &[(usize, usize)], Instant),
    level: usize,
) -> bool {
    if level == MOST {
        return false;
    }
    let (ask, tried, now) = request;
    let had_it = |member| tried.contains(&(at, member));
    let lead = entry.view.snapshot().links.get(at);
    let others = lead.into_iter().flat_map(|lead| lead.weighted.iter().chain(&lead.failover));
    entry.view.clusters()[at].is_available(ask, had_it, now)
        || others.into_iter().any(|other| is_available(entry, *other, request, level + 1))
}
