//! The programs that chores run besides our own.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::steps::say;

/// A program, or a file by its path, and the package that brings it.
pub(crate) type Tool = (&'static str, &'static str);

/// What tests run.
pub(crate) const TESTS: [Tool; 8] = [
    ("nginx", "nginx"),
    ("node", "nodejs"),
    ("curl", "curl"),
    ("h2load", "nghttp2-client"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("strace", "strace"),
    ("python3", "python3-venv"),
];

/// What tests run that comes from the package index of Python, as `NAME==VERSION`.
pub(crate) const PYTHON_TESTS: [&str; 1] = ["schemathesis==4.32.5"];

/// What makes a network in which packets are lost.
pub(crate) const NETWORKS: [Tool; 3] =
    [("unshare", "util-linux"), ("ip", "iproute2"), ("nft", "nftables")];

/// What counts instructions and system calls.
pub(crate) const COUNTERS: [Tool; 3] =
    [("valgrind", "valgrind"), ("vgdb", "valgrind"), ("strace", "strace")];

/// Sees to it that all tools are there: installs them if that is wanted and allowed, else says
/// what to type.
pub(crate) fn provide(tools: &[Tool], install: bool) -> Result<()> {
    let packages = missing(tools, find);
    if !packages.is_empty() {
        let packages = packages.join(" ");
        let line =
            format!("apt-get update && apt-get install -y --no-install-recommends {packages}");
        if !install {
            bail!("what is needed is missing here: {packages}; install it with: {line}");
        }
        if find("apt-get").is_none() || !is_root() {
            bail!("what is needed is missing here: {packages}; as root, run: {line}");
        }
        say(&format!("==> {line}"));
        // With runlevel 1 the packages start no service: chores run their own nginx.
        let status = Command::new("sh")
            .args(["-c", &line])
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("RUNLEVEL", "1")
            .status()
            .context("could not run sh")?;
        if !status.success() {
            bail!("could not install {packages}; see above");
        }
        let packages = missing(tools, find);
        if !packages.is_empty() {
            bail!("{} is installed, but its program is nowhere", packages.join(" "));
        }
    }
    for (program, _) in tools {
        if let Some(path) = find(program) {
            say(&format!("{program} is {}", path.display()));
        }
    }
    Ok(())
}

/// Sees to it that packages of Python, `NAME` or `NAME==VERSION`, are in an environment of their
/// own.
pub(crate) fn provide_python(venv: &Path, packages: &[&str], install: bool) -> Result<()> {
    let pip = venv.join("bin").join("pip");
    let is_there = |package: &&str| {
        let name = package.split("==").next().unwrap_or(package);
        let mut show = Command::new(&pip);
        show.args(["show", "--quiet", name]).stdout(Stdio::null()).stderr(Stdio::null());
        show.status().is_ok_and(|status| status.success())
    };
    let missing: Vec<_> = packages.iter().copied().filter(|package| !is_there(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let (venv, missing) = (venv.display(), missing.join(" "));
    let line = format!("python3 -m venv {venv} && {venv}/bin/pip install {missing}");
    if !install {
        bail!("what is needed is missing here: {missing}; install it with: {line}");
    }
    say(&format!("==> {line}"));
    let status = Command::new("sh").args(["-c", &line]).status().context("could not run sh")?;
    if !status.success() {
        bail!(
            "could not install {missing}; see above. Without the module venv, install python3-venv"
        );
    }
    Ok(())
}

/// The packages of those tools that `find` does not find.
fn missing(tools: &[Tool], find: impl Fn(&str) -> Option<PathBuf>) -> Vec<&'static str> {
    let absent = tools.iter().filter(|(program, _)| find(program).is_none());
    let mut packages: Vec<_> = absent.map(|(_, package)| *package).collect();
    packages.dedup();
    packages
}

/// Looks where programs are, and where those of administrators are.
fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let mut files = env::split_paths(&path).chain(system).map(|folder| folder.join(program));
    files.find(|file| Path::is_file(file))
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.starts_with(b"0\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_of_missing_programs_are_named() {
        let only_curl = |program: &str| (program == "curl").then(|| PathBuf::from("/usr/bin/curl"));
        let packages =
            ["nginx", "nodejs", "nghttp2-client", "iproute2", "nftables", "strace", "python3-venv"];
        assert_eq!(missing(&TESTS, only_curl), packages);
        assert_eq!(missing(&COUNTERS, |_| None), ["valgrind", "strace"]);
        assert!(missing(&TESTS, |_| Some(PathBuf::new())).is_empty());
    }
}
