//! A control plane and the proxies that follow it.

use std::{net::SocketAddr, path::Path};

use lb_model::{
    Version,
    api::{Committed, SyncState},
};

use crate::{control_plane::ControlPlane, eventually::eventually, proxy::Proxy, scratch::Scratch};

/// A fleet in a directory of its own.
#[derive(Debug)]
pub struct Cluster {
    // Ends before the directory goes away.
    control_plane: ControlPlane,
    proxies: Vec<Proxy>,
    scratch: Scratch,
}

impl Cluster {
    /// Starts a control plane and `proxies` proxies.
    pub async fn start(proxies: usize) -> Self {
        Self::start_with(proxies, &[]).await
    }

    /// As [`Cluster::start`], with more flags for the control plane.
    pub async fn start_with(proxies: usize, more: &[&str]) -> Self {
        Self::build(Scratch::new(), proxies, more).await
    }

    /// As [`Cluster::start`], in a directory that may have something in it.
    pub async fn start_in(scratch: Scratch, proxies: usize) -> Self {
        Self::build(scratch, proxies, &[]).await
    }

    async fn build(scratch: Scratch, proxies: usize, more: &[&str]) -> Self {
        let control_plane = ControlPlane::start(scratch.path(), more).await;
        let mut cluster = Self { control_plane, proxies: Vec::new(), scratch };
        for _ in 0..proxies {
            cluster.add_proxy(&[]).await;
        }
        cluster
    }

    /// Starts a fleet that serves `document`.
    pub async fn serving(proxies: usize, document: &str) -> Self {
        let cluster = Self::start(proxies).await;
        cluster.apply(document).await;
        cluster
    }

    /// Starts a fleet of one proxy with one worker that serves `document`: there, turns are those
    /// of all requests.
    pub async fn in_turn(document: &str) -> Self {
        let mut cluster = Self::start(0).await;
        cluster.add_proxy(&["--workers", "1"]).await;
        cluster.apply(document).await;
        cluster
    }

    /// Starts another proxy.
    pub async fn add_proxy(&mut self, more: &[&str]) -> &mut Proxy {
        self.add_labelled(&[], more).await
    }

    /// Starts another proxy, which holds labels.
    pub async fn add_labelled(&mut self, labels: &[&str], more: &[&str]) -> &mut Proxy {
        let name = format!("proxy-{}", self.proxies.len());
        let url = self.control_plane.sync_url();
        let token = self.scratch.path().join(format!("{name}.token"));
        let text = self.control_plane.labelled_token(&name, labels).await;
        std::fs::write(&token, text).expect("a token file");
        let token = token.display().to_string();
        let more = [&["--join-token-file", &token], more].concat();
        self.proxies.push(Proxy::start(self.scratch.path(), &name, &url, &more).await);
        self.proxies.last_mut().expect("the proxy that was just added")
    }

    /// The control plane.
    pub const fn control_plane(&mut self) -> &mut ControlPlane {
        &mut self.control_plane
    }

    /// A proxy.
    pub fn proxy(&mut self, index: usize) -> &mut Proxy {
        &mut self.proxies[index]
    }

    /// The directory of the test.
    pub fn directory(&self) -> &Path {
        self.scratch.path()
    }

    /// Commits a document that must be right.
    pub async fn put(&self, document: &str) -> Committed {
        match self.control_plane.put(document).await {
            Ok(committed) => committed,
            Err(problem) => panic!("{}:\n{}", problem.detail, problem.diagnostics),
        }
    }

    /// Commits a document and waits until every proxy serves it.
    pub async fn apply(&self, document: &str) -> Version {
        let committed = self.put(document).await;
        self.live_on_all(committed.version).await;
        committed.version
    }

    /// Waits until every proxy serves `version`, or one after it, and the control plane knows.
    pub async fn live_on_all(&self, version: Version) {
        eventually(&format!("version {version} is live on every proxy"), async || {
            let list = self.control_plane.proxies().await;
            let live = list
                .proxies
                .iter()
                .filter(|proxy| proxy.state == SyncState::Synced && proxy.version >= version);
            if live.count() == self.proxies.len() { Ok(()) } else { Err(format!("{list:?}")) }
        })
        .await;
    }

    /// Where the entry point `web` of a proxy listens.
    pub async fn web(&self, proxy: usize) -> SocketAddr {
        self.proxies[proxy].entry_point("web").await
    }
}
