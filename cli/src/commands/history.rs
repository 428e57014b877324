//! `lbctl history`: who changed the configuration, when and why.

use jiff::Timestamp;
use lb_model::api::VersionList;

use crate::{
    args::{Format, History},
    client::Client,
    exit::{Exit, Failure},
    output::{Output, table, time},
    watch::{self, Frame},
};

/// Fetches and lists.
pub(crate) async fn run(
    client: &Client,
    history: &History,
    output: &Output,
) -> Result<Exit, Failure> {
    let frame = async |output: &Output| frame(client, history, output).await;
    watch::show(output, &history.watch, frame).await
}

async fn frame(client: &Client, history: &History, output: &Output) -> Result<Frame, Failure> {
    let list = client.versions(history.limit, history.before).await?;
    let names = |list: &VersionList| list.versions.iter().map(|v| v.version.to_string()).collect();
    let text = output.render(&list, names, |list| draw(list, output, Timestamp::now()))?;
    let note = "there is no version here yet; make one with: lbctl apply -f lb.yaml";
    Ok(Frame::new(text, list.versions.is_empty(), note))
}

fn draw(list: &VersionList, output: &Output, now: Timestamp) -> String {
    let is_wide = output.format == Format::Wide;
    let mut header = vec!["VERSION", "WHEN", "AUTHOR", "REASON"];
    if is_wide {
        header.extend(["TIME", "HASH"]);
    }
    let rows = list.versions.iter().map(|version| {
        let mut row = vec![
            version.version.to_string().into(),
            time::ago(&version.time, now).into(),
            version.author.clone().into(),
            version.reason.clone().into(),
        ];
        if is_wide {
            row.extend([version.time.clone().into(), version.hash.clone().into()]);
        }
        row
    });
    if list.versions.is_empty() {
        return String::new();
    }
    table::draw(output, &header, rows.collect())
}

#[cfg(test)]
mod tests {
    use lb_model::{Version, api::VersionView};

    use super::*;
    use crate::output::table::tests::output;

    #[test]
    fn versions_are_listed_with_their_age() {
        let version = |number, author: &str, reason: &str, time: &str| VersionView {
            version: Version(number),
            author: author.into(),
            reason: reason.into(),
            time: time.into(),
            hash: "ab12".into(),
        };
        let list = VersionList {
            current: Version(2),
            versions: vec![
                version(2, "ann@host", "raise limits", "2026-03-01T11:58:00Z"),
                version(1, "up", "", "2026-02-28T12:00:00Z"),
            ],
        };
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        let expected = "\
VERSION  WHEN      AUTHOR    REASON
2        2m0s ago  ann@host  raise limits
1        1d0h ago  up        -
";
        assert_eq!(draw(&list, &output(&[]), now), expected);
        assert!(draw(&list, &output(&["-o", "wide"]), now).contains("ab12"));
    }
}
