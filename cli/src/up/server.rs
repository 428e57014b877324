//! One server: how it is started, when it is ready, and what its log says last.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tokio::process::{Child, Command};

use super::binaries;
use crate::{
    args::Up,
    exit::{Exit, Failure},
    source::reason,
};

/// The file in which a server says where it listens.
const ADDRESSES: &str = "addresses.json";
/// How much of a log is read, and how many lines of that are shown.
const LOG_END: (u64, usize) = (16 << 10, 15);

/// Where a server listens, as it says itself once it does.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Addresses {
    /// Its process.
    pub(crate) pid: u32,
    /// Its admin endpoint.
    pub(crate) admin: String,
    /// Where proxies connect, if it is a control plane.
    #[serde(default)]
    pub(crate) sync: Option<String>,
}

/// How to start a server.
#[derive(Debug)]
pub(crate) struct Launch {
    name: String,
    program: PathBuf,
    arguments: Vec<String>,
    data_dir: PathBuf,
    log: PathBuf,
}

impl Launch {
    /// The control plane.
    pub(crate) fn control_plane(settings: &Up, program: &Path) -> Self {
        let launch = Self::new("control-plane", settings, program);
        launch.with(&[
            ("--admin-addr", format!("127.0.0.1:{}", settings.admin_port)),
            ("--sync-addr", format!("127.0.0.1:{}", settings.sync_port)),
        ])
    }

    /// The proxy with this number, from 1, of the control plane that listens on `sync`.
    pub(crate) fn proxy(
        settings: &Up,
        program: &Path,
        number: u16,
        sync: &str,
        token: Option<&Path>,
    ) -> Result<Self, Failure> {
        let port = match settings.proxy_admin_port {
            0 => 0,
            first => first.checked_add(number - 1).ok_or_else(|| {
                Failure::new(format!("there is no port {}", u32::from(first) + u32::from(number)))
                    .exit(Exit::Usage)
                    .fix("choose a lower --proxy-admin-port")
            })?,
        };
        let mut launch = Self::new(&format!("proxy-{number}"), settings, program).with(&[
            ("--control-plane", format!("https://{sync}")),
            ("--admin-addr", format!("127.0.0.1:{port}")),
            ("--name", format!("proxy-{number}")),
        ]);
        if let Some(token) = token {
            launch = launch.with(&[("--join-token-file", token.display().to_string())]);
        }
        if let Some(workers) = settings.workers {
            launch = launch.with(&[("--workers", workers.to_string())]);
        }
        Ok(launch)
    }

    fn new(name: &str, settings: &Up, program: &Path) -> Self {
        let data_dir = settings.data_dir.join(name);
        let launch = Self {
            name: name.to_owned(),
            program: program.to_owned(),
            arguments: Vec::new(),
            log: settings.data_dir.join("logs").join(format!("{name}.log")),
            data_dir: data_dir.clone(),
        };
        launch.with(&[("--data-dir", data_dir.display().to_string())])
    }

    fn with(mut self, flags: &[(&str, String)]) -> Self {
        for (flag, value) in flags {
            self.arguments.extend([(*flag).to_owned(), value.clone()]);
        }
        self
    }

    /// Starts it. It gets a process group of its own, so that Ctrl-C on the terminal reaches
    /// lbctl alone, which then stops its servers in order.
    pub(crate) fn start(self) -> Result<Server, Failure> {
        let failed = |what: &str, error: &io::Error| {
            Failure::new(format!("could not {what}: {}", reason(error)))
        };
        let addresses = self.data_dir.join(ADDRESSES);
        fs::create_dir_all(&self.data_dir)
            .map_err(|e| failed(&format!("create {}", self.data_dir.display()), &e))?;
        remove(&addresses)?;
        let log = File::create(&self.log)
            .map_err(|e| failed(&format!("write {}", self.log.display()), &e))?;
        let also =
            log.try_clone().map_err(|e| failed(&format!("write {}", self.log.display()), &e))?;
        let process = Command::new(&self.program)
            .args(&self.arguments)
            // Proxies that share a name would take each other's place.
            .env_remove("LB_DATA_PLANE_NAME")
            // Nothing spreads connections over these proxies that first had to notice a stop.
            .env("LB_DATA_PLANE_DRAIN_ACCEPT_GRACE", "0s")
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(also)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| failed(&format!("start {}", self.program.display()), &e))?;
        Ok(Server { name: self.name, process, log: self.log, addresses })
    }
}

/// A server that was started.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) name: String,
    process: Child,
    pub(crate) log: PathBuf,
    addresses: PathBuf,
}

impl Server {
    /// Where it listens, once it does.
    pub(crate) fn addresses(&self) -> Option<Addresses> {
        let found: Addresses = serde_json::from_slice(&fs::read(&self.addresses).ok()?).ok()?;
        Some(found).filter(|found| Some(found.pid) == self.process.id())
    }

