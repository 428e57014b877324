//! How each proxy sees the backends of a service, for those who ask whom it would choose.

use std::collections::BTreeMap;

use jiff::Timestamp;
use lb_proto::v1::{BackendHealth, BackendReport, BreakerState};
use lb_routing::explain::{Sight, View};

use super::{Place, Reports};

impl Reports {
    /// The views of all proxies that report one of these backends of a service: each different
    /// one once, with who has it. Who reports some of them has nothing against the others.
    pub fn views(&self, service: &str, backends: &[&str], now: Timestamp) -> Vec<View> {
        let place = |id: &&str| -> Place { (service.to_owned(), (*id).to_owned()) };
        let places: Vec<_> = backends.iter().map(place).collect();
        let mut views = BTreeMap::<(Option<&str>, Vec<Sight>), Vec<String>>::new();
        let known = self.lock();
        for (proxy, latest) in known.proxies.iter().filter(|(_, latest)| latest.is_fresh(now)) {
            let reports = || places.iter().map(|place| latest.backends.get(place));
            if reports().all(|report| report.is_none()) {
                continue;
            }
            let seen = |said: Option<&super::Measured>| {
                said.map_or_else(Sight::default, |said| sight(&said.report, now))
            };
            let sights = reports().map(seen).collect();
            views.entry((latest.zone.as_deref(), sights)).or_default().push(proxy.clone());
        }
        let views = views.into_iter();
        views
            .map(|((zone, sights), proxies)| View {
                zone: zone.map(str::to_owned),
                sights,
                proxies,
            })
            .collect()
    }
}

fn sight(report: &BackendReport, now: Timestamp) -> Sight {
    let is_later = |millis: i64| millis > now.as_millisecond();
    let mut breakers = report.breaker.iter();
    if report.health() == BackendHealth::Down {
        Sight::Down
    } else if is_later(report.ejected_until_ms) {
        Sight::Ejected
    } else if breakers.any(|b| b.state() == BreakerState::Open && is_later(b.next_attempt_ms)) {
        Sight::Open
    } else {
        Sight::Well
    }
}

#[cfg(test)]
mod tests {
    use lb_proto::v1::{BreakerReport, ReportBatch};

    use super::{
        super::tests::{at, batch, report},
        *,
    };

    #[test]
    fn proxies_that_see_the_same_are_one_view() {
        let reports = Reports::default();
        let down = BackendReport { health: BackendHealth::Down.into(), ..report("a", 0) };
        let out = BackendReport { ejected_until_ms: 20_000, ..report("b", 0) };
        let open = |next_attempt_ms| BackendReport {
            breaker: Some(BreakerReport {
                state: BreakerState::Open.into(),
                next_attempt_ms,
                ..BreakerReport::default()
            }),
            ..report("b", 0)
        };
        for (proxy, backends) in [
            ("p", vec![report("a", 0), report("b", 0)]),
            ("q", vec![report("a", 9), report("b", 7)]),
            ("r", vec![down, out]),
            ("s", vec![report("a", 0), open(20_000)]),
            ("t", vec![report("a", 0), open(9_000)]),
            ("u", vec![report("other", 0)]),
        ] {
            reports.take(batch((proxy, "1"), 1, backends), at(10));
        }
        let zoned = batch(("v", "1"), 1, vec![report("a", 0)]);
        reports.take(ReportBatch { zone: "eu".into(), ..zoned }, at(10));
        let views = reports.views("default", &["a", "b"], at(10));
        let said: Vec<_> = views
            .iter()
            .map(|view| (view.zone.as_deref(), &*view.sights, view.proxies.join(" ")))
            .collect();
        use Sight::{Down, Ejected, Open, Well};
        assert_eq!(
            said,
            [
                (None, &[Well, Well][..], "p q t".to_owned()),
                (None, &[Well, Open], "s".to_owned()),
                (None, &[Down, Ejected], "r".to_owned()),
                (Some("eu"), &[Well, Well], "v".to_owned()),
            ]
        );
        assert!(reports.views("default", &["a", "b"], at(60)).is_empty(), "they fell silent");
    }
}
