//! A backend in this process that answers everything with 200 and a word.

use std::{convert::Infallible, net::SocketAddr};

use anyhow::Result;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpListener,
    task::{AbortHandle, JoinSet},
};

/// A running backend; it goes away when dropped.
#[derive(Debug)]
pub(crate) struct Backend {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    task: AbortHandle,
}

impl Backend {
    /// Starts one.
    pub(crate) async fn start() -> Result<Self> {
        Self::saying("ok").await
    }

    /// Starts one that answers with this word.
    pub(crate) async fn saying(word: &'static str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(accept(listener, word)).abort_handle();
        Ok(Self { address, task })
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, word: &'static str) {
    // Aborting this task drops the set, which ends the connections.
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        connections.spawn(http1::Builder::new().serve_connection(
            TokioIo::new(stream),
            service_fn(move |_: Request<Incoming>| async move {
                let body = Bytes::from_static(word.as_bytes());
                Ok::<_, Infallible>(Response::new(Full::new(body)))
            }),
        ));
        while connections.try_join_next().is_some() {}
    }
}
