//! One copy on its way to one target.

use std::{
    future::poll_fn,
    rc::Rc,
    sync::Arc,
    task::{Poll, ready},
    time::Duration,
};

use http::Method;
use lb_http::{Clock, Part, Source, source::NoBody};
use lb_upstream::{
    Connection, LocalEndpoint, Outgoing, SendError, SendLimits, connect::ConnectError,
    h1::CallError,
};
use tokio::time::Instant;

use super::{
    Outcome, Target,
    body::{Broken, CopiedBody},
    budget::Slot,
    waiting::WaitedFor,
};

/// The most that is read of an answer, to be able to use its connection again.
const ANSWER: usize = 1 << 20;

/// A copy that is ready to be sent.
pub(super) struct Sending {
    pub(super) head: Vec<u8>,
    pub(super) method: Method,
    pub(super) endpoint: Rc<LocalEndpoint>,
    /// For all of it, its body's way included.
    pub(super) timeout: Duration,
    pub(super) target: Arc<Target>,
    pub(super) worker: usize,
    pub(super) _slot: Slot,
    pub(super) _waited_for: Option<WaitedFor>,
}

impl Sending {
    /// Sends it, throws its answer away, and counts what became of it.
    pub(super) async fn run(self, body: Option<CopiedBody>) {
        let outcome = match body {
            Some(mut body) => {
                let outcome = self.send(&mut body).await;
                match body.broken() {
                    // Whatever it looked like here, this is why.
                    Some(Broken::TooLarge) => Outcome::TooLarge,
                    Some(Broken::NoRoom) => Outcome::Dropped,
                    Some(Broken::BrokeOff) => Outcome::Aborted,
                    None => outcome,
                }
            }
            None => self.send(&mut NoBody).await,
        };
        self.target.counters.of(self.worker).count(outcome);
    }

    async fn send(&self, body: &mut impl Source) -> Outcome {
        let sent = tokio::time::timeout(self.timeout, self.exchange(body)).await;
        match sent {
            Err(_)
            | Ok(Err(SendError::TimedOut | SendError::Connect(ConnectError::TimedOut(_)))) => {
                Outcome::TimedOut
            }
            Ok(Err(SendError::Connect(_))) => Outcome::ConnectError,
            Ok(Err(SendError::Call(CallError::Upload(_)))) => Outcome::Aborted,
            Ok(Err(SendError::Call(_))) => Outcome::Error,
            Ok(Ok(outcome)) => outcome,
        }
    }

    async fn exchange(&self, body: &mut impl Source) -> Result<Outcome, SendError> {
        let start = Instant::now();
        let request = Outgoing { head: &self.head, method: &self.method, start, deadline: None };
        let mut clock = Clock::new();
        let limits = SendLimits::default();
        let mut connection = self.endpoint.send(request, body, limits, &mut clock).await?;
        let outcome = Outcome::of(connection.response().status);
        if read_away(&mut connection, body).await {
            self.endpoint.give_back(connection, Instant::now());
        }
        Ok(outcome)
    }
}

/// Sends what is left of the body and reads the answer to its end, unless that is too far away.
async fn read_away(connection: &mut Connection, body: &mut impl Source) -> bool {
    let mut read = 0;
    poll_fn(|cx| {
        if !connection.is_sent()
            && matches!(connection.poll_send(cx, body, &mut false), Poll::Ready(Err(_)))
        {
            return Poll::Ready(false);
        }
        while read <= ANSWER {
            match ready!(connection.poll_part(cx)) {
                Ok(Part::Data) => {
                    let count = connection.data().len();
                    read += count;
                    connection.consume(count);
                }
                Ok(Part::End) => return Poll::Ready(connection.is_reusable()),
                Err(_) => return Poll::Ready(false),
            }
        }
        Poll::Ready(false)
    })
    .await
}
