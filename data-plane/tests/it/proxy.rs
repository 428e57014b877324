//! A proxy under test.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use lb_data_plane::{InstallError, Runtime, RuntimeOptions, stats::RuntimeStats};
use lb_http::Reason;
use lb_model::{
    bundle::Bundle,
    config::{Certificate, Config},
    value::CertificateName,
};
use lb_upstream::HealthChange;
use tokio::sync::mpsc;

/// The longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Proxy {
    pub(crate) runtime: Runtime,
    pub(crate) health: mpsc::Receiver<HealthChange>,
    version: u64,
}

/// Reads a document, and puts certificates beside it.
pub(crate) fn config(
    yaml: &str,
    certificates: &[(&str, &rcgen::CertifiedKey<rcgen::KeyPair>)],
) -> Config {
    let parsed = Config::parse(&Bundle::of_text("lb.yaml", yaml), 0);
    let mut config = parsed.unwrap_or_else(|faults| panic!("{faults:?}")).config;
    for (name, made) in certificates {
        let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let certificate = Certificate::from_pem(chain.as_bytes(), key.as_bytes(), false).unwrap();
        let name = CertificateName::parse(name).unwrap();
        config.certificates.insert(name, Arc::new(certificate));
    }
    config
}

impl Proxy {
    pub(crate) async fn start(yaml: &str) -> Self {
        Self::with(config(yaml, &[])).await
    }

    pub(crate) async fn with(config: Config) -> Self {
        let (changes, health) = mpsc::channel(16);
        let options = RuntimeOptions {
            workers: 2,
            zone: None,
            drain_timeout: PATIENCE,
            health_changes: Some(changes),
        };
        let mut proxy = Self { runtime: Runtime::start(options).unwrap(), health, version: 0 };
        proxy.install(config).await.unwrap();
        proxy
    }

    pub(crate) async fn update(&mut self, yaml: &str) -> Result<(), InstallError> {
        self.install(config(yaml, &[])).await
    }

    pub(crate) async fn install(&mut self, config: Config) -> Result<(), InstallError> {
        self.version += 1;
        let compiled = self.runtime.compile(&config, self.version).unwrap();
        self.runtime.install(compiled).await
    }

    /// The address of the entry point `web`.
    pub(crate) fn web(&self) -> SocketAddr {
        self.listener("web").unwrap()
    }

    pub(crate) fn listener(&self, name: &str) -> Option<SocketAddr> {
        let listeners = self.runtime.listeners();
        let found = listeners.iter().find(|(each, _)| **each == *name);
        found.map(|(_, address)| *address)
    }

    pub(crate) fn stats(&self) -> RuntimeStats {
        self.runtime.handle().stats()
    }

    pub(crate) fn count(&self, reason: Reason) -> u64 {
        let reasons = self.runtime.handle().reasons();
        let found = reasons.iter().find(|(each, _)| *each == reason);
        found.map_or(0, |(_, count)| *count)
    }

    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&RuntimeStats) -> bool) {
        until(what, || holds(&self.stats())).await;
    }
}

pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// One backend `b` behind entry point `web`, with more lines for the service and the entry point.
pub(crate) fn simple(origin: SocketAddr, web: &str, service: &str) -> String {
    format!(
        "entry_points:\n  web: {{ address: \"127.0.0.1:0\"{web} }}\n\
         backends:\n  b: {{ url: \"http://{origin}\" }}\n\
         services:\n  s: {{ backends: [b]{service} }}\n\
         routes:\n  all: {{ rule: \"PathPrefix(`/`)\", service: s }}\n"
    )
}
