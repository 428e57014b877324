use std::sync::Arc;

use http::StatusCode;
use lb_http::h1::ResponseHead;
use lb_model::{
    config::{
        Backend, CanarySticky, CircuitBreaker, Objects, Service, SessionStickiness,
        TrafficManagement,
    },
    value::{BackendName, BackendUrl, CookieName, Duration, Percentage, Weight},
};
use proptest::prelude::*;

use super::*;
use crate::{
    arms::ArmsCounts,
    cluster::{Blueprint, Cluster, tests::around},
    latency::Took,
    sticky::CookieKey,
};

/// A request with one cookie and the headers that choose.
#[derive(Default)]
struct Asked {
    cookie: Option<Vec<u8>>,
    slot: Option<&'static str>,
    canary: Option<&'static str>,
}

impl Ask for Asked {
    fn field<'s>(&'s self, name: &str) -> Option<&'s [u8]> {
        let value = if name == "x-slot" { self.slot } else { self.canary };
        value.map(str::as_bytes)
    }

    fn cookie<'s>(&'s self, _: &str) -> Option<&'s [u8]> {
        self.cookie.as_deref()
    }

    fn path(&self) -> &'static str {
        "/"
    }

    fn client(&self) -> std::net::IpAddr {
        [192, 0, 2, 1].into()
    }

    fn is_secure(&self) -> bool {
        true
    }
}

fn name(text: &str) -> BackendName {
    BackendName::parse(text).unwrap()
}

fn header(text: &str) -> lb_model::rule::HeaderName {
    lb_model::rule::HeaderName::parse(text).unwrap()
}

/// Blue `b0 b1`, green `g0 g1`, canary `c0 c1`, sessions by cookie and breakers.
fn everything(split: &str, active: Slot) -> TrafficManagement {
    TrafficManagement {
        session_stickiness: Some(SessionStickiness {
            cookie_name: Some(CookieName::parse("sid").unwrap()),
            header_name: None,
            ttl: Duration::from_secs(100),
            secure: None,
            http_only: true,
            same_site: lb_model::config::SameSite::Lax,
            path: "/".to_owned(),
            domain: None,
        }),
        blue_green: Some(BlueGreen {
            blue: vec![name("b0"), name("b1")],
            green: vec![name("g0"), name("g1")],
            active,
            switch_header: Some(header("x-slot")),
            switch_header_trusted_ips: vec![],
            fallback: false,
        }),
        canary: Some(Canary {
            backends: vec![(name("c0"), Weight::ONE), (name("c1"), Weight::ONE)],
            traffic_split: Percentage::parse(split).unwrap(),
            split_header: Some(header("x-canary")),
            sticky: Some(CanarySticky::Cookie),
            steps: vec![],
        }),
        traffic_mirroring: None,
        circuit_breaker: Some(CircuitBreaker {
            failure_threshold: 1,
            success_threshold: 1,
            recovery_timeout: Duration::from_secs(1_000),
            request_volume_threshold: 0,
            window: Duration::from_secs(10),
            failure_status: vec![lb_model::value::StatusRange::parse("5xx").unwrap()],
            max_recovery_timeout: None,
        }),
    }
}

fn local(traffic: TrafficManagement, previous: Option<&Rc<LocalCluster>>) -> Rc<LocalCluster> {
    let ids = ["b0", "b1", "g0", "g1", "c0", "c1"];
    let backends: Objects<BackendName, Backend> = ids
        .map(|id| {
            let url = BackendUrl::parse(&format!("http://{id}:1")).unwrap();
            (name(id), Arc::new(Backend::at(url)))
        })
        .into_iter()
        .collect();
    let traffic = Arc::new(traffic);
    let service = Service {
        traffic_management: Arc::clone(&traffic),
        ..Service::of(ids[..4].iter().map(|id| name(id)).collect())
    };
    let (key, service, around) = (&"s".into(), &Arc::new(service), &around());
    let blueprint = Blueprint {
        key,
        name: key,
        service,
        traffic: &traffic,
        backends: &backends,
        is_retried: false,
        around,
    };
    let before = previous.map(|local| local.cluster());
    let cluster = Cluster::build(blueprint, before, None).unwrap();
    Rc::new(LocalCluster::new(cluster, 0, previous.map(|local| &**local)))
}

