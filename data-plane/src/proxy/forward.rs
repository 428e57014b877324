//! Sends a request to its backend, and to another one where that may help.
//!
//! What is tried again is what the service says, if the request allows it: one that may do
//! something twice is only sent again when no backend can have begun with it. The body is kept
//! while it is sent, up to a limit, so that it can be sent once more. A budget bounds what all
//! requests of a service together may try again, so that retries do not keep a service down.

use std::{rc::Rc, time::Duration};

use http::Method;
use lb_http::{Clock, Reason, Source, h1::BodyLength};
use lb_model::config::{Retry, RetryOn};
use lb_upstream::{
    Connection, Outgoing, SendError, h1::CallError, pool::is_idempotent, retry_budget,
};
use tokio::time::Instant;

use super::{
    choose::{Chosen, Seen, choose},
    exchange::Exchange,
    replay::Replay,
};

/// How much of a body is kept for another service where nothing is said about it.
const KEPT_FOR_FAILOVER: u64 = 64 << 10;

/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// When requests of a route are tried again.
#[derive(Debug, Clone)]
pub struct Again {
    retry: Retry,
}

impl Again {
    /// As the route or its service says.
    pub fn new(retry: &Retry) -> Self {
        Self { retry: retry.clone() }
    }

    /// How much of it the requests pay for.
    pub fn budget(&self) -> retry_budget::Settings {
        let percent = self.retry.budget.parts_per_million().div_ceil(10_000) as u16;
        retry_budget::Settings { percent, ..retry_budget::Settings::default() }
    }

    /// How long a try may take.
    pub fn per_try(&self) -> Option<Duration> {
        self.retry.per_try_timeout.map(lb_model::value::Duration::get)
    }

    fn has(&self, on: RetryOn) -> bool {
        self.retry.on.contains(&on)
    }

    /// Whether an answer with this status is not good enough.
    fn rejects(&self, status: u16) -> bool {
        self.retry.status.iter().any(|range| range.contains(status))
            || (self.has(RetryOn::GatewayError) && matches!(status, 502..=504))
            || (self.has(RetryOn::ServerError) && status >= 500)
    }

    /// Whether a request that ended like this is tried again. `may_repeat` tells that sending it
    /// twice does nothing twice.
    fn repeats(&self, error: &SendError, may_repeat: bool) -> bool {
        match error {
            // No backend saw anything of it.
            SendError::Connect(_) => self.has(RetryOn::ConnectFailure),
            SendError::Call(CallError::Reset(_)) => {
                may_repeat
                    && (self.has(RetryOn::Reset)
                        || self.has(RetryOn::GatewayError)
                        || self.has(RetryOn::ServerError))
            }
            SendError::TimedOut | SendError::Call(CallError::Invalid(_)) => {
                may_repeat && (self.has(RetryOn::GatewayError) || self.has(RetryOn::ServerError))
            }
            SendError::Call(CallError::Upload(_)) => false,
        }
    }
}

/// Why there is no answer of a backend.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The last try failed.
    #[error(transparent)]
    Send(#[from] SendError),
    /// No place at the backend became free.
    #[error("the backend has as many requests as it may have")]
    Overflow(#[source] lb_upstream::limiter::NoPlace),
}

impl Failure {
    /// The word for it.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Send(error) => error.reason(),
            Self::Overflow(_) => Reason::UpstreamOverflow,
        }
    }
}

/// A request that is sent, perhaps more than once.
pub struct Forward<'a> {
    /// Its method.
    pub method: &'a Method,
    /// As balancers look at it.
    pub seen: Seen<'a>,
    /// Its head, as the first backend gets it.
    pub head: &'a mut Vec<u8>,
    /// Writes the head as the backend of an exchange gets it.
    pub write: &'a dyn Fn(&Exchange, &mut Vec<u8>),
    /// Whether the connection may become another protocol's; then nothing is tried again.
    pub upgrades: bool,
}

/// What bounds the tries of a request, and those it has had.
struct Tries<'a> {
    again: Option<&'a Again>,
    per_try: Option<Duration>,
    deadline: Option<Instant>,
    /// Whether sending it twice does nothing twice.
    may_repeat: bool,
    tried: Vec<(usize, usize)>,
}

