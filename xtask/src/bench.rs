//! `cargo xtask bench`: builds release binaries and becomes `lb-bench`.

use std::{
    env,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail};

use crate::steps::{cargo, say};

const BUILD: [&str; 9] = [
    "build",
    "--release",
    "-p",
    "lb-bench",
    "-p",
    "lb-control-plane",
    "-p",
    "lb-data-plane",
    "--bins",
];

/// Builds, and is replaced by `lb-bench`, which so gets every signal itself.
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<ExitCode> {
    say("building lb-bench, lb-control-plane and lb-data-plane (release)");
    if !cargo(root, &BUILD).status().context("could not run cargo")?.success() {
        bail!("the build failed; see above");
    }
    // This program lies in the target folder of whatever cargo was told: TARGET/debug/xtask.
    let own = env::current_exe().context("could not find out where this program lies")?;
    let target = own.parent().and_then(Path::parent).context("this program lies nowhere")?;
    let bench = target.join("release").join("lb-bench");
    let error = Command::new(&bench).args(arguments).exec();
    Err(error).with_context(|| format!("could not run {}", bench.display()))
}
