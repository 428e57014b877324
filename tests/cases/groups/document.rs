//! Random documents whose entry points are for some proxies only.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use lb_model::{
    Bundle, Config,
    config::{Certificate, Route, Tls},
    value::{CertificateName, EntryPointName, Label, Labels, RouteName},
};
use lb_tests::certificate::Pair;
use proptest::{collection::vec, option, prelude::*};

const LABELS: [&str; 3] = ["edge", "eu", "inner"];
const ENTRY_POINTS: [&str; 4] = ["e0", "e1", "e2", "e3"];
const CERTIFICATES: [&str; 3] = ["c0", "c1", "default"];

/// Everything of which documents have a part.
static WHOLE: LazyLock<Config> = LazyLock::new(|| {
    let mut text = "entry_points:\n".to_owned();
    for name in ENTRY_POINTS {
        text += &format!("  {name}: {{ address: \"127.0.0.1:0\" }}\n");
    }
    text += "backends:\n";
    for index in 0..5 {
        text += &format!("  b{index}: {{ url: \"http://127.0.0.1:900{index}\" }}\n");
    }
    text += "services:\n";
    for index in 0..4 {
        text += &format!("  s{index}: {{ backends: [b{index}, b{}] }}\n", index + 1);
    }
    text += "routes: { all: { rule: PathPrefix(`/`), service: s0 } }\ncertificates:\n";
    for name in CERTIFICATES {
        text += &Pair::new(name).entry(name);
    }
    Config::parse(&Bundle::of_text("lb.yaml", &text), 0).unwrap().config
});

/// A document, as it was drawn.
#[derive(Debug, Clone)]
pub(crate) struct Drawn {
    /// Whether it is there, who runs it, and which certificates it shows: all but for those named.
    entry_points: Vec<(bool, Option<Labels>, Option<Option<Vec<usize>>>)>,
    /// The service, the entry points, and a number that makes it another route.
    routes: Vec<Option<(usize, Vec<usize>, i64)>>,
    /// Services without their second backend.
    narrow: Vec<bool>,
    /// Which certificates there are.
    certificates: Vec<bool>,
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
    let tls = option::of(option::of(vec(0..CERTIFICATES.len(), 1..3)));
    let entry_point = (any::<bool>(), option::of(listed()), tls);
    let route = option::of((0..4_usize, vec(0..ENTRY_POINTS.len(), 1..4), 0..3_i64));
    (
        vec(entry_point, ENTRY_POINTS.len()),
        vec(route, 5),
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
            certificates: self.certificates(),
            ..Config::default()
        };
        for (service, _) in config.services.values_mut().zip(&self.narrow).filter(|(_, n)| **n) {
            Arc::make_mut(service).backends.truncate(1);
        }
        let drawn = ENTRY_POINTS.iter().zip(&self.entry_points).filter(|(_, (there, ..))| *there);
        for (name, (_, labels, tls)) in drawn {
            let mut made = Arc::clone(&whole.entry_points[*name]);
            if let Some(listed) = tls {
                Arc::make_mut(&mut made).tls = Some(Tls { certificates: shown(&config, listed) });
            }
            let name = EntryPointName::parse(name).unwrap();
            config.placement.extend(labels.clone().map(|labels| (name.clone(), labels)));
            config.entry_points.insert(name, made);
        }
        for (index, drawn) in self.routes.iter().enumerate() {
            let Some((service, entry_points, priority)) = drawn else { continue };
            let mut entry_points: Vec<_> = entry_points
                .iter()
                .map(|index| EntryPointName::parse(ENTRY_POINTS[*index]).unwrap())
                .filter(|name| config.entry_points.contains_key(name))
                .collect();
            entry_points.sort();
            entry_points.dedup();
            if entry_points.is_empty() {
                continue;
            }
            let service = config.services.keys().nth(*service).unwrap().clone();
            let rule = Arc::clone(&whole.routes["all"].rule);
            let timeouts = Default::default();
            let route = Route { rule, entry_points, priority: *priority, service, timeouts };
            let name = RouteName::parse(&format!("r{index}")).unwrap();
            config.routes.insert(name, Arc::new(route));
        }
        config
    }

    fn certificates(&self) -> BTreeMap<CertificateName, Arc<Certificate>> {
        let all = WHOLE.certificates.iter().zip(&self.certificates);
        let there = all.filter(|(_, is_there)| **is_there).map(|(object, _)| object);
        there.map(|(name, certificate)| (name.clone(), Arc::clone(certificate))).collect()
    }
}

fn shown(config: &Config, listed: &Option<Vec<usize>>) -> Option<Vec<CertificateName>> {
    let names = listed.iter().flatten().map(|index| CERTIFICATES[*index]);
    let there = names.map(|name| CertificateName::parse(name).unwrap());
    let there: Vec<_> = there.filter(|name| config.certificates.contains_key(name)).collect();
    (!there.is_empty()).then_some(there)
}
