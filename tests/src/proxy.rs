//! A proxy as a process, and its own endpoint.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{
    control_plane::{http_client, sample},
    eventually::eventually,
    namespace::Namespace,
    process::{Process, binary},
};

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    process: Process,
    name: String,
    data: PathBuf,
    admin: String,
    http: reqwest::Client,
    inside: Option<Namespace>,
}

impl Proxy {
    /// Starts one under `directory` that follows `control_plane`, and waits until its endpoint
    /// answers. It need not serve anything by then.
    pub async fn start(directory: &Path, name: &str, control_plane: &str, more: &[&str]) -> Self {
        Self::start_on(directory, name, control_plane, more, None).await
    }

    /// As [`Proxy::start`], in a namespace.
    pub async fn start_inside(
        directory: &Path,
        name: &str,
        control_plane: &str,
        more: &[&str],
        namespace: &Namespace,
    ) -> Self {
        Self::start_on(directory, name, control_plane, more, Some(namespace.clone())).await
    }

    async fn start_on(
        directory: &Path,
        name: &str,
        control_plane: &str,
        more: &[&str],
        inside: Option<Namespace>,
    ) -> Self {
        let data = directory.join(name);
        let data_argument = data.display().to_string();
        let mut arguments = vec![
            "--control-plane",
            control_plane,
            "--data-dir",
            &data_argument,
            "--name",
            name,
            "--admin-addr",
            "127.0.0.1:0",
        ];
        if !more.contains(&"--workers") {
            arguments.extend(["--workers", "2"]);
        }
        if !more.contains(&"--drain-accept-grace") {
            arguments.extend(["--drain-accept-grace", "0s"]);
        }
        arguments.extend(more);
        let mut arguments = arguments.into_iter().map(str::to_owned).collect();
        let mut program = binary("lb-data-plane");
        if let Some(namespace) = &inside {
            (program, arguments) = namespace.command(&program, arguments);
        }
        let log = directory.join(format!("{name}.log"));
        let process = Process::start(name, program, arguments, log);
        let mut proxy = Self {
            process,
            name: name.to_owned(),
            data,
            admin: String::new(),
            http: http_client(),
            inside,
        };
        proxy.ready().await;
        proxy
    }

    async fn ready(&mut self) {
        let file = self.data.join("addresses.json");
        self.admin = eventually("the proxy listens", async || {
            assert!(self.process.is_running(), "the proxy ended: {}", self.process.said());
            let text = std::fs::read(&file).map_err(|error| error.to_string())?;
            let value: Value = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
            Ok(value["admin"].as_str().unwrap_or_default().to_owned())
        })
        .await;
        if let Some(namespace) = &self.inside {
            self.admin = namespace.relay(&self.admin).await.to_string();
        }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its own endpoint is.
    pub fn url(&self) -> String {
        format!("http://{}", self.admin)
    }

    /// Where its data is.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The process, to look at or to end.
    pub const fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        self.process.terminate();
    }

    /// Starts it again with the same data.
    pub async fn restart(&mut self) {
        // A file of the last run would be taken for the new one's.
        let _ = std::fs::remove_file(self.data.join("addresses.json"));
        self.process.restart();
        self.ready().await;
    }

    /// The status and body at `path` of its own endpoint.
    pub async fn ask(&self, path: &str) -> Result<(u16, String), String> {
        let response = self.http.get(format!("http://{}{path}", self.admin)).send().await;
        let response = response.map_err(|error| format!("{error:?}"))?;
        let status = response.status().as_u16();
        let text = response.text().await.map_err(|error| error.to_string())?;
        Ok((status, text))
    }

    /// The JSON at `path` of its own endpoint.
    pub async fn get(&self, path: &str) -> Result<Value, String> {
        let (_, text) = self.ask(path).await?;
        serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))
    }

    /// The version it serves, if any.
    pub async fn version(&self) -> Option<u64> {
        self.get("/admin").await.ok()?["version"].as_u64()
    }

    /// Where an entry point listens, once it does.
    pub async fn entry_point(&self, name: &str) -> SocketAddr {
        eventually(&format!("{} listens as `{name}`", self.name), async || {
            let overview = self.get("/admin").await?;
            let listeners = overview["listeners"].as_array();
            let listener = listeners.into_iter().flatten().find(|each| each["entry_point"] == name);
            let address = listener.and_then(|listener| listener["address"].as_str());
            address.and_then(|address| address.parse().ok()).ok_or_else(|| overview.to_string())
        })
        .await
    }

    /// The sum of the samples of a metric that carry `labels`, such as `reason="invalid"`.
    pub async fn metric(&self, name: &str, labels: &str) -> u64 {
        let (_, text) = self.ask("/metrics").await.expect("metrics");
        sample(&text, name, labels)
    }
}
