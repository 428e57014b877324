//! One client's connection over HTTP/1, from its first byte to its last.
//!
//! One task reads heads, has them judged, sends each request on and carries the answer back,
//! request by request. Bytes go from the buffer they were read into straight to the other side.
//! While a connection waits for its next request it holds neither a buffer nor a head.
//!
//! Pauses are measured by two clocks, one for the client and one for backends; what each may be
//! is decided where the waiting is: here for heads and between requests, in [`source`] for
//! request bodies, in [`transfer`] for responses.

mod exchange;
mod refuse;
mod scratch;
mod source;
mod transfer;

use std::{
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{Method, Version};
use lb_http::{
    Clock, Incoming, Reason, Transport,
    buffer::SIZE,
    h1::{BodyLength, Fault, Limits, Progress, Status},
    h2::PREFACE,
};
use lb_model::config::EntryPoint;
use tokio::{io::AsyncReadExt, time::Instant};

use self::scratch::Scratch;
use super::http2;
use crate::{
    drain::Stage,
    proxy::{
        answer::{self, Terms},
        client::Client,
        mirror::Tee,
        upgrade::{self, Switch},
    },
};

/// The longest head there is ever room for.
const NO_LIMIT: usize = 1 << 20;

/// How long a client may take to read the last it is told.
const LINGER: Duration = Duration::from_secs(1);

/// How long a client that has sent nothing yet may still send its first request when its
/// listener closes.
const FIRST_REQUEST_GRACE: Duration = Duration::from_secs(1);

/// What an entry point allows its connections.
#[derive(Debug, Clone, Copy)]
struct Allowance {
    head: Limits,
    /// For a head to arrive.
    header: Option<Duration>,
    /// Between requests.
    idle: Option<Duration>,
    /// For a client to take what is sent.
    stall: Option<Duration>,
    /// For the connection as a whole.
    age: Option<Duration>,
}

/// A connection.
#[derive(Debug)]
struct Http1<S> {
    stream: S,
    client: Rc<Client>,
    allowance: Allowance,
    incoming: Incoming,
    /// What waits to be sent to the client.
    out: Vec<u8>,
    sent: usize,
    /// The client's pauses.
    clock: Clock,
    /// The backend's.
    backend_clock: Clock,
    opened: Instant,
    /// About the request body.
    length: BodyLength,
    most: Option<u64>,
    pause: Option<Duration>,
    uploaded: u64,
    /// The client waits before it sends the body.
    expects_continue: bool,
    /// The client can be told of answers before the last one.
    takes_interim: bool,
    /// Who gets copies of the request body.
    tee: Option<Box<Tee>>,
}

/// What comes after a request.
#[derive(Debug)]
enum Next {
    /// Another one may.
    Request,
    /// The end, when the client has read what it was told.
    Close,
    /// The end, now.
    Drop,
    /// A tunnel; the client was told.
    Switch(Box<Switch>),
}

/// What waiting for a head found.
#[derive(Debug)]
enum Waited {
    /// A request.
    Request,
    /// Nothing more comes, or nothing more is wanted.
    Close,
    /// The client speaks HTTP/2.
    Http2,
    /// No head that can be answered otherwise.
    Refused(Reason),
}

impl Allowance {
    fn new(spec: &EntryPoint) -> Self {
        let bytes = |limit: u64| match usize::try_from(limit) {
            Ok(1..=NO_LIMIT) => limit as usize,
            _ => NO_LIMIT,
        };
        let count = match spec.limits.header_count {
            0 => 4096,
            count => usize::from(count),
        };
        Self {
            head: Limits {
                start_line: bytes(spec.limits.request_line.0),
                fields: bytes(spec.limits.header_bytes.0),
                count,
            },
            header: spec.timeouts.header.limit(),
            idle: spec.timeouts.idle.limit(),
            stall: spec.timeouts.body.limit(),
            age: spec.keep_alive.max_time.limit(),
        }
    }
}

/// Serves a connection until it ends. `may_be_http2` tells that its first bytes decide.
pub async fn serve<S: Transport>(
    stream: S,
    client: Rc<Client>,
    spec: Arc<EntryPoint>,
    may_be_http2: bool,
) {
    let lifecycle = Rc::clone(client.lifecycle());
    let connection = Http1 {
        stream,
        client,
        allowance: Allowance::new(&spec),
        incoming: Incoming::default(),
        out: Vec::new(),
        sent: 0,
        clock: Clock::new(),
        backend_clock: Clock::new(),
        opened: Instant::now(),
        length: BodyLength::Empty,
        most: None,
        pause: None,
        uploaded: 0,
        expects_continue: false,
        takes_interim: false,
        tee: None,
    };
    let mut registration = None;
    let mut run = pin!(connection.run(spec, may_be_http2));
    poll_fn(|cx| {
        registration.get_or_insert_with(|| lifecycle.register(cx.waker()));
        if lifecycle.stage() == Stage::Killed {
            return Poll::Ready(());
        }
        run.as_mut().poll(cx)
    })
    .await;
}

impl<S: Transport> Http1<S> {
    async fn run(mut self, spec: Arc<EntryPoint>, mut may_be_http2: bool) {
        loop {
            let mut scratch = None;
            let mut wait = Wait { progress: Progress::default(), is_in_head: false };
            let waited = poll_fn(|cx| self.poll_request(cx, &mut wait, &mut scratch, may_be_http2));
            match waited.await {
                Waited::Request => {}
                Waited::Close => return,
                Waited::Http2 => {
                    drop(scratch);
                    let Self { stream, client, incoming, .. } = self;
                    // Boxed, so that connections of HTTP/1 do not carry the room for it.
                    return Box::pin(http2::serve(stream, incoming.buffer, client, spec)).await;
                }
                Waited::Refused(reason) => {
                    self.client.count(reason);
                    let terms =
                        Terms { method: &Method::GET, version: Version::HTTP_11, closes: true };
                    answer::write_refusal(&mut self.out, reason, None, &terms);
                    return self.say_goodbye().await;
                }
            }
            may_be_http2 = false;
            let Some(mut scratch) = scratch else {
                return;
            };
            self.out = scratch.take_out();
            self.sent = 0;
            let next = self.answer(&mut scratch).await;
            self.tee = None;
            scratch.give_out(std::mem::take(&mut self.out));
            scratch.give_back();
            match next {
                Next::Request => {}
                Next::Close => return self.say_goodbye().await,
                Next::Drop => return,
                Next::Switch(switch) => {
                    let client = (self.stream, self.incoming.buffer);
                    return Box::pin(upgrade::tunnel(*switch, client)).await;
                }
            }
        }
    }

    /// Waits for a head.
    fn poll_request(
        &mut self,
        cx: &mut Context<'_>,
        wait: &mut Wait,
        scratch: &mut Option<Box<Scratch>>,
        may_be_http2: bool,
    ) -> Poll<Waited> {
        let limits = self.allowance.head;
        loop {
            let filled = self.incoming.buffer.filled();
            if !filled.is_empty() {
                if may_be_http2 && filled.len() >= PREFACE.len() && filled.starts_with(PREFACE) {
                    return Poll::Ready(Waited::Http2);
                }
                let may_become_http2 = may_be_http2 && PREFACE.starts_with(filled);
                if !may_become_http2 {
                    let head = &mut scratch.get_or_insert_with(Scratch::take).head;
                    match head.read(&mut wait.progress, filled, &limits) {
                        Ok(Status::Complete(length)) => {
                            self.incoming.buffer.consume(length);
                            return Poll::Ready(Waited::Request);
                        }
                        Ok(Status::Partial) => {}
                        Err(fault) => return Poll::Ready(Waited::Refused(reason_of(fault))),
                    }
                }
                if !wait.is_in_head {
                    wait.is_in_head = true;
                    self.clock.progress();
                }
            }
            let most = limits.start_line.saturating_add(limits.fields).saturating_add(SIZE);
            match self.incoming.buffer.poll_fill(cx, &mut self.stream, most) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Waited::Close),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::OutOfMemory => {
                    return Poll::Ready(Waited::Refused(Reason::HeaderTooLarge));
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Waited::Close),
                Poll::Pending => return self.poll_patience(cx, wait.is_in_head),
            }
        }
    }

    /// Waits for as long as a client may send nothing.
    fn poll_patience(&mut self, cx: &mut Context<'_>, is_in_head: bool) -> Poll<Waited> {
        if is_in_head {
            ready!(self.clock.poll_too_long(cx, self.allowance.header, None));
            return Poll::Ready(Waited::Refused(Reason::RequestTimeout));
        }
        let is_first = self.client.state().requests() == 0;
        let mut longest = if is_first {
            self.allowance.header.or(self.allowance.idle)
        } else {
            self.allowance.idle
        };
        if self.client.lifecycle().stage() >= Stage::Draining {
            if !is_first {
                return Poll::Ready(Waited::Close);
            }
            // Its first request may be on its way; it will be answered and be the last.
            longest = Some(longest.map_or(FIRST_REQUEST_GRACE, |l| l.min(FIRST_REQUEST_GRACE)));
        }
        let end = self.allowance.age.map(|age| self.opened + age);
        ready!(self.clock.poll_too_long(cx, longest, end));
        Poll::Ready(Waited::Close)
    }

    /// Whether the connection ends with the request that began at `start`.
    fn is_last(&self, start: Instant) -> bool {
        self.client.state().is_closing()
            || self.client.lifecycle().stage() >= Stage::Draining
            || self.allowance.age.is_some_and(|age| start.duration_since(self.opened) >= age)
    }

    /// How much waits to be sent.
    const fn queued(&self) -> usize {
        self.out.len() - self.sent
    }

    /// Sends what waits, and `data` behind it, as far as the client takes it. Returns how much of
    /// `data` it took.
    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let queue = &self.out[self.sent..];
        let queued = queue.len();
        let stream = Pin::new(&mut self.stream);
        let written = if data.is_empty() {
            stream.poll_write(cx, queue)
        } else if queue.is_empty() {
            stream.poll_write(cx, data)
        } else {
            stream.poll_write_vectored(cx, &[io::IoSlice::new(queue), io::IoSlice::new(data)])
        };
        let count = ready!(written)?;
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.sent += count.min(queued);
        if self.sent == self.out.len() {
            self.out.clear();
            self.sent = 0;
        }
        Poll::Ready(Ok(count.saturating_sub(queued)))
    }

    /// Sends all that waits.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.queued() > 0 {
            ready!(self.poll_write(cx, &[]))?;
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Sends what waits and reads until the client closes: a socket that is closed with unread
    /// bytes would have the kernel discard what was sent.
    async fn say_goodbye(mut self) {
        let goodbye = async {
            poll_fn(|cx| self.poll_flush(cx)).await?;
            poll_fn(|cx| Pin::new(&mut self.stream).poll_shutdown(cx)).await?;
            let mut rest = [0; 1024];
            while self.stream.read(&mut rest).await? > 0 {}
            Ok::<(), io::Error>(())
        };
        // Boxed, so that connections do not carry the room for it all their time.
        drop(tokio::time::timeout(LINGER, Box::pin(goodbye)).await);
    }
}

