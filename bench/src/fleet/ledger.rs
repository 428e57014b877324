//! When each simulated proxy acknowledged which version.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use anyhow::{Result, ensure};
use lb_model::Version;
use tokio::sync::Notify;

use crate::cluster::LIMIT;

/// The acknowledgements of the proxies that behave.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    active: Mutex<BTreeMap<Version, Vec<Instant>>>,
    more: Notify,
}

impl Ledger {
    /// A proxy acknowledges a version now.
    pub(crate) fn acknowledge(&self, version: Version) {
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        active.entry(version).or_default().push(Instant::now());
        drop(active);
        self.more.notify_one();
    }

    /// Waits until `count` proxies acknowledged `version`, and gives the times.
    pub(crate) async fn all(&self, version: Version, count: usize) -> Result<Vec<Instant>> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let times = {
                let active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
                active.get(&version).cloned().unwrap_or_default()
            };
            if times.len() >= count {
                return Ok(times);
            }
            ensure!(
                Instant::now() < deadline,
                "{} of {count} proxies acknowledged version {version} within {LIMIT:?}",
                times.len()
            );
            // A proxy may acknowledge for the last time before the wait begins: look again.
            let wait = std::time::Duration::from_millis(100);
            let _ = tokio::time::timeout(wait, self.more.notified()).await;
        }
    }
}
