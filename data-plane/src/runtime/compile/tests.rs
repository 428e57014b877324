//! What is compiled from a version and the one before is what is compiled without it.

use std::{collections::BTreeMap, fmt::Write};

use http::{HeaderMap, Method};
use lb_model::Bundle;
use lb_routing::RequestHead;
use proptest::prelude::*;

use super::*;
use crate::{
    runtime::compiled::RouteLimits,
    tls::{
        resolver::{CertificateResolver, self_signed},
        server_config,
    },
};

fn context() -> CompileContext {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let fallback = self_signed().unwrap();
    let certificates = Arc::new(CertificateSet::empty(&fallback));
    let tls = Arc::new(server_config(Arc::new(CertificateResolver::new(certificates))).unwrap());
    let secret = lb_model::resource::HashKey([0; 32]);
    let (zone, copies) = (None, Arc::default());
    CompileContext { workers: 2, fallback, tls, secret, zone, copies }
}

/// A route by its number: its path, its priority, its service, and where it listens.
type Drawn = BTreeMap<u8, (u8, i64, u8, u8)>;

fn drawn() -> impl Strategy<Value = (Drawn, BTreeMap<u8, u8>)> {
    let route = (0u8..4, 0i64..3, 0u8..3, 1u8..4);
    let routes = proptest::collection::btree_map(0u8..40, route, 20..40);
    let services = proptest::collection::btree_map(0u8..3, 1u8..4, 3..=3);
    (routes, services)
}

fn config((routes, services): &(Drawn, BTreeMap<u8, u8>)) -> Config {
    let mut text = "entry_points:\n  e1: { address: \"127.0.0.1:1\" }\n  e2: { address: \
                    \"127.0.0.1:2\" }\nbackends:\n  b: { url: \"http://127.0.0.1:3\" }\n\
                    services:\n"
        .to_owned();
    for (name, seconds) in services {
        writeln!(text, "  s{name}: {{ backends: [b], timeouts: {{ total: {seconds}s }} }}")
            .unwrap();
    }
    text += "routes:\n";
    for (name, (path, priority, service, listens)) in routes {
        let at = ["", "e1", "e2", "e1, e2"][usize::from(*listens)];
        writeln!(
            text,
            "  r{name}: {{ rule: \"Host(`h{}`) && PathPrefix(`/p{path}`)\", priority: {priority}, \
             service: s{service}, entry_points: [{at}]{} }}",
            name % 3,
            // With such a block the route has a cluster of its own.
            ["", "", "", ", traffic_management: { circuit_breaker: { enabled: true } }"]
                [usize::from(*path)],
        )
        .unwrap();
    }
    Config::parse(&Bundle::of_text("lb.yaml", &text), 0).unwrap().config
}

/// What a request finds: the route, the key of its cluster, and its time limits.
fn found(
    snapshot: &CompiledSnapshot,
    entry_point: usize,
    host: &str,
    path: &str,
) -> Option<(Arc<str>, Arc<str>, RouteLimits)> {
    let (method, headers, client) = (Method::GET, HeaderMap::new(), [127, 0, 0, 1].into());
    let head = RequestHead { method: &method, host, path, query: None, headers: &headers, client };
    let slot = *snapshot.entry_points[entry_point].table.find(&head)?;
    let target = &snapshot.routes[slot];
    let cluster = snapshot.clusters[target.cluster].key();
    Some((Arc::clone(&target.name), Arc::clone(cluster), target.limits))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn what_goes_on_from_a_version_is_what_is_compiled_without_it(
        versions in proptest::collection::vec(drawn(), 1..3),
        edits in proptest::collection::vec(
            (0u8..40, (0u8..4, 0i64..3, 0u8..3, 1u8..4), 0u8..4),
            1..12,
        ),
    ) {
        let context = context();
        let mut all = Vec::new();
        for version in versions {
            all.push(version);
            // Whole versions, and small steps from each.
            for (route, to, what) in &edits {
                let mut next = all[all.len() - 1].clone();
                match what {
                    0 => drop(next.0.remove(route)),
                    1 => drop(next.1.insert(to.2, to.3)),
                    _ => drop(next.0.insert(*route, *to)),
                }
                all.push(next);
            }
        }
        let mut before: Option<CompiledSnapshot> = None;
        for (number, version) in (1..).zip(&all) {
            let mut config = config(version);
            if let Some(before) = &before {
                config.share(&before.config);
            }
            let next = compile(&config, number, before.as_ref(), &context).unwrap();
            let anew = compile(&config, number, None, &context).unwrap();
            for (entry_point, host, path) in (0..2).flat_map(|e| {
                (0..3).flat_map(move |h| (0..4).map(move |p| (e, format!("h{h}"), format!("/p{p}"))))
            }) {
                prop_assert_eq!(
                    found(&next, entry_point, &host, &path),
                    found(&anew, entry_point, &host, &path)
                );
            }
            let routes = |snapshot: &CompiledSnapshot| -> Vec<_> {
                snapshot.slots.iter().map(|slot| Arc::clone(&snapshot.routes[*slot].name)).collect()
            };
            prop_assert_eq!(routes(&next), routes(&anew));
            prop_assert_eq!(next.routes.len(), config.routes.len());
            if let Some(before) = &before {
                for route in &before.routes {
                    if let Some(kept) = next.target(&route.name) {
                        prop_assert!(Arc::ptr_eq(&kept.counters, &route.counters), "counters go on");
                    }
                }
            }
            before = Some(next);
        }
    }
}

#[test]
fn one_changed_route_leaves_everything_else_as_it_is() {
    let context = context();
    let routes: Drawn = (0..40).map(|n| (n, (0, 1, 0, 1))).collect();
    let mut version = (routes, BTreeMap::from([(0, 1), (1, 1), (2, 1)]));
    let first = compile(&config(&version), 1, None, &context).unwrap();
    version.0.insert(7, (2, 2, 1, 1));
    let mut changed = config(&version);
    changed.share(&first.config);
    let second = compile(&changed, 2, Some(&first), &context).unwrap();
    assert!(Arc::ptr_eq(&first.clusters, &second.clusters));
    let kept = |slot: usize| Arc::ptr_eq(&first.routes[slot], &second.routes[slot]);
    assert_eq!((0..40).filter(|slot| !kept(*slot)).count(), 1);
    assert!(Arc::ptr_eq(&first.entry_points[1].table, &second.entry_points[1].table));
}
