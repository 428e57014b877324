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

use std::sync::Arc;

use bytes::Bytes;
use lb_proto::v1;
use prost::Message;

pub use self::decode::InvalidResource;
use crate::{
    config::{AdminState, Changes, Config},
    resource::{Delta, HashKey, Resource, ResourceKey, ResourceKind, ResourceSet},
    value::{BackendName, CertificateName, EntryPointName, RouteName, ServiceName},
};

/// The schema of resource bodies that this build writes and the newest that it reads.
pub const SCHEMA: u32 = 1;

/// The resources of a configuration. Its placement is none of them: whoever gets an entry point
/// runs it.
pub fn encode(config: &Config, hash_key: HashKey) -> ResourceSet {
    encode_from(config, (&Config::default(), &ResourceSet::empty(hash_key)))
}

/// The resources of a configuration, made from those of another one, of which it is a part or a
/// successor. An object that is the same one in memory in both is neither encoded nor hashed
/// again.
pub fn encode_from(config: &Config, (known, set): (&Config, &ResourceSet)) -> ResourceSet {
    let mut changed = Changed { delta: Delta::default(), hash_key: set.hash_key() };
    changed.add(
        ResourceKind::Certificate,
        config.certificates.changes(&known.certificates),
        CertificateName::to_arc,
        |object| encode::certificate(object).encode_to_vec(),
    );
    changed.add(
        ResourceKind::EntryPoint,
        config.entry_points.changes(&known.entry_points),
        EntryPointName::to_arc,
        |object| encode::entry_point(object).encode_to_vec(),
    );
    changed.add(
        ResourceKind::Backend,
        config.backends.changes(&known.backends),
        BackendName::to_arc,
        |object| encode::backend(object).encode_to_vec(),
    );
    changed.add(
        ResourceKind::Service,
        config.services.changes(&known.services),
        ServiceName::to_arc,
        |object| encode::service(object).encode_to_vec(),
    );
    changed.add(
        ResourceKind::Route,
        config.routes.changes(&known.routes),
        RouteName::to_arc,
        |object| encode::route(object).encode_to_vec(),
    );
    set.with(changed.delta)
}

/// What differs between two configurations, as resources.
struct Changed<'a> {
    delta: Delta,
    hash_key: &'a HashKey,
}

impl Changed<'_> {
    fn add<N: Ord, T>(
        &mut self,
        kind: ResourceKind,
        changes: Changes<'_, N, T>,
        name_of: impl Fn(&N) -> Arc<str>,
        encode: impl Fn(&T) -> Vec<u8>,
    ) {
        for (name, _, object) in changes {
            let key = ResourceKey { kind, name: name_of(name) };
            match object {
                Some(object) => {
                    let resource = Resource::new(&key, Bytes::from(encode(object)), self.hash_key);
                    self.delta.upsert.push((key, resource));
                }
                None => self.delta.remove.push(key),
            }
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
    decode::Decoder::new(set, previous).config()
}

#[cfg(test)]
mod tests;
