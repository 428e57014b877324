//! What a process does for its requests, counted: user instructions and system calls.
//!
//! Counting begins when a process has warmed up and ends before it ends, so that its start does
//! not matter: cryptography libraries gather entropy then, at hundreds of millions of
//! instructions.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use http::HeaderValue;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};

use crate::{
    cluster::eventually,
    lanes::{Entry, Lanes, Protocol},
    report::say,
};

/// Requests before anything is counted.
const WARM_UP: u32 = 640;
/// How long a command to a counted process may take.
const LIMIT: Duration = Duration::from_mins(1);

/// What a request costs a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cost {
    /// Instructions in user space.
    pub(crate) instructions: f64,
    /// System calls.
    pub(crate) system_calls: f64,
}

impl Cost {
    /// The lower one of each.
    pub(crate) const fn lower(self, other: Self) -> Self {
        Self {
            instructions: self.instructions.min(other.instructions),
            system_calls: self.system_calls.min(other.system_calls),
        }
    }
}

/// Something that can be started again and again to be counted.
pub(crate) trait Countable {
    /// Starts it by a command that becomes it, and waits until it serves.
    async fn launch(&mut self, prefix: Vec<String>) -> Result<(Entry, Pid)>;

    /// Ends it.
    async fn end(&mut self) -> Result<()>;
}

/// Counts what a request, with a cookie or without, costs, first under strace, then under
/// callgrind.
pub(crate) async fn count(
    counted: &mut impl Countable,
    directory: &Path,
    protocols: &[Protocol],
    (requests, cookie): (u32, Option<HeaderValue>),
) -> Result<Vec<(Protocol, Cost)>> {
    let mut system_calls = Vec::new();
    let (entry, pid) = counted.launch(Vec::new()).await?;
    for protocol in protocols {
        let mut lanes = Lanes::open(*protocol, entry, cookie.clone()).await?;
        lanes.send(WARM_UP).await?;
        let counting = SystemCalls::begin(pid, directory).await?;
        let sent = lanes.send(requests).await?;
        system_calls.push(counting.end().await? as f64 / f64::from(sent));
    }
    counted.end().await?;

    let counter = Instructions::new(directory)?;
    let (entry, pid) = counted.launch(counter.prefix()).await?;
    let mut costs = Vec::new();
    for (protocol, system_calls) in protocols.iter().zip(system_calls) {
        let mut lanes = Lanes::open(*protocol, entry, cookie.clone()).await?;
        lanes.send(WARM_UP).await?;
        counter.begin(pid).await?;
        let sent = lanes.send(requests).await?;
        let instructions = counter.end(pid, protocol.name()).await? as f64 / f64::from(sent);
        say(&format!(
            "{}: {instructions:.0} instructions, {system_calls:.2} system calls a request",
            protocol.name()
        ));
        costs.push((*protocol, Cost { instructions, system_calls }));
    }
    counted.end().await?;
    Ok(costs)
}

/// Counts the instructions of a process that runs under valgrind's callgrind.
#[derive(Debug)]
pub(crate) struct Instructions {
    directory: PathBuf,
}

impl Instructions {
    /// Will keep its files in `directory`.
    pub(crate) fn new(directory: &Path) -> Result<Self> {
        let directory = directory.join("callgrind");
        fs::create_dir_all(&directory)?;
        Ok(Self { directory })
    }

    /// The command that runs a process so that it can be counted.
    pub(crate) fn prefix(&self) -> Vec<String> {
        vec![
            "valgrind".to_owned(),
            "--tool=callgrind".to_owned(),
            "--instr-atstart=no".to_owned(),
            format!("--callgrind-out-file={}", self.directory.join("out").display()),
            self.pipes(),
        ]
    }

    /// Counts from here on.
    pub(crate) async fn begin(&self, pid: Pid) -> Result<()> {
        self.tell(pid, &["instrumentation", "on"]).await?;
        self.tell(pid, &["zero"]).await
    }

