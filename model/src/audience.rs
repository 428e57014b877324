//! What the proxies with certain labels need of a configuration, and nothing else.
//!
//! An audience is all proxies that run the same entry points. From these everything follows: the
//! routes that listen there, the services they use, the backends of these, and the certificates
//! that clients may see. What nobody of an audience needs is not sent to it, private keys least
//! of all.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use crate::{
    config::{Config, EntryPoint, Objects, Policies, Route},
    value::{CertificateName, EntryPointName, Labels},
};

impl Config {
    /// The labels that decide something here.
    pub fn placing(&self) -> Labels {
        self.placement.values().flatten().cloned().collect()
    }

    /// Whether a proxy with these labels runs an entry point.
    pub fn is_run_by(&self, entry_point: &EntryPointName, labels: &Labels) -> bool {
        self.placement.get(entry_point).is_none_or(|listed| listed.meets(labels))
    }

    /// What a proxy with these labels needs. A route that listens elsewhere too is narrowed to
    /// the entry points that are left.
    #[must_use]
    pub fn for_proxies(&self, labels: &Labels) -> Self {
        let entry_points: Objects<_, _> =
            kept(&self.entry_points, |name, _| self.is_run_by(name, labels));
        let routes = if entry_points.is_same(&self.entry_points) {
            self.routes.clone()
        } else {
            let narrowed =
                |(name, route)| Some((Clone::clone(name), narrowed(route, &entry_points)?));
            self.routes.iter().filter_map(narrowed).collect()
        };
        let mut used = HashSet::new();
        let mut next: Vec<_> = routes.values().map(|route| &route.service).collect();
        while let Some(name) = next.pop() {
            if used.insert(name) {
                next.extend(self.services.get(name).iter().flat_map(|service| service.others()));
            }
        }
        let services = kept(&self.services, |name, _| used.contains(name));
        let of_routes = routes.values().filter_map(|route| route.traffic_management.as_ref());
        let used: HashSet<_> = services
            .values()
            .flat_map(|service| service.members())
            .chain(of_routes.flat_map(|traffic| traffic.canaries()))
            .collect();
        let backends = kept(&self.backends, |name, _| used.contains(name));
        let certificates =
            kept(&self.certificates, |name, _| entry_points.values().any(|e| shows(e, name)));
        let placement = BTreeMap::new();
        let policies = Policies::default();
        let own_deployments = BTreeMap::new();
        Self {
            entry_points,
            backends,
            services,
            routes,
            certificates,
            placement,
            own_deployments,
            policies,
        }
    }
}

/// Those that are kept; the same map if all of them are.
fn kept<N: Ord + Clone, T>(
    objects: &Objects<N, T>,
    is_kept: impl Fn(&N, &T) -> bool,
) -> Objects<N, T> {
    if objects.iter().all(|(name, object)| is_kept(name, object)) {
        return objects.clone();
    }
    let kept = objects.iter().filter(|(name, object)| is_kept(name, object));
    kept.map(|(name, object)| (name.clone(), Arc::clone(object))).collect()
}

/// A route on those of its entry points that are there; none if it listens on none of them.
fn narrowed(
    route: &Arc<Route>,
    entry_points: &Objects<EntryPointName, EntryPoint>,
) -> Option<Arc<Route>> {
    let is_there = |name: &&EntryPointName| entry_points.contains_key(*name);
    let left: Vec<_> = route.entry_points.iter().filter(is_there).cloned().collect();
    match left.len() {
        0 => None,
        all if all == route.entry_points.len() => Some(Arc::clone(route)),
        _ => Some(Arc::new(Route { entry_points: left, ..Route::clone(route) })),
    }
}

