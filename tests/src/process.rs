//! A program that runs beside the test and ends with it at the latest.

use std::{
    fs::OpenOptions,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use crate::eventually::eventually;

/// A program with its arguments, running or not.
#[derive(Debug)]
pub struct Process {
    name: String,
    program: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
}

/// Where cargo put one of our binaries.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    // target/PROFILE/deps/e2e-HASH, and the binaries two levels up.
    let profile = test.parent().and_then(Path::parent).expect("a test in target/PROFILE/deps");
    let path = profile.join(name);
    assert!(
        path.is_file(),
        "there is no {}: the end-to-end tests run the real binaries, so build them first with \
         `cargo build --workspace`",
        path.display()
    );
    path
}

impl Process {
    /// Starts `program`. What it says is appended to `log`.
    pub fn start(name: &str, program: PathBuf, arguments: Vec<String>, log: PathBuf) -> Self {
        let mut process = Self { name: name.to_owned(), program, arguments, log, child: None };
        process.restart();
        process
    }

    /// Starts it again with the same arguments.
    pub fn restart(&mut self) {
        assert!(!self.is_running(), "{} runs already", self.name);
        let log = OpenOptions::new().create(true).append(true).open(&self.log).expect("a log file");
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of the log"))
            .stderr(log)
            .spawn();
        self.child = Some(match child {
            Ok(child) => child,
            Err(error) => panic!("could not start {}: {error}", self.program.display()),
        });
    }

    /// Changes the arguments of the next start.
    pub fn set_arguments(&mut self, arguments: Vec<String>) {
        self.arguments = arguments;
    }

    /// The arguments it was started with.
    pub fn arguments(&self) -> &[String] {
        &self.arguments
    }

    /// Its number while it runs.
    pub fn id(&self) -> u32 {
        self.child.as_ref().expect("a process that runs").id()
    }

    /// Everything it has said so far.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Ends it at once, as a crash would (SIGKILL).
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Fails only for a process that has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks it to end (SIGTERM).
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends it a signal by name, such as `HUP`.
    pub fn signal(&self, name: &str) {
        let child = self.child.as_ref().expect("a process that runs");
        let command = format!("kill -{name} {}", child.id());
        let status = Command::new("sh").args(["-c", &command]).status().expect("a shell");
        assert!(status.success(), "could not send {name} to {}", self.name);
    }

    /// Waits until it has ended by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        let name = self.name.clone();
        eventually(&format!("{name} ends"), async || {
            let child = self.child.as_mut().ok_or_else(|| "it was killed".to_owned())?;
            match child.try_wait() {
                Ok(Some(status)) => Ok(status),
                Ok(None) => Err("it still runs".to_owned()),
                Err(error) => Err(error.to_string()),
            }
        })
        .await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