/// What follows a try.
enum Step {
    /// Nothing: what it brought is what there is.
    Over,
    /// A try at another service, which was chosen.
    FailOver(Chosen),
    /// A try at another backend, which the budget has paid for.
    Repeat,
}

/// What a try brought.
pub type Sent = Result<Box<Connection>, SendError>;

impl Forward<'_> {
    /// Sends it and waits for the response head, at one backend after the other where that is
    /// configured. The exchange ends up at the backend that answered. The `first` try may have
    /// been made before, where the way is [`Way::First`].
    ///
    /// # Errors
    ///
    /// [`Failure`] of the last try; the backends' counters know of all of them.
    pub async fn send<S: Source>(
        mut self,
        exchange: &mut Exchange,
        source: &mut S,
        clock: &mut Clock,
        first: Option<Sent>,
    ) -> Result<Box<Connection>, Failure> {
        let entry = Rc::clone(exchange.entry());
        let again = exchange.route_in(&entry).retry.as_ref().filter(|_| !self.upgrades);
        let most = match again {
            Some(again) => again.retry.max_body_bytes.0,
            None => KEPT_FOR_FAILOVER,
        };
        let mut tries = Tries {
            again,
            per_try: again.and_then(Again::per_try),
            deadline: exchange.deadline(),
            may_repeat: is_idempotent(self.method)
                || again.is_some_and(|again| again.retry.non_idempotent),
            tried: Vec::new(),
        };
        let mut body = Replay::new(source, usize::try_from(most).unwrap_or(usize::MAX));
        let sent = if let Some(sent) = first {
            sent
        } else {
            exchange.deposit();
            self.once(&tries, exchange, &mut body, clock).await?
        };
        match self.judge(&mut tries, exchange, &sent, &body) {
            Step::Over => Ok(sent?),
            step => self.repeat(tries, exchange, (&mut body, clock), (sent, step)).await,
        }
    }

    /// Goes on until a try is good enough, or the last.
    async fn repeat<S: Source>(
        &mut self,
        mut tries: Tries<'_>,
        exchange: &mut Exchange,
        (body, clock): (&mut Replay<'_, S>, &mut Clock),
        (mut sent, mut step): (Sent, Step),
    ) -> Result<Box<Connection>, Failure> {
        loop {
            let chosen = match step {
                Step::Over => return Ok(sent?),
                Step::FailOver(chosen) => chosen,
                Step::Repeat => {
                    tries.tried.push(exchange.place());
                    if let Some(again) = tries.again {
                        let initial = again.retry.initial_interval.get();
                        pause(initial, tries.tried.len(), tries.deadline).await;
                    }
                    let now = Instant::now();
                    let from = exchange.first_cluster();
                    // Another backend first; where there is none, perhaps the same one does better
                    // now.
                    let chosen = choose(exchange.entry(), from, &self.seen, &tries.tried, now)
                        .or_else(|_| choose(exchange.entry(), from, &self.seen, &[], now));
                    let Ok(chosen) = chosen else { return Ok(sent?) };
                    chosen
                }
            };
            match &sent {
                Ok(connection) => exchange.answered(connection.response()),
                Err(error) => exchange.attempt_mut().fail(error.reason(), Instant::now()),
            }
            drop(sent);
            exchange.turn_to(chosen);
            body.rewind();
            self.head.clear();
            (self.write)(exchange, self.head);
            sent = self.once(&tries, exchange, body, clock).await?;
            step = self.judge(&mut tries, exchange, &sent, body);
        }
    }

    /// One try.
    async fn once<S: Source>(
        &self,
        tries: &Tries<'_>,
        exchange: &mut Exchange,
        body: &mut Replay<'_, S>,
        clock: &mut Clock,
    ) -> Result<Sent, Failure> {
        if exchange.attempt().must_wait() {
            exchange.queue().await.map_err(Failure::Overflow)?;
        }
        let start = if tries.tried.is_empty() { exchange.start() } else { Instant::now() };
        let end = tries.per_try.map(|limit| start + limit);
        let end = earlier(end, tries.deadline);
        let request = Outgoing { head: self.head, method: self.method, start, deadline: end };
        let endpoint = Rc::clone(exchange.endpoint());
        Ok(endpoint.send(request, body, exchange.limits().send, clock).await)
    }

    /// What follows a try that brought this.
    fn judge<S: Source>(
        &self,
        tries: &mut Tries<'_>,
        exchange: &Exchange,
        sent: &Sent,
        body: &Replay<'_, S>,
    ) -> Step {
        let repeats = match sent {
            Ok(connection) => {
                let status = connection.response().status.as_u16();
                if status != 101 && exchange.fails_over(status) && body.can_repeat() {
                    tries.tried.push(exchange.place());
                    let next = exchange.failover().map(|next| {
                        choose(exchange.entry(), next, &self.seen, &tries.tried, Instant::now())
                    });
                    return match next {
                        Some(Ok(chosen)) => Step::FailOver(chosen),
                        _ => Step::Over,
                    };
                }
                tries.may_repeat && tries.again.is_some_and(|again| again.rejects(status))
            }
            Err(error) => tries.again.is_some_and(|again| again.repeats(error, tries.may_repeat)),
        };
        if !repeats {
            return Step::Over;
        }
        let most = tries.again.map_or(1, |again| again.retry.attempts as usize);
        let is_late = tries.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        let is_possible = !is_late && tries.tried.len() + 1 < most && body.can_repeat();
        if is_possible && exchange.withdraw() { Step::Repeat } else { Step::Over }
    }
}

