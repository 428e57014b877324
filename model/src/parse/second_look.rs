//! What is right in each part and still deserves a second look in the whole.

use std::collections::{BTreeSet, HashSet};

use super::Faults;
use crate::{
    config::Config,
    diagnostic::code,
    document::Document,
    value::{BackendName, ServiceName},
};

impl Faults<'_> {
    /// Looks at the whole, once everything in it is right.
    pub(super) fn look_again(&mut self, document: &Document, config: &Config) {
        self.shadowed_routes(document, config);
        self.unused(document, config);
        self.tls_without_certificate(document, config);
    }

    fn unused(&mut self, document: &Document, config: &Config) {
        let services = used_services(config);
        for (name, _) in document.services.iter().flatten() {
            if !services.contains(&name.value) {
                self.path = vec!["services".to_owned(), name.value.to_string()];
                let message = "no route uses this service";
                self.warn(name.at, code::UNUSED, message, "add a route, or remove the service");
            }
        }
        let backends = used_backends(config);
        for (name, _) in document.backends.iter().flatten() {
            if !backends.contains(&name.value) {
                self.path = vec!["backends".to_owned(), name.value.to_string()];
                let message = "no service uses this backend";
                self.warn(name.at, code::UNUSED, message, "name it in a service, or remove it");
            }
        }
        self.unused_certificates(document, config);
        self.unused_middlewares(document, config);
        self.path.clear();
    }

    fn unused_certificates(&mut self, document: &Document, config: &Config) {
        let mut shown: BTreeSet<&str> = BTreeSet::new();
        for tls in config.entry_points.values().filter_map(|made| made.tls.as_ref()) {
            match &tls.certificates {
                // One that lists none shows every one.
                None => return,
                Some(listed) => shown.extend(listed.iter().map(AsRef::as_ref)),
            }
        }
        for (name, _) in document.certificates.iter().flatten() {
            if !shown.contains(name.value.as_str()) {
                self.path = vec!["certificates".to_owned(), name.value.to_string()];
                let message = "no entry point shows this certificate";
                let help = "show it at an entry point with `tls`, or remove it";
                self.warn(name.at, code::UNUSED, message, help);
            }
        }
    }

    fn unused_middlewares(&mut self, document: &Document, config: &Config) {
        let policies = &config.policies;
        let chained = policies.middlewares.values().filter_map(|made| match &**made {
            crate::config::Middleware::Chain(names) => Some(names),
            _ => None,
        });
        let used: HashSet<_> = policies
            .entry_points
            .values()
            .chain(policies.services.values().map(|policy| &policy.middlewares))
            .chain(policies.routes.values().map(|policy| &policy.middlewares))
            .chain(chained)
            .flatten()
            .collect();
        for (name, _) in document.middlewares.iter().flatten() {
            if !used.contains(&name.value) {
                self.path = vec!["middlewares".to_owned(), name.value.to_string()];
                let message = "nothing uses this middleware";
                self.warn(name.at, code::UNUSED, message, "name it in a route, or remove it");
            }
        }
    }

    fn tls_without_certificate(&mut self, document: &Document, config: &Config) {
        if config.certificates.values().any(|certificate| certificate.is_default()) {
            return;
        }
        for (name, written) in document.entry_points.iter().flatten() {
            // Of a list, the first is the default.
            if let Some(tls) = written.tls.as_ref().filter(|tls| tls.certificates.is_none()) {
                self.path = vec!["entry_points".to_owned(), name.value.to_string(), "tls".into()];
                let message =
                    "clients without a matching server name get a self-signed certificate";
                let help = "add certificates: { default: { cert_file: ..., key_file: ... } }";
                self.warn(tls.at, code::NO_CERTIFICATE, message, help);
            }
        }
        self.path.clear();
    }
}

/// Services that get requests: from a route, or in the place of another service.
fn used_services(config: &Config) -> HashSet<&ServiceName> {
    let mut used: HashSet<_> = config.routes.values().map(|route| &route.service).collect();
    used.extend(config.services.values().flat_map(|service| service.others()));
    for middleware in config.policies.middlewares.values() {
        if let crate::config::Middleware::Errors { service, .. } = &**middleware {
            used.insert(service);
        }
    }
    used
}

/// Backends that are in a pool or get the requests of a canary.
fn used_backends(config: &Config) -> HashSet<&BackendName> {
    let services = config.services.values().flat_map(|service| service.members());
    let routes = config.routes.values().filter_map(|route| route.traffic_management.as_ref());
    services.chain(routes.flat_map(|traffic| traffic.canaries())).collect()
}
