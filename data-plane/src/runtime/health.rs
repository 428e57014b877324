//! Keeps one health check running for each checked endpoint of the installed snapshot.
//!
//! A check belongs to its endpoint and lives exactly as long: an endpoint that a new snapshot
//! carries over keeps its check and its rhythm.

use std::{collections::HashMap, sync::Arc, time::Duration};

use lb_upstream::{Cluster, Endpoint, HealthChange, HealthChecker};
use tokio::{runtime::Handle, sync::mpsc, time::Instant};

use super::compiled::CompiledSnapshot;

type Checked = (Arc<Endpoint>, Option<HealthChecker>);

/// The running checks.
#[derive(Debug)]
pub struct HealthChecks {
    runtime: Handle,
    changes: Option<mpsc::Sender<HealthChange>>,
    /// By the address of the endpoint, which each entry keeps alive.
    running: HashMap<usize, Checked>,
    /// Whose endpoints these are, to the last.
    followed: Option<Arc<[Arc<Cluster>]>>,
}

impl HealthChecks {
    /// None yet; they will run on `runtime` and tell `changes`.
    pub fn new(runtime: Handle, changes: Option<mpsc::Sender<HealthChange>>) -> Self {
        Self { runtime, changes, running: HashMap::new(), followed: None }
    }

    /// Starts and stops checks so that exactly the endpoints of `snapshot` are checked.
    pub fn follow(&mut self, snapshot: &CompiledSnapshot) {
        if self.follows(snapshot) {
            return;
        }
        let mut before = std::mem::take(&mut self.running);
        for member in snapshot.clusters.iter().flat_map(|c| c.members()) {
            let key = Arc::as_ptr(&member.endpoint) as usize;
            let check = before.remove(&key).unwrap_or_else(|| self.start(&member.endpoint));
            self.running.insert(key, check);
        }
        self.followed = Some(Arc::clone(&snapshot.clusters));
    }

    /// Starts the checks that `snapshot` adds and waits until no service waits for the first
    /// answer about all of its backends, at most for `limit`: a service whose backends are all
    /// new would otherwise have none for a moment.
    pub async fn warm(&mut self, snapshot: &CompiledSnapshot, limit: Duration) {
        const LOOK: Duration = Duration::from_millis(2);
        if self.follows(snapshot) {
            return;
        }
        // Until the snapshot is followed there are more checks than either needs.
        self.followed = None;
        let mut added = false;
        for member in snapshot.clusters.iter().flat_map(|c| c.members()) {
            let key = Arc::as_ptr(&member.endpoint) as usize;
            if !self.running.contains_key(&key) {
                let check = self.start(&member.endpoint);
                self.running.insert(key, check);
                added = true;
            }
        }
        let deadline = Instant::now() + limit;
        while added && !snapshot.clusters.iter().all(|c| is_warm(c)) && Instant::now() < deadline {
            tokio::time::sleep(LOOK).await;
        }
    }

    fn follows(&self, snapshot: &CompiledSnapshot) -> bool {
        self.followed.as_ref().is_some_and(|followed| Arc::ptr_eq(followed, &snapshot.clusters))
    }

    fn start(&self, endpoint: &Arc<Endpoint>) -> Checked {
        let changes = self.changes.clone();
        let check = HealthChecker::start(&self.runtime, Arc::clone(endpoint), changes);
        (Arc::clone(endpoint), check)
    }
}

/// Whether a service has a backend to choose, or knows that it has none.
fn is_warm(cluster: &Cluster) -> bool {
    let mut members = cluster.members().iter();
    members.clone().any(|member| member.endpoint.health().summary().up)
        || members.all(|member| member.endpoint.health().summary().last_check.is_some())
}