/// The earlier of two ends, of which each may be missing.
pub(super) fn earlier(one: Option<Instant>, two: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(two).min()
}

/// Waits before a try: longer each time, and not all at once.
async fn pause(initial: Duration, tries: usize, deadline: Option<Instant>) {
    if initial.is_zero() {
        return;
    }
    let doubled = initial.saturating_mul(1 << (tries - 1).min(16)).min(LONGEST_PAUSE);
    // Between a half and the whole of it; nobody needs to be surprised by it.
    let nanos = Instant::now().elapsed().as_nanos() as u32 ^ std::process::id();
    let share = 0.5 + f64::from(nanos.wrapping_mul(0x9e37_79b9) >> 16) / f64::from(1_u32 << 17);
    let wait = doubled.mul_f64(share);
    let until = Instant::now() + wait;
    tokio::time::sleep_until(deadline.map_or(until, |deadline| until.min(deadline))).await;
}

/// How a request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// As it is, and whatever that brings is what there is.
    Once,
    /// As it is; what that brings may not be good enough.
    First,
    /// By a [`Forward`] from the beginning: it waits for a place, or something of it has to be kept
    /// for another try.
    Kept,
}

impl Way {
    /// Of a request with a body of this length, which may want to switch to another protocol.
    pub fn of(exchange: &Exchange, length: BodyLength, upgrades: bool) -> Self {
        let is_repeated = exchange.route().retry.is_some() || exchange.failover().is_some();
        if exchange.attempt().must_wait() {
            Self::Kept
        } else if !is_repeated {
            Self::Once
        } else if length == BodyLength::Empty && !upgrades {
            Self::First
        } else {
            Self::Kept
        }
    }
}

/// Makes the first try of a request whose way is not [`Way::Kept`]. Says also whether what it
/// brought is what there is; else a [`Forward`] goes on from it.
pub async fn first<S: Source>(
    exchange: &Exchange,
    way: Way,
    (method, head): (&Method, &[u8]),
    source: &mut S,
    clock: &mut Clock,
) -> (Sent, bool) {
    let start = exchange.start();
    let deadline = if way == Way::Once {
        exchange.deadline()
    } else {
        exchange.deposit();
        exchange.first_deadline()
    };
    let request = Outgoing { head, method, start, deadline };
    let endpoint = Rc::clone(exchange.endpoint());
    let sent = endpoint.send(request, source, exchange.limits().send, clock).await;
    let is_final = way == Way::Once || is_final(exchange, &sent);
    (sent, is_final)
}

fn is_final(exchange: &Exchange, sent: &Sent) -> bool {
    let again = exchange.route().retry.as_ref();
    match sent {
        Ok(connection) => {
            let status = connection.response().status.as_u16();
            again.is_none_or(|again| !again.rejects(status)) && !exchange.fails_over(status)
        }
        Err(_) => again.is_none(),
    }
}
