//! `lbctl rollback`: makes the content of an older version current again.

use lb_model::Version;

use super::apply;
use crate::{
    args::{Environment, Rollback},
    client::Client,
    exit::{Exit, Failure},
    output::{Output, changes},
};

/// Restores and waits.
pub(crate) async fn run(
    client: &Client,
    rollback: &Rollback,
    environment: &Environment,
    output: &Output,
) -> Result<Exit, Failure> {
    let signature = rollback.change.signature(environment);
    let mut expected = rollback.if_version.map(Version);
    if output.will_ask() {
        let (text, current) = what_changes(client, rollback.version, output).await?;
        output.confirm(&text)?;
        // What was agreed to is this change, and not one on top of somebody else's.
        expected = expected.or(Some(current));
    } else {
        output.confirm("")?;
    }
    let restored = client.restore(Version(rollback.version), expected, &signature).await;
    let committed = restored.map_err(|error| match expected {
        Some(expected) if error.is_conflict() => apply::conflict(expected, error.current()),
        _ => error.into(),
    })?;
    apply::finish(client, committed, &rollback.change.wait, output).await
}

/// What going back changes, for whoever is asked, and in which version.
async fn what_changes(
    client: &Client,
    to: u64,
    output: &Output,
) -> Result<(String, Version), Failure> {
    let current = client.versions(1, None).await?.current;
    let diff = client.diff(Some(current), Version(to)).await?;
    let text = format!(
        "version {to} will be current again, in place of version {current}:\n{}{}",
        changes::draw(&diff.changes, output.message_color),
        changes::summary(&diff.changes)
    );
    Ok((text, current))
}
