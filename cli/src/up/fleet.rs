//! All servers together: start, watch, stop.
//!
//! The first server is the one the others depend on, so it is stopped last.

use std::{process::ExitStatus, time::Duration};

use futures_util::future::select_all;
use tokio::time::{Instant, sleep, timeout_at};

use super::server::{Addresses, Launch, Server};
use crate::exit::{Exit, Failure};

/// How long a server may take until it listens.
const READY: Duration = Duration::from_secs(30);
/// How long proxies may take to let requests end, and what the control plane gets after that.
const GRACE: (Duration, Duration) = (Duration::from_secs(40), Duration::from_secs(10));
/// From one look for a server's addresses to the next.
const PAUSE: Duration = Duration::from_millis(25);

/// Servers in the order of their start.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    servers: Vec<Server>,
}

/// Why a fleet ends.
#[derive(Debug)]
pub(crate) struct Trouble {
    /// What to say at the end.
    pub(crate) failure: Failure,
    /// What to say before: the last words of a server.
    pub(crate) log_end: Option<String>,
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self { failure, log_end: None }
    }
}

impl Fleet {
    /// Whether there is no server.
    pub(crate) fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    /// Starts a server and waits until it listens.
    pub(crate) async fn start(&mut self, launch: Launch) -> Result<Addresses, Trouble> {
        let mut found = self.start_all(vec![launch]).await?;
        found.pop().ok_or_else(|| Failure::new("nothing was started").into())
    }

    /// Starts servers side by side and waits until each listens.
    pub(crate) async fn start_all(
        &mut self,
        launches: Vec<Launch>,
    ) -> Result<Vec<Addresses>, Trouble> {
        let first = self.servers.len();
        for launch in launches {
            self.servers.push(launch.start()?);
        }
        let deadline = Instant::now() + READY;
        let mut found = Vec::new();
        loop {
            if let Some(dead) = self.servers.iter_mut().find_map(dead) {
                return Err(dead);
            }
            while let Some(server) = self.servers.get(first + found.len()) {
                match server.addresses() {
                    Some(addresses) => found.push(addresses),
                    None if Instant::now() > deadline => return Err(late(server)),
                    None => break,
                }
            }
            if first + found.len() == self.servers.len() {
                return Ok(found);
            }
            sleep(PAUSE).await;
        }
    }

    /// Waits until a server ends by itself.
    pub(crate) async fn first_death(&mut self) -> Trouble {
        if self.servers.is_empty() {
            return std::future::pending().await;
        }
        let waits = self.servers.iter_mut().map(|server| Box::pin(server.wait()));
        let (status, index, others) = select_all(waits).await;
        drop(others);
        death(&self.servers[index], status.ok())
    }

    /// Stops every server: asks, waits, and ends those that take too long.
    pub(crate) async fn stop(&mut self) {
        if let Some((first, others)) = self.servers.split_first_mut() {
            stop_all(others, GRACE.0).await;
            stop_all(std::slice::from_mut(first), GRACE.1).await;
        }
        self.servers.clear();
    }

    /// Ends every server at once.
    pub(crate) async fn kill(&mut self) {
        for server in self.servers.iter_mut().rev() {
            server.kill().await;
        }
        self.servers.clear();
    }
}

async fn stop_all(servers: &mut [Server], grace: Duration) {
    for server in servers.iter() {
        server.terminate();
    }
    let deadline = Instant::now() + grace;
    for server in servers {
        if timeout_at(deadline, server.wait()).await.is_err() {
            server.kill().await;
        }
    }
}

fn dead(server: &mut Server) -> Option<Trouble> {
    let status = server.ended()?;
    Some(death(server, Some(status)))
}

fn death(server: &Server, status: Option<ExitStatus>) -> Trouble {
    let log_end = server.log_end();
    let status = status.map_or_else(String::new, |status| format!(": {status}"));
    let fix = if log_end.as_ref().is_some_and(|text| text.to_lowercase().contains("in use")) {
        "stop who uses the address, or choose other ports with --admin-port, --sync-port and \
         --proxy-admin-port (0 lets the system choose)"
            .to_owned()
    } else {
        format!("its log is {}", server.log.display())
    };
    let failure = Failure::new(format!("{} ended by itself{status}", server.name)).fix(fix);
    Trouble { failure, log_end }
}

fn late(server: &Server) -> Trouble {
    let what = format!("{} does not listen after {} seconds", server.name, READY.as_secs());
    let fix = format!("its log is {}", server.log.display());
    Trouble {
        failure: Failure::new(what).exit(Exit::Unreachable).fix(fix),
        log_end: server.log_end(),
    }
}
