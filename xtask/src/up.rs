//! `cargo xtask up`: builds the three programs and becomes `lbctl up`.

use std::{
    env,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail};

use crate::steps::{cargo, say};

const BUILD: [&str; 8] =
    ["build", "-p", "lbctl", "-p", "lb-control-plane", "-p", "lb-data-plane", "--bins"];

/// Builds, and is replaced by `lbctl up`, which so gets every signal itself.
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<ExitCode> {
    let (profile, rest) = profile(arguments);
    let folder = if profile == "dev" { "debug" } else { profile };
    let mut build = cargo(root, &BUILD);
    build.args(["--profile", profile]);
    say(&format!("building lbctl, lb-control-plane and lb-data-plane ({profile})"));
    if !build.status().context("could not run cargo")?.success() {
        bail!("the build failed; see above");
    }
    // This program lies in the target folder of whatever cargo was told: TARGET/debug/xtask.
    let own = env::current_exe().context("could not find out where this program lies")?;
    let target = own.parent().and_then(Path::parent).context("this program lies nowhere")?;
    let lbctl = target.join(folder).join("lbctl");
    let error = Command::new(&lbctl).arg("up").args(rest).exec();
    Err(error).with_context(|| format!("could not run {}", lbctl.display()))
}

/// The profile that was asked for, and the other arguments.
fn profile(arguments: &[String]) -> (&'static str, Vec<&String>) {
    let mut profile = "dev";
    let mut rest = Vec::new();
    for argument in arguments {
        match argument.as_str() {
            "--release" => profile = "release",
            "--dist" => profile = "dist",
            _ => rest.push(argument),
        }
    }
    (profile, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_is_ours_and_the_rest_is_lbctls() {
        let arguments = ["-f", "lb.yaml", "--release"].map(str::to_owned);
        let (found, rest) = profile(&arguments);
        assert_eq!(found, "release");
        assert_eq!(rest, ["-f", "lb.yaml"]);
        assert_eq!(profile(&[]).0, "dev");
    }
}
