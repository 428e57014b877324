//! What the proxies report: health, requests in flight and counts.
//!
//! Proxies send running totals, so a lost or repeated batch counts nothing twice. Health and
//! circuits stay each proxy's own decision; here they are only shown, merged over the fleet by
//! [`fleet`]. Rates and shares are differences over about ten seconds.

mod divided;
mod fleet;
pub mod totals;
mod views;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::{SignedDuration, Timestamp};
use lb_proto::v1::{BackendReport, ReportBatch};

pub use self::divided::{Arms, Recent};
use self::{
    divided::{AllArms, Divided},
    totals::Totals,
};
use crate::{deployments::Scope, sync::session::clip};

/// How often a proxy reports, in milliseconds.
pub const INTERVAL_MS: u64 = 1_000;
/// A proxy that reported nothing for this long is not counted.
const STALE_SECONDS: f64 = 15.0;
/// Rates are over this time, and the totals of its beginning are found this exactly.
const WINDOW: SignedDuration = SignedDuration::from_secs(10);
const MARK: SignedDuration = SignedDuration::from_millis(2_500);
/// The most proxies, and entries of one kind in one batch, that are kept.
const MOST_PROXIES: usize = 20_000;
const MOST_ENTRIES: usize = 100_000;

/// The service and the backend.
type Place = (String, String);

#[derive(Debug)]
struct Latest {
    instance: String,
    sequence: u64,
    at: Timestamp,
    open_connections: u64,
    /// Requests refused for overload until now, and when more of them were told last.
    shed: (u64, Option<Timestamp>),
    zone: Option<String>,
    backends: BTreeMap<Place, Measured>,
    divided: BTreeMap<Scope, Running<Divided>>,
}

#[derive(Debug)]
struct Measured {
    report: BackendReport,
    running: Running<Totals>,
}

/// Running totals of one run of a proxy.
#[derive(Debug)]
struct Running<T> {
    totals: T,
    /// What they were at moments up to the beginning of the window, oldest first.
    marks: VecDeque<(Timestamp, T)>,
}

/// The latest report of every proxy.
#[derive(Debug, Default)]
pub struct Reports {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    proxies: BTreeMap<String, Latest>,
    arms: AllArms,
}

impl Reports {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in a batch. One that is not newer than the last of the same instance is dropped.
    pub fn take(&self, batch: ReportBatch, now: Timestamp) {
        let mut known = self.lock();
        let Known { proxies, arms } = &mut *known;
        if proxies.len() >= MOST_PROXIES && !proxies.contains_key(&batch.proxy) {
            return;
        }
        let is_old =
            |known: &Latest| known.instance == batch.instance && known.sequence >= batch.sequence;
        if proxies.get(&batch.proxy).is_some_and(is_old) {
            return;
        }
        let before = proxies.remove(&batch.proxy);
        let began = began(before.as_ref().map(|before| before.at), batch.uptime_ms, now);
        let shed = shed(before.as_ref(), &batch, (began, now));
        let before = before.filter(|before| before.instance == batch.instance);
        let (mut known, mut divided_before) =
            before.map(|before| (before.backends, before.divided)).unwrap_or_default();
        let mut backends = BTreeMap::new();
        for mut report in batch.backends.into_iter().take(MOST_ENTRIES) {
            report.last_error = clip(report.last_error);
            let place = (report.service.clone(), report.backend.clone());
            let known = known.remove(&place).map(|known| known.running);
            let running = Running::next(Totals::of(&report), (known, began), now);
            // One endpoint is reported once; of two that share a name, the first is shown.
            backends.entry(place).or_insert(Measured { report, running });
        }
        let mut divided = BTreeMap::new();
        for report in batch.services.into_iter().take(MOST_ENTRIES) {
            let Some(totals) = Divided::of(&report) else { continue };
            let scope = Scope::of(report.service, report.route);
            let known = divided_before.remove(&scope);
            if known.is_some() || began.is_some() {
                let counted = known.as_ref().map(|known| known.totals).unwrap_or_default();
                arms.add(&scope, &totals.since(&counted));
            }
            divided.entry(scope).or_insert(Running::next(totals, (known, began), now));
        }
        let latest = Latest {
            instance: batch.instance,
            sequence: batch.sequence,
            at: now,
            open_connections: batch.open_connections,
            shed,
            zone: Some(batch.zone).filter(|zone| !zone.is_empty()).map(clip),
            backends,
            divided,
        };
        proxies.insert(batch.proxy, latest);
    }

    /// When a proxy last told that it refused requests for overload.
    pub fn shed_at(&self, proxy: &str) -> Option<Timestamp> {
        self.lock().proxies.get(proxy).and_then(|latest| latest.shed.1)
    }

    /// Open client connections of a proxy, as last reported.
    pub fn open_connections(&self, proxy: &str) -> u64 {
        self.lock().proxies.get(proxy).map_or(0, |latest| latest.open_connections)
    }
}

/// How many requests a run of a proxy refused for overload, and when it last told of more. What
/// it had refused before the first word of it counts if it `began` lately.
fn shed(
    before: Option<&Latest>,
    batch: &ReportBatch,
    (began, now): (Option<Timestamp>, Timestamp),
) -> (u64, Option<Timestamp>) {
    let shed = batch.overload_shed;
    let known = match before.filter(|before| before.instance == batch.instance) {
        Some(before) => before.shed,
        None if began.is_some() => (0, None),
        None => (shed, None),
    };
    if shed > known.0 { (shed, Some(now)) } else { (shed, known.1) }
}

