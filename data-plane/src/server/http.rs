//! Serves one connection, from its first byte to its last.
//!
//! Sets every limit that hyper leaves off, drives the connection beside its timer and its
//! listener's end, and answers for the parser where it has no words of its own.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hyper::{
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use lb_http::Reason;
use lb_model::config::EntryPoint;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, Sleep, sleep},
};

use super::{
    connection::{ConnectionState, Due, Limits, now},
    guard::{Guard, Protocol},
    head::{HeadLimits, HeadScanner},
};
use crate::{
    drain::{Lifecycle, Registration, Stage},
    proxy::handler::{Client, handle},
};

/// Runs hyper's tasks for the streams of an HTTP/2 connection on the worker's own thread.
#[derive(Debug, Clone, Copy)]
pub struct LocalExecutor;

impl<F: Future + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

/// The longest head the parser is ever given room for.
const NO_LIMIT: usize = 1 << 20;

/// How long a refused client may take to read why.
const LINGER: Duration = Duration::from_secs(1);

/// How long a client that has sent nothing yet may still send its first request when its
/// listener closes.
const FIRST_REQUEST_GRACE: Duration = Duration::from_secs(1);

fn head_limits(spec: &EntryPoint) -> HeadLimits {
    let limit = |bytes: u64| match usize::try_from(bytes) {
        Ok(1..=NO_LIMIT) => bytes as usize,
        _ => NO_LIMIT,
    };
    HeadLimits {
        request_line: limit(spec.limits.request_line.0),
        fields: limit(spec.limits.header_bytes.0),
    }
}

/// How HTTP/1 is parsed. The time to read a head is limited by [`ConnectionState`], which does
/// without a new timer for each request and, other than hyper's limit, lets a connection idle
/// for longer than a head may take.
pub fn http1_builder(spec: &EntryPoint) -> http1::Builder {
    let limits = head_limits(spec);
    let head = limits.request_line + limits.fields + 1024;
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .half_close(false)
        .max_header_size(head)
        .max_buf_size((head + (16 << 10)).max(128 << 10));
    // At hyper's own default of 100 it has room without an allocation.
    match spec.limits.header_count {
        100 => {}
        0 => {
            builder.max_headers(4096);
        }
        count => {
            builder.max_headers(usize::from(count));
        }
    }
    builder
}

/// How HTTP/2 is spoken.
pub fn http2_builder(spec: &EntryPoint) -> http2::Builder<LocalExecutor> {
    let limits = head_limits(spec);
    let mut builder = http2::Builder::new(LocalExecutor);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(100)
        .max_header_list_size(limits.fields as u32)
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

/// Serves a connection until it ends; `protocol` is what TLS agreed on, if it did.
pub async fn serve<S>(
    stream: S,
    protocol: Option<Protocol>,
    client: Rc<Client>,
    spec: Arc<EntryPoint>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let state = Arc::clone(client.state());
    let limits = Limits::new(&spec);
    let mut guard = Guard::new(stream, Arc::clone(&state));
    let lifecycle = Rc::clone(client.lifecycle());
    let protocol = if let Some(protocol) = protocol {
        protocol
    } else {
        let wait = match limits.header() {
            0 => Duration::from_mins(1),
            millis => Duration::from_millis(millis),
        };
        let draining = async {
            lifecycle.reaches(Stage::Draining).await;
            sleep(FIRST_REQUEST_GRACE).await;
        };
        tokio::select! {
            detected = guard.detect() => match detected {
                Ok(protocol) => protocol,
                Err(_) => return,
            },
            () = sleep(wait) => return,
            () = draining => return,
            () = lifecycle.reaches(Stage::Killed) => return,
        }
    };
    match protocol {
        Protocol::Http1 => serve_http1(guard, client, &spec, limits).await,
        // Boxed, so that HTTP/1 connections do not carry the room for it.
        Protocol::Http2 => Box::pin(serve_http2(guard, client, &spec, limits)).await,
    }
}

async fn serve_http1<S>(mut guard: Guard<S>, client: Rc<Client>, spec: &EntryPoint, limits: Limits)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    guard.scan(HeadScanner::new(head_limits(spec)));
    let service_client = Rc::clone(&client);
    let service = service_fn(move |request| handle(Rc::clone(&service_client), request));
    let mut connection =
        http1_builder(spec).serve_connection(TokioIo::new(guard), service).with_upgrades();
    let drive = Drive::new(&client, limits);
    let end = drive
        .run(Pin::new(&mut connection), |connection| {
            connection.graceful_shutdown();
        })
        .await;
    let reason = match end {
        Ended::Done => return,
        Ended::TimedOut(reason) => reason,
        Ended::Failed(error) => {
            let refusal = client.state().refusal();
            if let (None, Some(reason)) = (refusal, told_by_parser(&error)) {
                client.count(reason);
            }
            refusal
        }
    };
    let Some(reason) = reason else {
        return;
    };
    client.count(reason);
    if let Some(parts) = connection.into_parts() {
        let stream = parts.io.into_inner().into_inner();
        drop(tokio::time::timeout(LINGER, tell(stream, reason)).await);
    }
}

async fn serve_http2<S>(guard: Guard<S>, client: Rc<Client>, spec: &EntryPoint, limits: Limits)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service_client = Rc::clone(&client);
    let service = service_fn(move |request| handle(Rc::clone(&service_client), request));
    let connection = http2_builder(spec).serve_connection(TokioIo::new(guard), service);
    let connection = pin!(connection);
    Drive::new(&client, limits).run(connection, http2::Connection::graceful_shutdown).await;
}

