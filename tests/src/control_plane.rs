//! A control plane as a process, and its REST API.

use std::path::{Path, PathBuf};

use lb_model::api::{Committed, Problem, ProxyList, TokenCreated, YAML_TYPE};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;

use crate::{
    eventually::eventually,
    namespace::Namespace,
    process::{Process, binary},
};

/// A running control plane.
#[derive(Debug)]
pub struct ControlPlane {
    process: Process,
    data: PathBuf,
    more: Vec<String>,
    admin: String,
    scheme: String,
    sync: String,
    token: Option<String>,
    http: reqwest::Client,
    inside: Option<Namespace>,
}

/// The arguments of a control plane with its data in `data`.
pub fn arguments(data: &Path) -> Vec<String> {
    let data = data.display().to_string();
    let arguments = [
        "--data-dir",
        &data,
        "--admin-addr",
        "127.0.0.1:0",
        "--sync-addr",
        "127.0.0.1:0",
        "--ballast",
        "0",
    ];
    arguments.map(str::to_owned).to_vec()
}

/// A client for plain HTTP that keeps no connections, so that restarts are not in its way.
pub fn http_client() -> reqwest::Client {
    // Fails only when there is one already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0);
    client.build().expect("an HTTP client")
}

impl ControlPlane {
    /// Starts one under `directory` and waits until it answers.
    pub async fn start(directory: &Path, more: &[&str]) -> Self {
        Self::start_in(&directory.join("control-plane"), more).await
    }

    /// As [`ControlPlane::start`], with its data in `data` and its log beside it.
    pub async fn start_in(data: &Path, more: &[&str]) -> Self {
        Self::start_on(data, more, None).await
    }

    /// As [`ControlPlane::start`], in a namespace, where proxies reach it at every address.
    pub async fn start_inside(directory: &Path, namespace: &Namespace) -> Self {
        Self::start_on(&directory.join("control-plane"), &[], Some(namespace.clone())).await
    }

    async fn start_on(data: &Path, more: &[&str], inside: Option<Namespace>) -> Self {
        let mut program = binary("lb-control-plane");
        let mut arguments = arguments(data);
        let more: Vec<_> = more.iter().map(|&argument| argument.to_owned()).collect();
        arguments.extend(more.clone());
        if let Some(namespace) = &inside {
            let at = arguments.iter().position(|argument| argument == "--sync-addr");
            "0.0.0.0:0".clone_into(&mut arguments[at.expect("the flag") + 1]);
            (program, arguments) = namespace.command(&program, arguments);
        }
        let mut log = data.as_os_str().to_owned();
        log.push(".log");
        let process = Process::start("the control plane", program, arguments, log.into());
        let mut control_plane = Self {
            process,
            data: data.to_owned(),
            more,
            admin: String::new(),
            scheme: "http".to_owned(),
            sync: String::new(),
            token: None,
            http: http_client(),
            inside,
        };
        control_plane.ready().await;
        control_plane
    }

    async fn ready(&mut self) {
        let file = self.data.join("addresses.json");
        let (admin, scheme, sync) = eventually("the control plane listens", async || {
            if !self.process.is_running() {
                let said = self.process.said();
                // Its address is of the range from which clients get theirs: one of them may have
                // taken it while nobody listened, and gives it back soon.
                let last = said.lines().last().unwrap_or_default();
                assert!(last.contains("Address already in use"), "the control plane ended: {said}");
                self.process.restart();
            }
            let text = std::fs::read(&file).map_err(|error| error.to_string())?;
            let value: Value = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
            let address = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
            Ok((address("admin"), address("admin_scheme"), address("sync")))
        })
        .await;
        (self.admin, self.scheme, self.sync) = (admin, scheme, sync);
        if self.scheme == "https" {
            self.trust_authority().await;
        }
        if let Some(namespace) = &self.inside {
            self.admin = namespace.relay(&self.admin).await.to_string();
        }
        eventually("the control plane is ready", async || {
            let response = self.request(Method::GET, "/readyz").send().await;
            response.and_then(Response::error_for_status).map_err(|error| format!("{error:?}"))
        })
        .await;
    }

