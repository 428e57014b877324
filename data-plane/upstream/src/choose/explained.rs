//! Whatever [`lb_routing::explain`] says of a choice is what a cluster does.

use std::{rc::Rc, sync::Arc};

use lb_model::{
    Bundle, Config,
    api::{Choice, ExplainRequest},
    config::AdminState,
    value::{BackendName, Label, ServiceName},
};
use lb_routing::explain::{KeptAway, Live, Sight, View, explain};
use proptest::prelude::*;
use tokio::time::Instant;

use crate::{
    Ask, Blueprint, Cluster, LocalCluster, ask::cookie_in, cluster::tests::around,
    policy::Surroundings,
};

/// One backend of many: its weight, state, health, level and zone.
#[derive(Debug, Clone)]
struct One {
    weight: u16,
    state: AdminState,
    is_up: bool,
    priority: u8,
    zone: Option<&'static str>,
}

fn one() -> impl Strategy<Value = One> {
    let states = prop_oneof![
        4 => Just(AdminState::Enabled),
        1 => Just(AdminState::Disabled),
        1 => Just(AdminState::Draining)
    ];
    let zones = prop_oneof![3 => Just(None), 1 => Just(Some("near")), 1 => Just(Some("far"))];
    let levels = prop_oneof![3 => Just(0_u8), 1 => Just(1)];
    (0_u16..4, states, prop::bool::weighted(0.8), levels, zones).prop_map(
        |(weight, state, is_up, priority, zone)| One { weight, state, is_up, priority, zone },
    )
}

const STRATEGIES: [&str; 6] = [
    "strategy: hash, hash_on: \"header:X-User\"",
    "strategy: hash, hash_on: \"cookie:user\"",
    "strategy: hash, hash_on: path",
    "strategy: hash, hash_on: client_ip",
    "strategy: round_robin",
    "strategy: hash, hash_on: \"header:X-User\", panic_threshold: 60",
];

const TRAFFIC: [&str; 5] = [
    "",
    "session_stickiness: { enabled: true, header_name: X-User, cookie_name: sid }",
    "blue_green: { enabled: true, blue_backends: [b0, b1], green_backends: [b2, b3], active_slot: \
     blue, switch_header: X-Slot, fallback: true }",
    "canary: { enabled: true, traffic_split: 40, sticky: ip, split_header: X-Canary, \
     canary_backends: [{ backend_id: c0, url: \"http://c0:1\", weight: 2 }, { backend_id: c1, url: \
     \"http://c1:1\" }] }",
    "session_stickiness: { enabled: true, header_name: X-User }, canary: { enabled: true, \
     traffic_split: 40, sticky: header, canary_backends: [{ backend_id: c0, url: \"http://c0:1\" \
     }] }",
];

const IDS: [&str; 4] = ["b0", "b1", "b2", "b3"];

fn config(all: &[One], strategy: &str, traffic: &str) -> Config {
    let listed: Vec<_> = IDS
        .iter()
        .zip(all)
        .map(|(id, one)| {
            let zone = one.zone.map(|zone| format!(", zone: {zone}")).unwrap_or_default();
            let (weight, priority) = (one.weight, one.priority);
            format!(
                "  {id}: {{ url: \"http://{id}:1\", weight: {weight}, priority: {priority}{zone} \
                 }}\n"
            )
        })
        .collect();
    let listed = listed.concat();
    let text = format!(
        "entry_points: {{ web: {{ address: \":80\" }} }}\nbackends:\n{listed}services:\n  s: {{ \
         backends: [b0, b1, b2, b3], {strategy}, traffic_management: {{ {traffic} }} }}\nroutes: \
         {{ all: {{ rule: \"PathPrefix(`/`)\", service: s }} }}\n"
    );
    let mut config = Config::check(&Bundle::of_text("lb.yaml", &text), 0).unwrap().config;
    for (id, one) in IDS.iter().zip(all) {
        let name = BackendName::parse(id).unwrap();
        Arc::make_mut(config.backends.get_mut(&name).unwrap()).admin_state = one.state;
    }
    config
}

/// The request that both are asked.
#[derive(Debug)]
struct Sent(ExplainRequest);

impl Sent {
    fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let fields = self.0.headers.iter();
        fields.filter(move |(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_bytes())
    }
}

impl Ask for Sent {
    fn field<'s>(&'s self, name: &str) -> Option<&'s [u8]> {
        let mut fields = self.0.headers.iter();
        fields.find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_bytes())
    }

    fn cookie<'s>(&'s self, name: &str) -> Option<&'s [u8]> {
        let found = cookie_in(self.values("cookie"), name)?;
        // The same bytes, of the request and not of the iterator over it.
        let mut fields = self.0.headers.iter().map(|(_, value)| value.as_bytes());
        fields.find_map(|field| field.windows(found.len()).find(|window| *window == found))
    }

    fn path(&self) -> &str {
        self.0.url.strip_prefix("http://h").unwrap()
    }

    fn client(&self) -> std::net::IpAddr {
        self.0.client.unwrap()
    }

    fn is_secure(&self) -> bool {
        false
    }
}

