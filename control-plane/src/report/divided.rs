//! How the requests of a service, or of a route that divides its own, were divided, and how the
//! versions of a canary answered, over the whole fleet.
//!
//! Taken from what each proxy counted for that service or route alone. Backends say nothing of
//! it: the same one may be a canary here and not there.

use std::collections::BTreeMap;

use jiff::Timestamp;
use lb_proto::v1::ServiceReport;

use super::{Reports, totals::Totals};
use crate::deployments::Scope;

/// How many services and routes whose arms are added up are kept.
const MOST: usize = 20_000;

/// What was counted where there is a canary, by version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Arms {
    /// The version that most get.
    pub stable: Totals,
    /// The new version.
    pub canary: Totals,
}

/// What one proxy counted since it started, or sums of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Divided {
    arms: Arms,
    blue: u64,
    green: u64,
}

/// What lately happened: requests a second, and what was counted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Recent {
    /// The version that most get.
    pub stable: (f64, Totals),
    /// The new version.
    pub canary: (f64, Totals),
    /// Requests a second for the blue slot.
    pub blue: f64,
    /// Requests a second for the green slot.
    pub green: f64,
}

/// What the fleet counted since this control plane listens.
#[derive(Debug, Default)]
pub(super) struct AllArms(BTreeMap<Scope, Arms>);

impl Arms {
    /// What came since an earlier moment.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            stable: self.stable.since(&before.stable),
            canary: self.canary.since(&before.canary),
        }
    }

    fn and(&self, other: &Self) -> Self {
        Self { stable: self.stable.and(&other.stable), canary: self.canary.and(&other.canary) }
    }
}

impl Divided {
    /// What a report says; nothing where nothing is divided.
    pub(super) fn of(report: &ServiceReport) -> Option<Self> {
        let totals = |arm: &Option<_>| arm.as_ref().map(Totals::of_arm).unwrap_or_default();
        let arms = Arms { stable: totals(&report.stable_arm), canary: totals(&report.canary_arm) };
        let is_divided = report.canary_arm.is_some() || report.blue > 0 || report.green > 0;
        is_divided.then_some(Self { arms, blue: report.blue, green: report.green })
    }

    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            arms: self.arms.since(&before.arms),
            blue: self.blue.saturating_sub(before.blue),
            green: self.green.saturating_sub(before.green),
        }
    }
}

impl AllArms {
    /// Adds what came.
    pub(super) fn add(&mut self, scope: &Scope, came: &Divided) {
        if !self.0.contains_key(scope) {
            if self.0.len() >= MOST {
                self.0.clear();
            }
            self.0.insert(scope.clone(), Arms::default());
        }
        if let Some(arms) = self.0.get_mut(scope) {
            *arms = arms.and(&came.arms);
        }
    }
}

impl Reports {
    /// What the versions of a canary counted since this control plane listens, wherever its
    /// requests are counted. Numbers may begin anew, and then go back.
    pub fn arms(&self, counted: &[Scope]) -> Arms {
        let known = self.lock();
        let found = counted.iter().filter_map(|scope| known.arms.0.get(scope));
        found.fold(Arms::default(), |sum, arms| sum.and(arms))
    }

    /// What versions and slots do, over about ten seconds, wherever their requests are counted.
    pub fn recent(&self, counted: &[Scope], now: Timestamp) -> Recent {
        let known = self.lock();
        let mut recent = Recent::default();
        for latest in known.proxies.values().filter(|latest| latest.is_fresh(now)) {
            for running in counted.iter().filter_map(|scope| latest.divided.get(scope)) {
                recent.add(running.window(latest.at, Divided::since));
            }
        }
        recent
    }
}

impl Recent {
    fn add(&mut self, (seconds, came): (f64, Divided)) {
        let Divided { arms, blue, green } = came;
        let rate = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        for (arm, came) in [(&mut self.stable, arms.stable), (&mut self.canary, arms.canary)] {
            arm.0 += rate(came.requests);
            arm.1 = arm.1.and(&came);
        }
        self.blue += rate(blue);
        self.green += rate(green);
    }
}

#[cfg(test)]
mod tests {
    use lb_proto::v1::{ArmReport, ReportBatch};

