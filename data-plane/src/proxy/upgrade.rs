//! Carries what an HTTP/1.1 upgrade turns a connection into: WebSocket, mostly.
//!
//! Once both sides have switched, bytes are copied both ways until one side is done with both,
//! nothing moves for the idle time, or the listener's last deadline passes. A tunnel counts as a
//! connection and as a request in flight all that time, so draining waits for it.

use std::{cell::Cell, io, time::Duration};

use http::{
    HeaderValue, Response,
    header::{CONNECTION, UPGRADE},
};
use hyper::{
    body::Incoming,
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::rt::TokioIo;
use lb_http::{Body, End, Reason, Watch, hop_by_hop};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split},
    time::{Instant, sleep_until},
};

use super::{ProxyBody, exchange::Exchange};
use crate::drain::Stage;

/// Bytes read at once in each direction.
const BUFFER: usize = 16 << 10;

/// Starts the tunnel and returns the response that opens it.
pub fn start(
    exchange: Exchange,
    client: OnUpgrade,
    mut response: Response<Incoming>,
    idle: Option<Duration>,
) -> Response<ProxyBody> {
    let backend = hyper::upgrade::on(&mut response);
    let protocol = response.headers().get(UPGRADE).cloned();
    hop_by_hop::strip_response(response.headers_mut());
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(protocol) = protocol {
        headers.insert(UPGRADE, protocol);
    }
    exchange.ticket().client().state().set_opaque();
    tokio::task::spawn_local(run(exchange, client, backend, idle));
    response.map(|_| Body::Empty)
}

async fn run(
    mut exchange: Exchange,
    client: OnUpgrade,
    backend: OnUpgrade,
    idle: Option<Duration>,
) {
    let lifecycle = std::rc::Rc::clone(exchange.ticket().client().lifecycle());
    let tunnel = async {
        let (client, backend) = tokio::try_join!(client, backend).map_err(io::Error::other)?;
        join(&mut exchange, client, backend, idle).await
    };
    let result = tokio::select! {
        result = tunnel => result,
        () = lifecycle.reaches(Stage::Killed) => Err(io::ErrorKind::Interrupted.into()),
    };
    exchange.on_end(match result {
        Ok(()) => End::Complete,
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            End::Failed(Reason::UpstreamTimeout)
        }
        Err(_) => End::Aborted,
    });
}

async fn join(
    exchange: &mut Exchange,
    client: Upgraded,
    backend: Upgraded,
    idle: Option<Duration>,
) -> io::Result<()> {
    let (client_read, client_write) = split(TokioIo::new(client));
    let (backend_read, backend_write) = split(TokioIo::new(backend));
    let last = Cell::new(Instant::now());
    let (up, down) = (Cell::new(0), Cell::new(0));
    let both = async {
        tokio::try_join!(
            pump(client_read, backend_write, &last, &up),
            pump(backend_read, client_write, &last, &down),
        )
    };
    let silence = async {
        let Some(idle) = idle else {
            return std::future::pending().await;
        };
        loop {
            let due = last.get() + idle;
            if Instant::now() >= due {
                return;
            }
            sleep_until(due).await;
        }
    };
    let result = tokio::select! {
        result = both => result.map(|_| ()),
        () = silence => Err(io::ErrorKind::TimedOut.into()),
    };
    exchange.on_data(down.get());
    exchange.counters().bytes_received.add(up.get() as u64);
    result
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    last: &Cell<Instant>,
    moved: &Cell<usize>,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = from.read(&mut buffer).await?;
        last.set(Instant::now());
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..read]).await?;
        to.flush().await?;
        moved.set(moved.get() + read);
    }
}
