//! Takes connections of one entry point on one worker.
//!
//! Over the limit a connection is closed at once and counted. When accepting fails for want of
//! file descriptors or memory the loop waits and tries again: it neither ends nor spins. When
//! the listener closes, connections that the kernel had already taken are served first.

use std::{net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use futures_util::FutureExt;
use lb_http::forwarded::Proto;
use tokio::net::{TcpListener, TcpStream};

use super::tls;
use crate::{
    drain::{Lifecycle, Stage},
    proxy::client::Client,
    server::http1,
    workers::Worker,
};

/// The wait after a failure, doubled each time up to the second value.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// A listener on one worker.
#[derive(Debug)]
pub struct Acceptor {
    /// The socket.
    pub listener: TcpListener,
    /// The entry point it is for.
    pub entry_point: Arc<str>,
    /// Whether clients speak TLS.
    pub tls: bool,
    /// When to stop taking connections.
    pub accepting: Rc<Lifecycle>,
    /// When the connections end.
    pub connections: Rc<Lifecycle>,
}

impl Acceptor {
    /// Accepts until the listener closes.
    pub async fn run(self, worker: Rc<Worker>) {
        let mut backoff = BACKOFF.0;
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = self.accepting.reaches(Stage::Draining) => break,
            };
            match accepted {
                Ok((stream, peer)) => {
                    backoff = BACKOFF.0;
                    self.start(&worker, stream, peer);
                }
                Err(error) => {
                    self.count_failure(&worker, &error);
                    if is_about_the_client(&error) {
                        continue;
                    }
                    tokio::time::sleep(backoff).await;
                    backoff = (backoff * 2).min(BACKOFF.1);
                }
            }
        }
        while let Some(Ok((stream, peer))) = self.listener.accept().now_or_never() {
            self.start(&worker, stream, peer);
        }
    }

    fn start(&self, worker: &Rc<Worker>, stream: TcpStream, peer: SocketAddr) {
        let view = worker.view();
        let Some(index) = view.snapshot().entry_point(&self.entry_point) else {
            // Removed together with its listener; these are the last from the queue.
            return;
        };
        let entry_point = &view.snapshot().entry_points[index];
        let (spec, state) = (Arc::clone(&entry_point.spec), &entry_point.state);
        let own_tls = entry_point.tls.clone();
        let counters = state.of(worker.index());
        counters.accepted.bump();
        if !state.admit(spec.limits.connections) {
            counters.over_limit.bump();
            return;
        }
        let state = Arc::clone(state);
        let port = match (stream.set_nodelay(true), stream.local_addr()) {
            (Ok(()), Ok(address)) => address.port(),
            // Gone already.
            _ => return state.leave(),
        };
        let proto = if self.tls { Proto::Https } else { Proto::Http };
        let client = Rc::new(Client::new(
            Rc::clone(worker),
            Rc::clone(&self.connections),
            state,
            Rc::clone(&view),
            index,
            (peer, port, proto),
        ));
        if self.tls {
            tokio::task::spawn_local(tls::serve(stream, client, spec, own_tls));
        } else {
            tokio::task::spawn_local(http1::serve(stream, client, spec, true));
        }
    }

    fn count_failure(&self, worker: &Worker, error: &std::io::Error) {
        tracing::warn!(entry_point = %self.entry_point, %error, "could not accept a connection");
        let view = worker.view();
        if let Some(index) = view.snapshot().entry_point(&self.entry_point) {
            let state = &view.snapshot().entry_points[index].state;
            state.of(worker.index()).accept_errors.bump();
        }
    }
}

/// Whether only the one connection failed, and the next may be taken at once.
fn is_about_the_client(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::ConnectionAborted
            | std::io::ErrorKind::ConnectionReset
            | std::io::ErrorKind::Interrupted
    )
}
