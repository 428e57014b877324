//! The defaults that make a two-line file work.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use super::Faults;
use crate::{
    config::{
        Backend, EntryPoint, EntryPointTimeouts, HealthCheck, KeepAlive, Limits, Objects, Overload,
        Service,
    },
    diagnostic::Severity,
    diagnostic::code,
    value::{BackendName, EntryPointName, ListenAddress, ServiceName},
};

/// The port of the entry point that a document without any gets.
const PORT: u16 = 8000;

/// The entry point `web` on port 8000 of every address.
pub(super) fn entry_points(overload: Option<Overload>) -> Objects<EntryPointName, EntryPoint> {
    let address = ListenAddress(SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)));
    let web = EntryPoint {
        address,
        tls: None,
        timeouts: EntryPointTimeouts::default(),
        limits: Limits::default(),
        keep_alive: KeepAlive::default(),
        trusted_ips: Vec::new(),
        overload,
    };
    EntryPointName::parse("web").map(|name| (name, Arc::new(web))).into_iter().collect()
}

impl Faults<'_> {
    /// One service with every backend.
    pub(super) fn default_service(
        &mut self,
        backends: &Objects<BackendName, Backend>,
        health_check: Option<HealthCheck>,
    ) -> Objects<ServiceName, Service> {
        if backends.is_empty() {
            if !self.found.has_errors() {
                let message = "there is no backend, so there is nothing to serve".to_owned();
                let help = "write backends: { web1: { url: \"http://127.0.0.1:9001\" } }";
                self.report(Severity::Error, None, code::EMPTY, message, help.to_owned());
            }
            return Objects::new();
        }
        let service = Service { health_check, ..Service::of(backends.keys().cloned().collect()) };
        ServiceName::parse("default").map(|name| (name, Arc::new(service))).into_iter().collect()
    }
}
