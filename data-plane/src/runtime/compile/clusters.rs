//! Compiles services: the cluster of each, and one more for each route whose backends share its
//! requests in a way of its own.
//!
//! Clusters stand in the order of their keys. The key of a service's cluster is its name; that of
//! a route's follows it, so a list of both can be searched for either.

use std::{collections::HashSet, sync::Arc};

use lb_model::{
    config::{Config, Route},
    resource::HashKey,
};
use lb_upstream::{Blueprint, Cluster, MissingBackend, Surroundings};

use super::{CompileContext, CompileError, ObjectKind};
use crate::runtime::compiled::{CompiledSnapshot, Links};

/// The clusters of a configuration; the very list of the version before, if they are the same.
pub(super) fn clusters(
    config: &Config,
    previous: Option<&CompiledSnapshot>,
    context: &CompileContext,
    faults: &mut Vec<CompileError>,
) -> Arc<[Arc<Cluster>]> {
    let Some(previous) = previous else { return build(config, None, context, faults).into() };
    if previous.secret == context.secret && are_untouched(config, &previous.config) {
        return Arc::clone(&previous.clusters);
    }
    let built = build(config, Some(previous), context, faults);
    // Whoever follows clusters looks at their list first.
    let is_same = built.len() == previous.clusters.len()
        && built.iter().zip(&*previous.clusters).all(|(one, two)| Arc::ptr_eq(one, two));
    if is_same { Arc::clone(&previous.clusters) } else { built.into() }
}

/// Whether nothing changed that a cluster is made of. That is little of most routes.
fn are_untouched(config: &Config, before: &Config) -> bool {
    let of_route = |route: &Route| {
        let is_retried = route.retry.is_some();
        let traffic = route.traffic_management.clone();
        (is_retried || traffic.is_some()).then(|| (route.service.clone(), traffic, is_retried))
    };
    let of = |route: Option<&Arc<Route>>| route.and_then(|route| of_route(route));
    config.services.is_same(&before.services)
        && config.backends.is_same(&before.backends)
        && config.routes.changes(&before.routes).all(|(_, old, new)| of(old) == of(new))
}

fn build(
    config: &Config,
    previous: Option<&CompiledSnapshot>,
    context: &CompileContext,
    faults: &mut Vec<CompileError>,
) -> Vec<Arc<Cluster>> {
    let around = context.around();
    let before = |key: &str| {
        let previous = &previous?.clusters;
        find(previous, key).map(|at| &previous[at])
    };
    let again = config.routes.values().filter(|route| route.retry.is_some());
    let again: HashSet<_> = again.map(|route| &route.service).collect();
    let mut clusters = Vec::with_capacity(config.services.len());
    for (id, service) in &config.services {
        let (name, traffic) = (&id.to_arc(), &service.traffic_management);
        let (backends, is_retried) = (&config.backends, again.contains(id));
        let around = &around;
        let blueprint =
            Blueprint { key: name, name, service, traffic, backends, is_retried, around };
        match Cluster::build(blueprint, before(name), None) {
            Ok(cluster) => clusters.push(cluster),
            Err(error) => faults.push(fault(ObjectKind::Service, name, &error)),
        }
    }
    let services = clusters.len();
    for (route_name, route) in &config.routes {
        let Some(traffic) = &route.traffic_management else { continue };
        let Some(service) = config.services.get(&route.service) else { continue };
        let key = &key(route_name.as_str(), route);
        let (name, backends) = (&route.service.to_arc(), &config.backends);
        let (is_retried, around) = (route.retry.is_some(), &around);
        let blueprint = Blueprint { key, name, service, traffic, backends, is_retried, around };
        let base = find(&clusters[..services], name).map(|at| &clusters[at]);
        match Cluster::build(blueprint, before(key), base) {
            Ok(cluster) => clusters.push(cluster),
            Err(error) => faults.push(fault(ObjectKind::Route, route_name.as_str(), &error)),
        }
    }
    if clusters.len() > services {
        clusters.sort_by(|one, two| one.key().cmp(two.key()));
    }
    clusters
}

/// The key of the cluster that a route leads to.
pub(super) fn key(name: &str, route: &Route) -> Arc<str> {
    match &route.traffic_management {
        None => route.service.to_arc(),
        // No name has this character, and it comes before all that names have.
        Some(_) => format!("{}\0{name}", route.service).into(),
    }
}

/// The route that a cluster is for, by its key; none for that of a service.
pub(in crate::runtime) fn route_of(key: &str) -> Option<&str> {
    key.split_once('\0').map(|(_, route)| route)
}

/// The place of a cluster.
pub(super) fn find(clusters: &[Arc<Cluster>], key: &str) -> Option<usize> {
    clusters.binary_search_by(|cluster| (**cluster.key()).cmp(key)).ok()
}

/// Where each cluster leads on; nothing where none does.
pub(super) fn links(clusters: &[Arc<Cluster>]) -> Arc<[Links]> {
    let leads_on = |cluster: &Arc<Cluster>| cluster.service().others().next().is_some();
    if !clusters.iter().any(leads_on) {
        return Arc::default();
    }
    let links = clusters.iter().map(|cluster| {
        let service = cluster.service();
        let others = service.weighted.iter().map(|(name, _)| find(clusters, name.as_str()));
        Links {
            weighted: others.flatten().collect(),
            failover: service
                .failover
                .as_ref()
                .and_then(|failover| find(clusters, failover.service.as_str())),
        }
    });
    links.collect()
}

fn fault(kind: ObjectKind, name: &str, error: &MissingBackend) -> CompileError {
    CompileError { kind, name: name.to_owned(), message: error.to_string() }
}

impl CompileContext {
    /// The same, for a version of the lineage with this key.
    #[must_use]
    pub fn with_secret(&self, secret: HashKey) -> Self {
        Self { secret, ..self.clone() }
    }

    fn around(&self) -> Surroundings {
        Surroundings {
            workers: self.workers,
            zone: self.zone.clone(),
            secret: self.secret,
            now: tokio::time::Instant::now(),
        }
    }
}
