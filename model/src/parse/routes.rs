//! Routes, and what the whole configuration says when read together.

use std::{collections::BTreeMap, sync::Arc};

use super::Faults;
use crate::{
    config::{Config, EntryPoint, Objects, Route, RouteTimeouts, Service},
    diagnostic::code,
    document::{self, At, Document, Spanned, nearest},
    rule::Rule,
    value::{EntryPointName, RouteName, ServiceName},
};

/// What a document without routes serves: everything.
const EVERYTHING: &str = "PathPrefix(`/`)";

impl Faults<'_> {
    pub(super) fn routes(
        &mut self,
        document: &Document,
        entry_points: &Objects<EntryPointName, EntryPoint>,
        services: &Objects<ServiceName, Service>,
    ) -> Objects<RouteName, Route> {
        let written = document.routes.as_deref().unwrap_or_default();
        if written.is_empty() {
            return self.default_route(document, entry_points, services);
        }
        let mut routes = BTreeMap::new();
        for (name, written) in written {
            self.path = vec!["routes".to_owned(), name.value.to_string()];
            let service = self.route_service(document, name, written, services);
            let entry_points = self.route_entry_points(document, written, entry_points);
            let Some(rule) = &written.rule else {
                if written.faulty.contains(&"rule") {
                    continue;
                }
                self.missing("routes", name, "rule", "rule: Host(`shop.example.com`)");
                continue;
            };
            let rule = Arc::new(rule.value.clone());
            let priority = written.priority.as_ref().map_or(rule.default_priority(), |p| p.value);
            let timeouts = written.timeouts.as_ref().map(timeouts).unwrap_or_default();
            let Some(service) = service else { continue };
            let route = Route { rule, entry_points, priority, service, timeouts };
            routes.insert(name.value.clone(), Arc::new(route));
        }
        self.path.clear();
        routes
    }

    fn route_service(
        &mut self,
        document: &Document,
        name: &Spanned<RouteName>,
        written: &document::Route,
        services: &Objects<ServiceName, Service>,
    ) -> Option<ServiceName> {
        let known: Vec<&str> = match document.services.as_deref() {
            Some(written) if !written.is_empty() => {
                written.iter().map(|(name, _)| name.value.as_str()).collect()
            }
            _ => services.keys().map(ServiceName::as_str).collect(),
        };
        let Some(service) = &written.service else {
            if written.faulty.contains(&"service") {
                return None;
            }
            return match known.as_slice() {
                [only] => ServiceName::parse(only).ok(),
                [] => None,
                _ => {
                    let help = format!("write service: NAME, one of {}", known.join(", "));
                    let message = "there are several services and the route names none".to_owned();
                    self.error(name.at, code::MISSING, message, help);
                    None
                }
            };
        };
        let wanted = service.value.as_str();
        if known.contains(&wanted) {
            return Some(service.value.clone());
        }
        self.within("service", |faults| {
            let help = match nearest(wanted, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "add it to the services map".to_owned(),
            };
            let message = format!("there is no service `{wanted}`");
            faults.error(service.at, code::UNKNOWN_REFERENCE, message, help);
        });
        None
    }

    fn route_entry_points(
        &mut self,
        document: &Document,
        written: &document::Route,
        entry_points: &Objects<EntryPointName, EntryPoint>,
    ) -> Vec<EntryPointName> {
        let Some(listed) = &written.entry_points else {
            return entry_points.keys().cloned().collect();
        };
        let mut names: Vec<EntryPointName> = Vec::with_capacity(listed.len());
        self.within("entry_points", |faults| {
            let known: Vec<&str> = document
                .entry_points
                .iter()
                .flatten()
                .map(|(name, _)| name.value.as_str())
                .chain(entry_points.keys().map(EntryPointName::as_str))
                .collect();
            for name in listed {
                let wanted = name.value.as_str();
                if !known.contains(&wanted) {
                    let help = match nearest(wanted, known.iter().copied()) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => "add it to the entry_points map".to_owned(),
                    };
                    let message = format!("there is no entry point `{wanted}`");
                    faults.error(name.at, code::UNKNOWN_REFERENCE, message, help);
                } else if names.contains(&name.value) {
                    let message = format!("`{wanted}` is listed already");
                    faults.error(name.at, code::DUPLICATE_REFERENCE, message, "remove it");
                } else {
                    names.push(name.value.clone());
                }
            }
            if listed.is_empty() {
                let at = written.at;
                let help = "name one, or leave the key out to listen everywhere";
                faults.error(at, code::EMPTY, "the route listens nowhere".to_owned(), help);
            }
        });
        names
    }

    fn default_route(
        &mut self,
        document: &Document,
        entry_points: &Objects<EntryPointName, EntryPoint>,
        services: &Objects<ServiceName, Service>,
    ) -> Objects<RouteName, Route> {
        if let [(_, _), (second, _), ..] = document.services.as_deref().unwrap_or_default() {
            let message = "there are several services and no route to choose between them";
            let help = "add routes: { NAME: { rule: Host(`...`), service: NAME } }";
            let at: At = second.at;
            self.error(at, code::MISSING, message.to_owned(), help);
            return BTreeMap::new();
        }
        let Some(service) = services.keys().next() else {
            return BTreeMap::new();
        };
        let Ok(rule) = Rule::parse(EVERYTHING) else {
            return BTreeMap::new();
        };
        let route = Route {
            priority: rule.default_priority(),
            rule: Arc::new(rule),
            entry_points: entry_points.keys().cloned().collect(),
            service: service.clone(),
            timeouts: RouteTimeouts::default(),
        };
        RouteName::parse("default").map(|name| (name, Arc::new(route))).into_iter().collect()
    }

    /// What is right in each part and still deserves a second look in the whole.
    pub(super) fn look_again(&mut self, document: &Document, config: &Config) {
        self.shadowed_routes(document, config);
        self.unused(document, config);
        self.tls_without_certificate(document, config);
    }

    /// Of two routes with the same rule and priority on a shared entry point, only the first by
    /// name ever answers.
    fn shadowed_routes(&mut self, document: &Document, config: &Config) {
        let mut seen: BTreeMap<(&str, i64, &EntryPointName), &RouteName> = BTreeMap::new();
        let mut shadowed: BTreeMap<&RouteName, &RouteName> = BTreeMap::new();
        for (name, route) in &config.routes {
            for entry_point in &route.entry_points {
                let key = (route.rule.as_str(), route.priority, entry_point);
                match seen.get(&key) {
                    Some(first) => {
                        shadowed.entry(name).or_insert(first);
                    }
                    None => {
                        seen.insert(key, name);
                    }
                }
            }
        }
        for (name, written) in document.routes.iter().flatten() {
            if let Some(first) = shadowed.get(&name.value) {
                self.path = vec!["routes".to_owned(), name.value.to_string(), "rule".to_owned()];
                let at = written.rule.as_ref().map_or(name.at, |rule| rule.at);
                let message = format!("`{first}` has the same rule and priority and answers first");
                self.warn(at, code::SHADOWED_ROUTE, message, "set `priority` on one of the two");
            }
        }
        self.path.clear();
    }

    fn unused(&mut self, document: &Document, config: &Config) {
        for (name, _) in document.services.iter().flatten() {
            if !config.routes.values().any(|route| route.service == name.value) {
                self.path = vec!["services".to_owned(), name.value.to_string()];
                let message = "no route uses this service".to_owned();
                self.warn(name.at, code::UNUSED, message, "add a route, or remove the service");
            }
        }
        let used: std::collections::BTreeSet<_> =
            config.services.values().flat_map(|service| &service.backends).collect();
        for (name, _) in document.backends.iter().flatten() {
            if !used.contains(&name.value) {
                self.path = vec!["backends".to_owned(), name.value.to_string()];
                let message = "no service uses this backend".to_owned();
                self.warn(name.at, code::UNUSED, message, "name it in a service, or remove it");
            }
        }
        for (name, _) in document.certificates.iter().flatten() {
            let mut tls = config.entry_points.values().filter_map(|made| made.tls.as_ref());
            if !tls.any(|tls| tls.shows(&name.value)) {
                self.path = vec!["certificates".to_owned(), name.value.to_string()];
                let message = "no entry point shows this certificate".to_owned();
                let help = "show it at an entry point with `tls`, or remove it";
                self.warn(name.at, code::UNUSED, message, help);
            }
        }
        self.path.clear();
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
                self.warn(tls.at, code::NO_CERTIFICATE, message.to_owned(), help);
            }
        }
        self.path.clear();
    }
}

fn timeouts(written: &document::ServiceTimeouts) -> RouteTimeouts {
    let value =
        |written: &Option<Spanned<crate::value::Duration>>| written.as_ref().map(|d| d.value);
    RouteTimeouts {
        connect: value(&written.connect),
        response_header: value(&written.response_header),
        idle: value(&written.idle),
        total: value(&written.total),
    }
}