    /// The instructions since [`begin`](Self::begin). Where they were spent is kept as
    /// `NAME.callgrind`.
    pub(crate) async fn end(&self, pid: Pid, name: &str) -> Result<u64> {
        self.tell(pid, &["dump"]).await?;
        self.tell(pid, &["instrumentation", "off"]).await?;
        let mut total = None;
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            // Each dump has a number; the file without is written at the end.
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("out.")) {
                total = Some(total.unwrap_or(0) + callgrind_total(&fs::read_to_string(&path)?)?);
                fs::rename(&path, self.directory.join(name).with_extension("callgrind"))?;
            }
        }
        total.context("callgrind wrote nothing")
    }

    async fn tell(&self, pid: Pid, command: &[&str]) -> Result<()> {
        let mut vgdb = Command::new("vgdb");
        vgdb.arg(format!("--pid={}", pid.as_raw_nonzero())).arg(self.pipes()).args(command);
        let output = output(vgdb).await?;
        ensure!(
            output.status.success(),
            "`vgdb {}` failed: {}",
            command.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    fn pipes(&self) -> String {
        format!("--vgdb-prefix={}", self.directory.join("vgdb").display())
    }
}

/// Counts the system calls of a process and of all its threads.
#[derive(Debug)]
pub(crate) struct SystemCalls {
    strace: Child,
    file: PathBuf,
}

impl SystemCalls {
    /// Counts from here on.
    pub(crate) async fn begin(pid: Pid, directory: &Path) -> Result<Self> {
        let file = directory.join("strace.txt");
        let number = pid.as_raw_nonzero().to_string();
        let strace = Command::new("strace")
            .args(["-f", "-c", "-p", &number, "-o"])
            .arg(&file)
            .kill_on_drop(true)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("could not run strace")?;
        eventually("strace watches every thread", Duration::from_millis(10), async || {
            for task in fs::read_dir(format!("/proc/{number}/task"))? {
                let status = fs::read_to_string(task?.path().join("status"))?;
                let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
                ensure!(tracer.is_some_and(|tracer| tracer.trim() != "0"), "not yet");
            }
            Ok(())
        })
        .await?;
        Ok(Self { strace, file })
    }

    /// The system calls since [`begin`](Self::begin).
    pub(crate) async fn end(mut self) -> Result<u64> {
        let pid = self.strace.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        kill_process(pid.context("strace ended by itself")?, Signal::INT)?;
        match tokio::time::timeout(LIMIT, self.strace.wait()).await {
            // It ends by the signal it was sent, having written.
            Ok(status) => status?,
            Err(_) => bail!("strace did not end within {LIMIT:?}"),
        };
        let text = fs::read_to_string(&self.file)?;
        strace_total(&text).with_context(|| format!("strace wrote no total: {text}"))
    }
}

/// Runs a command that takes no time to its end.
pub(crate) async fn output(mut command: Command) -> Result<std::process::Output> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let running = command.stdin(Stdio::null()).kill_on_drop(true).output();
    match tokio::time::timeout(LIMIT, running).await {
        Ok(output) => output.with_context(|| format!("could not run {program}")),
        Err(_) => bail!("{program} did not end within {LIMIT:?}"),
    }
}

/// The sum over all functions in a file of callgrind.
fn callgrind_total(text: &str) -> Result<u64> {
    let total = text.lines().rev().find_map(|line| line.strip_prefix("totals: "));
    let total = total.and_then(|total| total.split_whitespace().next()?.parse().ok());
    total.context("a file of callgrind without a total")
}

/// The number of calls in the last line of `strace -c`.
fn strace_total(text: &str) -> Option<u64> {
    let total = text.lines().find(|line| line.trim_end().ends_with(" total"))?;
    total.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_of_callgrind_is_read() {
        let text = "version: 1\ncreator: callgrind-3.19.0\nevents: Ir\nsummary: 12345\n\n\
                    fn=(1) main\n1 5\n\ntotals: 12345\n";
        assert_eq!(callgrind_total(text).unwrap(), 12_345);
        assert!(callgrind_total("events: Ir\n").is_err());
    }

    #[test]
    fn the_total_of_strace_is_read_with_and_without_errors() {
        let head = "% time     seconds  usecs/call     calls    errors syscall\n\
                    ------ ----------- ----------- --------- --------- ----------------\n";
        let calls = " 52.04    0.002144           2       808           write\n\
                     ------ ----------- ----------- --------- --------- ----------------\n";
        for total in [
            "100.00    0.004120           2      1999       404 total\n",
            "100.00    0.004120           2      1999           total\n",
        ] {
            assert_eq!(strace_total(&format!("{head}{calls}{total}")), Some(1_999));
        }
        assert_eq!(strace_total(head), None);
    }
}