    /// Trusts nobody but the authority whose certificate is in the data directory.
    async fn trust_authority(&mut self) {
        let file = self.authority_file();
        let certificates = eventually("the authority is written down", async || {
            let text = std::fs::read(&file).map_err(|error| error.to_string())?;
            reqwest::Certificate::from_pem_bundle(&text).map_err(|error| error.to_string())
        })
        .await;
        let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0);
        self.http = client.tls_certs_only(certificates).build().expect("an HTTPS client");
    }

    /// The file with the certificates of the fleet's authority.
    pub fn authority_file(&self) -> PathBuf {
        self.data.join("authority.pem")
    }

    /// Shows this token from now on.
    pub fn sign_in(&mut self, token: &str) {
        self.token = Some(token.to_owned());
    }

    /// Makes a token for an operator, who must be possible.
    pub async fn appoint(&self, name: &str, role: &str) -> TokenCreated {
        let body = serde_json::json!({ "name": name, "role": role });
        self.make_token(&body.to_string()).await
    }

    /// Where proxies connect.
    pub fn sync_url(&self) -> String {
        format!("https://{}", self.sync)
    }

    /// Where proxies connect that see this machine at `host`.
    pub fn sync_url_at(&self, host: &str) -> String {
        let port = self.sync.rsplit(':').next().unwrap_or_default();
        format!("https://{host}:{port}")
    }

    /// Where operators ask.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.admin)
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

    /// Ends it as an operator would.
    pub async fn stop(&mut self) {
        self.process.terminate();
        let status = self.process.ended().await;
        assert!(status.success(), "the control plane ended with {status}");
    }

    /// Starts it again with the same data and, as an operator would, on the same addresses.
    pub async fn restart(&mut self) {
        let data = self.data.clone();
        self.restart_on(&data).await;
    }

    /// Starts it again on the same addresses with the data in `data`.
    pub async fn restart_on(&mut self, data: &Path) {
        assert!(self.inside.is_none(), "a restart in a namespace is not provided for");
        // A file of an earlier run would be taken for the new one's.
        let _ = std::fs::remove_file(data.join("addresses.json"));
        self.data = data.to_owned();
        let mut arguments = arguments(data);
        for (flag, address) in [("--admin-addr", &self.admin), ("--sync-addr", &self.sync)] {
            let at = arguments.iter().position(|argument| argument == flag).expect("the flag");
            address.clone_into(&mut arguments[at + 1]);
        }
        arguments.extend(self.more.clone());
        self.process.set_arguments(arguments);
        self.process.restart();
        self.ready().await;
    }

    /// A request to the REST API.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url()));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// The JSON at `path`.
    pub async fn get(&self, path: &str) -> Value {
        let response = self.request(Method::GET, path).send().await.expect("an answer");
        response.json().await.expect("JSON")
    }

    /// A request to commit a document on top of whatever is current.
    pub fn put_request(&self, document: &str) -> RequestBuilder {
        self.request(Method::PUT, "/api/v1/config?author=e2e")
            .header("if-match", "*")
            .header("content-type", YAML_TYPE)
            .body(document.to_owned())
    }

    /// Commits a document on top of whatever is current.
    pub async fn put(&self, document: &str) -> Result<Committed, Problem> {
        outcome(self.put_request(document).send().await.expect("an answer")).await
    }

    /// A token that lets the proxy called `name` join.
    pub async fn token(&self, name: &str) -> String {
        self.labelled_token(name, &[]).await
    }

    /// A token that lets the proxy called `name` join with labels.
    pub async fn labelled_token(&self, name: &str, labels: &[&str]) -> String {
        let body = serde_json::json!({ "name": name, "labels": labels });
        self.make_token(&body.to_string()).await.token
    }

    /// A token as the body of the request asks for it.
    pub async fn make_token(&self, body: &str) -> TokenCreated {
        let request = self.request(Method::POST, "/api/v1/tokens").body(body.to_owned());
        request.send().await.expect("an answer").json().await.expect("a token")
    }

    /// Asks for something to be done that must be possible.
    pub async fn post(&self, path: &str) -> Value {
        let response = self.request(Method::POST, path).send().await.expect("an answer");
        assert!(response.status().is_success(), "{path}: {}", response.status());
        response.json().await.expect("JSON")
    }

    /// How the proxies stand.
    pub async fn proxies(&self) -> ProxyList {
        let response = self.request(Method::GET, "/api/v1/proxies").send().await;
        response.expect("an answer").json().await.expect("a list of proxies")
    }

    /// The sum of the samples of a metric that carry `labels`, such as `kind="full"`.
    pub async fn metric(&self, name: &str, labels: &str) -> u64 {
        let response = self.request(Method::GET, "/metrics").send().await.expect("an answer");
        sample(&response.text().await.expect("text"), name, labels)
    }
}

/// What a change came to.
pub async fn outcome(response: Response) -> Result<Committed, Problem> {
    let status = response.status();
    let text = response.text().await.expect("a body");
    if status.is_success() {
        return Ok(serde_json::from_str(&text).expect("a commit"));
    }
    let problem: Problem = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{status} without a problem ({error}): {text}"));
    assert_eq!(problem.status, status.as_u16(), "the problem repeats the status");
    Err(problem)
}

/// The sum of the samples of `name` that carry `labels` in a text of metrics.
pub fn sample(text: &str, name: &str, labels: &str) -> u64 {
    let values = text.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let (found, with) = series.split_once('{').unwrap_or((series, ""));
        (found == name && with.contains(labels)).then(|| value.parse::<f64>().ok()).flatten()
    });
    values.sum::<f64>() as u64
}
