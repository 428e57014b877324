//! The request body of a connection, on its way to a backend.

use std::{
    task::{Context, Poll, ready},
    time::Duration,
};

use lb_http::{
    Fields, Part, Reason, Source, Transport,
    buffer::SIZE,
    h1::{BodyLength, ResponseHead},
};

use super::Http1;
use crate::proxy::answer;

/// How long a backend may take to say that it wants the body before the proxy says so instead:
/// some never do, and clients wait as long as they like.
const CONTINUE: Duration = Duration::from_secs(1);

impl<S: Transport> Source for Http1<S> {
    fn length(&self) -> BodyLength {
        self.length
    }

    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Part, Reason>> {
        match self.incoming.poll_part(cx, &mut self.stream) {
            Poll::Ready(Ok(part)) => {
                self.expects_continue = false;
                self.clock.progress();
                let there = self.uploaded + self.incoming.data().len() as u64;
                if part == Part::Data && self.most.is_some_and(|most| there > most) {
                    return Poll::Ready(Err(Reason::RequestTooLarge));
                }
                if part == Part::End
                    && let Some(tee) = &mut self.tee
                {
                    tee.end();
                }
                Poll::Ready(Ok(part))
            }
            // Bad framing is the client's doing, as is going away in the middle.
            Poll::Ready(Err(_)) => Poll::Ready(Err(Reason::BadRequest)),
            Poll::Pending if self.expects_continue => {
                ready!(self.clock.poll_too_long(cx, Some(CONTINUE), None));
                self.expects_continue = false;
                self.clock.progress();
                self.out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                self.attend(cx)?;
                Poll::Pending
            }
            Poll::Pending => {
                ready!(self.clock.poll_too_long(cx, self.pause, None));
                Poll::Ready(Err(Reason::RequestTimeout))
            }
        }
    }

    fn data(&self) -> &[u8] {
        self.incoming.data()
    }

    fn consume(&mut self, count: usize) {
        self.uploaded += count as u64;
        if let Some(tee) = &mut self.tee {
            tee.take(self.incoming.data().get(..count).unwrap_or_default());
        }
        self.incoming.consume(count);
    }

    fn trailers(&self) -> Option<&Fields> {
        self.incoming.trailers()
    }

    fn interim(&mut self, head: &ResponseHead) {
        let is_continue = head.status.as_u16() == 100;
        // Clients that did not ask are not told to go on.
        if self.takes_interim && (!is_continue || self.expects_continue) {
            answer::write_interim(&mut self.out, head);
        }
        if is_continue {
            self.expects_continue = false;
        }
    }

    fn attend(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        if self.queued() > 0
            && let Poll::Ready(Err(_)) = self.poll_flush(cx)
        {
            return Err(Reason::ClientAborted);
        }
        // While a body is read the end is noticed there; what follows it is the next request.
        if self.incoming.is_done() && self.incoming.buffer.is_empty() {
            match self.incoming.buffer.poll_fill(cx, &mut self.stream, SIZE) {
                Poll::Ready(Ok(0) | Err(_)) => return Err(Reason::ClientAborted),
                Poll::Ready(Ok(_)) | Poll::Pending => {}
            }
        }
        Ok(())
    }
}
