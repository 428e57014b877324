//! A program that runs beside the benchmark and ends with it at the latest.

use std::{
    fs::OpenOptions,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::{
    process::{
        Pid, Resource, Rlimit, Signal, getrlimit, kill_process, kill_process_group, setrlimit,
    },
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

/// How long a process may take to end by itself.
const END: Duration = Duration::from_mins(1);

/// A program with its arguments, running or not.
#[derive(Debug)]
pub(crate) struct Process {
    program: PathBuf,
    log: PathBuf,
    child: Option<Child>,
}

/// Where one of our binaries is: in `directory`, or beside this program.
pub(crate) fn binary(directory: Option<&Path>, name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("could not find out where this program lies")?;
    let directory = match directory {
        Some(directory) => directory,
        None => own.parent().context("this program lies nowhere")?,
    };
    let path = directory.join(name);
    ensure!(
        path.is_file(),
        "there is no {}; build it, or say with --bin-dir where it is",
        path.display()
    );
    Ok(path)
}

/// Takes as many file descriptors as the system gives; processes started later inherit that.
pub(crate) fn raise_file_limit() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .context("could not raise the limit of open files")
}

/// How many file descriptors one process may have.
pub(crate) fn file_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// The processors that this program may use.
pub(crate) fn processors() -> Result<Vec<usize>> {
    let set = sched_getaffinity(None).context("could not ask for the processors")?;
    Ok((0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect())
}

/// Stays on these processors, and so do threads and processes that this thread starts later.
pub(crate) fn stay_on(processors: &[usize]) -> Result<()> {
    let mut set = CpuSet::new();
    for cpu in processors {
        set.set(*cpu);
    }
    sched_setaffinity(None, &set).with_context(|| format!("could not stay on {processors:?}"))
}

impl Process {
    /// A program that does not run yet. What it says will be appended to `log`.
    pub(crate) const fn new(program: PathBuf, log: PathBuf) -> Self {
        Self { program, log, child: None }
    }

    /// Starts it.
    pub(crate) fn start(&mut self, arguments: &[String]) -> Result<()> {
        self.start_under(&[], arguments)
    }

    /// Starts it by a command that becomes it, such as `taskset -c 0`.
    pub(crate) fn start_under(&mut self, prefix: &[String], arguments: &[String]) -> Result<()> {
        ensure!(!self.is_running(), "{} runs already", self.program.display());
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = match prefix.split_first() {
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(&self.program);
                command
            }
            None => Command::new(&self.program),
        };
        // A group of its own: what it starts ends with it.
        let child = command
            .args(arguments)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("could not start {}", self.program.display()))?;
        self.child = Some(child);
        Ok(())
    }

    /// Whether it has not ended yet.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// An error with the end of its log, if it has ended.
    pub(crate) fn ensure_runs(&mut self) -> Result<()> {
        if self.is_running() {
            return Ok(());
        }
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        let end = lines[lines.len().saturating_sub(10)..].join("\n");
        bail!("{} ended by itself:\n{end}", self.program.display())
    }

    /// Ends it and what it started at once, as a crash would (SIGKILL).
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only for processes that have ended already. One that was waited for has
            // given its number back.
            if let (Ok(None), Some(pid)) =
                (child.try_wait(), Pid::from_raw(child.id().cast_signed()))
            {
                let _ = kill_process_group(pid, Signal::KILL);
            }
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks it to end (SIGTERM).
    pub(crate) fn terminate(&self) -> Result<()> {
        kill_process(self.pid()?, Signal::TERM).context("could not signal it")
    }

    /// Its number.
    pub(crate) fn pid(&self) -> Result<Pid> {
        let pid = self.child.as_ref().and_then(|child| Pid::from_raw(child.id().cast_signed()));
        pid.with_context(|| format!("{} does not run", self.program.display()))
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn ended(&mut self) -> Result<ExitStatus> {
        let deadline = Instant::now() + END;
        while Instant::now() < deadline {
            let child = self.child.as_mut().context("it does not run")?;
            if let Some(status) = child.try_wait()? {
                self.child = None;
                return Ok(status);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        bail!("{} did not end within {END:?}", self.program.display())
    }

    /// What it takes of the machine.
    pub(crate) fn usage(&self) -> Result<Usage> {
        let child = self.child.as_ref().context("it does not run")?;
        Usage::of(&child.id().to_string())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What a process takes of the machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// Resident memory in bytes.
    pub(crate) memory: u64,
    /// Processor time since its start.
    pub(crate) processor: Duration,
}

impl Usage {
    /// Of this process.
    pub(crate) fn own() -> Result<Self> {
        Self::of("self")
    }

    fn of(process: &str) -> Result<Self> {
        let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = resident.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        let memory = 1024 * kilobytes.unwrap_or(0_u64);
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
        // The name of the program stands in parentheses and may hold anything.
        let (_, fields) = stat.rsplit_once(')').context("an unknown form of /proc/PID/stat")?;
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks = ticks.filter_map(|field| field.parse::<u64>().ok()).sum::<u64>();
        let second = rustix::param::clock_ticks_per_second().max(1);
        let processor = Duration::from_secs_f64(ticks as f64 / second as f64);
        Ok(Self { memory, processor })
    }
}
