//! Proxies that read their configuration from files again.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Signal, kill_process};
use tempfile::TempDir;

use super::configuration::Many;
use crate::{
    cluster::eventually,
    http::{Caller, get},
    load::PATH,
    peers::program_of,
    process::Process,
};

/// A peer that runs.
#[derive(Debug)]
pub(super) struct Reloading {
    /// Where it listens.
    pub(super) address: SocketAddr,
    many: Many,
    kind: Kind,
    // Ends before the directory goes away.
    process: Process,
    directory: TempDir,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Nginx,
    Traefik,
}

impl Reloading {
    /// Starts a peer with all objects and waits until it serves.
    pub(super) async fn start(name: &str, many: &Many, folder: Option<&Path>) -> Result<Self> {
        let kind = match name {
            "nginx" => Kind::Nginx,
            "traefik" => Kind::Traefik,
            other => bail!("`{other}` is none of nginx and traefik"),
        };
        let directory = tempfile::Builder::new().prefix("lb-bench-").tempdir()?;
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let program = program_of(name, folder)?;
        let process = Process::new(program, directory.path().join("log"));
        let mut peer = Self { address, many: *many, kind, process, directory };
        peer.write(0)?;
        let path = peer.directory.path();
        let arguments = match kind {
            Kind::Nginx => {
                let file = path.join("nginx.conf").display().to_string();
                vec!["-p".to_owned(), path.display().to_string(), "-c".to_owned(), file]
            }
            Kind::Traefik => {
                let start = Many::traefik_start(address, &path.join("dynamic"));
                let file = path.join("traefik.yml");
                fs::write(&file, start)?;
                vec![format!("--configFile={}", file.display())]
            }
        };
        peer.process.start(&arguments)?;
        let mut caller = Caller::new(address);
        let process = &mut peer.process;
        eventually("a request is served", Duration::from_millis(20), async || {
            process.ensure_runs()?;
            let answer = caller.send(get(PATH)).await?;
            ensure!(answer.status.is_success(), "{}", answer.status);
            Ok(())
        })
        .await?;
        Ok(peer)
    }

    /// Makes a change and tells the peer, in the way it is meant to be told.
    pub(super) fn change(&mut self, change: usize) -> Result<()> {
        self.write(change)?;
        if self.kind == Kind::Nginx {
            kill_process(self.process.pid()?, Signal::HUP).context("could not signal nginx")?;
        }
        Ok(())
    }

    /// Writes what it reads beside the old one, and renames it: nobody sees half a file.
    fn write(&self, change: usize) -> Result<()> {
        let path = self.directory.path();
        let (file, text): (PathBuf, _) = match self.kind {
            Kind::Nginx => (path.join("nginx.conf"), self.many.nginx(self.address, path, change)),
            Kind::Traefik => {
                fs::create_dir_all(path.join("dynamic"))?;
                (path.join("dynamic/routing.yml"), self.many.traefik(change))
            }
        };
        let new = path.join("new");
        fs::write(&new, text)?;
        fs::rename(&new, &file).with_context(|| format!("could not write {}", file.display()))
    }

    /// Processor time in seconds: of the process, of those it started, and of those of them that
    /// have ended.
    pub(super) fn spent(&self) -> Result<f64> {
        let root = self.process.pid()?.as_raw_nonzero().get();
        let second = rustix::param::clock_ticks_per_second().max(1) as f64;
        let (mut ticks, _) = times(root).context("the process is gone")?;
        // Those that it waited for are in its own account.
        ticks += times(root).map_or(0, |(_, waited)| waited);
        for entry in fs::read_dir("/proc")?.flatten() {
            let pid = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
            let Some(pid) = pid.filter(|pid| *pid != root) else { continue };
            if parent(pid) == Some(root) {
                ticks += times(pid).map_or(0, |(own, _)| own);
            }
        }
        Ok(ticks as f64 / second)
    }
}

/// What stands behind the name in `/proc/PID/stat`. A process may end while we look.
fn fields(pid: i32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

fn parent(pid: i32) -> Option<i32> {
    fields(pid)?.get(1)?.parse().ok()
}

/// Ticks of a process, and of the children that it has waited for (proc(5), fields 14 to 17).
fn times(pid: i32) -> Option<(u64, u64)> {
    let fields = fields(pid)?;
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
    Some((ticks(11)? + ticks(12)?, ticks(13)? + ticks(14)?))
}
