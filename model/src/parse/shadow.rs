//! Routes that never answer, because others take all their requests before them.
//!
//! Only what is certain is said. A rule is read as alternatives, each a list of conditions that
//! must all hold. One list covers another if each of its conditions follows from a condition of
//! the other: it is the same, a wider host, a shorter prefix, a wider network. Anything else, a
//! negation or an expression, follows only from itself.
//!
//! Routes are looked at in the order in which they are tried. Those before are found by host and
//! path, not one by one, so that ten thousand routes take a moment.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::Faults;
use crate::{
    config::{Config, Route},
    diagnostic::code,
    document::Document,
    rule::{Expr, Matcher},
    value::{EntryPointName, RouteName},
};

/// How many routes with one host and path are compared with another.
const MOST_IN_PLACE: usize = 16;
/// How many segments of a path are gone up.
const MOST_SEGMENTS: usize = 32;

/// A host with its wildcard, if a list asks for one, and a path likewise.
type Place = (Option<(String, bool)>, Option<(String, bool)>);

/// A list of conditions and whose it is.
struct Known<'c> {
    route: usize,
    conditions: Vec<&'c Expr>,
}

impl Faults<'_> {
    /// Reports each route that no request can reach.
    pub(super) fn shadowed_routes(&mut self, document: &Document, config: &Config) {
        let same = same_routes(config);
        let covered = covered_routes(config);
        for (name, written) in document.routes.iter().flatten() {
            let at = written.rule.as_ref().map_or(name.at, |rule| rule.at);
            self.path = vec!["routes".to_owned(), name.value.to_string(), "rule".to_owned()];
            if let Some(first) = same.get(&name.value) {
                let message = format!("`{first}` has the same rule and priority and answers first");
                self.warn(at, code::SHADOWED_ROUTE, message, "set `priority` on one of the two");
            } else if let Some(first) = covered.get(&name.value) {
                let priority = config.routes.get(*first).map_or(0, |route| route.priority);
                let message = format!("`{first}` takes all its requests first, with {priority}");
                let help = match priority.checked_add(1) {
                    Some(above) => format!("set `priority: {above}` here, or remove the route"),
                    None => "narrow the rule of the other, or remove the route".to_owned(),
                };
                self.warn(at, code::UNREACHABLE_ROUTE, message, help);
            }
        }
        self.path.clear();
    }
}

/// Of two routes with the same rule and priority on a shared entry point, only the first by name
/// ever answers there.
fn same_routes(config: &Config) -> BTreeMap<&RouteName, &RouteName> {
    let mut seen: HashMap<(&str, i64, &EntryPointName), &RouteName> = HashMap::new();
    let mut shadowed = BTreeMap::new();
    for (name, route) in &config.routes {
        for entry_point in &route.entry_points {
            let first = seen.entry((route.rule.as_str(), route.priority, entry_point));
            let first = *first.or_insert(name);
            if first != name {
                shadowed.entry(name).or_insert(first);
            }
        }
    }
    shadowed
}

/// Routes of which every alternative is covered by a list of another that is tried before.
fn covered_routes(config: &Config) -> BTreeMap<&RouteName, &RouteName> {
    let mut ordered: Vec<_> = config.routes.iter().collect();
    ordered.sort_by_key(|(name, route)| (std::cmp::Reverse(route.priority), *name));
    let mut known: HashMap<Place, Vec<Known<'_>>> = HashMap::new();
    let mut covered = BTreeMap::new();
    for (index, (name, route)) in ordered.iter().enumerate() {
        let lists = alternatives(route.rule.expr());
        let coverers: Vec<_> =
            lists.iter().map(|conditions| coverer(&known, &ordered, route, conditions)).collect();
        if let Some(first) = coverers.first().copied().flatten()
            && coverers.iter().all(Option::is_some)
        {
            covered.insert(*name, ordered[first].0);
            // What it covers is covered by the other too.
            continue;
        }
        for conditions in lists {
            let here = known.entry(place(&conditions)).or_default();
            if here.len() < MOST_IN_PLACE {
                here.push(Known { route: index, conditions });
            }
        }
    }
    covered
}

