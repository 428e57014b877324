//! Between a [`Config`] and the resources that travel.
//!
//! Encoding cannot fail. Decoding trusts nothing: a body may come from a newer, a broken or a
//! hostile peer, so every value passes the same parsers as a document, and references are
//! checked again. Faults are gathered per resource.

mod decode;
mod encode;
mod health_check;
mod read;
mod resilience;
mod traffic_management;

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use lb_proto::v1;
use prost::Message;

pub use self::decode::InvalidResource;
use crate::{
    config::{AdminState, Config, Objects},
    resource::{HashKey, Resource, ResourceKey, ResourceKind, ResourceSet},
    value::{BackendName, CertificateName, EntryPointName, RouteName, ServiceName},
};

/// The schema of resource bodies that this build writes and the newest that it reads.
pub const SCHEMA: u32 = 1;

/// The resources of a configuration. Its placement is none of them: whoever gets an entry point
/// runs it.
pub fn encode(config: &Config, hash_key: HashKey) -> ResourceSet {
    resources(config, hash_key, None)
}

/// The resources of a part of a configuration that is encoded already. What is the same object in
/// both is the same resource, with one body in memory.
pub fn encode_part(part: &Config, whole: (&Config, &ResourceSet)) -> ResourceSet {
    resources(part, *whole.1.hash_key(), Some(whole))
}

fn resources(
    config: &Config,
    hash_key: HashKey,
    whole: Option<(&Config, &ResourceSet)>,
) -> ResourceSet {
    let mut resources =
        Resources { made: BTreeMap::new(), hash_key, known: whole.map(|(_, set)| set) };
    let whole = whole.map(|(config, _)| config);
    let objects = (&config.certificates, whole.map(|whole| &whole.certificates));
    resources.add(ResourceKind::Certificate, objects, CertificateName::to_arc, |object| {
        encode::certificate(object).encode_to_vec()
    });
    let objects = (&config.entry_points, whole.map(|whole| &whole.entry_points));
    resources.add(ResourceKind::EntryPoint, objects, EntryPointName::to_arc, |object| {
        encode::entry_point(object).encode_to_vec()
    });
    let objects = (&config.backends, whole.map(|whole| &whole.backends));
    resources.add(ResourceKind::Backend, objects, BackendName::to_arc, |object| {
        encode::backend(object).encode_to_vec()
    });
    let objects = (&config.services, whole.map(|whole| &whole.services));
    resources.add(ResourceKind::Service, objects, ServiceName::to_arc, |object| {
        encode::service(object).encode_to_vec()
    });
    let objects = (&config.routes, whole.map(|whole| &whole.routes));
    resources.add(ResourceKind::Route, objects, RouteName::to_arc, |object| {
        encode::route(object).encode_to_vec()
    });
    ResourceSet::new(hash_key, resources.made)
}

struct Resources<'a> {
    made: BTreeMap<ResourceKey, Resource>,
    hash_key: HashKey,
    known: Option<&'a ResourceSet>,
}

impl Resources<'_> {
    /// Encodes objects, or takes over what `whole` has of them.
    fn add<N: Ord, T>(
        &mut self,
        kind: ResourceKind,
        (objects, whole): (&Objects<N, T>, Option<&Objects<N, T>>),
        name_of: impl Fn(&N) -> Arc<str>,
        encode: impl Fn(&T) -> Vec<u8>,
    ) {
        for (name, object) in objects {
            let key = ResourceKey { kind, name: name_of(name) };
            let same = whole.and_then(|whole| whole.get(name));
            let known = self.known.filter(|_| same.is_some_and(|same| Arc::ptr_eq(same, object)));
            let known = known.and_then(|set| set.get(&key)).cloned();
            let resource = known.unwrap_or_else(|| {
                Resource::new(&key, Bytes::from(encode(object)), &self.hash_key)
            });
            self.made.insert(key, resource);
        }
    }
}

/// An admin state as it travels.
pub const fn admin_state(state: AdminState) -> v1::AdminState {
    match state {
        AdminState::Enabled => v1::AdminState::Enabled,
        AdminState::Draining => v1::AdminState::Draining,
        AdminState::Disabled => v1::AdminState::Disabled,
    }
}

/// The configuration of a set of resources. `previous` is a set with its configuration: objects
/// that did not change between the two are shared instead of read again.
///
/// # Errors
///
/// One for each resource that cannot be used, with its reason.
pub fn decode(
    set: &ResourceSet,
    previous: Option<(&ResourceSet, &Config)>,
) -> Result<Config, Vec<InvalidResource>> {
    let mut decoder = decode::Decoder { set, previous, config: Config::default(), found: vec![] };
    decoder.objects();
    decoder.references();
    if decoder.found.is_empty() { Ok(decoder.config) } else { Err(decoder.found) }
}

#[cfg(test)]
mod tests;
