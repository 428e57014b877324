//! The proxies that lb is compared with, and how each is started.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use tokio::process::Command;

use super::configuration::Task;
use crate::{
    cluster::eventually,
    counting::output,
    http::{Caller, get},
    lanes::Entry,
    process::Process,
};

/// A proxy that is not lb.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Peer {
    /// HAProxy, from the distribution
    Haproxy,
    /// nginx, from the distribution
    Nginx,
    /// Envoy
    Envoy,
    /// Pingora, as bench/pingora
    Pingora,
    /// Traefik
    Traefik,
    /// Caddy
    Caddy,
}

impl Peer {
    /// As it is called in what is written.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Envoy => "envoy",
            Self::Pingora => "pingora",
            Self::Traefik => "traefik",
            Self::Caddy => "caddy",
        }
    }

    /// Whether it can be counted: runs under valgrind, in one process.
    pub(super) const fn is_countable(self) -> bool {
        matches!(self, Self::Haproxy | Self::Nginx)
    }

    /// Where its program is; `folder` holds those that no distribution brings.
    pub(super) fn program(self, folder: &Path) -> Result<PathBuf> {
        let place = match self {
            Self::Haproxy | Self::Nginx => return installed(self.name()),
            Self::Envoy => return envoy(folder),
            Self::Pingora => folder.join("pingora/release/lb-bench-pingora"),
            Self::Traefik | Self::Caddy => folder.join("venv/bin").join(self.name()),
        };
        ensure!(
            place.is_file(),
            "{} is not at {}; `cargo xtask bench peers` installs it, --peers leaves it out",
            self.name(),
            place.display()
        );
        Ok(place)
    }

    /// What it says of its version.
    pub(super) async fn version(self, folder: &Path) -> Result<String> {
        let mut command = Command::new(self.program(folder)?);
        command.arg(match self {
            Self::Haproxy | Self::Nginx => "-v",
            Self::Envoy => "--version",
            Self::Traefik | Self::Caddy => "version",
            // It has none of its own: its lock file says which Pingora that is.
            Self::Pingora => return Ok(pingora_version().to_owned()),
        });
        let output = output(command).await?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        Ok(version_in(&said).unwrap_or("unknown").to_owned())
    }

    /// The program and its arguments.
    fn command(self, task: &Task<'_>, folder: &Path) -> Result<(PathBuf, Vec<String>)> {
        let workers = task.workers.to_string();
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let arguments: Vec<String> = match self {
            Self::Nginx => {
                words(&["-p", &task.directory.display().to_string(), "-c", &task.nginx()?])
            }
            Self::Haproxy => words(&["-db", "-f", &task.haproxy()?]),
            Self::Envoy => words(&[
                "-c",
                &task.envoy()?,
                "--concurrency",
                &workers,
                "--log-level",
                "error",
                "--disable-hot-restart",
            ]),
            Self::Traefik => vec![format!("--configFile={}", task.traefik()?)],
            Self::Caddy => words(&["run", "--config", &task.caddy()?]),
            Self::Pingora => vec![
                task.origin.to_string(),
                task.entry.plain.to_string(),
                task.entry.tls.to_string(),
                task.certificate.display().to_string(),
                task.key.display().to_string(),
                workers,
            ],
        };
        Ok((self.program(folder)?, arguments))
    }

    /// Starts it by a command that becomes it, and waits until it serves.
    pub(super) async fn start(
        self,
        task: &Task<'_>,
        folder: &Path,
        prefix: &[String],
    ) -> Result<Process> {
        fs::create_dir_all(task.directory)?;
        let (program, arguments) = self.command(task, folder)?;
        let mut prefix = prefix.to_vec();
        if matches!(self, Self::Traefik | Self::Caddy) {
            // Go starts as many threads as there are processors, whatever it may use of them.
            prefix.extend(["env".to_owned(), format!("GOMAXPROCS={}", task.workers)]);
        }
        let mut process = Process::new(program, task.directory.join("log"));
        process.start_under(&prefix, &arguments)?;
        let served = eventually("a request is served", Duration::from_millis(20), async || {
            let answer = Caller::new(task.entry.plain).send(get("/s")).await?;
            ensure!(answer.status.is_success(), "{}", answer.status);
            crate::http::connect(task.entry.tls).await?;
            Ok(())
        });
        tokio::select! {
            served = served => served?,
            ended = has_ended(&mut process) => ended?,
        }
        Ok(process)
    }
}

/// Waits for the end of a process, which is an error.
async fn has_ended(process: &mut Process) -> Result<()> {
    loop {
        process.ensure_runs()?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Two ports that are free.
pub(super) fn free_entry() -> Result<Entry> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let (plain, tls) = (TcpListener::bind(any)?, TcpListener::bind(any)?);
    Ok(Entry { plain: plain.local_addr()?, tls: tls.local_addr()? })
}

/// A program of the distribution; those of administrators may not be in the search path.
fn installed(name: &str) -> Result<PathBuf> {
    let places = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"];
    let mut files = places.iter().map(|place| Path::new(place).join(name));
    files.find(|file| file.is_file()).with_context(|| {
        format!("{name} is missing; install it with `apt-get install {name}`, or leave it out with --peers")
    })
}

/// The program itself: what lies in `bin/` is a script that starts it.
fn envoy(folder: &Path) -> Result<PathBuf> {
    let libraries = folder.join("venv/lib");
    let versions = fs::read_dir(&libraries).into_iter().flatten().flatten();
    let mut files = versions.map(|version| version.path().join("site-packages/envoy/_bin/envoy"));
    files.find(|file| file.is_file()).with_context(|| {
        format!(
            "envoy is not in {}; `cargo xtask bench peers` installs it, --peers leaves it out",
            libraries.display()
        )
    })
}

/// The first word that looks like a version: digits, a point, digits.
fn version_in(text: &str) -> Option<&str> {
    let words = text.split(|c: char| c.is_whitespace() || c == '/' || c == ',');
    let mut versions = words.map(|word| word.trim_start_matches('v'));
    versions.find(|word| {
        let is_digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
        is_digit(word.chars().next()) && word.split('.').count() >= 3
    })
}

fn pingora_version() -> &'static str {
    const LOCK: &str = include_str!("../../pingora/Cargo.lock");
    let after = LOCK.split("name = \"pingora\"\nversion = \"").nth(1);
    after.and_then(|rest| rest.split('"').next()).unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_say() {
        for (said, version) in [
            ("nginx version: nginx/1.22.1\n", "1.22.1"),
            (
                "HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/",
                "2.6.12-1+deb12u4",
            ),
            ("/bin/envoy  version: 5a/1.40.0/Clean/RELEASE/BoringSSL", "1.40.0"),
            ("Version:      3.7.15\nCodename:     x\nGo version:   go1.24.1", "3.7.15"),
            ("v2.11.7 h1:abc=", "2.11.7"),
        ] {
            assert_eq!(version_in(said), Some(version), "{said}");
        }
        assert_ne!(pingora_version(), "unknown");
    }
}