/// Sends a refusal and waits until the client has read it: closing a socket with unread bytes
/// would make the kernel discard what was sent.
async fn tell<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    reason: Reason,
) -> std::io::Result<()> {
    stream.write_all(&reason.raw_response()).await?;
    stream.shutdown().await?;
    let mut rest = vec![0; 4096];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

/// What the parser has already answered with a bare status.
fn told_by_parser(error: &hyper::Error) -> Option<Reason> {
    if error.is_parse_too_large() {
        Some(Reason::HeaderTooLarge)
    } else if error.is_parse() {
        Some(Reason::BadRequest)
    } else {
        None
    }
}

/// How driving a connection ended.
#[derive(Debug)]
enum Ended {
    Done,
    Failed(hyper::Error),
    TimedOut(Option<Reason>),
}

/// Polls a connection beside its timer and its listener's end.
struct Drive {
    state: Arc<ConnectionState>,
    lifecycle: Rc<Lifecycle>,
    limits: Limits,
    timer: Pin<Box<Sleep>>,
    registration: Option<Registration>,
    watched_head: u64,
    is_closing: bool,
    grace_until: Option<Instant>,
}

impl Drive {
    fn new(client: &Client, limits: Limits) -> Self {
        let state = Arc::clone(client.state());
        let first = match state.due(now(), &limits) {
            Due::Later(after) => after,
            Due::Close | Due::Abort(_) => Duration::ZERO,
        };
        Self {
            lifecycle: Rc::clone(client.lifecycle()),
            state,
            limits,
            timer: Box::pin(sleep(first)),
            registration: None,
            watched_head: 0,
            is_closing: false,
            grace_until: None,
        }
    }

    async fn run<C>(mut self, mut connection: Pin<&mut C>, close: fn(Pin<&mut C>)) -> Ended
    where
        C: Future<Output = hyper::Result<()>>,
    {
        poll_fn(|cx| {
            if self.registration.is_none() {
                self.registration = Some(self.lifecycle.register(cx.waker()));
            }
            loop {
                if let Poll::Ready(result) = connection.as_mut().poll(cx) {
                    return Poll::Ready(result.map_or_else(Ended::Failed, |()| Ended::Done));
                }
                match self.poll_due(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Due::Abort(reason)) => {
                        return Poll::Ready(Ended::TimedOut(reason));
                    }
                    Poll::Ready(Due::Close | Due::Later(_)) => {
                        self.is_closing = true;
                        close(connection.as_mut());
                    }
                }
            }
        })
        .await
    }

    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<Due> {
        match self.lifecycle.stage() {
            Stage::Killed => return Poll::Ready(Due::Abort(None)),
            Stage::Draining if !self.is_closing && self.grace_until.is_none() => {
                if self.state.requests() > 0 {
                    return Poll::Ready(Due::Close);
                }
                // Its first request may be on its way; it will be answered and be the last.
                let until = Instant::now() + FIRST_REQUEST_GRACE;
                self.grace_until = Some(until);
                self.timer.as_mut().reset(until);
            }
            Stage::Open | Stage::Draining => {}
        }
        let is_last = self.grace_until.is_some() && self.state.requests() > 0;
        if !self.is_closing && (is_last || self.state.is_closing()) {
            return Poll::Ready(Due::Close);
        }
        let head = self.state.head_since();
        if head != self.watched_head {
            self.watched_head = head;
            if head > 0 && self.limits.header() > 0 {
                let limit = Duration::from_millis(self.limits.header());
                let due = Instant::now() + limit;
                if due < self.timer.deadline() {
                    self.timer.as_mut().reset(due);
                }
            }
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if !self.is_closing && self.grace_until.is_some_and(|until| Instant::now() >= until) {
                return Poll::Ready(Due::Close);
            }
            match self.state.due(now(), &self.limits) {
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

    fn spec() -> EntryPoint {
        EntryPoint {
            address: ListenAddress::parse("127.0.0.1:0").unwrap(),
            tls: None,
            timeouts: EntryPointTimeouts::default(),
            limits: Limits::default(),
            keep_alive: KeepAlive::default(),
            trusted_ips: Vec::new(),
        }
    }

    #[track_caller]
    fn assert_set(builder: &str, settings: &[&str]) {
        for setting in settings {
            assert!(builder.contains(setting), "`{setting}` is not in {builder}");
        }
        assert!(!builder.contains("timer: Empty"), "{builder}");
    }

    #[test]
    fn every_limit_that_hyper_leaves_off_is_set() {
        let one = format!("{:?}", http1_builder(&spec()));
        // 8 KiB of request line, 16 KiB of fields, and the ends of lines.
        assert_set(
            &one,
            &[
                "h1_half_close: false",
                "h1_max_header_size: Some(25600)",
                "max_buf_size: Some(131072)",
                "h1_header_read_timeout: Configured(None)",
            ],
        );
        let two = format!("{:?}", http2_builder(&spec()));
        assert_set(
            &two,
            &[
                "max_concurrent_streams: Some(100)",
                "max_header_list_size: 16384",
                "max_pending_accept_reset_streams: Some(20)",
                "max_local_error_reset_streams: Some(1024)",
                "keep_alive_interval: Some(20s)",
                "keep_alive_timeout: 20s",
                "max_send_buffer_size: 262144",
            ],
        );
    }

    #[test]
    fn the_limits_of_an_entry_point_reach_the_parsers() {
        let mut spec = spec();
        spec.limits.header_bytes = ByteSize(1024);
        spec.limits.header_count = 7;
        let one = format!("{:?}", http1_builder(&spec));
        assert_set(&one, &["h1_max_headers: Some(7)", "h1_max_header_size: Some(10240)"]);
        let two = format!("{:?}", http2_builder(&spec));
        assert_set(&two, &["max_header_list_size: 1024"]);
        spec.limits.header_bytes = ByteSize(0);
        assert_eq!(head_limits(&spec).fields, NO_LIMIT, "no limit is still one");
    }
}
