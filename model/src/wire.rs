//! Between a [`Config`] and the resources that travel.
//!
//! Encoding cannot fail. Decoding trusts nothing: a body may come from a newer, a broken or a
//! hostile peer, so every value passes the same parsers as a document, and references are
//! checked again. Faults are gathered per resource.

mod decode;
mod encode;

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use prost::Message;

pub use self::decode::InvalidResource;
use crate::{
    config::Config,
    resource::{HashKey, Resource, ResourceKey, ResourceKind, ResourceSet},
};

/// The schema of resource bodies that this build writes and the newest that it reads.
pub const SCHEMA: u32 = 1;

/// The resources of a configuration. Its placement is none of them: whoever gets an entry point
/// runs it.
pub fn encode(config: &Config, hash_key: HashKey) -> ResourceSet {
    let mut resources = BTreeMap::new();
    let mut add = |kind: ResourceKind, name: Arc<str>, body: Vec<u8>| {
        let key = ResourceKey { kind, name };
        let resource = Resource::new(&key, Bytes::from(body), &hash_key);
        resources.insert(key, resource);
    };
    for (name, object) in &config.certificates {
        add(ResourceKind::Certificate, name.to_arc(), encode::certificate(object).encode_to_vec());
    }
    for (name, object) in &config.entry_points {
        add(ResourceKind::EntryPoint, name.to_arc(), encode::entry_point(object).encode_to_vec());
    }
    for (name, object) in &config.backends {
        add(ResourceKind::Backend, name.to_arc(), encode::backend(object).encode_to_vec());
    }
    for (name, object) in &config.services {
        add(ResourceKind::Service, name.to_arc(), encode::service(object).encode_to_vec());
    }
    for (name, object) in &config.routes {
        add(ResourceKind::Route, name.to_arc(), encode::route(object).encode_to_vec());
    }
    ResourceSet::new(hash_key, resources)
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