fn id(picked: &Picked) -> String {
    picked.attempt.endpoint().endpoint().name().to_string()
}

/// The value that a client sends back.
fn value(cookie: &[u8]) -> Vec<u8> {
    let value = cookie.strip_prefix(b"sid=").unwrap();
    value.split(|byte| *byte == b';').next().unwrap().to_vec()
}

fn head(status: u16) -> ResponseHead {
    let mut head = ResponseHead::default();
    head.status = StatusCode::from_u16(status).unwrap();
    head
}

#[test]
fn a_switch_of_slots_ends_what_sessions_remember_of_the_other() {
    let now = Instant::now();
    let blue = local(everything("0", Slot::Blue), None);
    let first = blue.pick(&Asked::default(), &[], now).unwrap();
    let cookie = value(first.cookie.as_deref().unwrap());
    let asked = Asked { cookie: Some(cookie), ..Asked::default() };
    let again = blue.pick(&asked, &[], now).unwrap();
    assert_eq!((id(&again), again.cookie.is_none()), (id(&first), true));
    let green = local(everything("0", Slot::Green), Some(&blue));
    let moved = green.pick(&asked, &[], now).unwrap();
    assert!(id(&moved).starts_with('g') && moved.cookie.is_some());
}

#[test]
fn a_breaker_with_nobody_behind_it_is_named_as_the_reason() {
    let now = Instant::now();
    let cluster = local(everything("0", Slot::Blue), None);
    for _ in 0..2 {
        let mut picked = cluster.pick(&Asked::default(), &[], now).unwrap();
        picked.attempt.respond(&head(500), now);
    }
    assert_eq!(cluster.pick(&Asked::default(), &[], now).unwrap_err(), Reason::CircuitOpen);
    let after = cluster.opens_again(now).unwrap();
    assert!(after.as_secs() >= 999, "{after:?}");
    let green = Asked { slot: Some("green"), ..Asked::default() };
    assert!(cluster.pick(&green, &[], now).is_ok(), "the other slot has breakers of its own");
}

#[test]
fn a_reset_by_an_operator_is_a_transition_that_outlives_the_breaker() {
    let now = Instant::now();
    let cluster = local(everything("0", Slot::Blue), None);
    let mut picked = cluster.pick(&Asked::default(), &[], now).unwrap();
    picked.attempt.respond(&head(500), now);
    let member = &cluster.cluster().members()[picked.member];
    let transitions =
        |member: &Member| member.endpoint.stats(member, now).counts.breaker_transitions;
    assert_eq!(transitions(member), 1, "it opened");
    // Operators are no worker: several of them may come at once, and one changes something.
    let resets = std::thread::scope(|scope| {
        let all: Vec<_> =
            (0..4).map(|_| scope.spawn(|| usize::from(member.reset_breaker(now)))).collect();
        all.into_iter().map(|one| one.join().unwrap()).sum::<usize>()
    });
    assert_eq!((resets, transitions(member)), (1, 2));
    let mut other = everything("0", Slot::Blue);
    other.circuit_breaker.as_mut().unwrap().failure_threshold = 7;
    let next = local(other, Some(&cluster));
    let next = &next.cluster().members()[picked.member];
    let breaker = |member: &Member| member.standing.breaker.as_ref().map(Arc::as_ptr);
    assert_ne!(breaker(next), breaker(member), "another threshold is another breaker");
    assert_eq!(transitions(next), 2, "what was counted stays");
    let without = local(TrafficManagement::default(), None);
    assert!(!without.cluster().members()[0].reset_breaker(now));
}

#[test]
fn a_try_that_nobody_judged_gives_its_probe_back() {
    let now = Instant::now();
    let cluster = local(everything("0", Slot::Blue), None);
    for _ in 0..2 {
        let mut picked = cluster.pick(&Asked::default(), &[], now).unwrap();
        picked.attempt.fail(Reason::UpstreamReset, now);
    }
    let later = now + std::time::Duration::from_secs(2_000);
    let probes: Vec<_> =
        (0..2).map(|_| cluster.pick(&Asked::default(), &[], later).unwrap()).collect();
    assert!(cluster.pick(&Asked::default(), &[], later).is_err(), "one probe for each");
    drop(probes);
    assert!(cluster.pick(&Asked::default(), &[], later).is_ok());
}

