//! How a simulated proxy reaches the control plane: one connection each, as in reality.
//!
//! Everything between the address and the gRPC channel is here, so that a client certificate has
//! one place to go.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use anyhow::Result;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpSocket, TcpStream},
    time::{Sleep, sleep},
};
use tonic::transport::{Channel, Endpoint};

/// What the real proxies use.
const CONNECT: Duration = Duration::from_secs(5);
const KEEPALIVE: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How fast a proxy reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// As fast as it can.
    Free,
    /// About 1 KiB a second.
    Crawling,
}

/// The bytes that a crawling proxy reads at once, and how often.
const SIP: usize = 256;
const SIPS: Duration = Duration::from_millis(250);

/// Opens a connection of its own to the control plane.
pub(crate) async fn open(control_plane: SocketAddr, pace: Pace) -> Result<Channel> {
    let connector = tower::service_fn(move |_: http::Uri| async move {
        let stream = connect(control_plane, pace).await?;
        Ok::<_, io::Error>(TokioIo::new(Paced { stream, pace, pause: None }))
    });
    let channel = Endpoint::from_shared(format!("http://{control_plane}"))?
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .connect_with_connector(connector)
        .await?;
    Ok(channel)
}

async fn connect(address: SocketAddr, pace: Pace) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if pace == Pace::Crawling {
        // Or the kernel would read ahead for it.
        socket.set_recv_buffer_size(2_048)?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A stream that is read no faster than its pace.
#[derive(Debug)]
struct Paced {
    stream: TcpStream,
    pace: Pace,
    pause: Option<Pin<Box<Sleep>>>,
}

impl AsyncRead for Paced {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.pace == Pace::Free {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        let mut sip = [0; SIP];
        let mut sip = ReadBuf::new(&mut sip[..buffer.remaining().min(SIP)]);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut sip))?;
        buffer.put_slice(sip.filled());
        self.pause = Some(Box::pin(sleep(SIPS)));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Paced {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }
}
