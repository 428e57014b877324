//! Carries what an HTTP/1.1 upgrade turns a connection into: WebSocket, mostly.
//!
//! Once both sides have switched, bytes are copied both ways until one side is done with both,
//! nothing moves for the idle time, or the listener's last deadline passes. A tunnel counts as a
//! connection and as a request in flight all that time, so draining waits for it.

use std::{cell::Cell, io, time::Duration};

use lb_http::{Buffer, Reason, Transport};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split},
    net::TcpStream,
    time::{Instant, sleep_until},
};

use super::exchange::Exchange;

/// Bytes read at once in each direction.
const BUFFER: usize = 16 << 10;

/// A backend that has switched, and its client knows.
#[derive(Debug)]
pub struct Switch {
    /// The request that asked for it.
    pub exchange: Exchange,
    /// The connection, and what was read from it already.
    pub backend: (TcpStream, Buffer),
    /// The longest pause.
    pub idle: Option<Duration>,
}

/// Carries bytes between a client and a backend, those that were read already first.
pub async fn tunnel<S: Transport>(switch: Switch, (client, from_client): (S, Buffer)) {
    let Switch { mut exchange, backend: (backend, from_backend), idle } = switch;
    let (client_read, client_write) = split(client);
    let (backend_read, backend_write) = split(backend);
    let last = Cell::new(Instant::now());
    let (up, down) = (Cell::new(0), Cell::new(0));
    let both = async {
        tokio::try_join!(
            pump(from_client, client_read, backend_write, &last, &up),
            pump(from_backend, backend_read, client_write, &last, &down),
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
    exchange.download(down.get());
    exchange.upload(up.get() as u64);
    match result {
        Ok(()) => {
            exchange.complete(None);
        }
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            exchange.break_off(Reason::UpstreamTimeout);
        }
        Err(_) => exchange.break_off(Reason::ClientAborted),
    }
}

async fn pump(
    first: Buffer,
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    last: &Cell<Instant>,
    moved: &Cell<usize>,
) -> io::Result<()> {
    to.write_all(first.filled()).await?;
    to.flush().await?;
    moved.set(first.filled().len());
    drop(first);
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
