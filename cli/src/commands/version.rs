//! `lbctl version`: what software runs here, on the control plane and on the proxies.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    client::{ApiError, Client},
    exit::{Exit, Failure},
    output::{Output, diagnostics::plural},
};

/// The versions of everything.
#[derive(Debug, Serialize)]
struct Versions {
    /// This program.
    client: String,
    /// The control plane; absent when it does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<String>,
    /// How many proxies have each version.
    proxies: BTreeMap<String, usize>,
}

/// Asks and shows. A control plane that does not answer is no failure here.
pub(crate) async fn run(client: &Client, output: &Output) -> Result<Exit, Failure> {
    let mut versions = Versions {
        client: env!("CARGO_PKG_VERSION").to_owned(),
        server: None,
        proxies: BTreeMap::new(),
    };
    match ask(client, &mut versions).await {
        Ok(()) => {}
        Err(error) => output.note(Failure::from(error)),
    }
    let names = |versions: &Versions| vec![versions.client.clone()];
    output.value(&versions, names, draw)?;
    Ok(Exit::Ok)
}

async fn ask(client: &Client, versions: &mut Versions) -> Result<(), ApiError> {
    versions.server = Some(client.health().await?.software_version);
    for proxy in client.proxies().await?.proxies {
        *versions.proxies.entry(proxy.software_version).or_default() += 1;
    }
    Ok(())
}

fn draw(versions: &Versions) -> String {
    let server = versions.server.as_deref().unwrap_or("unknown");
    let mut text = format!("lbctl          {}\ncontrol plane  {server}\n", versions.client);
    for (version, count) in &versions.proxies {
        text += &format!("{:<13}  {version}\n", plural(*count, "proxy"));
    }
    let mut all: Vec<_> = versions.proxies.keys().chain(versions.server.as_ref()).collect();
    all.push(&versions.client);
    if all.iter().any(|version| **version != versions.client) {
        text += "versions differ; bring them to the same one, the control plane first\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differing_versions_are_pointed_out() {
        let mut versions = Versions {
            client: "0.1.0".into(),
            server: Some("0.1.0".into()),
            proxies: [("0.1.0".to_owned(), 2)].into(),
        };
        assert_eq!(
            draw(&versions),
            "lbctl          0.1.0\ncontrol plane  0.1.0\n2 proxies      0.1.0\n"
        );
        versions.proxies.insert("0.0.9".into(), 1);
        assert!(draw(&versions).contains("1 proxy        0.0.9\n"), "{}", draw(&versions));
        assert!(draw(&versions).contains("versions differ"));
    }

    #[test]
    fn a_server_that_does_not_answer_is_unknown() {
        let versions = Versions { client: "0.1.0".into(), server: None, proxies: BTreeMap::new() };
        assert_eq!(draw(&versions), "lbctl          0.1.0\ncontrol plane  unknown\n");
    }
}
