//! Random documents whose entry points are for some proxies only.

use std::{
    collections::BTreeSet,
    sync::{Arc, LazyLock},
};

use lb_model::{
    Bundle, Config,
    config::{Certificate, Objects, Route, RouteTimeouts, Tls},
    value::{CertificateName, EntryPointName, Label, Labels, RouteName},
};
use lb_tests::certificate::Pair;
use proptest::{collection::vec, option, prelude::*};

const LABELS: [&str; 3] = ["edge", "eu", "inner"];
const ENTRY_POINTS: [&str; 4] = ["e0", "e1", "e2", "e3"];
const CERTIFICATES: [&str; 3] = ["c0", "c1", "default"];

/// Everything of which documents have a part.
static WHOLE: LazyLock<Config> = LazyLock::new(|| {
    let entry_points =
        ENTRY_POINTS.map(|name| format!("  {name}: {{ address: \"127.0.0.1:0\" }}\n")).concat();
    let backends = [0, 1, 2, 3, 4]
        .map(|n| format!("  b{n}: {{ url: \"http://127.0.0.1:900{n}\" }}\n"))
        .concat();
    let services =
        [0, 1, 2, 3].map(|n| format!("  s{n}: {{ backends: [b{n}, b{}] }}\n", n + 1)).concat();
    let certificates = CERTIFICATES.map(|name| Pair::new(name).entry(name)).concat();
    let text = format!(
        "entry_points:\n{entry_points}backends:\n{backends}services:\n{services}\
         routes: {{ all: {{ rule: PathPrefix(`/`), service: s0 }} }}\ncertificates:\n{certificates}"
    );
    Config::parse(&Bundle::of_text("lb.yaml", &text), 0).unwrap().config
});

/// A document, as it was drawn. What an index names need not be there.
#[derive(Debug, Clone)]
pub(crate) struct Drawn {
    entry_points: Vec<DrawnEntryPoint>,
    routes: Vec<Option<DrawnRoute>>,
    /// Services without their second backend.
    narrow: Vec<bool>,
    /// Which certificates there are.
    certificates: Vec<bool>,
}

#[derive(Debug, Clone)]
struct DrawnEntryPoint {
    is_there: bool,
    /// Who runs it.
    labels: Option<Labels>,
    /// Which certificates it shows; every one when there is none.
    tls: Option<Vec<usize>>,
}

#[derive(Debug, Clone)]
struct DrawnRoute {
    service: usize,
    entry_points: Vec<usize>,
    /// Makes it another route.
    priority: i64,
}

/// Any labels that a proxy may hold, one of which decides nothing.
pub(crate) fn labels() -> impl Strategy<Value = Labels> {
    let all = vec!["edge", "eu", "idle", "inner"];
    proptest::sample::subsequence(all, 0..=4).prop_map(|labels| Labels::grant(&labels).unwrap())
}

fn listed() -> impl Strategy<Value = Labels> {
    proptest::sample::subsequence(&LABELS[..], 1..=2)
        .prop_map(|labels| labels.into_iter().map(|label| Label::parse(label).unwrap()).collect())
}

/// Any document.
pub(crate) fn drawn() -> impl Strategy<Value = Drawn> {
    let tls = option::of(vec(0..CERTIFICATES.len(), 0..3));
    let entry_point = (any::<bool>(), option::of(listed()), tls)
        .prop_map(|(is_there, labels, tls)| DrawnEntryPoint { is_there, labels, tls });
    let route = (0..4_usize, vec(0..ENTRY_POINTS.len(), 1..4), 0..3_i64).prop_map(
        |(service, entry_points, priority)| DrawnRoute { service, entry_points, priority },
    );
    (
        vec(entry_point, ENTRY_POINTS.len()),
        vec(option::of(route), 5),
        vec(any::<bool>(), 4),
        vec(any::<bool>(), CERTIFICATES.len()),
    )
        .prop_map(|(entry_points, routes, narrow, certificates)| Drawn {
            entry_points,
            routes,
            narrow,
            certificates,
        })
}

impl Drawn {
    /// What it says; whatever it names is there.
    pub(crate) fn config(&self) -> Config {
        let whole = &*WHOLE;
        let mut config = Config {
            backends: whole.backends.clone(),
            services: whole.services.clone(),
            certificates: self.certificates().into_iter().collect(),
            ..Config::default()
        };
        for (service, _) in config.services.values_mut().zip(&self.narrow).filter(|(_, n)| **n) {
            Arc::make_mut(service).backends.truncate(1);
        }
        for (name, drawn) in ENTRY_POINTS.iter().zip(&self.entry_points).filter(|(_, d)| d.is_there)
        {
            let mut made = Arc::clone(&whole.entry_points[*name]);
            if let Some(listed) = &drawn.tls {
                Arc::make_mut(&mut made).tls = Some(Tls { certificates: shown(&config, listed) });
            }
            let name = EntryPointName::parse(name).unwrap();
            let labels = drawn.labels.clone();
            config.placement.extend(labels.map(|labels| (name.clone(), labels)));
            config.entry_points.insert(name, made);
        }
        for (index, drawn) in self.routes.iter().enumerate() {
            let Some(drawn) = drawn else { continue };
            let named = drawn.entry_points.iter();
            let named: BTreeSet<_> = named.map(|index| ENTRY_POINTS[*index]).collect();
            let entry_points: Vec<_> =
                config.entry_points.keys().filter(|name| named.contains(name.as_str())).collect();
            if entry_points.is_empty() {
                continue;
            }
            let route = Route {
                rule: Arc::clone(&whole.routes["all"].rule),
                entry_points: entry_points.into_iter().cloned().collect(),
                priority: drawn.priority,
                service: config.services.keys().nth(drawn.service).unwrap().clone(),
                timeouts: RouteTimeouts::default(),
                in_flight: Vec::new(),
                retry: None,
                traffic_management: None,
            };
            let name = RouteName::parse(&format!("r{index}")).unwrap();
            config.routes.insert(name, Arc::new(route));
        }
        config
    }

    fn certificates(&self) -> Objects<CertificateName, Certificate> {
        let all = WHOLE.certificates.iter().zip(&self.certificates);
        let there = all.filter(|(_, is_there)| **is_there).map(|(object, _)| object);
        there.map(|(name, certificate)| (name.clone(), Arc::clone(certificate))).collect()
    }
}

fn shown(config: &Config, listed: &[usize]) -> Option<Vec<CertificateName>> {
    let names = listed.iter().map(|index| CERTIFICATES[*index]);
    let there = names.map(|name| CertificateName::parse(name).unwrap());
    let there: Vec<_> = there.filter(|name| config.certificates.contains_key(name)).collect();
    (!there.is_empty()).then_some(there)
}
