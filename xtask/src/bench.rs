//! `cargo xtask bench`: builds what a benchmark needs and becomes `lb-bench`.

use std::{
    env,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail};

use crate::{
    peers,
    steps::{cargo, say},
    test, tools,
};

/// What most benchmarks run.
const PROGRAMS: [&str; 7] =
    ["-p", "lb-bench", "-p", "lb-control-plane", "-p", "lb-data-plane", "--bins"];
/// What runs beside a proxy that was built apart.
const BESIDE: [&str; 5] = ["-p", "lb-bench", "-p", "lb-control-plane", "--bins"];
/// A proxy by itself: other crates in the same build would turn on features of what it uses.
const PROXY: [&str; 3] = ["-p", "lb-data-plane", "--bins"];

/// Builds, and is replaced by `lb-bench`, which so gets every signal itself.
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<ExitCode> {
    let options = Options::of(arguments);
    if options.asks_for_help() {
        build(root, "release", &["-p", "lb-bench", "--bins"])?;
        return become_bench("release", options.rest, &[]);
    }
    match options.rest.first().map(|name| name.as_str()) {
        Some("gate") => {
            tools::provide(&tools::COUNTERS, options.install)?;
            // The tests need all of this, so after them it costs nothing.
            build_all(root)?;
            build(root, "release", &PROXY)?;
            let added = [
                "--data-plane".to_owned(),
                program("release", "lb-data-plane")?.display().to_string(),
                "--baseline".to_owned(),
                root.join("bench/baseline.json").display().to_string(),
            ];
            become_bench("debug", options.rest, &added)
        }
        Some("peers") => {
            let profile = options.profile.unwrap_or("dist");
            peers::provide(root, &target()?, &options.rest, options.install)?;
            build(root, "release", &BESIDE)?;
            build(root, profile, &PROXY)?;
            let proxy = program(profile, "lb-data-plane")?.display().to_string();
            become_bench("release", options.rest, &["--data-plane".to_owned(), proxy])
        }
        Some("objects") => {
            // What was typed comes first and so prevails.
            let usual = ["--peers".to_owned(), "nginx,traefik".to_owned()];
            let named: Vec<_> = options.rest.iter().copied().chain(&usual).collect();
            peers::provide(root, &target()?, &named, options.install)?;
            build(root, "release", &PROGRAMS)?;
            become_bench("release", options.rest, &[])
        }
        Some("misbehave") => {
            tools::provide(&tools::NETWORKS, options.install)?;
            let usual = ["--peers".to_owned(), "envoy,haproxy".to_owned()];
            let named: Vec<_> = options.rest.iter().copied().chain(&usual).collect();
            peers::provide(root, &target()?, &named, options.install)?;
            build(root, "release", &PROGRAMS)?;
            become_bench("release", options.rest, &[])
        }
        Some("features" | "soak") => {
            tools::provide(&peers::ALWAYS, options.install)?;
            let profile = options.profile.unwrap_or("release");
            build(root, profile, &PROGRAMS)?;
            become_bench(profile, options.rest, &[])
        }
        _ => {
            let profile = options.profile.unwrap_or("release");
            build(root, profile, &PROGRAMS)?;
            become_bench(profile, options.rest, &[])
        }
    }
}

/// What is meant for this chore, and what for `lb-bench`.
#[derive(Debug, PartialEq, Eq)]
struct Options<'a> {
    profile: Option<&'static str>,
    install: bool,
    rest: Vec<&'a String>,
}

impl<'a> Options<'a> {
    fn of(arguments: &'a [String]) -> Self {
        let mut options = Self { profile: None, install: true, rest: Vec::new() };
        for argument in arguments {
            match argument.as_str() {
                "--release" => options.profile = Some("release"),
                "--dist" => options.profile = Some("dist"),
                "--no-install" => options.install = false,
                _ => options.rest.push(argument),
            }
        }
        options
    }

    fn asks_for_help(&self) -> bool {
        self.rest.iter().any(|argument| *argument == "--help" || *argument == "-h")
    }
}

fn build_all(root: &Path) -> Result<()> {
    say("building everything (dev)");
    finish(cargo(root, &test::BUILD))
}

fn build(root: &Path, profile: &str, packages: &[&str]) -> Result<()> {
    let names: Vec<_> = packages.iter().filter(|word| !word.starts_with('-')).copied().collect();
    say(&format!("building {} ({profile})", names.join(", ")));
    let mut command = cargo(root, &["build", "--profile", profile]);
    command.args(packages);
    finish(command)
}

fn finish(mut command: Command) -> Result<()> {
    if !command.status().context("could not run cargo")?.success() {
        bail!("the build failed; see above");
    }
    Ok(())
}

/// The target folder of whatever cargo was told: this program is TARGET/debug/xtask.
pub(crate) fn target() -> Result<PathBuf> {
    let own = env::current_exe().context("could not find out where this program lies")?;
    let target = own.parent().and_then(Path::parent).context("this program lies nowhere")?;
    Ok(target.to_owned())
}

fn program(folder: &str, name: &str) -> Result<PathBuf> {
    Ok(target()?.join(folder).join(name))
}

fn become_bench(folder: &str, arguments: Vec<&String>, added: &[String]) -> Result<ExitCode> {
    let bench = program(folder, "lb-bench")?;
    // What was typed comes last and so prevails.
    let (name, rest) = arguments.split_first().map_or((None, &[][..]), |(n, r)| (Some(*n), r));
    let error = Command::new(&bench).args(name).args(added).args(rest).exec();
    Err(error).with_context(|| format!("could not run {}", bench.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ours_is_taken_and_the_rest_is_lb_benchs() {
        let typed = ["peers", "--dist", "--rounds", "3", "--no-install"].map(str::to_owned);
        let options = Options::of(&typed);
        assert_eq!(options.profile, Some("dist"));
        assert!(!options.install);
        assert_eq!(options.rest, ["peers", "--rounds", "3"]);
        assert_eq!(Options::of(&[]).profile, None);
    }
}
