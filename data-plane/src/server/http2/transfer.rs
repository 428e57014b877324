//! Carries a response to the client, and the rest of the request to the backend beside it.

use std::{
    future::poll_fn,
    task::{Context, Poll, ready},
    time::Duration,
};

use lb_http::{Clock, Part, Reason, h2::ErrorCode};
use lb_upstream::Connection;
use tokio::time::Instant;

use super::source::Upload;
use crate::proxy::exchange::Exchange;

/// A response on its way.
#[derive(Debug)]
pub(super) struct Transfer<'a> {
    pub(super) connection: Box<Connection>,
    pub(super) upload: &'a mut Upload,
    pub(super) takes_trailers: bool,
    /// The longest pause of the backend.
    pub(super) idle: Option<Duration>,
    pub(super) deadline: Option<Instant>,
    pub(super) clock: &'a mut Clock,
}

impl Transfer<'_> {
    /// Carries a response to its end, and says whether it came there. The exchange beside it is
    /// dropped if this is.
    pub(super) async fn run(mut self, mut exchange: Exchange) -> bool {
        let result = poll_fn(|cx| self.poll(cx, &exchange)).await;
        let Self { connection, upload, .. } = self;
        exchange.upload(upload.bytes);
        match result {
            Ok(()) => {
                exchange.complete(Some(connection));
                true
            }
            // A head is out already: the client learns of it by the missing end.
            Err(reason) => {
                exchange.break_off(reason);
                let is_client = reason == Reason::ClientAborted;
                let code = if is_client { ErrorCode::Cancel } else { ErrorCode::Internal };
                upload.stream.reset(code);
                false
            }
        }
    }

    /// Sends a frame at a time; then it is another stream's turn.
    fn poll(&mut self, cx: &mut Context<'_>, exchange: &Exchange) -> Poll<Result<(), Reason>> {
        let mut moved = false;
        if !self.connection.is_sent()
            && let Poll::Ready(Err(_)) = self.connection.poll_send(cx, self.upload, &mut moved)
        {
            return Poll::Ready(Err(Reason::ClientAborted));
        }
        if moved {
            self.clock.progress();
        }
        match self.connection.poll_part(cx) {
            Poll::Ready(Ok(Part::Data)) => {}
            Poll::Ready(Ok(Part::End)) => {
                self.clock.progress();
                self.end(false);
                return Poll::Ready(Ok(()));
            }
            Poll::Ready(Err(reason)) => return Poll::Ready(Err(reason)),
            Poll::Pending => {
                ready!(self.clock.poll_too_long(cx, self.idle, self.deadline));
                return Poll::Ready(Err(Reason::UpstreamTimeout));
            }
        }
        self.clock.progress();
        let stream = &self.upload.stream;
        let count = stream.send(self.connection.data()).ok_or(Reason::ClientAborted)?;
        if count == 0 {
            return self.poll_stalled(cx);
        }
        self.upload.clock.progress();
        self.connection.consume(count);
        exchange.download(count);
        // What ends a body may lie behind its last byte already; a fault there comes up when the
        // next part is asked for.
        if matches!(self.connection.part(), Ok(Some(Part::End))) {
            self.end(true);
            return Poll::Ready(Ok(()));
        }
        self.upload.stream.yield_now();
        Poll::Pending
    }

    fn end(&self, is_in_last: bool) {
        let stream = &self.upload.stream;
        match self.connection.trailers().filter(|_| self.takes_trailers) {
            Some(trailers) => stream.end_with(trailers),
            None => stream.end(is_in_last),
        }
    }

    /// Waits for a client that takes nothing.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Reason>> {
        let stall = self.upload.stream.shared.stall;
        ready!(self.upload.clock.poll_too_long(cx, stall, self.deadline));
        Poll::Ready(Err(Reason::ClientAborted))
    }
}