impl Latest {
    fn is_fresh(&self, now: Timestamp) -> bool {
        now.duration_since(self.at).as_secs_f64() < STALE_SECONDS
    }
}

impl<T: Copy + Default> Running<T> {
    /// What a report says, after what was known of the same run of the proxy. What nothing was
    /// known of had counted nothing when it `began`.
    fn next(totals: T, (known, began): (Option<Self>, Option<Timestamp>), now: Timestamp) -> Self {
        let new = || began.map(|at| (at, T::default())).into_iter().collect();
        let mut marks: VecDeque<_> = known.map_or_else(new, |known| known.marks);
        if marks.back().is_none_or(|(at, _)| now.duration_since(*at) >= MARK) {
            marks.push_back((now, totals));
        }
        while marks.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW) {
            marks.pop_front();
        }
        Self { totals, marks }
    }

    /// Over how many seconds until `now` the window reaches, and what came within it.
    fn window(&self, now: Timestamp, since: impl Fn(&T, &T) -> T) -> (f64, T) {
        self.marks.front().map_or_else(Default::default, |(at, before)| {
            (now.duration_since(*at).as_secs_f64(), since(&self.totals, before))
        })
    }
}

/// Since when a proxy can have counted what it had not reported before: its last report, or its
/// start if that was later. Unknown of one that is heard of for the first time, unless it started
/// a moment ago.
fn began(reported: Option<Timestamp>, uptime_ms: u64, now: Timestamp) -> Option<Timestamp> {
    let uptime = i64::try_from(uptime_ms).ok().filter(|uptime| *uptime > 0);
    let uptime = uptime.map(SignedDuration::from_millis);
    let started = uptime.and_then(|uptime| now.checked_sub(uptime).ok());
    let is_young = uptime.is_some_and(|uptime| uptime <= WINDOW);
    match (reported, started) {
        (Some(reported), Some(started)) => Some(reported.max(started)),
        (Some(reported), None) => Some(reported),
        (None, started) => started.filter(|_| is_young),
    }
}

#[cfg(test)]
mod tests {
    use lb_proto::v1::BackendHealth;

    use super::*;

    pub(super) fn report(backend: &str, requests: u64) -> BackendReport {
        BackendReport {
            service: "default".into(),
            backend: backend.into(),
            health: BackendHealth::Up.into(),
            requests,
            ..BackendReport::default()
        }
    }

    pub(super) fn batch(
        (proxy, instance): (&str, &str),
        sequence: u64,
        backends: Vec<BackendReport>,
    ) -> ReportBatch {
        let (proxy, instance) = (proxy.into(), instance.into());
        ReportBatch { proxy, instance, sequence, backends, ..ReportBatch::default() }
    }

    pub(super) fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn what_a_backend_counted_before_its_first_report_is_not_lost() {
        let (reports, window) = (Reports::default(), |reports: &Reports, backend: &str| {
            let known = reports.lock();
            let place = ("default".into(), backend.into());
            known.proxies["p"].backends[&place].running.window(at(10), Totals::since)
        });
        let batch = |sequence, backends| batch(("p", "1"), sequence, backends);
        reports.take(batch(1, vec![report("a", 500)]), at(8));
        reports.take(batch(2, vec![report("a", 500), report("b", 30)]), at(10));
        assert_eq!(window(&reports, "a").1.requests, 0, "nobody knows when that was");
        let (seconds, came) = window(&reports, "b");
        assert_eq!((seconds, came.requests), (2.0, 30));
        for (reported, uptime, expected) in [
            (None, 0, None),
            (None, 60_000, None),
            (None, 4_000, Some(at(96))),
            (Some(at(20)), 4_000, Some(at(96))),
            (Some(at(99)), 60_000, Some(at(99))),
            (Some(at(99)), u64::MAX, Some(at(99))),
        ] {
            assert_eq!(began(reported, uptime, at(100)), expected, "{reported:?} {uptime}");
        }
    }

    #[test]
    fn only_what_a_proxy_refused_of_late_is_overload() {
        let reports = Reports::default();
        let say = |instance, sequence, overload_shed, second| {
            let batch = batch(("p", instance), sequence, vec![]);
            reports.take(ReportBatch { overload_shed, ..batch }, at(second));
            reports.shed_at("p")
        };
        assert_eq!(say("1", 1, 500, 1), None, "nobody knows when that was");
        assert_eq!(say("1", 2, 500, 2), None);
        assert_eq!(say("1", 3, 501, 3), Some(at(3)));
        assert_eq!(say("1", 4, 501, 4), Some(at(3)));
        assert_eq!(say("2", 1, 0, 5), None, "another run counts from nothing");
        assert_eq!(say("3", 1, 7, 6), Some(at(6)));
        assert_eq!(reports.shed_at("q"), None);
    }

    #[test]
    fn a_window_reaches_back_about_ten_seconds() {
        let totals = |requests| Totals { requests, ..Totals::default() };
        let mut running = Running::next(totals(0), (None, None), at(0));
        assert_eq!(running.window(at(0), Totals::since), (0.0, Totals::default()));
        for second in 1_u32..=60 {
            let next = totals(10 * u64::from(second));
            running = Running::next(next, (Some(running), None), at(second.into()));
            let (seconds, came) = running.window(at(second.into()), Totals::since);
            assert!(seconds <= 13.0 && (second < 10 || seconds >= 10.0), "{second}: {seconds}");
            assert_eq!(came.requests, 10 * seconds as u64);
            assert!(running.marks.len() <= 7, "{}", running.marks.len());
        }
    }
}
