//! The routes in the order they are asked, and the index that shortens the asking.

use std::sync::Arc;

use lb_model::rule::{Expr, Rule};

use crate::condition::alternatives;
use crate::index::{Index, Rank};
use crate::matcher::first_failure;
use crate::request::{HostBuffer, RequestHead, Seen};

/// A route as it goes into a table.
#[derive(Debug, Clone)]
pub struct RouteEntry<T> {
    /// Its name; decides between equal priorities.
    pub name: Arc<str>,
    /// Which requests it takes.
    pub rule: Arc<Rule>,
    /// Higher goes first.
    pub priority: i64,
    /// What [`RouteTable::find`] gives for it.
    pub target: T,
}

/// Finds the route that takes a request.
///
/// Immutable once built; share it and replace it as a whole.
#[derive(Debug)]
pub struct RouteTable<T> {
    /// By priority, higher first, then by name; the place of a route is its rank.
    routes: Vec<RouteEntry<T>>,
    index: Index,
}

/// What one route says to a request.
#[derive(Debug, PartialEq)]
pub struct Verdict<'t, T> {
    /// Name of the route.
    pub name: &'t str,
    /// Its rule.
    pub rule: &'t Rule,
    /// Its priority.
    pub priority: i64,
    /// Its target.
    pub target: &'t T,
    /// The first part of the rule that fails; `None` when the rule holds.
    pub failure: Option<&'t Expr>,
}

impl<T> RouteTable<T> {
    /// Builds a table of `routes`, given in any order.
    ///
    /// Among routes of equal priority and name the one given first goes first.
    pub fn build(routes: impl IntoIterator<Item = RouteEntry<T>>) -> Self {
        let mut routes: Vec<RouteEntry<T>> = routes.into_iter().collect();
        routes.sort_by(|a, b| b.priority.cmp(&a.priority).then_with(|| a.name.cmp(&b.name)));
        let mut index = Index::default();
        for (rank, route) in routes.iter().enumerate() {
            for condition in alternatives(route.rule.expr()) {
                index.insert(condition, rank as Rank);
            }
        }
        Self { routes, index }
    }

    /// The target of the first route, by priority and then by name, whose rule holds for `head`.
    pub fn find(&self, head: &RequestHead<'_>) -> Option<&T> {
        let mut buffer = HostBuffer::new();
        let seen = Seen::new(head, &mut buffer);
        let mut candidates = self.candidates(&seen);
        candidates.find(|route| is_held(route, &seen)).map(|route| &route.target)
    }

    /// What every route says to `head`, in the order they are asked: [`find`](Self::find) gives
    /// the first without a failure. For explaining; asks all routes and allocates.
    pub fn trace(&self, head: &RequestHead<'_>) -> Vec<Verdict<'_, T>> {
        let mut buffer = HostBuffer::new();
        let seen = Seen::new(head, &mut buffer);
        let verdict = |route| verdict(route, &seen);
        self.routes.iter().map(verdict).collect()
    }

    /// The routes in the order they are asked.
    pub fn routes(&self) -> &[RouteEntry<T>] {
        &self.routes
    }

    /// The routes that can be for a request, in the order they are asked.
    fn candidates(&self, seen: &Seen<'_>) -> impl Iterator<Item = &RouteEntry<T>> {
        let ranks = self.index.candidates(seen.host, seen.head.path);
        ranks.map(|rank| &self.routes[rank as usize])
    }

    /// How many rules [`find`](Self::find) evaluates for `head`.
    #[cfg(test)]
    pub(crate) fn evaluations(&self, head: &RequestHead<'_>) -> usize {
        let mut buffer = HostBuffer::new();
        let seen = Seen::new(head, &mut buffer);
        let mut count = 0;
        self.candidates(&seen).inspect(|_| count += 1).find(|route| is_held(route, &seen));
        count
    }
}

fn is_held<T>(route: &RouteEntry<T>, seen: &Seen<'_>) -> bool {
    first_failure(route.rule.expr(), seen).is_none()
}

fn verdict<'t, T>(route: &'t RouteEntry<T>, seen: &Seen<'_>) -> Verdict<'t, T> {
    Verdict {
        name: &route.name,
        rule: &route.rule,
        priority: route.priority,
        target: &route.target,
        failure: first_failure(route.rule.expr(), seen),
    }
}
