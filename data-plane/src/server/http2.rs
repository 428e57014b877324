//! One client's connection over HTTP/2, from its first byte to its last.
//!
//! One task reads frames, polls the exchanges of all streams and writes what they have to say.
//! Each time it runs it reads what there is, then polls those streams that are ready, then writes
//! all of it at once: answers that come together leave together. The protocol itself is in
//! [`lb_http::h2`], what happens on a stream in [`exchange`].
//!
//! While nothing is asked for a connection holds no buffer and nothing of its streams.

mod exchange;
mod patience;
mod scratch;
mod shared;
mod source;
mod transfer;
mod wakers;

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    io,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use lb_http::{
    Buffer, Reason, Transport,
    buffer::SIZE,
    h1::BodyLength,
    h2::{self, Event},
};
use lb_model::config::EntryPoint;
use tokio::{io::AsyncReadExt, task::coop::has_budget_remaining};

use self::{
    patience::{Patience, Word},
    scratch::Scratch,
    shared::{Shared, State, Stream},
    wakers::{MOST, Wakers, only},
};
use crate::proxy::client::Client;

/// The largest list of fields there is ever room for.
const NO_LIMIT: usize = 1 << 20;

/// Streams at a time.
const STREAMS: usize = 100;

/// How long a client may take to read the last it is told.
const LINGER: Duration = Duration::from_secs(1);

/// How much may wait to be sent before no more is read: a client that takes no answers must not
/// have more of them made.
const UNREAD: usize = 128 << 10;

/// A connection.
#[derive(Debug)]
struct Http2<S> {
    stream: S,
    buffer: Buffer,
    shared: Rc<Shared>,
    slots: Vec<Slot>,
    /// Something was written that the stream may hold back.
    is_unflushed: bool,
    /// Nothing more is understood or comes; what waits is sent.
    is_over: bool,
    patience: Patience,
}

/// Room for a stream.
struct Slot {
    waker: Waker,
    exchange: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slot").field("is_used", &self.exchange.is_some()).finish_non_exhaustive()
    }
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The client may read what it was told.
    Kindly,
    /// Now.
    Now,
}

/// What an entry point allows its connections.
fn settings(spec: &EntryPoint) -> h2::Settings {
    let bytes = |limit: u64| match usize::try_from(limit) {
        Ok(1..=NO_LIMIT) => limit as usize,
        _ => NO_LIMIT,
    };
    let count = match spec.limits.header_count {
        0 => 4096,
        count => usize::from(count),
    };
    h2::Settings {
        head: h2::Limits {
            target: bytes(spec.limits.request_line.0),
            list: bytes(spec.limits.header_bytes.0),
            count,
        },
        streams: STREAMS.min(MOST),
        stream_window: 256 << 10,
        window: 1 << 20,
    }
}

/// Serves a connection until it ends; `first` was read from it already.
pub async fn serve<S: Transport>(
    stream: S,
    first: Buffer,
    client: Rc<Client>,
    spec: Arc<EntryPoint>,
) {
    let codec = h2::Connection::new(settings(&spec));
    let patience = Patience::new(Rc::clone(&client), &spec);
    let shared = Shared {
        client,
        stall: spec.timeouts.body.limit(),
        state: RefCell::new(State::new(codec, Wakers::new(Waker::noop()))),
    };
    drop(spec);
    let mut connection = Http2 {
        stream,
        buffer: first,
        shared: Rc::new(shared),
        slots: Vec::new(),
        is_unflushed: false,
        is_over: false,
        patience,
    };
    if poll_fn(|cx| connection.poll(cx)).await == End::Kindly {
        // Boxed, so that connections do not carry the room for it all their time.
        Box::pin(connection.say_goodbye()).await;
    }
}

