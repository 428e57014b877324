//! Process logs: one line an event on standard error.
//!
//! How much is logged can be changed while the process runs, for a while: a level that somebody
//! forgot to set back must not fill a disk.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;
use tracing_subscriber::{
    EnvFilter, Registry, fmt, layer::SubscriberExt, reload, util::SubscriberInitExt,
};

/// The levels, from the quietest.
pub const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How much is logged now, and for how much longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// A level, or the filter the process was started with.
    pub level: String,
    /// When it goes back to what the process was started with; never when it is that.
    pub until: Option<Instant>,
}

/// Changes how much is logged.
#[derive(Debug)]
pub struct LogLevel {
    handle: reload::Handle<EnvFilter, Registry>,
    base: String,
    now: Mutex<Logged>,
    changes: watch::Sender<u64>,
}

/// Starts logging to standard error. `level` is a level (`info`) or a filter in the syntax of
/// tracing's `EnvFilter` (`info,lb_data_plane=debug`).
///
/// # Errors
///
/// When the filter cannot be read, with the reason.
pub fn start(level: &str, format: Format) -> Result<Arc<LogLevel>, String> {
    let (filter, handle) = reload::Layer::new(filter(level)?);
    let registry = tracing_subscriber::registry().with(filter);
    let layer = fmt::layer().with_writer(std::io::stderr).with_target(false);
    let started = match format {
        Format::Text => registry.with(layer.with_ansi(false)).try_init(),
        Format::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    };
    started.map_err(|error| error.to_string())?;
    let now = Mutex::new(Logged { level: level.to_owned(), until: None });
    Ok(Arc::new(LogLevel { handle, base: level.to_owned(), now, changes: watch::Sender::new(0) }))
}

fn filter(level: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(level).map_err(|error| {
        format!("`{level}` is not a log level: {error}; write error, warn, info, debug or trace")
    })
}

impl LogLevel {
    fn lock(&self) -> MutexGuard<'_, Logged> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How much is logged now.
    pub fn now(&self) -> Logged {
        self.lock().clone()
    }

    /// Wakes when that changes, by itself or not.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Logs another level for a while. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// When it is not one of [`LEVELS`], with what to write instead.
    pub fn set(self: &Arc<Self>, level: &str, lasts: Duration) -> Result<(), String> {
        if !LEVELS.contains(&level) {
            return Err(format!("`{level}` is not a log level; write {}", LEVELS.join(", ")));
        }
        let until = Instant::now() + lasts;
        self.apply(Logged { level: level.to_owned(), until: Some(until) })?;
        let own = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep_until(until.into()).await;
            // A later change has an end of its own.
            if own.now().until == Some(until)
                && let Err(error) = own.apply(Logged { level: own.base.clone(), until: None })
            {
                tracing::error!(error, "the log level does not go back");
            }
        });
        Ok(())
    }

    fn apply(&self, next: Logged) -> Result<(), String> {
        let mut now = self.lock();
        self.handle.reload(filter(&next.level)?).map_err(|error| error.to_string())?;
        tracing::warn!(level = next.level, before = now.level, "log level changed");
        *now = next;
        drop(now);
        self.changes.send_modify(|count| *count += 1);
        Ok(())
    }
}
