//! lb as it is compared and counted: a real control plane, a joined proxy, a document in service.

use std::{path::PathBuf, time::Duration};

use anyhow::{Result, ensure};
use rustix::process::Pid;

use crate::{
    Common,
    cluster::{Cluster, Launch, eventually},
    counting::Countable,
    document::{Pair, in_service},
    http::{Caller, get},
    lanes::Entry,
    origin::Origin,
    process::{Process, binary},
};

/// A proxy with a configuration, running or not, and its control plane.
#[derive(Debug)]
pub(crate) struct Subject {
    cluster: Cluster,
}

impl Subject {
    /// Lets a proxy join a control plane and get its configuration. The proxy is then ended: it
    /// starts again from what it knows, see [`launch`](Self::launch).
    pub(crate) async fn prepare(
        common: &Common,
        data_plane: Option<PathBuf>,
        workers: usize,
        document: String,
    ) -> Result<Self> {
        let program = match data_plane {
            Some(program) => {
                ensure!(program.is_file(), "there is no {}; build it", program.display());
                program
            }
            None => binary(common.bin_dir.as_deref(), "lb-data-plane")?,
        };
        // It waits for nobody at its end; the requests of a comparison are over by then.
        let workers = workers.to_string();
        let arguments =
            ["--workers", &workers, "--drain-accept-grace", "0s", "--drain-timeout", "1s"];
        let launch =
            Launch { arguments: arguments.map(str::to_owned).to_vec(), prefix: Vec::new() };
        let mut cluster = Cluster::without_proxies(common).await?;
        cluster.join(program, launch).await?;
        cluster.apply(document).await?;
        let mut subject = Self { cluster };
        subject.end().await?;
        Ok(subject)
    }

    /// The usual document: 100 routes.
    pub(crate) fn document(origin: &Origin) -> Result<String> {
        Ok(in_service(100, origin.address, &Pair::new()?))
    }

    /// Starts the proxy by a command that becomes it, and waits until it serves.
    pub(crate) async fn launch(&mut self, prefix: Vec<String>) -> Result<Entry> {
        let proxy = &mut self.cluster.proxies[0];
        proxy.launch.prefix = prefix;
        proxy.spawn()?;
        proxy.listens().await?;
        eventually("a request is served", Duration::from_millis(10), async || {
            let plain = proxy.entry_point("web").await?;
            let tls = proxy.entry_point("websecure").await?;
            let answer = Caller::new(plain).send(get("/s")).await?;
            ensure!(answer.status.is_success(), "{}", answer.status);
            Ok(Entry { plain, tls })
        })
        .await
    }

    /// Ends the proxy as an operator would: one that is killed again and again is taken for one
    /// that its configuration kills.
    pub(crate) async fn end(&mut self) -> Result<()> {
        let process = self.process();
        process.terminate()?;
        process.ended().await?;
        Ok(())
    }

    /// The proxy.
    pub(crate) fn process(&mut self) -> &mut Process {
        self.cluster.proxies[0].process()
    }

    /// Where everything about it is kept.
    pub(crate) fn directory(&self) -> PathBuf {
        self.cluster.directory().to_owned()
    }
}

impl Countable for Subject {
    async fn launch(&mut self, prefix: Vec<String>) -> Result<(Entry, Pid)> {
        let entry = Self::launch(self, prefix).await?;
        Ok((entry, self.process().pid()?))
    }

    async fn end(&mut self) -> Result<()> {
        Self::end(self).await
    }
}