impl<S: Transport> Http2<S> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        self.lend(cx);
        let end = self.poll_on(cx);
        let mut state = self.shared.state.borrow_mut();
        if state.queued() == 0 {
            scratch::give_out(std::mem::take(&mut state.codec.out));
        }
        end
    }

    /// Sees to it that there is room to send from and that wakers wake this task.
    fn lend(&mut self, cx: &Context<'_>) {
        let mut state = self.shared.state.borrow_mut();
        if state.codec.out.capacity() == 0 {
            state.codec.out = scratch::take_out();
        }
        if state.wakers.are_of(cx.waker()) {
            return;
        }
        // The first time, or another task drives the connection now.
        state.wakers = Wakers::new(cx.waker());
        for (key, slot) in self.slots.iter_mut().enumerate() {
            slot.waker = state.wakers.waker(key);
            state.wakers.mark(only(key));
        }
        drop(state);
        self.patience.register(cx.waker());
        self.take_frames();
    }

    fn poll_on(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            if !has_budget_remaining() {
                // It is another connection's turn.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let mut has_moved = false;
            if !self.is_over && self.shared.state.borrow().queued() < UNREAD {
                match self.buffer.poll_fill(cx, &mut self.stream, SIZE) {
                    // The client is gone, and with it whoever waits for answers.
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(End::Now),
                    Poll::Ready(Ok(_)) => {
                        has_moved = true;
                        self.patience.hear();
                        self.take_frames();
                    }
                    Poll::Pending => {}
                }
            }
            while has_budget_remaining() && self.poll_streams() {
                has_moved = true;
            }
            match self.poll_write(cx) {
                Poll::Ready(Err(_)) => return Poll::Ready(End::Now),
                Poll::Ready(Ok(())) => {
                    let mut state = self.shared.state.borrow_mut();
                    let is_left = state.codec.is_leaving() && state.codec.active() == 0;
                    if self.is_over || is_left {
                        return Poll::Ready(End::Kindly);
                    }
                    has_moved |= state.unblock();
                }
                Poll::Pending => {}
            }
            if !has_moved {
                match ready!(self.patience.poll(cx)) {
                    Word::Abort => return Poll::Ready(End::Now),
                    word => self.heed(word),
                }
            }
        }
    }

    /// Takes what was read, frame by frame.
    fn take_frames(&mut self) {
        while !self.is_over {
            let received = self.shared.state.borrow_mut().codec.receive(self.buffer.filled());
            match received {
                Ok((taken, event)) => {
                    if let Some(event) = event {
                        self.take(event);
                    }
                    self.buffer.consume(taken);
                    if event.is_none() {
                        return;
                    }
                }
                Err(code) => {
                    tracing::debug!(%code, "a client broke the rules of HTTP/2");
                    self.is_over = true;
                }
            }
        }
    }

    /// Does what follows from an event.
    fn take(&mut self, event: Event) {
        let mut state = self.shared.state.borrow_mut();
        match event {
            Event::Request { key, length, fault } => {
                let mut scratch = Scratch::take();
                std::mem::swap(&mut scratch.head, &mut state.codec.head);
                state.open(key, length == BodyLength::Empty);
                while self.slots.len() <= key {
                    let waker = state.wakers.waker(self.slots.len());
                    self.slots.push(Slot { waker, exchange: None });
                }
                let stream = Stream { shared: Rc::clone(&self.shared), key };
                let exchange = exchange::serve(stream, scratch, length, fault);
                self.slots[key].exchange = Some(Box::pin(exchange));
            }
            Event::Data { key, at, length, is_last } => {
                let inbox = &mut state.inboxes[key];
                inbox.data.extend_from_slice(&self.buffer.filled()[at..at + length]);
                inbox.is_ended = is_last;
                state.notify(key);
            }
            Event::Trailers { key } => {
                let fields = std::mem::take(&mut state.codec.head.fields);
                let inbox = &mut state.inboxes[key];
                (inbox.trailers, inbox.is_ended) = (Some(fields), true);
                state.notify(key);
            }
            Event::Reset { key } => {
                drop(state);
                self.drop_stream(key);
            }
            Event::Broken { key } => {
                state.inboxes[key].is_broken = true;
                drop(state);
                // So that it can say why it ends.
                self.poll_stream(key);
                self.drop_stream(key);
            }
            Event::Malformed => self.shared.client.count(Reason::BadRequest),
            Event::Heard => state.codec.refuse_streams(),
            // Who waits for room is found after writing.
            Event::Room => {}
        }
    }

    /// Polls the streams that are ready; tells whether any was.
    fn poll_streams(&mut self) -> bool {
        let (ready, last) = {
            let state = self.shared.state.borrow();
            (state.wakers.take(), state.last)
        };
        // Room is for those first who did not have it last.
        let first = (last + 1) % MOST;
        let mut left = ready.rotate_right(first as u32);
        while left != 0 {
            let key = (first + left.trailing_zeros() as usize) % MOST;
            left &= left - 1;
            self.poll_stream(key);
        }
        ready != 0
    }

    fn poll_stream(&mut self, key: usize) {
        if let Some(slot) = self.slots.get_mut(key)
            && let Some(exchange) = &mut slot.exchange
            && exchange.as_mut().poll(&mut Context::from_waker(&slot.waker)).is_ready()
        {
            slot.exchange = None;
            self.shared.state.borrow_mut().close(key);
        }
    }

    /// Ends an exchange that nobody waits for.
    fn drop_stream(&mut self, key: usize) {
        self.slots[key].exchange = None;
        self.shared.state.borrow_mut().close(key);
    }

    /// Sends all that waits.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, shared, is_unflushed, .. } = self;
        let state = &mut *shared.state.borrow_mut();
        let connection = shared.client.state();
        while state.queued() > 0 {
            let written = Pin::new(&mut *stream).poll_write(cx, &state.codec.out[state.sent..]);
            connection.set_stalled(written.is_pending());
            match written {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => state.sent += count,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    state.compact();
                    return Poll::Pending;
                }
            }
            *is_unflushed = true;
        }
        state.codec.out.clear();
        state.sent = 0;
        if *is_unflushed {
            let flushed = Pin::new(stream).poll_flush(cx);
            connection.set_stalled(flushed.is_pending());
            ready!(flushed)?;
            *is_unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Does what is due by the clock.
    fn heed(&mut self, word: Word) {
        let mut state = self.shared.state.borrow_mut();
        match word {
            Word::Announce => state.codec.announce_end(),
            Word::Refuse => state.codec.refuse_streams(),
            Word::Ping => state.codec.ping(),
            Word::Rest => {
                state.codec.refill();
                if state.codec.active() == 0 {
                    state.shrink();
                    self.slots = Vec::new();
                }
            }
            Word::Abort => {}
        }
    }

    /// Sends what waits and reads until the client closes: a socket that is closed with unread
    /// bytes would have the kernel discard what was sent.
    async fn say_goodbye(mut self) {
        self.slots.clear();
        let goodbye = async {
            poll_fn(|cx| self.poll_write(cx)).await?;
            poll_fn(|cx| Pin::new(&mut self.stream).poll_shutdown(cx)).await?;
            let mut rest = [0; 1024];
            while self.stream.read(&mut rest).await? > 0 {}
            Ok::<(), io::Error>(())
        };
        drop(tokio::time::timeout(LINGER, goodbye).await);
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
    fn the_limits_of_an_entry_point_are_kept_and_no_limit_is_still_one() {
        let mut spec = EntryPoint {
            address: ListenAddress::parse("127.0.0.1:0").unwrap(),
            tls: None,
            timeouts: EntryPointTimeouts::default(),
            limits: Limits::default(),
            keep_alive: KeepAlive::default(),
            trusted_ips: Vec::new(),
            overload: None,
        };
        let head = h2::Limits { target: 8 << 10, list: 16 << 10, count: 100 };
        assert_eq!(settings(&spec).head, head);
        assert!(settings(&spec).streams <= MOST);
        spec.limits.header_bytes = ByteSize(0);
        spec.limits.header_count = 0;
        let head = h2::Limits { list: NO_LIMIT, count: 4096, ..head };
        assert_eq!(settings(&spec).head, head);
    }
}
