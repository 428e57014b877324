//! Asks a backend whether it is there: a connection is answer enough, with a handshake where TLS
//! is spoken.

use super::{dial::Dialer, prober::CheckFailed};

/// Checks once.
pub(super) async fn ask(dialer: &Dialer) -> Result<(), CheckFailed> {
    dialer.dial().await.map(drop)
}
