//! The proxies whose backend turns bad, and how each is started.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use super::configuration;
use crate::{
    Common,
    cluster::{Cluster, eventually},
    http::{Caller, get},
    load::PATH,
    peers::program_of,
    process::{Process, processors},
};

/// A proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Contender {
    /// lb
    Lb,
    /// Envoy
    Envoy,
    /// HAProxy
    Haproxy,
}

/// One that runs; it ends when dropped.
#[derive(Debug)]
pub(super) struct Running {
    /// Where it takes requests.
    pub(super) address: SocketAddr,
    _process: Either,
}

#[derive(Debug)]
#[expect(dead_code, reason = "kept for their end")]
enum Either {
    Ours(Box<Cluster>),
    Peer(Process),
}

impl Contender {
    /// As it is called in what is written.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Lb => "lb",
            Self::Envoy => "envoy",
            Self::Haproxy => "haproxy",
        }
    }

    /// Starts it with its settings, which stay in `directory`, and waits until it serves.
    pub(super) async fn start(
        self,
        backends: &[SocketAddr],
        directory: &Path,
        folder: Option<&Path>,
        common: &Common,
    ) -> Result<Running> {
        let running = match self {
            Self::Lb => {
                let document = configuration::lb(backends);
                write(directory, "lb.yaml", &document)?;
                let mut cluster = Cluster::start(common, 1).await?;
                cluster.apply(document).await?;
                let address = cluster.proxies[0].entry_point("web").await?;
                Running { address, _process: Either::Ours(Box::new(cluster)) }
            }
            Self::Envoy | Self::Haproxy => {
                let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
                // As many as lb starts by itself.
                let threads = processors()?.len();
                let arguments = if self == Self::Envoy {
                    let file =
                        write(directory, "envoy.json", &configuration::envoy(address, backends))?;
                    let words = ["--log-level", "error", "--disable-hot-restart", "--concurrency"];
                    let words = words.map(str::to_owned);
                    let file = ["-c".to_owned(), file.display().to_string()];
                    [&file[..], &words, &[threads.to_string()]].concat()
                } else {
                    let text = configuration::haproxy(address, backends, threads);
                    let file = write(directory, "haproxy.cfg", &text)?;
                    vec!["-db".to_owned(), "-f".to_owned(), file.display().to_string()]
                };
                let log = directory.join(self.name()).with_extension("log");
                let mut process = Process::new(program_of(self.name(), folder)?, log);
                process.start(&arguments)?;
                Running { address, _process: Either::Peer(process) }
            }
        };
        let mut caller = Caller::new(running.address);
        eventually("a request is served", Duration::from_millis(20), async || {
            let answer = caller.send(get(PATH)).await?;
            ensure!(answer.status.is_success(), "{}", answer.status);
            Ok(())
        })
        .await?;
        Ok(running)
    }
}

fn write(directory: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = directory.join(name);
    fs::write(&path, text).with_context(|| format!("could not write {}", path.display()))?;
    Ok(path)
}
