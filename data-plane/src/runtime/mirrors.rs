//! Which route has which mirror.
//!
//! A service's mirroring is one mirror for all of its routes; a route that says something of its
//! own has its own.

use std::{collections::HashMap, sync::Arc};

use lb_model::{
    config::{Route, Service},
    value::{InvalidValue, RouteName},
};

use super::{compile::CompileContext, compiled::CompiledSnapshot};
use crate::proxy::mirror::{Mirror, Owner};

/// The mirrors of a snapshot that is being compiled.
#[derive(Debug)]
pub(super) struct Mirrors<'a> {
    /// Those that some route needs.
    pub(super) built: Vec<Arc<Mirror>>,
    places: HashMap<Owner, usize>,
    previous: HashMap<&'a Owner, &'a Arc<Mirror>>,
    context: &'a CompileContext,
}

impl<'a> Mirrors<'a> {
    /// None yet; what did not change is taken from `previous`.
    pub(super) fn new(previous: Option<&'a CompiledSnapshot>, context: &'a CompileContext) -> Self {
        let previous = previous.into_iter().flat_map(|previous| &previous.mirrors);
        Self {
            built: Vec::new(),
            places: HashMap::new(),
            previous: previous.map(|mirror| (mirror.owner(), mirror)).collect(),
            context,
        }
    }

    /// The place of a route's mirror, if it has one.
    pub(super) fn of(
        &mut self,
        name: &RouteName,
        route: &Route,
        service: &Service,
    ) -> Result<Option<usize>, InvalidValue> {
        let traffic = route.traffic_management.as_ref().unwrap_or(&service.traffic_management);
        let Some(spec) = &traffic.traffic_mirroring else {
            return Ok(None);
        };
        let owner = match &route.traffic_management {
            Some(_) => Owner::Route(name.to_arc()),
            None => Owner::Service(route.service.to_arc()),
        };
        if let Some(place) = self.places.get(&owner) {
            return Ok(Some(*place));
        }
        let previous = self.previous.get(&owner).copied();
        let context = (self.context.workers, &self.context.copies);
        let mirror = Mirror::build(owner.clone(), spec, previous, context)?;
        let place = self.built.len();
        self.built.push(mirror);
        self.places.insert(owner, place);
        Ok(Some(place))
    }
}
