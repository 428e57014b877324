//! Looks the stores over, again and again: disks forget silently.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use crate::backup::Stores;

/// How often.
const EVERY: Duration = Duration::from_hours(1);

/// What the last look found wrong, if anything.
pub type Fault = Arc<Mutex<Option<String>>>;

/// Verifies all stores every hour until told to stop: the chain of commits, and that the index
/// agrees with it. What it finds stands in the log and in `/admin/health`.
pub async fn run(stores: Stores, fault: Fault, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        let found = look(&stores).await;
        if let Some(found) = &found {
            tracing::error!(found, "the stores were looked over");
        }
        *fault.lock().unwrap_or_else(PoisonError::into_inner) = found;
    }
}

/// The first thing that is wrong.
async fn look(stores: &Stores) -> Option<String> {
    for (name, store) in stores.named() {
        match store.verify().await {
            Ok(verified) => {
                tracing::debug!(store = name, head = verified.head.0, "verified");
            }
            Err(error) => return Some(format!("{name}: {error}")),
        }
    }
    None
}
