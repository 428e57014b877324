//! Compiles routes: what each leads to, and the table of each entry point.
//!
//! A version most often changes a few routes of many. Then the targets of the others are the ones
//! that there were, and each table begins with the one before. A route keeps its slot, the number
//! by which a table names its target, until some route goes away: then all of it is built anew.

use std::{collections::BTreeMap, sync::Arc};

use lb_model::{
    config::{Config, InFlightLimit, Route, RouteTimeouts, Service},
    value::{EntryPointName, RouteName},
};
use lb_routing::{RouteEntry, RouteTable};
use lb_upstream::{Cluster, PerWorker, SendLimits};

use super::{CompileContext, CompileError, ObjectKind, clusters};
use crate::{
    proxy::{forward::Again, in_flight::Gate},
    runtime::{
        compiled::{CompiledSnapshot, RouteLimits, RouteTarget},
        mirrors::Mirrors,
    },
};

/// Past one changed route in so many, building anew is cheaper.
const MANY: usize = 8;

/// Compiled routes.
pub(super) struct Routes {
    /// By slot.
    pub(super) targets: Vec<Arc<RouteTarget>>,
    /// The slots, in the order of the routes' names.
    pub(super) slots: Arc<Vec<usize>>,
    /// By entry point; one without routes may be missing.
    pub(super) tables: BTreeMap<Arc<str>, Arc<RouteTable<usize>>>,
}

/// What routes are compiled from.
#[derive(Clone, Copy)]
pub(super) struct From<'a> {
    pub(super) config: &'a Config,
    pub(super) clusters: &'a Arc<[Arc<Cluster>]>,
    pub(super) mirrors: &'a Mirrors,
    pub(super) previous: Option<&'a CompiledSnapshot>,
    pub(super) context: &'a CompileContext,
}

impl From<'_> {
    pub(super) fn routes(self, faults: &mut Vec<CompileError>) -> Routes {
        let previous = self.previous.filter(|previous| self.may_go_on_from(previous));
        match previous {
            Some(previous) => self.changed(previous, faults),
            None => self.all(faults),
        }
    }

    /// Whether few routes changed, and none went away.
    fn may_go_on_from(self, previous: &CompiledSnapshot) -> bool {
        let most = previous.routes.len() / MANY;
        let mut changes = self.config.routes.changes(&previous.config.routes);
        self.config.entry_points.is_same(&previous.config.entry_points)
            && changes.by_ref().take(most).all(|(_, _, new)| new.is_some())
            && changes.next().is_none()
    }

    /// Builds everything; counters go on.
    fn all(self, faults: &mut Vec<CompileError>) -> Routes {
        let mut targets = Vec::with_capacity(self.config.routes.len());
        let mut entries: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (name, route) in &self.config.routes {
            let before = self.previous.and_then(|previous| previous.target(name.as_str()));
            let Some(target) = self.target(name, route, before, faults) else { continue };
            for entry_point in &route.entry_points {
                if self.is_there(name, entry_point, faults) {
                    let entry = entry(name, route, targets.len());
                    entries.entry(entry_point.to_arc()).or_default().push(entry);
                }
            }
            targets.push(target);
        }
        let tables = entries.into_iter();
        let tables = tables.map(|(name, entries)| (name, Arc::new(RouteTable::build(entries))));
        let slots = Arc::new((0..targets.len()).collect());
        Routes { targets, slots, tables: tables.collect() }
    }

    /// Goes on from the routes of `previous`, none of which is gone.
    fn changed(self, previous: &CompiledSnapshot, faults: &mut Vec<CompileError>) -> Routes {
        let mut targets = previous.routes.clone();
        let mut slots = Arc::clone(&previous.slots);
        let mut edits: BTreeMap<Arc<str>, Edits> = BTreeMap::new();
        for (name, old, new) in self.config.routes.changes(&previous.config.routes) {
            let Some(route) = new else { continue };
            let slot = old.and_then(|_| previous.slot(name.as_str()));
            let before = slot.map(|slot| &previous.routes[slot]);
            let Some(target) = self.target(name, route, before, faults) else { continue };
            let slot = if let Some(slot) = slot {
                targets[slot] = target;
                slot
            } else {
                let is_before = |slot: &usize| *targets[*slot].name < *target.name;
                let place = slots.partition_point(is_before);
                let slot = targets.len();
                targets.push(target);
                Arc::make_mut(&mut slots).insert(place, slot);
                slot
            };
            for entry_point in &route.entry_points {
                self.is_there(name, entry_point, faults);
            }
            edit(&mut edits, name, (old.map(|old| &**old), route), slot);
        }
        if !Arc::ptr_eq(self.clusters, &previous.clusters)
            || !self.config.services.is_same(&previous.config.services)
            || !self.mirrors.stand_like(&previous.mirrors)
        {
            for ((name, route), slot) in self.config.routes.iter().zip(&*slots) {
                let before = Some(&targets[*slot]);
                if let Some(target) = self.target(name, route, before, faults) {
                    targets[*slot] = target;
                }
            }
        }
        let tables = previous.entry_points.iter().map(|entry_point| {
            let table = match edits.remove(&entry_point.name) {
                Some(Edits { gone, new }) => Arc::new(entry_point.table.with(&gone, new)),
                None => Arc::clone(&entry_point.table),
            };
            (Arc::clone(&entry_point.name), table)
        });
        Routes { tables: tables.collect(), targets, slots }
    }

    /// What a route leads to: what it led to before, if nothing about it changed.
    fn target(
        self,
        name: &RouteName,
        route: &Arc<Route>,
        before: Option<&Arc<RouteTarget>>,
        faults: &mut Vec<CompileError>,
    ) -> Option<Arc<RouteTarget>> {
        let key = clusters::key(name.as_str(), route);
        let same_place = |before: &&Arc<RouteTarget>| {
            self.clusters.get(before.cluster).is_some_and(|cluster| *cluster.key() == key)
        };
        let at = before.filter(same_place).map(|before| before.cluster);
        let at = at.or_else(|| clusters::find(self.clusters, &key));
        let (Some(cluster), Some(service)) = (at, self.config.services.get(&route.service)) else {
            let message = format!("service `{}` cannot be used", route.service);
            faults.push(fault(name, message));
            return None;
        };
        let mirror = self.mirrors.of(name, route);
        if let Some(before) = before
            && before.cluster == cluster
            && before.mirror == mirror
            && Arc::ptr_eq(&before.route, route)
            && Arc::ptr_eq(&before.service, service)
        {
            return Some(Arc::clone(before));
        }
        Some(Arc::new(RouteTarget {
            name: name.to_arc(),
            cluster,
            limits: limits(service, route),
            pass_host_header: service.pass_host_header,
            retry: route.retry.as_ref().or(service.retry.as_ref()).map(Again::new),
            in_flight: gates(route, before),
            mirror,
            counters: before.map_or_else(
                || Arc::new(PerWorker::new(self.context.workers)),
                |before| Arc::clone(&before.counters),
            ),
            route: Arc::clone(route),
            service: Arc::clone(service),
        }))
    }

    fn is_there(
        self,
        name: &RouteName,
        entry_point: &EntryPointName,
        faults: &mut Vec<CompileError>,
    ) -> bool {
        let is_there = self.config.entry_points.contains_key(entry_point);
        if !is_there {
            faults.push(fault(name, format!("entry point `{entry_point}` is not configured")));
        }
        is_there
    }
}

