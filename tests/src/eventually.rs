//! Waiting for something to become true, and saying what was seen when it does not.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long a test waits for what takes milliseconds on a machine that is not busy.
pub const LIMIT: Duration = Duration::from_secs(15);

const PAUSE: Duration = Duration::from_millis(15);

/// Asks again and again until `condition` gives a value. Its error says what was seen instead;
/// the last one is part of the panic that ends the test after [`LIMIT`].
pub async fn eventually<T>(what: &str, condition: impl AsyncFnMut() -> Result<T, String>) -> T {
    within(LIMIT, what, condition).await
}

/// As [`eventually`], with a limit of its own.
pub async fn within<T>(
    limit: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let deadline = Instant::now() + limit;
    let mut seen = "nothing yet".to_owned();
    loop {
        match tokio::time::timeout_at(deadline, condition()).await {
            Ok(Ok(value)) => return value,
            Ok(Err(now)) => seen = now,
            Err(tokio::time::error::Elapsed { .. }) => {
                panic!("`{what}` did not happen within {limit:?}; last seen: {seen}")
            }
        }
        assert!(
            Instant::now() < deadline,
            "`{what}` did not happen within {limit:?}; last seen: {seen}"
        );
        sleep(PAUSE).await;
    }
}
