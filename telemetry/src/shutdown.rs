//! The word to stop: SIGTERM or SIGINT, once for a graceful end, twice for now.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that is cancelled at the first signal. The second ends the process with 143 or 130,
/// as a shell would report it.
///
/// # Errors
///
/// When the process may not handle signals.
pub fn on_signal() -> io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = token.clone();
    tokio::spawn(async move {
        loop {
            let code = tokio::select! {
                _ = terminate.recv() => 143,
                _ = interrupt.recv() => 130,
            };
            if stop.is_cancelled() {
                tracing::warn!("second signal: leaving at once");
                std::process::exit(code);
            }
            stop.cancel();
        }
    });
    Ok(token)
}