/// What leads from one table to the next.
#[derive(Default)]
struct Edits {
    gone: Vec<(i64, Arc<str>)>,
    new: Vec<RouteEntry<usize>>,
}

/// Notes what a changed route means for the tables of its entry points.
fn edit(
    edits: &mut BTreeMap<Arc<str>, Edits>,
    name: &RouteName,
    (old, new): (Option<&Route>, &Route),
    slot: usize,
) {
    if let Some(old) = old
        && old.rule == new.rule
        && old.priority == new.priority
        && old.entry_points == new.entry_points
    {
        return;
    }
    if let Some(old) = old {
        for entry_point in &old.entry_points {
            let edits = edits.entry(entry_point.to_arc()).or_default();
            edits.gone.push((old.priority, name.to_arc()));
        }
    }
    for entry_point in &new.entry_points {
        edits.entry(entry_point.to_arc()).or_default().new.push(entry(name, new, slot));
    }
}

fn entry(name: &RouteName, route: &Route, target: usize) -> RouteEntry<usize> {
    let (rule, priority) = (Arc::clone(&route.rule), route.priority);
    RouteEntry { name: name.to_arc(), rule, priority, target }
}

fn fault(name: &RouteName, message: String) -> CompileError {
    CompileError { kind: ObjectKind::Route, name: name.to_string(), message }
}

/// The gates of a route, with those who are inside them already.
fn gates(route: &Route, before: Option<&Arc<RouteTarget>>) -> Vec<Arc<Gate>> {
    let gate = |limit: &InFlightLimit| {
        let known = before.into_iter().flat_map(|before| &before.in_flight);
        let mut known = known.filter(|gate| gate.limit() == limit);
        known.next().map_or_else(|| Arc::new(Gate::new(limit.clone())), Arc::clone)
    };
    route.in_flight.iter().map(gate).collect()
}

fn limits(service: &Service, route: &Route) -> RouteLimits {
    let RouteTimeouts { connect, response_header, idle, total } = route.timeouts;
    let defaults = service.timeouts;
    RouteLimits {
        send: SendLimits {
            connect: connect.unwrap_or(defaults.connect).limit(),
            response_header: response_header.unwrap_or(defaults.response_header).limit(),
        },
        idle: idle.unwrap_or(defaults.idle).limit(),
        total: total.unwrap_or(defaults.total).limit(),
    }
}
