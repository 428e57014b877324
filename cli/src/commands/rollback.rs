//! `lbctl rollback`: makes the content of an older version current again.

use lb_model::Version;

use super::apply;
use crate::{
    args::{Environment, Rollback},
    client::Client,
    exit::{Exit, Failure},
    output::Output,
};

/// Restores and waits.
pub(crate) async fn run(
    client: &Client,
    rollback: &Rollback,
    environment: &Environment,
    output: &Output,
) -> Result<Exit, Failure> {
    let signature = rollback.change.signature(environment);
    let expected = rollback.if_version.map(Version);
    let restored = client.restore(Version(rollback.version), expected, &signature).await;
    let committed = restored.map_err(|error| match expected {
        Some(expected) if error.is_conflict() => apply::conflict(expected, error.current()),
        _ => error.into(),
    })?;
    apply::finish(client, committed, &rollback.change.wait, output).await
}
