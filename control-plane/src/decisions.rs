//! Everything that was decided beside the configuration, as of one version.

use jiff::Timestamp;
use lb_model::{Config, Version, api::DeploymentOverride, difference::Written};
use lb_store::Store;

use crate::{
    deployments::{self, Deployments},
    overrides::{Overrides, OverridesError},
};

/// What was decided about backends, and about services and routes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decisions {
    /// About single backends.
    pub overrides: Overrides,
    /// About slots and canaries.
    pub deployments: Deployments,
}

impl Decisions {
    /// Those of a version.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    pub async fn at(store: &dyn Store, version: Version) -> Result<Self, OverridesError> {
        let overrides = Overrides::at(store, version).await?;
        Ok(Self { overrides, deployments: Deployments::at(store, version).await? })
    }

    /// Lays them on a configuration.
    pub fn merge(&self, config: &mut Config) {
        self.overrides.merge(config);
        self.deployments.merge(config);
    }

    /// Writes them down beside what documents say, to be compared.
    pub fn write_into(&self, written: &mut Written) {
        self.overrides.write_into(written);
        self.deployments.write_into(written);
    }

    /// What is decided about services and routes, and would still be, were this the configuration.
    pub fn lasting(&self, config: &Config, now: Timestamp) -> Vec<DeploymentOverride> {
        let mut lasting = self.deployments.clone();
        lasting.end(config, &deployments::configured(config));
        lasting.views(config, now)
    }
}
