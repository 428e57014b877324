//! HTTP/2 connections in the clear that many requests share.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::Mutex;

use crate::{
    document::HOST,
    http::{Answer, LIMIT, connect},
};

/// Connections to each proxy.
const CONNECTIONS: usize = 4;

type Sender = http2::SendRequest<Full<Bytes>>;

/// Connections to some proxies, which requests go to by turns.
#[derive(Debug)]
pub(crate) struct Shared {
    addresses: Vec<SocketAddr>,
    senders: Vec<Mutex<Option<Sender>>>,
    turn: AtomicUsize,
}

impl Shared {
    /// To these; they are opened when they are needed.
    pub(crate) fn to(addresses: &[SocketAddr]) -> Self {
        let count = addresses.len() * CONNECTIONS;
        Self {
            addresses: addresses.to_vec(),
            senders: (0..count).map(|_| Mutex::default()).collect(),
            turn: AtomicUsize::new(0),
        }
    }

    /// A connection that takes a request. One that its proxy said goodbye on is replaced, which
    /// costs nobody a request.
    pub(crate) async fn sender(&self) -> Result<Sender> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.senders.len().max(1);
        let mut kept = self.senders.get(turn).context("no proxy")?.lock().await;
        if let Some(sender) = kept.as_mut()
            && sender.ready().await.is_ok()
        {
            return Ok(sender.clone());
        }
        let stream = connect(self.addresses[turn % self.addresses.len()]).await?;
        let builder = http2::Builder::new(TokioExecutor::new());
        let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        // Its errors reach the requests; it ends with the senders.
        tokio::spawn(connection);
        sender.ready().await?;
        *kept = Some(sender.clone());
        Ok(sender)
    }
}

/// Sends a GET request and reads the answer.
pub(crate) async fn get(mut sender: Sender, path: &str) -> Result<Answer> {
    let mut request = Request::new(Full::default());
    *request.uri_mut() = format!("http://{HOST}{path}").parse()?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        anyhow::Ok(Answer { status: head.status, fields: head.headers, body, is_last: false })
    };
    let answer = tokio::time::timeout(LIMIT, exchange).await;
    answer.with_context(|| format!("no answer within {LIMIT:?}"))?
}
