//! Looks after what requests leave behind: compares the backends of services with each other, and
//! forgets sessions that are over. On the runtime for control traffic, so that no request waits
//! for it.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::workers::Shared;

/// From one look to the next.
const LOOK: Duration = Duration::from_millis(500);

/// How often sessions are looked through.
const SESSIONS: Duration = Duration::from_secs(5);

/// Looks after what runs until nothing runs any more.
pub async fn run(shared: Weak<Shared>) {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut compared: HashMap<Arc<str>, Instant> = HashMap::new();
    let mut forgot = Instant::now();
    loop {
        ticks.tick().await;
        let Some(shared) = shared.upgrade() else { return };
        let snapshot = shared.snapshot();
        let now = Instant::now();
        let forgets = now.duration_since(forgot) >= SESSIONS;
        let mut next = HashMap::new();
        for cluster in snapshot.clusters() {
            let Some(policy) = cluster.policy() else { continue };
            if forgets {
                policy.sweep_sessions(now);
            }
            let Some(interval) = policy.sweep_interval() else { continue };
            let last = compared.get(cluster.key()).copied().unwrap_or(now);
            let is_due = now.duration_since(last) >= interval;
            if is_due {
                cluster.sweep_outliers(now);
            }
            next.insert(Arc::clone(cluster.key()), if is_due { now } else { last });
        }
        compared = next;
        if forgets {
            forgot = now;
        }
    }
}
