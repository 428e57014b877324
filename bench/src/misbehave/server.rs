//! A backend that is well until it is told otherwise.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::Result;
use bytes::Bytes;
use clap::ValueEnum;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpListener,
    task::{AbortHandle, JoinSet},
};

use crate::namespace::Silence;

/// How long one that has become slow takes.
const SLOW: Duration = Duration::from_secs(2);

/// How a backend goes bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Way {
    /// Every answer takes 2 s
    Slow,
    /// Half of the answers, drawn at random, are a 500
    Failing,
    /// Its connections are reset, and new ones refused
    Gone,
    /// Whatever is sent to it or by it is lost
    Silent,
}

/// A running backend; it goes away when dropped.
#[derive(Debug)]
pub(super) struct Server {
    /// Where it listens.
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
    task: AbortHandle,
    silence: Option<Silence>,
}

#[derive(Debug, Default)]
struct Shared {
    manner: AtomicU8,
    requests: AtomicU64,
}

const WELL: u8 = 0;
const IS_SLOW: u8 = 1;
const FAILS: u8 = 2;

impl Server {
    /// Starts one that is well.
    pub(super) async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let task = tokio::spawn(accept(listener, Arc::clone(&shared))).abort_handle();
        Ok(Self { address, shared, task, silence: None })
    }

    /// Turns bad.
    pub(super) fn turn(&mut self, way: Way) -> Result<()> {
        self.shared.requests.store(0, Relaxed);
        match way {
            Way::Slow => self.shared.manner.store(IS_SLOW, Relaxed),
            Way::Failing => self.shared.manner.store(FAILS, Relaxed),
            Way::Gone => self.task.abort(),
            Way::Silent => self.silence = Some(Silence::of(self.address)?),
        }
        Ok(())
    }

    /// The requests, checks of health among them, that have come since it turned bad.
    pub(super) fn requests(&self) -> u64 {
        self.shared.requests.load(Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Aborting this task drops the set, which ends the connections.
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        // A connection that is dropped is reset, as when the machine behind it starts again.
        let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        let shared = Arc::clone(&shared);
        connections.spawn(http1::Builder::new().serve_connection(
            TokioIo::new(stream),
            service_fn(move |_: Request<Incoming>| answer(Arc::clone(&shared))),
        ));
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(shared: Arc<Shared>) -> Result<Response<Full<Bytes>>, Infallible> {
    let number = shared.requests.fetch_add(1, Relaxed);
    let mut response = Response::new(Full::new(Bytes::from_static(b"ok")));
    match shared.manner.load(Relaxed) {
        WELL => {}
        IS_SLOW => tokio::time::sleep(SLOW).await,
        _ => {
            if fails(number) {
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            }
        }
    }
    Ok(response)
}

/// Whether a request fails: half of them, in no order, and the same ones for every contender.
const fn fails(number: u64) -> bool {
    // splitmix64.
    let mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 63 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_requests_fail_with_runs_among_them() {
        let failing = (0..10_000).filter(|number| fails(*number)).count();
        assert!((4_800..5_200).contains(&failing), "{failing}");
        let has_run = (0..10_000).any(|start| (start..start + 8).all(fails));
        assert!(has_run, "detectors look for failures in a row");
    }
}
