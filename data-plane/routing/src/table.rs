//! The routes in the order they are asked, and the index that shortens the asking.
//!
//! The next table begins with this one: what did not change is shared, so that one route among ten
//! thousand costs what its hosts do.

use std::{cmp::Ordering, sync::Arc};

use lb_model::rule::{Expr, Rule};

use crate::condition::alternatives;
use crate::index::{Candidates, Index, Listed, Rank};
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
    /// By priority, higher first, then by name, and so by rank.
    routes: Vec<Listed<T>>,
    index: Index<T>,
}

/// Between the ranks of two routes when a table is built: that much room halves with each route
/// that is put in between later, and a table without room is built anew.
const ROOM: Rank = 1 << 32;

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
        let mut routes: Vec<_> = routes.into_iter().map(Arc::new).collect();
        routes.sort_by(|a, b| order(a, (b.priority, &b.name)));
        Self::of_sorted(routes)
    }

    fn of_sorted(routes: Vec<Arc<RouteEntry<T>>>) -> Self {
        let ranks = (1..).map(|place: Rank| place * ROOM);
        let routes: Vec<_> =
            ranks.zip(routes).map(|(rank, route)| Listed { rank, route }).collect();
        let mut index = Index::default();
        for listed in &routes {
            for condition in alternatives(listed.route.rule.expr()) {
                index.insert(condition, listed);
            }
        }
        Self { routes, index }
    }

    /// The table without the routes that `gone` names by priority and name, and with new ones. It
    /// is the one that [`RouteTable::build`] makes of the routes that are left, of which no two
    /// may have the same priority and name.
    #[must_use]
    pub fn with(&self, gone: &[(i64, Arc<str>)], new: Vec<RouteEntry<T>>) -> Self {
        let mut next = Self { routes: self.routes.clone(), index: self.index.clone() };
        for (priority, name) in gone {
            if let Ok(place) = next.place(*priority, name) {
                let listed = next.routes.remove(place);
                for condition in alternatives(listed.route.rule.expr()) {
                    next.index.remove(condition, listed.rank);
                }
            }
        }
        let mut has_room = true;
        for route in new {
            let (Ok(place) | Err(place)) = next.place(route.priority, &route.name);
            let rank = next.rank_at(place);
            has_room &= rank.is_some();
            let listed = Listed { rank: rank.unwrap_or_default(), route: Arc::new(route) };
            if has_room {
                for condition in alternatives(listed.route.rule.expr()) {
                    next.index.insert(condition, &listed);
                }
            }
            next.routes.insert(place, listed);
        }
        if has_room {
            return next;
        }
        Self::of_sorted(next.routes.into_iter().map(|listed| listed.route).collect())
    }

    /// Where a route stands, or would stand.
    fn place(&self, priority: i64, name: &str) -> Result<usize, usize> {
        self.routes.binary_search_by(|listed| order(&listed.route, (priority, name)))
    }

    /// A rank between those before and at a place, if there is room.
    fn rank_at(&self, place: usize) -> Option<Rank> {
        let before = place.checked_sub(1).map_or(0, |before| self.routes[before].rank);
        let rank = match self.routes.get(place) {
            Some(after) => before.midpoint(after.rank),
            None => before.checked_add(ROOM)?,
        };
        (rank > before).then_some(rank)
    }

    /// The target of the first route, by priority and then by name, whose rule holds for `head`.
    pub fn find(&self, head: &RequestHead<'_>) -> Option<&T> {
        let mut buffer = HostBuffer::new();
        let seen = Seen::new(head, &mut buffer);
        let mut candidates = Candidates::new();
        self.index.collect(seen.host, seen.head.path, &mut candidates);
        candidates.find(|route| is_held(route, &seen)).map(|route| &route.target)
    }

    /// What every route says to `head`, in the order they are asked: [`find`](Self::find) gives
    /// the first without a failure. For explaining; asks all routes and allocates.
    pub fn trace(&self, head: &RequestHead<'_>) -> Vec<Verdict<'_, T>> {
        let mut buffer = HostBuffer::new();
        let seen = Seen::new(head, &mut buffer);
        let verdict = |route| verdict(route, &seen);
        self.routes().map(verdict).collect()
    }

    /// The routes in the order they are asked.
    pub fn routes(&self) -> impl ExactSizeIterator<Item = &RouteEntry<T>> {
        self.routes.iter().map(|listed| &*listed.route)
    }

    /// How many rules [`find`](Self::find) evaluates for `head`.
    #[cfg(test)]
    pub(crate) fn evaluations(&self, head: &RequestHead<'_>) -> usize {
        let mut buffer = HostBuffer::new();
        let seen = Seen::new(head, &mut buffer);
        let (mut count, mut candidates) = (0, Candidates::new());
        self.index.collect(seen.host, seen.head.path, &mut candidates);
        candidates.inspect(|_| count += 1).find(|route| is_held(route, &seen));
        count
    }
}

/// How a route stands to one of this priority and name.
fn order<T>(route: &RouteEntry<T>, (priority, name): (i64, &str)) -> Ordering {
    priority.cmp(&route.priority).then_with(|| (*route.name).cmp(name))
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