proptest! {
    /// Whatever the request says and whoever fails, who is chosen is of the slot and version that
    /// the request gets, and was not asked before.
    #[test]
    fn who_is_chosen_is_of_the_part_that_the_request_gets(
        split in prop_oneof![Just("0"), Just("30"), Just("100")],
        steps in prop::collection::vec((0_usize..3, 0_usize..4, any::<bool>(), any::<bool>()), 1..60),
    ) {
        let now = Instant::now();
        let cluster = local(everything(split, Slot::Blue), None);
        let mut cookie = None;
        for (slot, canary, fails, keeps) in steps {
            let asked = Asked {
                cookie: cookie.clone().filter(|_| keeps),
                slot: [None, Some("green"), Some("none")][slot],
                canary: [None, Some("true"), Some("false"), Some("c1")][canary],
            };
            let Ok(mut picked) = cluster.pick(&asked, &[], now) else { continue };
            let chosen = id(&picked);
            let stable = if slot == 1 { 'g' } else { 'b' };
            let is_canary = chosen.starts_with('c');
            prop_assert!(is_canary || chosen.starts_with(stable), "{}", chosen);
            match (canary, split) {
                (2, _) | (0, "0") => prop_assert!(!is_canary),
                (3, _) if is_canary => prop_assert_eq!(&chosen, "c1"),
                _ => {}
            }
            let standing = cluster.standing(picked.member).unwrap();
            prop_assert!(standing.breaker.as_ref().unwrap().allows(now));
            if let Some(set) = &picked.cookie {
                let key = CookieKey::derive(&around().secret.0, "s");
                let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
                let session = key.open(&value(set), clock).unwrap();
                prop_assert_eq!(session.backend, standing.hash);
                prop_assert_eq!(session.slot, Some(if slot == 1 { Slot::Green } else { Slot::Blue }));
                cookie = Some(value(set));
            }
            if let Ok(other) = cluster.pick(&asked, &[picked.member], now) {
                prop_assert_ne!(id(&other), chosen);
            }
            picked.attempt.respond(&head(if fails { 500 } else { 200 }), now);
        }
    }
}

#[test]
fn each_version_is_counted_by_how_its_own_cluster_was_answered() {
    let traffic = TrafficManagement { circuit_breaker: None, ..everything("0", Slot::Blue) };
    let first = local(traffic.clone(), None);
    let now = Instant::now();
    let took = std::time::Duration::from_millis(3);
    let send = |local: &Rc<LocalCluster>, canary, status: Option<u16>| {
        let asked = Asked { canary: Some(canary), ..Asked::default() };
        let mut attempt = local.pick(&asked, &[], now).unwrap().attempt;
        match status {
            Some(status) => attempt.respond(&head(status), now),
            None => attempt.fail(Reason::UpstreamReset, now),
        }
        attempt.took(Took::new(took));
    };
    for (canary, status) in
        [("always", Some(500)), ("always", Some(200)), ("never", Some(404)), ("always", None)]
    {
        send(&first, canary, status);
    }
    let counted = |local: &Rc<LocalCluster>| ArmsCounts::sum(local.cluster().arms().unwrap());
    let ArmsCounts { stable, canary } = counted(&first);
    assert_eq!((stable.requests, stable.failures, stable.server_errors), (1, 0, 0));
    assert_eq!((canary.requests, canary.failures, canary.server_errors), (3, 1, 1));
    assert_eq!((stable.latency.sum, canary.latency.sum), (took, took * 3));
    // Another configuration goes on counting; another cluster around the same backends does not.
    let next = local(everything("50", Slot::Blue), Some(&first));
    send(&next, "always", Some(200));
    assert_eq!(counted(&next).canary.requests, 4);
    assert!(local(TrafficManagement { canary: None, ..traffic }, None).cluster().arms().is_none());
}