    /// Whether it has ended, and how.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().ok().flatten()
    }

    /// Waits until it ends. May be dropped and called again.
    pub(crate) async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.process.wait().await
    }

    /// Asks it to end. One that has ended already has no id, so no stranger is ever asked.
    pub(crate) fn terminate(&self) {
        let pid = self.process.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It may end by itself at this very moment.
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// Ends it, and waits until it is gone.
    pub(crate) async fn kill(&mut self) {
        let _ = self.process.kill().await;
    }

    /// The last lines of its log, with a headline; nothing if the log is empty.
    pub(crate) fn log_end(&self) -> Option<String> {
        let lines = tail(&self.log).ok().filter(|lines| !lines.is_empty())?;
        Some(format!("the end of {}:\n  | {}", self.log.display(), lines.join("\n  | ")))
    }
}

/// The last lines of a file, however large it is.
fn tail(path: &Path) -> io::Result<Vec<String>> {
    let (bytes, most) = LOG_END;
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    let start = len.saturating_sub(bytes);
    let mut end = vec![0; (len - start) as usize];
    let mut filled = 0;
    while filled < end.len() {
        match file.read_at(&mut end[filled..], start + filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    end.truncate(filled);
    let text = String::from_utf8_lossy(&end);
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    Ok(lines[lines.len().saturating_sub(most)..].iter().map(ToString::to_string).collect())
}

/// Removes what servers of an earlier run said, unless one of them still runs.
pub(crate) fn forget_earlier(data_dir: &Path) -> Result<(), Failure> {
    let Ok(entries) = fs::read_dir(data_dir) else { return Ok(()) };
    for entry in entries.flatten() {
        let path = entry.path().join(ADDRESSES);
        let Ok(text) = fs::read(&path) else { continue };
        if let Ok(Addresses { pid, .. }) = serde_json::from_slice(&text)
            && let Some(program) = running(pid)
        {
            return Err(Failure::new(format!(
                "{program} of an earlier run still uses {} (process {pid})",
                entry.path().display()
            ))
            .exit(Exit::Conflict)
            .fix(format!("stop it with `kill {pid}`, or name another directory with --data-dir")));
        }
        remove(&path)?;
    }
    Ok(())
}

/// The name of the server that a process is, if it is one. Numbers of processes are used again,
/// so a number alone says nothing.
fn running(pid: u32) -> Option<&'static str> {
    let program = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let program = program.file_name()?.to_str()?.trim_end_matches(" (deleted)");
    [binaries::CONTROL_PLANE, binaries::DATA_PLANE].into_iter().find(|name| *name == program)
}

fn remove(path: &Path) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Failure::new(format!("could not remove {}: {}", path.display(), reason(&error))))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Arguments, Command as Typed};

    fn settings(flags: &[&str]) -> Up {
        let line = [&["lbctl", "up"], flags].concat();
        match Arguments::try_parse_from(line).unwrap().command {
            Typed::Up(settings) => settings,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn servers_get_their_directories_and_ports() {
        let settings = settings(&["--data-dir", "/d", "--workers", "1"]);
        let control = Launch::control_plane(&settings, Path::new("cp"));
        assert_eq!(
            control.arguments.join(" "),
            "--data-dir /d/control-plane --admin-addr 127.0.0.1:9700 --sync-addr 127.0.0.1:9701"
        );
        let proxy = Launch::proxy(&settings, Path::new("dp"), 2, "127.0.0.1:9701", None).unwrap();
        assert_eq!(
            proxy.arguments.join(" "),
            "--data-dir /d/proxy-2 --control-plane https://127.0.0.1:9701 \
             --admin-addr 127.0.0.1:9703 --name proxy-2 --workers 1"
        );
        assert_eq!(proxy.log, Path::new("/d/logs/proxy-2.log"));
    }

    #[test]
    fn port_0_stays_0_and_ports_end_at_65535() {
        let proxy = |port: &str| {
            Launch::proxy(&settings(&["--proxy-admin-port", port]), Path::new("dp"), 2, "s", None)
        };
        assert!(proxy("0").unwrap().arguments.contains(&"127.0.0.1:0".to_owned()));
        assert_eq!(proxy("65535").unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn only_the_last_lines_of_a_log_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.log");
        let lines: Vec<_> = (0..10_000).map(|number| format!("line {number}")).collect();
        fs::write(&path, lines.join("\n")).unwrap();
        let lines = tail(&path).unwrap();
        assert_eq!((lines.len(), lines[14].as_str()), (15, "line 9999"));
        fs::write(&path, "").unwrap();
        assert!(tail(&path).unwrap().is_empty());
    }

    #[test]
    fn what_an_earlier_run_left_is_forgotten_and_a_used_number_is_no_server() {
        let folder = tempfile::tempdir().unwrap();
        let stale = folder.path().join("proxy-1").join(ADDRESSES);
        fs::create_dir(folder.path().join("proxy-1")).unwrap();
        let own = std::process::id();
        fs::write(&stale, format!("{{\"pid\":{own},\"admin\":\"127.0.0.1:1\"}}")).unwrap();
        forget_earlier(folder.path()).unwrap();
        assert!(!stale.exists());
    }
}