fn shows(entry_point: &EntryPoint, certificate: &CertificateName) -> bool {
    entry_point.tls.as_ref().is_some_and(|tls| tls.shows(certificate))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::Bundle;

    const DOCUMENT: &str = r#"
entry_points:
  all: { address: ":80" }
  edge: { address: ":443", proxies: [edge, eu] }
  inner: { address: ":443", proxies: [inner] }
backends:
  shop1: { url: "http://127.0.0.1:1" }
  both: { url: "http://127.0.0.1:2" }
  tools1: { url: "http://127.0.0.1:3" }
  idle: { url: "http://127.0.0.1:4" }
services:
  shop: { backends: [shop1, both] }
  tools: { backends: [tools1, both] }
  idle: { backends: [idle] }
routes:
  everywhere: { rule: PathPrefix(`/`), service: shop }
  tools: { rule: Host(`tools`), service: tools, entry_points: [inner] }
"#;

    fn config() -> Config {
        Config::parse(&Bundle::of_text("lb.yaml", DOCUMENT), 0).unwrap().config
    }

    fn names<N: ToString, T>(objects: &Objects<N, T>) -> Vec<String> {
        objects.keys().map(ToString::to_string).collect()
    }

    fn labels(texts: &[&str]) -> Labels {
        Labels::grant(texts).unwrap()
    }

    #[test]
    fn a_proxy_needs_what_its_entry_points_lead_to() {
        let own = config().for_proxies(&labels(&["edge"]));
        assert_eq!(names(&own.entry_points), ["all", "edge"]);
        assert_eq!(names(&own.routes), ["everywhere"]);
        let listens: Vec<_> =
            own.routes["everywhere"].entry_points.iter().map(EntryPointName::as_str).collect();
        assert_eq!(listens, ["all", "edge"], "narrowed to what is there");
        assert_eq!(names(&own.services), ["shop"]);
        assert_eq!(names(&own.backends), ["both", "shop1"]);
        assert!(own.placement.is_empty());
    }

    #[test]
    fn what_nobody_uses_is_for_nobody() {
        let whole = config();
        for each in [&[][..], &["edge"], &["inner"], &["edge", "inner"]] {
            let own = whole.for_proxies(&labels(each));
            assert!(!own.backends.contains_key("idle") && !own.services.contains_key("idle"));
        }
    }

    #[test]
    fn a_route_that_keeps_its_entry_points_is_shared() {
        let whole = config();
        let own = whole.for_proxies(&labels(&["edge", "inner"]));
        assert!(Arc::ptr_eq(&own.routes["everywhere"], &whole.routes["everywhere"]));
        let none = whole.for_proxies(&Labels::default());
        assert_eq!(names(&none.entry_points), ["all"]);
        assert_eq!(names(&none.routes), ["everywhere"]);
    }

    #[test]
    fn only_labels_that_are_named_decide() {
        let whole = config();
        assert_eq!(whole.placing(), labels(&["edge", "eu", "inner"]));
        assert_eq!(
            whole.for_proxies(&labels(&["edge"])),
            whole.for_proxies(&labels(&["eu", "unheard-of"]))
        );
    }

    #[test]
    fn a_private_key_goes_where_clients_may_see_its_certificate() {
        let mut whole = config();
        for name in ["default", "shop", "tools"] {
            let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
            let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
            let made = crate::config::Certificate::from_pem(
                chain.as_bytes(),
                key.as_bytes(),
                name == "default",
            );
            let name = CertificateName::parse(name).unwrap();
            whole.certificates.insert(name, Arc::new(made.unwrap()));
        }
        let for_labels =
            |whole: &Config, each: &[&str]| names(&whole.for_proxies(&labels(each)).certificates);
        assert!(for_labels(&whole, &["edge", "inner"]).is_empty(), "nothing terminates TLS");
        let mut secure = |entry_point: &str, certificates: Option<&[&str]>| {
            let name = EntryPointName::parse(entry_point).unwrap();
            let made = whole.entry_points.get_mut(&name).unwrap();
            let certificates = certificates.map(|listed| {
                listed.iter().map(|name| CertificateName::parse(name).unwrap()).collect()
            });
            Arc::make_mut(made).tls = Some(crate::config::Tls { certificates });
        };
        secure("edge", Some(&["shop"]));
        secure("inner", Some(&["tools", "default"]));
        assert!(for_labels(&whole, &[]).is_empty());
        assert_eq!(for_labels(&whole, &["edge"]), ["shop"]);
        assert_eq!(for_labels(&whole, &["inner"]), ["default", "tools"]);
        let mut secure = |entry_point: &str| {
            let made = whole.entry_points.get_mut(entry_point).unwrap();
            Arc::make_mut(made).tls = Some(crate::config::Tls::default());
        };
        secure("edge");
        assert_eq!(for_labels(&whole, &["edge"]), ["default", "shop", "tools"]);
    }
}
