//! Carries a response to the client, and the rest of the request to the backend beside it.

use std::{
    future::poll_fn,
    task::{Context, Poll, ready},
    time::Duration,
};

use lb_http::{Clock, Part, Reason, Source, Transport, h1::encode};
use lb_upstream::Connection;
use tokio::time::Instant;

use super::{Http1, Next};
use crate::proxy::{answer::Framing, exchange::Exchange};

/// Data up to this size is sent together with what goes before it.
const COPIED: usize = 4 << 10;

/// How much may wait to be sent before more of a body is asked for.
const QUEUE: usize = 16 << 10;

/// A response on its way.
#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) connection: Box<Connection>,
    pub(super) exchange: Exchange,
    pub(super) framing: Framing,
    /// Whether the client's connection ends with it.
    pub(super) closes: bool,
    pub(super) takes_trailers: bool,
    /// The longest pause of the backend.
    pub(super) idle: Option<Duration>,
    pub(super) deadline: Option<Instant>,
    pub(super) clock: Clock,
    /// Whether the backend's part is read to its end.
    pub(super) is_over: bool,
}

impl<S: Transport> Http1<S> {
    /// Carries a response to its end.
    pub(super) async fn carry(&mut self, mut transfer: Transfer) -> Next {
        let result = poll_fn(|cx| self.poll_transfer(cx, &mut transfer)).await;
        let Transfer { connection, mut exchange, closes, clock, .. } = transfer;
        self.backend_clock = clock;
        exchange.upload(self.uploaded);
        match result {
            Ok(()) => {
                let is_whole = connection.is_sent() && self.incoming.is_done();
                // From now on the next request is waited for.
                self.clock.begin_at(exchange.complete(Some(connection)));
                if closes || !is_whole { Next::Close } else { Next::Request }
            }
            // A head is out already: the client learns of it by the missing end.
            Err(reason) => {
                exchange.break_off(reason);
                Next::Drop
            }
        }
    }

    fn poll_transfer(
        &mut self,
        cx: &mut Context<'_>,
        transfer: &mut Transfer,
    ) -> Poll<Result<(), Reason>> {
        loop {
            let mut moved = false;
            if !transfer.connection.is_sent()
                && let Poll::Ready(Err(_)) = transfer.connection.poll_send(cx, self, &mut moved)
            {
                return Poll::Ready(Err(Reason::ClientAborted));
            }
            if moved {
                transfer.clock.progress();
            }
            let direct = match self.gather(cx, transfer) {
                Ok(direct) => direct,
                Err(reason) => {
                    // What came before is still handed on.
                    let _ = self.poll_flush(cx);
                    return Poll::Ready(Err(reason));
                }
            };
            let data = if direct { transfer.connection.data() } else { &[] };
            if self.queued() == 0 && data.is_empty() {
                if !transfer.is_over {
                    self.attend(cx)?;
                    ready!(transfer.clock.poll_too_long(cx, transfer.idle, transfer.deadline));
                    return Poll::Ready(Err(Reason::UpstreamTimeout));
                }
                return match self.poll_flush(cx) {
                    Poll::Ready(sent) => Poll::Ready(sent.map_err(|_| Reason::ClientAborted)),
                    Poll::Pending => self.poll_stalled(cx, transfer.deadline),
                };
            }
            match self.poll_write(cx, data) {
                Poll::Ready(Ok(count)) => {
                    self.clock.progress();
                    if count > 0 {
                        transfer.take(count);
                    }
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Reason::ClientAborted)),
                Poll::Pending => return self.poll_stalled(cx, transfer.deadline),
            }
        }
    }

    /// Takes what the backend has into the queue; tells whether there is data that is better sent
    /// from where it is.
    fn gather(&mut self, cx: &mut Context<'_>, transfer: &mut Transfer) -> Result<bool, Reason> {
        while !transfer.is_over && self.queued() < QUEUE {
            // What is there goes out before more is waited for.
            let part = if self.queued() > 0 {
                match transfer.connection.part()? {
                    Some(part) => part,
                    None => return Ok(false),
                }
            } else {
                match transfer.connection.poll_part(cx)? {
                    Poll::Ready(part) => {
                        transfer.clock.progress();
                        part
                    }
                    Poll::Pending => return Ok(false),
                }
            };
            match (part, transfer.framing) {
                (Part::Data, Framing::Plain) => {
                    let data = transfer.connection.data();
                    if data.len() > COPIED {
                        return Ok(true);
                    }
                    self.out.extend_from_slice(data);
                    transfer.take(data.len());
                }
                (Part::Data, Framing::Chunked) => {
                    let data = transfer.connection.data();
                    encode::chunk(&mut self.out, data);
                    transfer.take(data.len());
                }
                (Part::End, framing) => {
                    transfer.is_over = true;
                    if framing == Framing::Chunked {
                        let trailers = transfer.connection.trailers();
                        let trailers = trailers.filter(|_| transfer.takes_trailers);
                        encode::last_chunk(&mut self.out, trailers);
                    }
                }
            }
        }
        Ok(false)
    }

    /// Waits for a client that takes nothing.
    fn poll_stalled(
        &mut self,
        cx: &mut Context<'_>,
        deadline: Option<Instant>,
    ) -> Poll<Result<(), Reason>> {
        ready!(self.clock.poll_too_long(cx, self.allowance.stall, deadline));
        Poll::Ready(Err(Reason::ClientAborted))
    }
}

impl Transfer {
    fn take(&mut self, count: usize) {
        self.connection.consume(count);
        self.exchange.download(count);
    }
}
