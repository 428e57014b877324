//! The TLS handshake, and what it says about the protocol.
//!
//! A handshake may take as long as a request head: both are a client that has not said yet what
//! it wants.

use std::{rc::Rc, sync::Arc, time::Duration};

use lb_model::config::EntryPoint;
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::{
    drain::Stage,
    proxy::client::Client,
    server::{guard::Protocol, http},
};

/// Shakes hands and serves the connection, with `own` if the entry point has a configuration of
/// its own. Without an agreement the client speaks HTTP/1.
pub async fn serve(
    stream: TcpStream,
    client: Rc<Client>,
    spec: Arc<EntryPoint>,
    own: Option<Arc<ServerConfig>>,
) {
    let acceptor = TlsAcceptor::from(own.unwrap_or_else(|| Arc::clone(client.worker().tls())));
    let limit = spec.timeouts.header.limit();
    let limit = limit.unwrap_or(Duration::from_mins(1));
    let lifecycle = Rc::clone(client.lifecycle());
    let shaken = tokio::select! {
        shaken = tokio::time::timeout(limit, acceptor.accept(stream)) => shaken,
        () = lifecycle.reaches(Stage::Killed) => return,
    };
    let Ok(Ok(stream)) = shaken else {
        client.count_handshake_error();
        return;
    };
    let protocol = match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => Protocol::Http2,
        _ => Protocol::Http1,
    };
    http::serve(stream, Some(protocol), client, spec).await;
}