/// The first route before that takes whatever these conditions take.
fn coverer(
    known: &HashMap<Place, Vec<Known<'_>>>,
    ordered: &[(&RouteName, &std::sync::Arc<Route>)],
    route: &Route,
    conditions: &[&Expr],
) -> Option<usize> {
    let (host, path) = place(conditions);
    let mut hosts = vec![None];
    if let Some((name, is_wildcard)) = &host {
        if let Some((_, parent)) = name.split_once('.').filter(|_| !is_wildcard) {
            hosts.push(Some((parent.to_owned(), true)));
        }
        hosts.push(host.clone());
    }
    let mut paths = vec![None];
    if let Some((text, _)) = &path {
        paths.push(path.clone());
        paths.push(Some((text.clone(), true)));
        for (at, _) in text.match_indices('/').take(MOST_SEGMENTS) {
            paths.extend([at, at + 1].map(|end| Some((text[..end].to_owned(), true))));
        }
    }
    paths.push(Some(("/".to_owned(), true)));
    let entry_points: HashSet<_> = route.entry_points.iter().collect();
    let mut first = None;
    for place in hosts.iter().flat_map(|host| paths.iter().map(move |path| (host, path))) {
        let (host, path) = place;
        let Some(here) = known.get(&(host.clone(), path.clone())) else { continue };
        let found = here.iter().filter(|other| {
            let listens: HashSet<_> = ordered[other.route].1.entry_points.iter().collect();
            entry_points.is_subset(&listens) && covers(&other.conditions, conditions)
        });
        first = found.map(|other| other.route).chain(first).min();
    }
    first
}

/// The lists of conditions of which any is enough.
fn alternatives(expr: &Expr) -> Vec<Vec<&Expr>> {
    match expr {
        Expr::Or(parts) => parts.iter().flat_map(alternatives).collect(),
        other => vec![conditions(other)],
    }
}

/// The conditions that must all hold.
fn conditions(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::And(parts) => parts.iter().flat_map(conditions).collect(),
        other => vec![other],
    }
}

/// The first host and path that a list asks for.
fn place(conditions: &[&Expr]) -> Place {
    let host = conditions.iter().find_map(|condition| match condition {
        Expr::Match(Matcher::Host(host)) => Some((host.name().to_owned(), host.is_wildcard())),
        _ => None,
    });
    let path = conditions.iter().find_map(|condition| match condition {
        Expr::Match(Matcher::Path(path)) => Some((path.as_str().to_owned(), false)),
        Expr::Match(Matcher::PathPrefix(path)) => Some((path.as_str().to_owned(), true)),
        _ => None,
    });
    (host, path)
}

/// Whether whatever meets `narrow` meets `wide`.
fn covers(wide: &[&Expr], narrow: &[&Expr]) -> bool {
    wide.iter().all(|wide| always(wide) || narrow.iter().any(|narrow| follows(wide, narrow)))
}

/// Whether every request meets a condition.
fn always(condition: &Expr) -> bool {
    matches!(condition, Expr::Match(Matcher::PathPrefix(path)) if path.as_str() == "/")
}

/// Whether `wide` holds wherever `narrow` does, as far as that is certain.
fn follows(wide: &Expr, narrow: &Expr) -> bool {
    if wide == narrow {
        return true;
    }
    let (Expr::Match(wide), Expr::Match(narrow)) = (wide, narrow) else { return false };
    match (wide, narrow) {
        (Matcher::Host(wide), Matcher::Host(narrow)) => {
            let parent = narrow.name().split_once('.').map(|(_, parent)| parent);
            wide.is_wildcard() && !narrow.is_wildcard() && parent == Some(wide.name())
        }
        (Matcher::PathPrefix(wide), Matcher::PathPrefix(path) | Matcher::Path(path)) => {
            let (wide, path) = (wide.as_str(), path.as_str());
            match path.strip_prefix(wide) {
                Some(rest) => wide.ends_with('/') || rest.is_empty() || rest.starts_with('/'),
                None => false,
            }
        }
        (Matcher::ClientIp(wide), Matcher::ClientIp(narrow)) => wide.contains(narrow),
        (Matcher::Query { name: wide, value: None }, Matcher::Query { name: narrow, .. }) => {
            wide == narrow
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
