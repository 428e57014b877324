//! A control plane and proxies as processes, in a directory of their own.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use http::StatusCode;
use lb_model::{
    Version,
    api::{Committed, HealthView, ProxyList, SyncState, TokenCreated},
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    Common,
    http::{Caller, get, post, put},
    process::{Process, Usage, binary},
    report::say,
};

/// How long anything may take that usually takes milliseconds.
pub(crate) const LIMIT: Duration = Duration::from_mins(1);

/// A fleet of processes.
#[derive(Debug)]
pub(crate) struct Cluster {
    // Ends before the directory goes away.
    /// The control plane.
    pub(crate) control_plane: ControlPlane,
    /// The proxies.
    pub(crate) proxies: Vec<Proxy>,
    directory: Directory,
}

#[derive(Debug)]
struct Directory(TempDir);

impl Directory {
    fn new(keep: bool) -> Result<Self> {
        let mut directory = tempfile::Builder::new().prefix("lb-bench-").tempdir()?;
        if keep {
            directory.disable_cleanup(true);
            say(&format!("logs and data are kept in {}", directory.path().display()));
        }
        Ok(Self(directory))
    }
}

impl Cluster {
    /// Starts a control plane and `proxies` proxies.
    pub(crate) async fn start(common: &Common, proxies: usize) -> Result<Self> {
        let program = binary(common.bin_dir.as_deref(), "lb-data-plane")?;
        let mut cluster = Self::without_proxies(common).await?;
        for _ in 0..proxies {
            cluster.join(program.clone(), Launch::default()).await?;
        }
        Ok(cluster)
    }

    /// Starts a control plane.
    pub(crate) async fn without_proxies(common: &Common) -> Result<Self> {
        let directory = Directory::new(common.keep)?;
        let binaries = common.bin_dir.as_deref();
        let control_plane = ControlPlane::start(binaries, directory.0.path()).await?;
        Ok(Self { control_plane, proxies: Vec::new(), directory })
    }

    /// Starts another proxy, which joins.
    pub(crate) async fn join(&mut self, program: PathBuf, launch: Launch) -> Result<()> {
        let name = format!("proxy-{}", self.proxies.len());
        let directory = self.directory().join(&name);
        let token = token(&mut self.control_plane.caller(), &name).await?;
        std::fs::write(directory.with_extension("token"), token)?;
        let sync = self.control_plane.sync;
        self.proxies.push(Proxy::start(program, directory, sync, launch).await?);
        Ok(())
    }

    /// Where all of it keeps its data.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.0.path()
    }

    /// Commits a document and waits until every proxy serves it.
    pub(crate) async fn apply(&mut self, document: String) -> Result<Version> {
        let version = self.control_plane.put(document).await?.version;
        let mut caller = self.control_plane.caller();
        synced(&mut caller, self.proxies.len(), version, Duration::from_millis(10)).await?;
        Ok(version)
    }

    /// Where an entry point of each proxy listens.
    pub(crate) async fn addresses(&self, entry_point: &str) -> Result<Vec<SocketAddr>> {
        let mut addresses = Vec::new();
        for proxy in &self.proxies {
            addresses.push(proxy.entry_point(entry_point).await?);
        }
        Ok(addresses)
    }
}

/// Waits until the control plane knows `proxies` proxies that serve `version` or a later one.
pub(crate) async fn synced(
    caller: &mut Caller,
    proxies: usize,
    version: Version,
    pause: Duration,
) -> Result<()> {
    eventually(&format!("version {version} on {proxies} proxies"), pause, async || {
        let list: ProxyList = serde_json::from_slice(&caller.get("/api/v1/proxies").await?)?;
        let refused = list.proxies.iter().find(|proxy| proxy.state == SyncState::Rejected);
        if let Some(proxy) = refused {
            bail!("proxy {} refused: {:?}", proxy.id, proxy.errors);
        }
        let live = list
            .proxies
            .iter()
            .filter(|proxy| proxy.state == SyncState::Synced && proxy.version >= version);
        let live = live.count();
        ensure!(live == proxies, "live on {live}");
        Ok(())
    })
    .await
}

/// A control plane.
#[derive(Debug)]
pub(crate) struct ControlPlane {
    process: Process,
    data: PathBuf,
    admin: SocketAddr,
    /// Where proxies connect.
    pub(crate) sync: SocketAddr,
}

impl ControlPlane {
    /// Starts one under `directory` and waits until it is ready.
    pub(crate) async fn start(binaries: Option<&Path>, directory: &Path) -> Result<Self> {
        let program = binary(binaries, "lb-control-plane")?;
        let process = Process::new(program, directory.join("control-plane.log"));
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let data = directory.join("control-plane");
        let mut control_plane = Self { process, data, admin: any, sync: any };
        control_plane.restart().await?;
        Ok(control_plane)
    }

    /// Starts it again with the same data, on the same addresses.
    pub(crate) async fn restart(&mut self) -> Result<()> {
        forget_addresses(&self.data);
        self.process.start(&[
            "--data-dir".to_owned(),
            self.data.display().to_string(),
            "--admin-addr".to_owned(),
            self.admin.to_string(),
            "--sync-addr".to_owned(),
            self.sync.to_string(),
            "--ballast".to_owned(),
            "0".to_owned(),
        ])?;
        let addresses = addresses(&mut self.process, &self.data).await?;
        self.admin = address(&addresses, "admin")?;
        self.sync = address(&addresses, "sync")?;
        let mut caller = self.caller();
        eventually("the control plane is ready", Duration::from_millis(5), async || {
            caller.get("/readyz").await
        })
        .await?;
        Ok(())
    }

    /// The process.
    pub(crate) const fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// What it takes of the machine.
    pub(crate) fn usage(&self) -> Result<Usage> {
        self.process.usage()
    }

