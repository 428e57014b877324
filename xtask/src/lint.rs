//! `cargo xtask lint` and `cargo xtask deny`: what can be said without running anything.

use std::{
    path::Path,
    process::{ExitCode, Stdio},
};

use anyhow::{Result, bail};

use crate::steps::{Steps, cargo};

/// The format check.
pub(crate) const FORMAT: [&str; 3] = ["fmt", "--all", "--check"];
/// The lints; a warning fails.
pub(crate) const LINTS: [&str; 6] =
    ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];

/// Checks the format and runs the lints.
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<ExitCode> {
    if let Some(argument) = arguments.first() {
        bail!("lint takes no `{argument}`");
    }
    let mut steps = Steps::default();
    steps.run(cargo(root, &FORMAT))?;
    steps.run(cargo(root, &LINTS))?;
    Ok(steps.finish())
}

/// Checks licences, bans and sources of dependencies.
pub(crate) fn deny(root: &Path, arguments: &[String]) -> Result<ExitCode> {
    if let Some(argument) = arguments.first() {
        bail!("deny takes no `{argument}`");
    }
    let mut probe = cargo(root, &["deny", "--version"]);
    let is_there = probe.stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !is_there.is_ok_and(|status| status.success()) {
        bail!("cargo-deny is missing; install it with `cargo install --locked cargo-deny`");
    }
    let mut steps = Steps::default();
    steps.run(cargo(root, &["deny", "check", "bans", "licenses", "sources"]))?;
    Ok(steps.finish())
}
