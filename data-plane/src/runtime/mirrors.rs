//! Which route has which mirror.
//!
//! A service's mirroring is one mirror for all of its routes; a route that says something of its
//! own has its own.

use std::{collections::HashMap, sync::Arc};

use lb_model::{
    config::{Config, Route, TrafficManagement},
    value::RouteName,
};

use super::{
    compile::{CompileContext, CompileError, ObjectKind},
    compiled::CompiledSnapshot,
};
use crate::proxy::mirror::{Mirror, Owner};

/// The mirrors of a snapshot.
#[derive(Debug)]
pub(super) struct Mirrors {
    pub(super) built: Vec<Arc<Mirror>>,
    places: HashMap<Owner, usize>,
}

impl Mirrors {
    /// Those of a configuration; what did not change is taken from `previous`.
    pub(super) fn build(
        config: &Config,
        previous: Option<&CompiledSnapshot>,
        context: &CompileContext,
        faults: &mut Vec<CompileError>,
    ) -> Self {
        let previous = previous.into_iter().flat_map(|previous| &previous.mirrors);
        let previous: HashMap<_, _> = previous.map(|mirror| (mirror.owner(), mirror)).collect();
        let mut mirrors = Self { built: Vec::new(), places: HashMap::new() };
        let mut add = |owner: Owner, traffic: &TrafficManagement| {
            let Some(spec) = &traffic.traffic_mirroring else { return };
            let kept = previous.get(&owner).copied();
            match Mirror::build(owner.clone(), spec, kept, (context.workers, &context.copies)) {
                Ok(mirror) => {
                    mirrors.places.insert(owner, mirrors.built.len());
                    mirrors.built.push(mirror);
                }
                Err(error) => {
                    let (kind, name) = match owner {
                        Owner::Service(name) => (ObjectKind::Service, name),
                        Owner::Route(name) => (ObjectKind::Route, name),
                    };
                    let (name, message) = (name.to_string(), error.to_string());
                    faults.push(CompileError { kind, name, message });
                }
            }
        };
        for (name, service) in &config.services {
            if service.traffic_management.traffic_mirroring.is_none() {
                continue;
            }
            add(Owner::Service(name.to_arc()), &service.traffic_management);
        }
        for (name, route) in &config.routes {
            if let Some(traffic) = &route.traffic_management {
                add(Owner::Route(name.to_arc()), traffic);
            }
        }
        mirrors
    }

    /// Whether every mirror has the place that it had before.
    pub(super) fn stand_like(&self, previous: &[Arc<Mirror>]) -> bool {
        self.built.iter().map(|mirror| mirror.owner()).eq(previous.iter().map(|one| one.owner()))
    }

    /// The place of a route's mirror, if it has one.
    pub(super) fn of(&self, name: &RouteName, route: &Route) -> Option<usize> {
        if self.places.is_empty() {
            return None;
        }
        let owner = match &route.traffic_management {
            Some(_) => Owner::Route(name.to_arc()),
            None => Owner::Service(route.service.to_arc()),
        };
        self.places.get(&owner).copied()
    }
}