    /// Asks its REST API.
    pub(crate) const fn caller(&self) -> Caller {
        Caller::by_address(self.admin)
    }

    /// Commits a document on top of whatever is current.
    pub(crate) async fn put(&self, document: String) -> Result<Committed> {
        commit(&mut self.caller(), document).await
    }

    /// How many bytes of configuration it has pushed since its start.
    pub(crate) async fn pushed_bytes(&self) -> Result<f64> {
        let text = self.caller().get("/metrics").await?;
        let text = String::from_utf8_lossy(&text);
        let line = text.lines().find_map(|line| line.strip_prefix("lb_snapshot_push_bytes_total "));
        line.and_then(|value| value.trim().parse().ok()).context("the metric is not there")
    }
}

/// Commits a document on top of whatever is current.
pub(crate) async fn commit(caller: &mut Caller, document: String) -> Result<Committed> {
    let answer = caller.send(put("/api/v1/config?author=bench", document)).await?;
    let body = String::from_utf8_lossy(&answer.body);
    ensure!(answer.status == StatusCode::OK, "the commit was answered {}: {body}", answer.status);
    Ok(serde_json::from_slice(&answer.body)?)
}

/// A token that lets the proxy called `name` join.
pub(crate) async fn token(caller: &mut Caller, name: &str) -> Result<String> {
    let answer = caller.send(post("/api/v1/tokens", format!("{{\"name\":\"{name}\"}}"))).await?;
    ensure!(answer.status == StatusCode::CREATED, "no token: {}", answer.status);
    let created: TokenCreated = serde_json::from_slice(&answer.body)?;
    Ok(created.token)
}

/// How the control plane and its fleet are.
pub(crate) async fn health(caller: &mut Caller) -> Result<HealthView> {
    let answer = caller.send(get("/admin/health")).await?;
    Ok(serde_json::from_slice(&answer.body)?)
}

/// How a proxy is started, beside what every one is told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Launch {
    /// A command that becomes it, such as `taskset -c 0`.
    pub(crate) prefix: Vec<String>,
    /// Further arguments.
    pub(crate) arguments: Vec<String>,
}

/// A proxy.
#[derive(Debug)]
pub(crate) struct Proxy {
    process: Process,
    data: PathBuf,
    control_plane: SocketAddr,
    /// How it is started the next time.
    pub(crate) launch: Launch,
    /// Where it answers for itself.
    pub(crate) admin: SocketAddr,
}

impl Proxy {
    async fn start(
        program: PathBuf,
        data: PathBuf,
        control_plane: SocketAddr,
        launch: Launch,
    ) -> Result<Self> {
        let process = Process::new(program, data.with_extension("log"));
        let admin = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut proxy = Self { process, data, control_plane, launch, admin };
        proxy.spawn()?;
        proxy.listens().await?;
        Ok(proxy)
    }

    /// Starts it, again on the same admin address.
    pub(crate) fn spawn(&mut self) -> Result<()> {
        forget_addresses(&self.data);
        let mut arguments = vec![
            "--data-dir".to_owned(),
            self.data.display().to_string(),
            "--admin-addr".to_owned(),
            self.admin.to_string(),
            "--control-plane".to_owned(),
            format!("https://{}", self.control_plane),
            "--join-token-file".to_owned(),
            self.data.with_extension("token").display().to_string(),
        ];
        arguments.extend(self.launch.arguments.iter().cloned());
        self.process.start_under(&self.launch.prefix, &arguments)
    }

    /// Waits until its admin endpoint answers.
    pub(crate) async fn listens(&mut self) -> Result<()> {
        let addresses = addresses(&mut self.process, &self.data).await?;
        self.admin = address(&addresses, "admin")?;
        Ok(())
    }

    /// The process.
    pub(crate) const fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// What it takes of the machine.
    pub(crate) fn usage(&self) -> Result<Usage> {
        self.process.usage()
    }

    /// Where an entry point listens.
    pub(crate) async fn entry_point(&self, name: &str) -> Result<SocketAddr> {
        entry_point(&mut Caller::new(self.admin), name).await
    }
}

/// Where an entry point of the proxy that `caller` asks listens.
pub(crate) async fn entry_point(caller: &mut Caller, name: &str) -> Result<SocketAddr> {
    let overview: Value = serde_json::from_slice(&caller.get("/admin").await?)?;
    let listeners = overview["listeners"].as_array().context("no listeners")?;
    let listener = listeners.iter().find(|listener| listener["entry_point"] == name);
    address(listener.context("no such entry point")?, "address")
}

fn forget_addresses(data: &Path) {
    // A file of an earlier run would be taken for the new one's.
    let _ = std::fs::remove_file(data.join("addresses.json"));
}

async fn addresses(process: &mut Process, data: &Path) -> Result<Value> {
    let file = data.join("addresses.json");
    let deadline = Instant::now() + LIMIT;
    loop {
        process.ensure_runs()?;
        if let Ok(text) = std::fs::read(&file) {
            return Ok(serde_json::from_slice(&text)?);
        }
        ensure!(Instant::now() < deadline, "{} was not written", file.display());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn address(value: &Value, name: &str) -> Result<SocketAddr> {
    let text = value[name].as_str().with_context(|| format!("no address {name}"))?;
    text.parse().with_context(|| format!("`{text}` is not an address"))
}

/// Tries again and again until it succeeds; the last error says why it did not.
pub(crate) async fn eventually<T>(
    what: &str,
    pause: Duration,
    mut attempt: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    let deadline = Instant::now() + LIMIT;
    loop {
        match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() > deadline => {
                return Err(error.context(format!("`{what}` did not happen within {LIMIT:?}")));
            }
            Err(_) => tokio::time::sleep(pause).await,
        }
    }
}
