//! The chores of this repository: `cargo xtask CHORE`.
//!
//! Depends on next to nothing, so that it is built at once. What continuous integration runs is
//! `cargo xtask test`, and nothing that is not here.

mod bench;
mod lint;
mod peers;
mod steps;
mod test;
mod tools;
mod up;

use std::{
    env,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};

const HELP: &str = "\
Usage: cargo xtask CHORE

Chores:
  up [--release | --dist] [ARGS...]  build all three programs and run `lbctl up ARGS...`
  test [--no-install] [FILTER...]    install what tests need, then format check, lints, build, tests
  bench NAME [ARGS...]               build for release and run `lb-bench NAME ARGS...`
  bench gate [--bless]               what a request costs, held against bench/baseline.json
  bench peers [ARGS...]              lb beside other proxies, which are installed
  lint                               format check and lints
  deny                               licences, bans and sources of dependencies

Examples:
  cargo xtask up
  cargo xtask up --release -f lb.yaml --proxies 3
  cargo xtask test --no-install apply
  cargo xtask bench fleet --proxies 2000
  cargo xtask bench peers --peers nginx,haproxy --rounds 3";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            steps::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<ExitCode> {
    let Some((chore, rest)) = arguments.split_first() else {
        bail!("no chore was named\n\n{HELP}");
    };
    let asks_for_help = rest.iter().any(|argument| argument == "--help" || argument == "-h");
    // What `up` and `bench` take, their programs explain.
    if asks_for_help && matches!(chore.as_str(), "test" | "lint" | "deny") {
        steps::say(HELP);
        return Ok(ExitCode::SUCCESS);
    }
    let root = root()?;
    match chore.as_str() {
        "up" => up::run(&root, rest),
        "test" => test::run(&root, rest),
        "bench" => bench::run(&root, rest),
        "lint" => lint::run(&root, rest),
        "deny" => lint::deny(&root, rest),
        "help" | "--help" | "-h" => {
            steps::say(HELP);
            Ok(ExitCode::SUCCESS)
        }
        other => bail!("there is no chore `{other}`\n\n{HELP}"),
    }
}

/// The root of the repository: the folder above this crate's.
fn root() -> Result<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(own.parent().context("the crate of the chores has no folder above it")?.to_owned())
}