    use super::{super::tests::at, *};

    fn arm(requests: u64, server_errors: u64) -> ArmReport {
        ArmReport { requests, server_errors, ..ArmReport::default() }
    }

    fn report(route: &str, stable: u64, canary: (u64, u64)) -> ServiceReport {
        ServiceReport {
            service: "shop".into(),
            route: route.into(),
            stable_arm: Some(arm(stable, 0)),
            canary_arm: Some(arm(canary.0, canary.1)),
            ..ServiceReport::default()
        }
    }

    fn say(
        reports: &Reports,
        (proxy, instance): (&str, &str),
        sequence: u64,
        second: i64,
        services: Vec<ServiceReport>,
    ) {
        let (proxy, instance) = (proxy.into(), instance.into());
        let batch = ReportBatch { proxy, instance, sequence, services, ..ReportBatch::default() };
        reports.take(batch, at(second));
    }

    fn shop() -> Vec<Scope> {
        vec![Scope::Service("shop".into())]
    }

    #[test]
    fn versions_are_added_up_from_the_first_word_of_each_proxy_on() {
        let reports = Reports::default();
        let say = |proxy, sequence, stable, canary: u64| {
            let report = report("", stable, (canary, canary / 2));
            say(&reports, proxy, sequence, 0, vec![report]);
        };
        say(("p", "1"), 1, 1_000, 100);
        assert_eq!(reports.arms(&shop()), Arms::default(), "nobody knows when that was");
        say(("p", "1"), 2, 1_010, 104);
        say(("q", "1"), 1, 70, 7);
        let arms = reports.arms(&shop());
        assert_eq!((arms.canary.requests, arms.canary.errors()), (4, 2));
        let before = arms;
        // It was restarted: all that it counted is new.
        say(("p", "2"), 1, 5, 2);
        say(("q", "1"), 2, 80, 8);
        say(("q", "1"), 2, 99, 99);
        let since = reports.arms(&shop()).since(&before);
        assert_eq!((since.stable.requests, since.canary.requests), (15, 3));
    }

    #[test]
    fn a_route_is_told_from_its_service_and_added_where_that_is_asked_for() {
        let reports = Reports::default();
        say(&reports, ("p", "1"), 1, 0, vec![report("", 0, (0, 0)), report("own", 0, (0, 0))]);
        let next = vec![report("", 100, (10, 0)), report("own", 20, (40, 30))];
        say(&reports, ("p", "1"), 2, 10, next);
        let own = Scope::Route("own".into());
        let requests = |counted: &[Scope]| {
            let Arms { stable, canary } = reports.arms(counted);
            (stable.requests, canary.requests, canary.errors())
        };
        assert_eq!(requests(&shop()), (100, 10, 0));
        assert_eq!(requests(std::slice::from_ref(&own)), (20, 40, 30));
        let both = [shop(), vec![own.clone()]].concat();
        assert_eq!(requests(&both), (120, 50, 30));
        let recent = reports.recent(std::slice::from_ref(&own), at(10));
        assert_eq!((recent.stable.0, recent.canary.0), (2.0, 4.0));
        assert!((recent.canary.1.error_percent() - 75.0).abs() < 1e-9);
        let stable = |second| {
            let (rate, came) = reports.recent(&both, at(second)).stable;
            (rate, came.requests)
        };
        assert_eq!(stable(10), (12.0, 120));
        assert_eq!(stable(99), (0.0, 0), "nobody has said anything lately");
    }

    #[test]
    fn slots_have_a_rate_and_what_divides_nothing_is_not_kept() {
        let reports = Reports::default();
        let slots = |blue, green| ServiceReport {
            service: "shop".into(),
            blue,
            green,
            ..ServiceReport::default()
        };
        say(&reports, ("p", "1"), 1, 0, vec![slots(5, 0)]);
        say(&reports, ("p", "1"), 2, 10, vec![slots(25, 50)]);
        let recent = reports.recent(&shop(), at(10));
        assert_eq!((recent.blue, recent.green), (2.0, 5.0));
        assert_eq!(Divided::of(&slots(0, 0)), None);
    }
}
