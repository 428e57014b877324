//! The programs that tests run besides our own.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::steps::say;

/// A program, and the package that brings it.
const TOOLS: [(&str, &str); 6] = [
    ("nginx", "nginx"),
    ("node", "nodejs"),
    ("curl", "curl"),
    ("h2load", "nghttp2-client"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
];

/// Sees to it that all tools are there: installs them if that is wanted and allowed, else says
/// what to type.
pub(crate) fn provide(install: bool) -> Result<()> {
    let packages = missing(find);
    if !packages.is_empty() {
        let packages = packages.join(" ");
        let line =
            format!("apt-get update && apt-get install -y --no-install-recommends {packages}");
        if !install {
            bail!("tests need what is missing here: {packages}; install it with: {line}");
        }
        if find("apt-get").is_none() || !is_root() {
            bail!("tests need what is missing here: {packages}; as root, run: {line}");
        }
        say(&format!("==> {line}"));
        // With runlevel 1 the packages start no service: tests run their own nginx.
        let status = Command::new("sh")
            .args(["-c", &line])
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("RUNLEVEL", "1")
            .status()
            .context("could not run sh")?;
        if !status.success() {
            bail!("could not install {packages}; see above");
        }
        let packages = missing(find);
        if !packages.is_empty() {
            bail!("{} is installed, but its program is nowhere", packages.join(" "));
        }
    }
    for (program, _) in TOOLS {
        if let Some(path) = find(program) {
            say(&format!("{program} is {}", path.display()));
        }
    }
    Ok(())
}

/// The packages of those tools that `find` does not find.
fn missing(find: impl Fn(&str) -> Option<PathBuf>) -> Vec<&'static str> {
    let absent = TOOLS.iter().filter(|(program, _)| find(program).is_none());
    absent.map(|(_, package)| *package).collect()
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
        assert_eq!(
            missing(only_curl),
            ["nginx", "nodejs", "nghttp2-client", "iproute2", "nftables"]
        );
        assert!(missing(|_| Some(PathBuf::new())).is_empty());
    }
}
