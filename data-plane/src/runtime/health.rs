//! Keeps one health check running for each checked endpoint of the installed snapshot.
//!
//! A check belongs to its endpoint and lives exactly as long: an endpoint that a new snapshot
//! carries over keeps its check and its rhythm.

use std::sync::Arc;

use lb_upstream::{Endpoint, HealthChange, HealthChecker};
use tokio::{runtime::Handle, sync::mpsc};

use super::compiled::CompiledSnapshot;

/// The running checks.
#[derive(Debug)]
pub struct HealthChecks {
    runtime: Handle,
    changes: Option<mpsc::Sender<HealthChange>>,
    running: Vec<(Arc<Endpoint>, Option<HealthChecker>)>,
}

impl HealthChecks {
    /// None yet; they will run on `runtime` and tell `changes`.
    pub const fn new(runtime: Handle, changes: Option<mpsc::Sender<HealthChange>>) -> Self {
        Self { runtime, changes, running: Vec::new() }
    }

    /// Starts and stops checks so that exactly the endpoints of `snapshot` are checked.
    pub fn follow(&mut self, snapshot: &CompiledSnapshot) {
        let mut before = std::mem::take(&mut self.running);
        for member in snapshot.clusters.iter().flat_map(|c| c.members()) {
            let endpoint = &member.endpoint;
            let kept = before.iter().position(|(e, _)| Arc::ptr_eq(e, endpoint));
            self.running.push(kept.map_or_else(
                || {
                    let changes = self.changes.clone();
                    let check = HealthChecker::start(&self.runtime, Arc::clone(endpoint), changes);
                    (Arc::clone(endpoint), check)
                },
                |index| before.swap_remove(index),
            ));
        }
    }
}
