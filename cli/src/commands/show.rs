//! `lbctl show`: one version, with who made it, why, and what it changed.

use jiff::Timestamp;
use lb_model::{
    Version,
    api::{ConfigView, Diff},
};
use serde::Serialize;

use super::get;
use crate::{
    args::Show,
    client::Client,
    exit::{Exit, Failure},
    output::{Output, changes, time},
};

/// A version whole, for programs.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    view: ConfigView,
    /// What it changed in the version before.
    diff: Option<Diff>,
}

/// Fetches and draws.
pub(crate) async fn run(client: &Client, show: &Show, output: &Output) -> Result<Exit, Failure> {
    let version = Version(show.version);
    let view = client.version(version).await?;
    // The version before may be forgotten; this one is not.
    let (diff, why) = match client.diff(None, version).await {
        Ok(diff) => (Some(diff), None),
        Err(error) => (None, Some(Failure::from(error))),
    };
    let shown = Shown { view, diff };
    let names = |shown: &Shown| vec![shown.view.version.to_string()];
    output.value(&shown, names, |shown| draw(shown, output, Timestamp::now()))?;
    if let Some(why) = why {
        output.note(format_args!("what it changed cannot be told: {why}"));
    }
    Ok(Exit::Ok)
}

fn draw(shown: &Shown, output: &Output, now: Timestamp) -> String {
    let Shown { view, diff } = shown;
    let mut text = format!("version  {}\n", view.version);
    if let Some(commit) = &view.commit {
        let reason = if commit.reason.is_empty() { "-" } else { &commit.reason };
        text += &format!(
            "author   {}\ntime     {} ({})\nreason   {reason}\ncommit   {}\n",
            commit.author,
            commit.time,
            time::ago(&commit.time, now),
            commit.hash,
        );
    }
    text += &format!("content  {}\n", view.content_hash);
    match diff {
        Some(diff) if diff.changes.is_empty() => text += "changes  no value\n",
        Some(diff) => {
            text += &format!("changes  {}\n", changes::summary(&diff.changes));
            text += &changes::draw(&diff.changes, output.color);
        }
        None => {}
    }
    text.push('\n');
    text + &get::documents(view)
}
