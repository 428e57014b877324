//! Steps: commands that are announced, timed and summed up.

use std::{
    env,
    ffi::OsString,
    io::{self, Write},
    path::Path,
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

/// Tells whoever runs a chore something. If nobody reads, that is fine.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// A `cargo` command at the root of the repository: the cargo that runs this chore.
pub(crate) fn cargo(root: &Path, arguments: &[&str]) -> Command {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.args(arguments).current_dir(root);
    command
}

/// What was run, and how it went.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    done: Vec<(String, bool, Duration)>,
}

impl Steps {
    /// Runs a command and says whether it passed. A step that fails does not stop the others.
    pub(crate) fn run(&mut self, mut command: Command) -> Result<bool> {
        let line = line(&command);
        say(&format!("\n==> {line}"));
        let start = Instant::now();
        let status = command.status().with_context(|| format!("could not run {line}"))?;
        let time = start.elapsed();
        let word = if status.success() { "passed" } else { "FAILED" };
        say(&format!("==> {word} in {:.1}s: {line}", time.as_secs_f64()));
        self.done.push((line, status.success(), time));
        Ok(status.success())
    }

    /// Sums up all steps.
    pub(crate) fn finish(self) -> ExitCode {
        say(&self.summary());
        if self.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }

    fn has_failed(&self) -> bool {
        self.done.iter().any(|(_, passed, _)| !passed)
    }

    fn summary(&self) -> String {
        let lines = self.done.iter().map(|(line, passed, time)| {
            let word = if *passed { "passed" } else { "FAILED" };
            format!("  {word}  {:>7.1}s  {line}", time.as_secs_f64())
        });
        std::iter::once("\nsummary".to_owned()).chain(lines).collect::<Vec<_>>().join("\n")
    }
}

/// A command as it is typed.
fn line(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
    let arguments = command.get_args().map(|argument| argument.to_string_lossy().into_owned());
    std::iter::once(name).chain(arguments).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_fails_the_whole_and_is_named() {
        let mut steps = Steps::default();
        assert!(steps.run(Command::new("true")).unwrap());
        assert!(!steps.has_failed());
        assert!(!steps.run(Command::new("false")).unwrap());
        assert!(steps.has_failed());
        let summary = steps.summary();
        assert!(summary.contains("passed") && summary.contains("FAILED"), "{summary}");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = Steps::default().run(Command::new("/nowhere/lb-no")).unwrap_err();
        assert!(error.to_string().contains("could not run lb-no"), "{error}");
    }
}
