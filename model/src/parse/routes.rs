//! Routes.

use std::sync::Arc;

use super::{Faults, Names};
use crate::{
    config::{EntryPoint, Objects, Route, RouteTimeouts, Service},
    diagnostic::code,
    document::{self, At, Document, Spanned},
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
        let known_services = service_names(document, services);
        let known = Names::of("entry point", "entry_points", document.entry_points.as_ref())
            .and(entry_points.keys());
        let options = Names::of("set of TLS options", "tls_options", document.tls_options.as_ref());
        let everywhere: Vec<_> = entry_points.keys().cloned().collect();
        let mut routes = Objects::new();
        for (name, written) in written {
            self.path = vec!["routes".to_owned(), name.value.to_string()];
            let service = self.route_service(name, written, &known_services);
            let entry_points = self.route_entry_points(written, &known, &everywhere);
            if let Some(named) = written.tls.as_ref().and_then(|tls| tls.options.as_ref()) {
                self.within("tls", |f| f.within("options", |f| f.refers(named, &options)));
            }
            let Some(rule) = &written.rule else { continue };
            let rule = Arc::new(rule.value.clone());
            let priority = written.priority.as_ref().map_or(rule.default_priority(), |p| p.value);
            let timeouts = written.timeouts.as_deref().map(timeouts).unwrap_or_default();
            let Some(service) = service else { continue };
            let (in_flight, retry, traffic_management) = (Vec::new(), None, None);
            let route = Route {
                rule,
                entry_points,
                priority,
                service,
                timeouts,
                in_flight,
                retry,
                traffic_management,
            };
            routes.insert(name.value.clone(), Arc::new(route));
        }
        self.path.clear();
        routes
    }

    fn route_service(
        &mut self,
        name: &Spanned<RouteName>,
        written: &document::Route,
        known: &Names<'_>,
    ) -> Option<ServiceName> {
        if let Some(service) = &written.service {
            let refers = self.within("service", |faults| faults.refers(service, known));
            return refers.then(|| service.value.clone());
        }
        if written.faulty.contains(&"service") {
            return None;
        }
        let mut names: Vec<_> = known.known.iter().copied().collect();
        match names.as_slice() {
            [only] => ServiceName::parse(only).ok(),
            [] => None,
            _ => {
                names.sort_unstable();
                let help = format!("write service: NAME, one of {}", some(&names));
                let message = "there are several services and the route names none";
                self.error(name.at, code::MISSING, message, help);
                None
            }
        }
    }

    fn route_entry_points(
        &mut self,
        written: &document::Route,
        known: &Names<'_>,
        everywhere: &[EntryPointName],
    ) -> Vec<EntryPointName> {
        let Some(listed) = &written.entry_points else {
            return everywhere.to_vec();
        };
        let names = self.references("entry_points", listed, known, "remove it");
        if listed.is_empty() {
            self.within("entry_points", |faults| {
                let help = "name one, or leave the key out to listen everywhere";
                faults.error(written.at, code::EMPTY, "the route listens nowhere", help);
            });
        }
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
            return Objects::new();
        }
        let Some(service) = services.keys().next() else {
            return Objects::new();
        };
        let Ok(rule) = Rule::parse(EVERYTHING) else {
            return Objects::new();
        };
        let route = Route {
            priority: rule.default_priority(),
            rule: Arc::new(rule),
            entry_points: entry_points.keys().cloned().collect(),
            service: service.clone(),
            timeouts: RouteTimeouts::default(),
            in_flight: Vec::new(),
            retry: None,
            traffic_management: None,
        };
        RouteName::parse("default").map(|name| (name, Arc::new(route))).into_iter().collect()
    }
}

/// The services that may be named: those that are written, or the one that a document without
/// any gets.
pub(super) fn service_names<'d>(
    document: &'d Document,
    services: &'d Objects<ServiceName, Service>,
) -> Names<'d> {
    let names = Names::of("service", "services", document.services.as_ref());
    if names.known.is_empty() { names.and(services.keys()) } else { names }
}

/// The first of many names, for a message.
pub(super) fn some(names: &[&str]) -> String {
    const SHOWN: usize = 8;
    match names.get(..SHOWN) {
        Some(shown) if names.len() > SHOWN => {
            format!("{} and {} more", shown.join(", "), names.len() - SHOWN)
        }
        _ => names.join(", "),
    }
}

fn timeouts(written: &document::ServiceTimeouts) -> RouteTimeouts {
    let value =
        |written: &Option<Spanned<crate::value::Duration>>| written.as_ref().map(|d| d.value);
    RouteTimeouts {
        connect: written.connect.as_ref().map(|d| d.value.get()),
        response_header: value(&written.response_header),
        idle: value(&written.idle),
        total: value(&written.total),
    }
}
