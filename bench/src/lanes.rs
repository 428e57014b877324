//! A number of requests over connections that stand, each lane sending one after the other.
//!
//! Nothing is opened or closed while requests are counted, so what is counted is requests.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::{
    document::HOST,
    http::{Connection, connect, get, plain_tls13},
};

/// HTTP/1.1 connections.
const CONNECTIONS: usize = 16;
/// HTTP/2 connections, and requests at a time on each.
const SHARED: (usize, usize) = (4, 8);

/// What is spoken with a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1.1 in the clear.
    H1,
    /// HTTP/1.1 over TLS 1.3.
    H1Tls,
    /// HTTP/2 over TLS 1.3.
    H2Tls,
}

impl Protocol {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::H1, Self::H1Tls, Self::H2Tls];

    /// As reports call it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::H1 => "h1",
            Self::H1Tls => "h1-tls",
            Self::H2Tls => "h2-tls",
        }
    }
}

/// Where a proxy listens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    /// In the clear.
    pub(crate) plain: SocketAddr,
    /// With TLS.
    pub(crate) tls: SocketAddr,
}

/// Open connections.
#[derive(Debug)]
pub(crate) struct Lanes {
    lanes: Vec<Lane>,
    /// What each request brings along.
    cookie: Option<HeaderValue>,
}

#[derive(Debug)]
enum Lane {
    Own(Connection),
    Shared(http2::SendRequest<Full<Bytes>>),
}

impl Lanes {
    /// Opens them, for requests with this cookie.
    pub(crate) async fn open(
        protocol: Protocol,
        entry: Entry,
        cookie: Option<HeaderValue>,
    ) -> Result<Self> {
        let mut lanes = Vec::new();
        match protocol {
            Protocol::H1 => {
                for _ in 0..CONNECTIONS {
                    lanes.push(Lane::Own(Connection::open(entry.plain).await?));
                }
            }
            Protocol::H1Tls => {
                let tls = TlsConnector::from(Arc::new(plain_tls13(&[b"http/1.1"])?));
                for _ in 0..CONNECTIONS {
                    lanes.push(Lane::Own(Connection::open_tls(entry.tls, &tls).await?));
                }
            }
            Protocol::H2Tls => {
                let tls = TlsConnector::from(Arc::new(plain_tls13(&[b"h2"])?));
                let (connections, requests) = SHARED;
                for _ in 0..connections {
                    let shared = open_shared(entry.tls, &tls).await?;
                    lanes.extend((0..requests).map(|_| Lane::Shared(shared.clone())));
                }
            }
        }
        Ok(Self { lanes, cookie })
    }

    /// Sends `requests` requests, or a few more so that each lane sends as many, and gives how
    /// many these were. Any answer but a 200 is an error.
    pub(crate) async fn send(&mut self, requests: u32) -> Result<u32> {
        let each = requests.div_ceil(self.lanes.len() as u32);
        let count = each * self.lanes.len() as u32;
        let mut sending = JoinSet::new();
        for mut lane in self.lanes.drain(..) {
            let cookie = self.cookie.clone();
            sending.spawn(async move {
                for _ in 0..each {
                    lane.send(cookie.as_ref()).await?;
                }
                anyhow::Ok(lane)
            });
        }
        while let Some(lane) = sending.join_next().await {
            self.lanes.push(lane.context("a lane ended")??);
        }
        Ok(count)
    }
}

impl Lane {
    async fn send(&mut self, cookie: Option<&HeaderValue>) -> Result<()> {
        let status = match self {
            Self::Own(connection) => {
                connection.send(like_a_browser(get("/s"), cookie)).await?.status
            }
            Self::Shared(shared) => {
                let mut request = like_a_browser(Request::new(Full::default()), cookie);
                *request.uri_mut() = format!("https://{HOST}/s").parse()?;
                shared.ready().await?;
                let answer = shared.send_request(request).await?;
                let status = answer.status();
                answer.into_body().collect().await?;
                status
            }
        };
        ensure!(status == 200, "a request was answered {status}");
        Ok(())
    }
}

/// Adds the fields that generators of load send.
fn like_a_browser(
    mut request: Request<Full<Bytes>>,
    cookie: Option<&HeaderValue>,
) -> Request<Full<Bytes>> {
    let headers = request.headers_mut();
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    if let Some(cookie) = cookie {
        headers.insert(header::COOKIE, cookie.clone());
    }
    request
}

/// Who clients say they are: as long as what browsers say.
pub(crate) const USER_AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) lb-bench/1.0";

async fn open_shared(
    address: SocketAddr,
    tls: &TlsConnector,
) -> Result<http2::SendRequest<Full<Bytes>>> {
    let stream = connect(address).await?;
    let stream = tls.connect(ServerName::try_from(HOST)?, stream).await?;
    ensure!(stream.get_ref().1.alpn_protocol() == Some(b"h2"), "{address} does not speak HTTP/2");
    let handshake = http2::Builder::new(TokioExecutor::new()).handshake(TokioIo::new(stream));
    let (sender, connection) = handshake.await?;
    // Its errors reach the requests; it ends with the senders.
    tokio::spawn(connection);
    Ok(sender)
}
