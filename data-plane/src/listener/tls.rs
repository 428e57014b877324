//! The TLS handshake, and what it says about the protocol.
//!
//! A handshake may take as long as a request head: both are a client that has not said yet what
//! it wants.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use lb_http::{Buffer, Transport};
use lb_model::config::EntryPoint;
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{
    drain::Stage,
    proxy::client::Client,
    server::{http1, http2},
};

/// Shakes hands and serves the connection, with `own` if the entry point has a configuration of
/// its own. Without an agreement the client speaks HTTP/1.
pub async fn serve(
    stream: TcpStream,
    client: Rc<Client>,
    spec: Arc<EntryPoint>,
    own: Option<Arc<ServerConfig>>,
) {
    let Some(stream) = shake_hands(stream, &client, &spec, own).await else {
        return;
    };
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let stream = Secured(stream);
    // Boxed, so that no connection carries the room for both.
    if is_http2 {
        Box::pin(http2::serve(stream, Buffer::new(), client, spec)).await;
    } else {
        Box::pin(http1::serve(stream, client, spec, false)).await;
    }
}

async fn shake_hands(
    stream: TcpStream,
    client: &Rc<Client>,
    spec: &EntryPoint,
    own: Option<Arc<ServerConfig>>,
) -> Option<Box<TlsStream<TcpStream>>> {
    let acceptor = TlsAcceptor::from(own.unwrap_or_else(|| Arc::clone(client.worker().tls())));
    let limit = spec.timeouts.header.limit();
    let limit = limit.unwrap_or(Duration::from_mins(1));
    let lifecycle = Rc::clone(client.lifecycle());
    // Boxed, so that connections do not carry the room for it all their time.
    let shaking = Box::pin(tokio::time::timeout(limit, acceptor.accept(stream)));
    let shaken = tokio::select! {
        shaken = shaking => shaken,
        () = lifecycle.reaches(Stage::Killed) => return None,
    };
    if let Ok(Ok(stream)) = shaken {
        return Some(Box::new(stream));
    }
    client.count_handshake_error();
    None
}

/// A stream behind TLS. Boxed, because a session is large and connections are moved.
#[derive(Debug)]
pub struct Secured(Box<TlsStream<TcpStream>>);

impl Transport for Secured {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (stream, session) = self.0.get_ref();
        // It does not want more as long as it holds plain text that nobody has taken.
        if session.wants_read() { stream.poll_read_ready(cx) } else { Poll::Ready(Ok(())) }
    }
}

impl AsyncRead for Secured {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