/// One proxy in a zone or in none, which sees what its cluster sees.
struct Proxy<'a>(&'a Cluster, Option<&'static str>);

impl Live for Proxy<'_> {
    fn health(&self, _: &str, _: &str) -> Option<(usize, usize, Option<String>)> {
        None
    }

    fn kept_away(&self, _: &str, _: &str) -> KeptAway {
        KeptAway::default()
    }

    fn views(&self, _: &str, backends: &[&str]) -> Vec<View> {
        let sight = |id: &&str| {
            let mut members = self.0.members().iter();
            let member = members.find(|member| **member.endpoint.name() == **id).unwrap();
            if member.endpoint.health().is_up() { Sight::Well } else { Sight::Down }
        };
        let sights = backends.iter().map(sight).collect();
        vec![View { zone: self.1.map(str::to_owned), sights, proxies: vec!["p".to_owned()] }]
    }
}

fn built(config: &Config, all: &[One], zone: Option<&str>) -> Arc<Cluster> {
    let zone = zone.map(|zone| Label::parse(zone).unwrap());
    let around = Surroundings { zone, ..around() };
    let service = config.services.get(&ServiceName::parse("s").unwrap()).unwrap();
    let name = &"s".into();
    let cluster = Cluster::build(
        Blueprint {
            key: name,
            name,
            service,
            traffic: &service.traffic_management,
            backends: &config.backends,
            is_retried: false,
            around: &around,
        },
        None,
        None,
    )
    .unwrap();
    for (member, one) in cluster.members().iter().zip(all) {
        member.endpoint.health().force(one.is_up);
    }
    cluster
}

fn said(config: &Config, sent: &Sent, proxy: &Proxy<'_>) -> Choice {
    let explanation = explain(config, &sent.0, Some(proxy)).unwrap();
    let choices = explanation.entry_points[0].decision.clone().unwrap().choices;
    let [choice] = choices.try_into().unwrap();
    choice
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn what_is_explained_is_what_is_chosen(
        all in prop::collection::vec(one(), 4),
        (strategy, traffic) in (0..STRATEGIES.len(), 0..TRAFFIC.len()),
        (user, path, client) in (prop::option::of("[a-z]{1,4}"), "/[a-z]{0,2}", any::<[u8; 4]>()),
        cookie in prop::option::of("user=[a-z]{1,3}"),
        slot in prop::option::of(prop_oneof![Just("green"), Just("none")]),
        canary in prop::option::of(prop_oneof![Just("always"), Just("never"), Just("c1")]),
        zone in prop_oneof![Just(None), Just(Some("near"))],
    ) {
        let config = config(&all, STRATEGIES[strategy], TRAFFIC[traffic]);
        let field = |name: &str, value: Option<&str>| {
            value.map(|value| (name.to_owned(), value.to_owned()))
        };
        let headers = [
            field("x-user", user.as_deref()),
            field("Cookie", cookie.as_deref()),
            field("X-Slot", slot),
            field("X-Canary", canary),
        ];
        let sent = Sent(ExplainRequest {
            url: format!("http://h{path}"),
            headers: headers.into_iter().flatten().collect(),
            client: Some(client.into()),
            ..ExplainRequest::default()
        });
        let cluster = built(&config, &all, zone);
        let choice = said(&config, &sent, &Proxy(&cluster, zone));
        // Any worker, and however often.
        for worker in 0..2 {
            let local = Rc::new(LocalCluster::new(Arc::clone(&cluster), worker, None));
            for _ in 0..3 {
                let picked = local.pick(&sent, &[], Instant::now()).ok();
                let picked = picked.as_ref().map(|p| p.attempt.endpoint().endpoint().name());
                match (&choice.backend, &*choice.by) {
                    (Some(backend), _) => {
                        prop_assert_eq!(picked.map(|id| &**id), Some(&**backend), "{:?}", choice);
                    }
                    (None, "nobody") => prop_assert_eq!(picked, None, "{:?}", choice),
                    // One of the versions may have nobody.
                    (None, "split") => {}
                    (None, _) => prop_assert!(picked.is_some(), "{:?}", choice),
                }
            }
        }
        // A hash of a strategy is followed, unless the level or the version is drawn before.
        let mut known = vec!["hash", "only", "split_header", "levels", "nobody"];
        if traffic == 4 && user.is_none() {
            known.push("split");
        }
        let is_hash = strategy != 4;
        prop_assert!(!is_hash || known.contains(&&*choice.by), "{:?}", choice);
    }
}
