//! What the proxies report: health, requests in flight and counts.
//!
//! Proxies send running totals, so a lost or repeated batch counts nothing twice. Health and
//! circuits stay each proxy's own decision; here they are only shown, merged over the fleet by
//! [`fleet`]. Rates and shares are differences over about ten seconds.

mod fleet;
pub mod totals;
mod views;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::{SignedDuration, Timestamp};
use lb_proto::v1::{BackendReport, ReportBatch};

use self::totals::Totals;
use crate::sync::session::clip;

/// How often a proxy reports, in milliseconds.
pub const INTERVAL_MS: u64 = 1_000;
/// A proxy that reported nothing for this long is not counted.
const STALE_SECONDS: f64 = 15.0;
/// Rates are over this time, and the totals of its beginning are found this exactly.
const WINDOW: SignedDuration = SignedDuration::from_secs(10);
const MARK: SignedDuration = SignedDuration::from_millis(2_500);
/// The most proxies, entries of one batch, and services whose arms are added up, that are kept.
const MOST_PROXIES: usize = 20_000;
const MOST_ENTRIES: usize = 100_000;
const MOST_ARMS: usize = 20_000;

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
}

#[derive(Debug)]
struct Measured {
    report: BackendReport,
    totals: Totals,
    /// What the totals were at moments up to the beginning of the window, oldest first.
    marks: VecDeque<(Timestamp, Totals)>,
}

/// The latest report of every proxy.
#[derive(Debug, Default)]
pub struct Reports {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    proxies: BTreeMap<String, Latest>,
    /// What the fleet counted since this control plane listens, by service.
    arms: BTreeMap<String, Arms>,
}

/// What a service with a canary counted, by version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Arms {
    /// The version that most get.
    pub stable: Totals,
    /// The new version.
    pub canary: Totals,
}

impl Arms {
    /// What came since an earlier moment.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            stable: self.stable.since(&before.stable),
            canary: self.canary.since(&before.canary),
        }
    }
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
        let mut before = before
            .filter(|before| before.instance == batch.instance)
            .map(|before| before.backends)
            .unwrap_or_default();
        let mut backends = BTreeMap::new();
        for mut report in batch.backends.into_iter().take(MOST_ENTRIES) {
            report.last_error = clip(report.last_error);
            let place = (report.service.clone(), report.backend.clone());
            let known = before.remove(&place);
            let counted = known.as_ref().map(|known| known.totals).unwrap_or_default();
            let is_known = known.is_some() || began.is_some();
            let measured = Measured::next(report, (known, began), now);
            if is_known {
                add(arms, &measured.report, &measured.totals.since(&counted));
            }
            // One endpoint is reported once; of two that share a name, the first is shown.
            backends.entry(place).or_insert(measured);
        }
        let latest = Latest {
            instance: batch.instance,
            sequence: batch.sequence,
            at: now,
            open_connections: batch.open_connections,
            shed,
            zone: Some(batch.zone).filter(|zone| !zone.is_empty()).map(clip),
            backends,
        };
        proxies.insert(batch.proxy, latest);
    }

    /// What the versions of a service counted since this control plane listens. Numbers may begin
    /// anew, and then go back.
    pub fn arms(&self, service: &str) -> Arms {
        self.lock().arms.get(service).copied().unwrap_or_default()
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

impl Measured {
    /// What a report says, after what was known of the same run of the proxy. A backend of which
    /// nothing was known had counted nothing when it `began`.
    fn next(
        report: BackendReport,
        (known, began): (Option<Self>, Option<Timestamp>),
        now: Timestamp,
    ) -> Self {
        let totals = Totals::of(&report);
        let new = || began.map(|at| (at, Totals::default())).into_iter().collect();
        let mut marks: VecDeque<_> = known.map_or_else(new, |known| known.marks);
        if marks.back().is_none_or(|(at, _)| now.duration_since(*at) >= MARK) {
            marks.push_back((now, totals));
        }
        while marks.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW) {
            marks.pop_front();
        }
        Self { report, totals, marks }
    }

    /// Over how many seconds until `now` the window reaches, and what came within it.
    fn window(&self, now: Timestamp) -> (f64, Totals) {
        self.marks.front().map_or_else(Default::default, |(at, before)| {
            (now.duration_since(*at).as_secs_f64(), self.totals.since(before))
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

/// Adds what a backend counted to the version that it is of, in a service that has two.
fn add(arms: &mut BTreeMap<String, Arms>, report: &BackendReport, counted: &Totals) {
    if report.canary && !arms.contains_key(&report.service) {
        if arms.len() >= MOST_ARMS {
            arms.clear();
        }
        arms.insert(report.service.clone(), Arms::default());
    }
    if let Some(arms) = arms.get_mut(&report.service) {
        let arm = if report.canary { &mut arms.canary } else { &mut arms.stable };
        *arm = arm.and(counted);
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
    fn versions_are_added_up_from_the_first_word_of_each_proxy_on() {
        let reports = Reports::default();
        let say = |proxy: (&str, &str), sequence, stable, canary| {
            let canary =
                BackendReport { canary: true, server_errors: canary / 2, ..report("b", canary) };
            let backends = vec![report("a", stable), canary];
            reports.take(batch(proxy, sequence, backends), at(0));
        };
        say(("p", "1"), 1, 1_000, 100);
        assert_eq!(reports.arms("default"), Arms::default(), "nobody knows when that was");
        say(("p", "1"), 2, 1_010, 104);
        say(("q", "1"), 1, 70, 7);
        let arms = reports.arms("default");
        assert_eq!((arms.canary.requests, arms.canary.errors()), (4, 2));
        let before = arms;
        // It was restarted: all that it counted is new.
        say(("p", "2"), 1, 5, 2);
        say(("q", "1"), 2, 80, 8);
        say(("q", "1"), 2, 99, 99);
        let since = reports.arms("default").since(&before);
        assert_eq!((since.stable.requests, since.canary.requests), (15, 3));
    }

    #[test]
    fn what_a_backend_counted_before_its_first_report_is_not_lost() {
        let (reports, window) = (Reports::default(), |reports: &Reports, backend: &str| {
            let known = reports.lock();
            known.proxies["p"].backends[&("default".into(), backend.into())].window(at(10))
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
        let mut measured = Measured::next(report("a", 0), (None, None), at(0));
        assert_eq!(measured.window(at(0)), (0.0, Totals::default()));
        for second in 1_u32..=60 {
            let next = report("a", 10 * u64::from(second));
            measured = Measured::next(next, (Some(measured), None), at(second.into()));
            let (seconds, came) = measured.window(at(second.into()));
            assert!(seconds <= 13.0 && (second < 10 || seconds >= 10.0), "{second}: {seconds}");
            assert_eq!(came.requests, 10 * seconds as u64);
            assert!(measured.marks.len() <= 7, "{}", measured.marks.len());
        }
    }
}