/// How far waiting for a head has come.
#[derive(Debug)]
struct Wait {
    progress: Progress,
    is_in_head: bool,
}

const fn reason_of(fault: Fault) -> Reason {
    match fault {
        Fault::Malformed => Reason::BadRequest,
        Fault::StartLine => Reason::UriTooLong,
        Fault::Fields => Reason::HeaderTooLarge,
    }
}

#[cfg(test)]
mod tests {
    use lb_model::{
        config::{EntryPointTimeouts, KeepAlive, Limits as Configured},
        value::{ByteSize, ListenAddress},
    };

    use super::*;

    #[test]
    fn the_limits_of_an_entry_point_are_kept_and_no_limit_is_still_one() {
        let mut spec = EntryPoint {
            address: ListenAddress::parse("127.0.0.1:0").unwrap(),
            tls: None,
            timeouts: EntryPointTimeouts::default(),
            limits: Configured::default(),
            keep_alive: KeepAlive::default(),
            trusted_ips: Vec::new(),
            overload: None,
        };
        let allowed = Allowance::new(&spec);
        let default = Limits { start_line: 8 << 10, fields: 16 << 10, count: 100 };
        assert_eq!(allowed.head, default);
        assert!(allowed.header.is_some() && allowed.idle.is_some() && allowed.stall.is_some());
        spec.limits.header_bytes = ByteSize(0);
        spec.limits.header_count = 0;
        let allowed = Allowance::new(&spec).head;
        assert_eq!((allowed.fields, allowed.count), (NO_LIMIT, 4096));
    }
}
