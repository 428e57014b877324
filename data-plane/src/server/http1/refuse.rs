//! Answers of the proxy itself, and what becomes of the connection after them.

use std::{
    future::poll_fn,
    task::{Context, Poll, ready},
};

use lb_http::{
    Part, Source, Transport,
    h1::{BodyLength, RequestHead},
};
use tokio::time::Instant;

use super::{Http1, Next};
use crate::proxy::{
    answer::{self, Terms},
    rescue::{Connection, Refusal},
};

/// A request body up to this size is read and dropped so that the connection can stay.
const DISCARDED: u64 = 64 << 10;

impl<S: Transport> Http1<S> {
    /// Answers a request with a refusal.
    pub(super) async fn refuse(&mut self, head: &RequestHead, refusal: Refusal) -> Next {
        let Refusal { reason, connection, retry_after } = refusal;
        self.client.count(reason);
        let is_bounded = match self.length {
            BodyLength::Empty => true,
            BodyLength::Exact(length) => length <= DISCARDED,
            BodyLength::Chunked | BodyLength::UntilClose => self.incoming.is_done(),
        };
        let stays = connection == Connection::Stays
            && head.keeps_alive()
            && is_bounded
            && !(self.expects_continue || head.expects_continue() && !self.incoming.is_done())
            && !self.is_last(Instant::now());
        self.most = None;
        let terms = Terms { method: &head.method, version: head.version, closes: !stays };
        answer::write_refusal(&mut self.out, reason, retry_after, &terms);
        if !stays {
            return self.flush_for_close().await;
        }
        let refused = poll_fn(|cx| self.poll_refused(cx)).await;
        self.clock.progress();
        match refused {
            Ok(()) => Next::Request,
            Err(()) => Next::Drop,
        }
    }

    /// Sends the answer before the connection is let go, so that `out` can be given back.
    async fn flush_for_close(&mut self) -> Next {
        let flush = poll_fn(|cx| match self.poll_flush(cx) {
            Poll::Pending => {
                ready!(self.clock.poll_too_long(cx, Some(super::LINGER), None));
                Poll::Ready(false)
            }
            Poll::Ready(sent) => Poll::Ready(sent.is_ok()),
        });
        if flush.await { Next::Close } else { Next::Drop }
    }

    /// Sends the answer and drops the request body.
    fn poll_refused(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ()>> {
        loop {
            match self.poll_part(cx) {
                Poll::Ready(Ok(Part::Data)) => {
                    let count = self.data().len();
                    self.consume(count);
                }
                Poll::Ready(Ok(Part::End)) => break,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(())),
                Poll::Pending => {
                    return match self.poll_flush(cx) {
                        Poll::Ready(Err(_)) => Poll::Ready(Err(())),
                        Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
                    };
                }
            }
        }
        match self.poll_flush(cx) {
            Poll::Ready(sent) => Poll::Ready(sent.map_err(drop)),
            Poll::Pending => {
                ready!(self.clock.poll_too_long(cx, self.allowance.stall, None));
                Poll::Ready(Err(()))
            }
        }
    }
}
