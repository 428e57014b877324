//! One client's connection over HTTP/2.
//!
//! hyper speaks the protocol; every limit that it leaves off is set here, and the connection is
//! driven beside its timer and its listener's end.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hyper::{server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use lb_http::{Buffer, Transport};
use lb_model::config::EntryPoint;
use tokio::time::{Instant, Sleep, sleep};

use super::{
    connection::{Due, Limits, now},
    guard::Guard,
};
use crate::{
    drain::{Registration, Stage},
    proxy::{client::Client, http2::handle},
};

/// Runs hyper's tasks for the streams of a connection on the worker's own thread.
#[derive(Debug, Clone, Copy)]
pub struct LocalExecutor;

impl<F: Future + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

/// The largest list of fields there is ever room for.
const NO_LIMIT: u64 = 1 << 20;

/// How long a client may take to leave a connection that was closed.
const LINGER: Duration = Duration::from_secs(1);

/// How long a client that has sent nothing yet may still send its first request when its
/// listener closes.
const FIRST_REQUEST_GRACE: Duration = Duration::from_secs(1);

/// How HTTP/2 is spoken.
pub fn builder(spec: &EntryPoint) -> http2::Builder<LocalExecutor> {
    let fields = match spec.limits.header_bytes.0 {
        0 => NO_LIMIT,
        bytes => bytes.min(NO_LIMIT),
    };
    let mut builder = http2::Builder::new(LocalExecutor);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(100)
        .max_header_list_size(fields as u32)
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(1024)
        .initial_stream_window_size(256 << 10)
        .initial_connection_window_size(1 << 20)
        .max_frame_size(16 << 10)
        .max_send_buf_size(256 << 10)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

/// Serves a connection until it ends; `first` was read from it already.
pub async fn serve<S: Transport>(
    stream: S,
    first: Buffer,
    client: Rc<Client>,
    spec: Arc<EntryPoint>,
) {
    let guard = Guard::new(stream, first, Rc::clone(&client));
    let service_client = Rc::clone(&client);
    // Boxed, because hyper moves what it is given many times.
    let service = service_fn(move |request| Box::pin(handle(Rc::clone(&service_client), request)));
    let connection = builder(&spec).serve_connection(TokioIo::new(guard), service);
    let connection = pin!(connection);
    let drive = Drive::new(client, Limits::new(&spec));
    drive.run(connection, http2::Connection::graceful_shutdown).await;
}

/// Polls a connection beside its timer and its listener's end.
struct Drive {
    client: Rc<Client>,
    limits: Limits,
    timer: Pin<Box<Sleep>>,
    registration: Option<Registration>,
    is_closing: bool,
    grace_until: Option<Instant>,
}

impl Drive {
    fn new(client: Rc<Client>, limits: Limits) -> Self {
        let first = match client.state().due(now(), &limits) {
            Due::Later(after) => after,
            Due::Close | Due::Abort => Duration::ZERO,
        };
        Self {
            client,
            limits,
            timer: Box::pin(sleep(first)),
            registration: None,
            is_closing: false,
            grace_until: None,
        }
    }

    async fn run<C>(mut self, mut connection: Pin<&mut C>, close: fn(Pin<&mut C>))
    where
        C: Future<Output = hyper::Result<()>>,
    {
        poll_fn(|cx| {
            if self.registration.is_none() {
                self.registration = Some(self.client.lifecycle().register(cx.waker()));
            }
            loop {
                if connection.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                match self.poll_due(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Due::Abort) => return Poll::Ready(()),
                    Poll::Ready(Due::Close | Due::Later(_)) => {
                        self.is_closing = true;
                        close(connection.as_mut());
                    }
                }
            }
        })
        .await;
    }

    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<Due> {
        let state = self.client.state();
        match self.client.lifecycle().stage() {
            Stage::Killed => return Poll::Ready(Due::Abort),
            Stage::Draining if !self.is_closing && self.grace_until.is_none() => {
                if state.requests() > 0 {
                    return Poll::Ready(Due::Close);
                }
                // Its first request may be on its way; it will be answered and be the last.
                let until = Instant::now() + FIRST_REQUEST_GRACE;
                self.grace_until = Some(until);
                self.timer.as_mut().reset(until);
            }
            Stage::Open | Stage::Draining => {}
        }
        let is_last = self.grace_until.is_some() && state.requests() > 0;
        if !self.is_closing && (is_last || state.is_closing()) {
            return Poll::Ready(Due::Close);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if !self.is_closing && self.grace_until.is_some_and(|until| Instant::now() >= until) {
                return Poll::Ready(Due::Close);
            }
            match state.due(now(), &self.limits) {
                Due::Later(after) => self.timer.as_mut().reset(Instant::now() + after),
                // A connection that was asked to close and idles on has had its time.
                Due::Close if self.is_closing => {
                    self.timer.as_mut().reset(Instant::now() + LINGER);
                }
                due => return Poll::Ready(due),
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use lb_model::{
        config::{EntryPointTimeouts, KeepAlive, Limits},
        value::{ByteSize, ListenAddress},
    };

    use super::*;

    #[test]
    fn every_limit_that_hyper_leaves_off_is_set() {
        let mut spec = EntryPoint {
            address: ListenAddress::parse("127.0.0.1:0").unwrap(),
            tls: None,
            timeouts: EntryPointTimeouts::default(),
            limits: Limits::default(),
            keep_alive: KeepAlive::default(),
            trusted_ips: Vec::new(),
        };
        let shown = format!("{:?}", builder(&spec));
        for setting in [
            "max_concurrent_streams: Some(100)",
            "max_header_list_size: 16384",
            "max_pending_accept_reset_streams: Some(20)",
            "max_local_error_reset_streams: Some(1024)",
            "keep_alive_interval: Some(20s)",
            "keep_alive_timeout: 20s",
            "max_send_buffer_size: 262144",
        ] {
            assert!(shown.contains(setting), "`{setting}` is not in {shown}");
        }
        assert!(!shown.contains("timer: Empty"), "{shown}");
        spec.limits.header_bytes = ByteSize(1024);
        assert!(format!("{:?}", builder(&spec)).contains("max_header_list_size: 1024"));
    }
}
