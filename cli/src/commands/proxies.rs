//! `lbctl proxies`: every proxy and what it runs.

use jiff::Timestamp;
use lb_model::{
    Version,
    api::{ProxyList, ProxyView, SyncState},
};

use super::wait::fault_line;
use crate::{
    args::{Environment, Format, Proxies, ProxiesAction},
    client::Client,
    exit::{Exit, Failure},
    output::{
        Output,
        table::{self, Field, Mood},
        time,
    },
    watch::{self, Frame},
};

/// Fetches and lists.
pub(crate) async fn run(
    client: &Client,
    proxies: &Proxies,
    environment: &Environment,
    output: &Output,
) -> Result<Exit, Failure> {
    let watch = match &proxies.action {
        None => &proxies.watch,
        Some(ProxiesAction::List { watch }) => watch,
        Some(ProxiesAction::Revoke { id }) => return revoke(client, id, environment, output).await,
    };
    watch::show(output, watch, async |output| frame(client, output).await).await
}

async fn revoke(
    client: &Client,
    id: &str,
    environment: &Environment,
    output: &Output,
) -> Result<Exit, Failure> {
    output.confirm(&format!(
        "proxy {id} will be no member of the fleet any more: it serves what it has, learns \
         nothing more, and needs a new token and a new identity to join again"
    ))?;
    client.revoke_proxy(id, &environment.author()).await?;
    output.note(format_args!("proxy {id} is no longer a member of the fleet"));
    Ok(Exit::Ok)
}

async fn frame(client: &Client, output: &Output) -> Result<Frame, Failure> {
    let list = client.proxies().await?;
    let names = |list: &ProxyList| list.proxies.iter().map(|proxy| proxy.id.clone()).collect();
    let text = output.render(&list, names, |list| draw(list, output, Timestamp::now()))?;
    Ok(Frame::new(text, list.proxies.is_empty(), NONE))
}

/// What to say when there is none.
pub(crate) const NONE: &str = "no proxy has connected yet; start one with: \
                               lb-data-plane --control-plane http://CONTROL-PLANE:9701";

/// The table; empty when there is no proxy.
pub(crate) fn draw(list: &ProxyList, output: &Output, now: Timestamp) -> String {
    if list.proxies.is_empty() {
        return String::new();
    }
    let is_wide = output.format == Format::Wide;
    let mut header =
        vec!["PROXY", "STATE", "VERSION", "SINCE", "CONNECTIONS", "LABELS", "LISTENERS"];
    if is_wide {
        header.extend(["ADMIN", "SOFTWARE", "PROPAGATION"]);
    }
    header.push("PROBLEM");
    let rows = list.proxies.iter().map(|proxy| {
        let mut row = vec![
            proxy.id.clone().into(),
            Field::in_mood(proxy.state.as_str(), mood(proxy.state)),
            version(proxy.version).into(),
            time::ago(&proxy.since, now).into(),
            proxy.open_connections.to_string().into(),
            proxy.labels.join(" ").into(),
            listeners(proxy).into(),
        ];
        if is_wide {
            let propagation = proxy.propagation_ms.map(|ms| format!("{ms:.1}ms"));
            row.extend([
                proxy.admin_address.clone().into(),
                proxy.software_version.clone().into(),
                propagation.unwrap_or_default().into(),
            ]);
        }
        row.push(problem(proxy).into());
        row
    });
    table::draw(output, &header, rows.collect())
}

const fn mood(state: SyncState) -> Mood {
    match state {
        SyncState::Synced => Mood::Good,
        SyncState::Applying | SyncState::Disconnected => Mood::Unsure,
        SyncState::Rejected | SyncState::Declined => Mood::Bad,
    }
}

fn version(version: Version) -> String {
    if version == Version::NONE { String::new() } else { version.to_string() }
}

fn listeners(proxy: &ProxyView) -> String {
    let each = proxy.listeners.iter().map(|l| format!("{}={}", l.entry_point, l.address));
    each.collect::<Vec<_>>().join(" ")
}

fn problem(proxy: &ProxyView) -> String {
    let reasons = proxy.errors.iter().map(fault_line).collect::<Vec<_>>().join("; ");
    match proxy.rejected_version {
        Some(version) if reasons.is_empty() => format!("refused version {version}"),
        Some(version) => format!("refused version {version}: {reasons}"),
        None if reasons.is_empty() && !proxy.persisted => {
            "its disk refused the version; see its log".to_owned()
        }
        None => reasons,
    }
}

#[cfg(test)]
mod tests {
    use lb_model::api::{ListenerView, ResourceFault};

    use super::*;
    use crate::output::table::tests::output;

    fn list() -> ProxyList {
        let proxy = |id: &str, state: SyncState, version: u64| -> ProxyView {
            let proxy = serde_json::json!({ "id": id, "state": state, "version": version,
                "admin_address": "127.0.0.1:9702", "software_version": "0.1.0",
                "since": "2026-03-01T11:59:00Z", "propagation_ms": 12.34,
                "open_connections": 3 });
            serde_json::from_value(proxy).unwrap()
        };
        let listener = ListenerView { entry_point: "web".into(), address: "0.0.0.0:8000".into() };
        let fault = ResourceFault {
            kind: "entry_point".into(),
            name: "web".into(),
            code: "bind_failed".into(),
            message: "address in use".into(),
        };
        let proxies = vec![
            ProxyView {
                listeners: vec![listener],
                labels: vec!["edge".into(), "eu".into()],
                ..proxy("a", SyncState::Synced, 42)
            },
            ProxyView {
                rejected_version: Some(Version(42)),
                errors: vec![fault],
                ..proxy("b", SyncState::Rejected, 0)
            },
        ];
        ProxyList { version: Version(42), proxies }
    }

    #[test]
    fn proxies_are_listed_with_what_they_run_and_why_not_more() {
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        let expected = "\
PROXY  STATE     VERSION  SINCE     CONNECTIONS  LABELS   LISTENERS         PROBLEM
a      synced    42       1m0s ago  3            edge eu  web=0.0.0.0:8000  -
b      rejected  -        1m0s ago  3            -        -                 refused version 42: entry_point web: address in use [bind_failed]
";
        assert_eq!(draw(&list(), &output(&[]), now), expected);
    }

    #[test]
    fn a_wide_table_says_more() {
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        let text = draw(&list(), &output(&["-o", "wide"]), now);
        assert!(text.contains("127.0.0.1:9702") && text.contains("12.3ms"), "{text}");
    }
}
