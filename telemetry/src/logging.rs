//! Process logs: one line an event on standard error.

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging to standard error. `level` is a level (`info`) or a filter in the syntax of
/// tracing's `EnvFilter` (`info,lb_data_plane=debug`).
///
/// # Errors
///
/// When the filter cannot be read, with the reason.
pub fn start(level: &str, format: Format) -> Result<(), String> {
    let filter = EnvFilter::try_new(level).map_err(|error| {
        format!("`{level}` is not a log level: {error}; write error, warn, info, debug or trace")
    })?;
    let registry = tracing_subscriber::registry().with(filter);
    let layer = fmt::layer().with_writer(std::io::stderr).with_target(false);
    let started = match format {
        Format::Text => registry.with(layer.with_ansi(false)).try_init(),
        Format::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    };
    started.map_err(|error| error.to_string())
}
