//! The request body of a stream, on its way to a backend.

use std::{
    task::{Context, Poll, ready},
    time::Duration,
};

use http::StatusCode;
use lb_http::{
    Clock, Fields, Part, Reason, Source,
    h1::{BodyLength, ResponseHead},
};

use super::shared::Stream;
use crate::proxy::{http2::write_interim, mirror::Tee};

/// How long a backend may take to say that it wants the body before the proxy says so instead.
const CONTINUE: Duration = Duration::from_secs(1);

/// A request body.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) stream: Stream,
    pub(super) length: BodyLength,
    /// Bytes handed on.
    pub(super) bytes: u64,
    pub(super) most: Option<u64>,
    pub(super) pause: Option<Duration>,
    pub(super) clock: Clock,
    /// The client waits before it sends the body.
    pub(super) expects_continue: bool,
    /// Who gets copies of the body.
    pub(super) tee: Option<Box<Tee>>,
    current: Vec<u8>,
    start: usize,
    trailers: Option<Fields>,
}

impl Upload {
    pub(super) const fn new(stream: Stream, length: BodyLength, clock: Clock) -> Self {
        Self {
            stream,
            length,
            bytes: 0,
            most: None,
            pause: None,
            clock,
            expects_continue: false,
            tee: None,
            current: Vec::new(),
            start: 0,
            trailers: None,
        }
    }

    /// Takes what came, if anything did.
    fn take(&mut self) -> Option<Result<Part, Reason>> {
        let mut state = self.stream.shared.state.borrow_mut();
        let inbox = state.inboxes.get_mut(self.stream.key)?;
        if !inbox.data.is_empty() {
            self.current.clear();
            self.start = 0;
            std::mem::swap(&mut self.current, &mut inbox.data);
            return Some(Ok(Part::Data));
        }
        if inbox.is_broken {
            return Some(Err(Reason::BadRequest));
        }
        if inbox.is_ended {
            self.trailers = inbox.trailers.take();
            return Some(Ok(Part::End));
        }
        inbox.waits = true;
        None
    }
}

impl Source for Upload {
    fn length(&self) -> BodyLength {
        self.length
    }

    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Part, Reason>> {
        if self.start < self.current.len() {
            return Poll::Ready(Ok(Part::Data));
        }
        if let Some(taken) = self.take() {
            self.expects_continue = false;
            self.clock.progress();
            let there = self.bytes + self.data().len() as u64;
            if self.most.is_some_and(|most| there > most) {
                return Poll::Ready(Err(Reason::RequestTooLarge));
            }
            if taken == Ok(Part::End)
                && let Some(tee) = &mut self.tee
            {
                tee.end();
            }
            return Poll::Ready(taken);
        }
        if self.expects_continue {
            ready!(self.clock.poll_too_long(cx, Some(CONTINUE), None));
            self.expects_continue = false;
            self.clock.progress();
            self.stream.answer(StatusCode::CONTINUE, false, |_| {});
        }
        ready!(self.clock.poll_too_long(cx, self.pause, None));
        Poll::Ready(Err(Reason::RequestTimeout))
    }

    fn data(&self) -> &[u8] {
        &self.current[self.start..]
    }

    fn consume(&mut self, count: usize) {
        let count = count.min(self.current.len() - self.start);
        self.bytes += count as u64;
        if let Some(tee) = &mut self.tee {
            tee.take(&self.current[self.start..self.start + count]);
        }
        self.start += count;
        self.stream.shared.state.borrow_mut().codec.release(self.stream.key, count);
    }

    fn trailers(&self) -> Option<&Fields> {
        self.trailers.as_ref()
    }

    fn interim(&mut self, head: &ResponseHead) {
        let is_continue = head.status == StatusCode::CONTINUE;
        // Clients that did not ask are not told to go on.
        if !is_continue || self.expects_continue {
            self.stream.answer(head.status, false, |writer| write_interim(writer, head));
        }
        if is_continue {
            self.expects_continue = false;
        }
    }

    fn attend(&mut self, _: &mut Context<'_>) -> Result<(), Reason> {
        // The connection sends, and drops the exchange of a stream that was reset.
        Ok(())
    }
}
