//! `cargo xtask test`: everything that has to pass before a change is merged.

use std::{path::Path, process::ExitCode};

use anyhow::{Result, bail};

use crate::{
    bench, lint,
    steps::{Steps, cargo},
    tools,
};

/// Builds every program: tests start them.
pub(crate) const BUILD: [&str; 3] = ["build", "--workspace", "--all-targets"];

/// Installs what is missing, then runs every step.
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<ExitCode> {
    let mut install = true;
    let mut filters = Vec::new();
    for argument in arguments {
        match argument.as_str() {
            "--no-install" => install = false,
            flag if flag.starts_with('-') => bail!("test has no flag `{flag}`"),
            filter => filters.push(filter),
        }
    }
    tools::provide(&tools::TESTS, install)?;
    tools::provide_python(&bench::target()?.join("python"), &tools::PYTHON_TESTS, install)?;
    let mut steps = Steps::default();
    steps.run(cargo(root, &lint::FORMAT))?;
    steps.run(cargo(root, &lint::LINTS))?;
    if steps.run(cargo(root, &BUILD))? {
        let arguments = [&["test", "--workspace", "--"], filters.as_slice()].concat();
        steps.run(cargo(root, if filters.is_empty() { &arguments[..2] } else { &arguments }))?;
    }
    Ok(steps.finish())
}
