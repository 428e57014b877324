//! One worker's connections to one backend.
//!
//! Idle connections are taken last in, first out, so that a shrinking load lets the rest grow
//! old and be closed. [`LocalEndpoint::send`] hides the one repair a proxy may make unasked: a
//! reused connection that turns out to be dead before any byte of a response is replaced by a
//! fresh one, if the request can be sent again without doing something twice. Nothing else is
//! retried here.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::Method;
use lb_http::{Clock, Reason, Source, h1::BodyLength};
use lb_model::config::Pool as PoolPolicy;
use tokio::time::Instant;

use crate::{
    balancer::peak_ewma::{PeakEwma, Settings},
    connect::{ConnectError, connect},
    counters::Counters,
    endpoint::Endpoint,
    h1::{CallError, Connection, Head},
    latency::Took,
    pending::Pending,
};

/// One backend as one worker sees it.
#[derive(Debug)]
pub struct LocalEndpoint {
    endpoint: Arc<Endpoint>,
    worker: usize,
    idle: RefCell<Vec<Idle>>,
    policy: Cell<PoolPolicy>,
    /// How long responses take, where the strategy goes by that.
    latency: Cell<Option<PeakEwma>>,
    /// Who waits for a response, for the same purpose.
    pending: Cell<Pending>,
}

#[derive(Debug)]
struct Idle {
    connection: Box<Connection>,
    since: Instant,
}

/// How long the steps of one exchange may take; nothing means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SendLimits {
    /// Until a connection stands.
    pub connect: Option<Duration>,
    /// From the end of the request to the response head.
    pub response_header: Option<Duration>,
}

/// A request, ready to be written.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// Its head, up to the empty line.
    pub head: &'a [u8],
    /// Its method.
    pub method: &'a Method,
    /// When its exchange began.
    pub start: Instant,
    /// When its exchange must be over.
    pub deadline: Option<Instant>,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No connection could be made.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The response head did not come in time.
    #[error("the backend did not answer in time")]
    TimedOut,
    /// The exchange failed.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl SendError {
    /// The word for it.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Connect(ConnectError::TimedOut(_)) | Self::TimedOut => Reason::UpstreamTimeout,
            Self::Connect(_) => Reason::UpstreamConnectError,
            Self::Call(CallError::Reset(_)) => Reason::UpstreamReset,
            Self::Call(CallError::Invalid(_)) => Reason::UpstreamInvalid,
            Self::Call(CallError::Upload(reason)) => *reason,
        }
    }
}

impl LocalEndpoint {
    /// The view of worker number `worker`.
    pub fn new(endpoint: Arc<Endpoint>, worker: usize) -> Self {
        Self {
            endpoint,
            worker,
            idle: RefCell::default(),
            policy: Cell::new(PoolPolicy::default()),
            latency: Cell::new(None),
            pending: Cell::default(),
        }
    }

    /// The shared side.
    pub const fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// This worker's counters for the backend.
    pub fn counters(&self) -> &Counters {
        self.endpoint.counters().of(self.worker)
    }

    /// How many idle connections to keep, and how long.
    pub fn set_policy(&self, policy: PoolPolicy) {
        self.policy.set(policy);
    }

    /// Takes in how long a whole request took.
    pub fn took(&self, took: Took) {
        self.endpoint.latency().of(self.worker).took(took);
    }

    /// The worker it belongs to.
    pub const fn worker(&self) -> usize {
        self.worker
    }

    /// Takes in what becomes of those who wait for a response.
    pub(crate) fn pending(&self, change: impl FnOnce(&mut Pending)) {
        let mut pending = self.pending.get();
        change(&mut pending);
        self.pending.set(pending);
    }

    /// Takes in how long a response took, or what counts for one that failed.
    pub fn observe(&self, took: Duration, now: Instant) {
        let known = self.latency.get();
        let mut latency = known.unwrap_or_else(|| PeakEwma::new(Settings::default(), now));
        latency.observe(took, now);
        self.latency.set(Some(latency));
    }

    /// What one more request would cost here, going by the slowest answers of late.
    pub fn cost(&self, in_flight: u64, weight: u16, now: Instant) -> u64 {
        let known = self.latency.get();
        let latency = known.unwrap_or_else(|| PeakEwma::new(Settings::default(), now));
        latency.cost(in_flight, weight, self.pending.get().silence(now), now)
    }

    /// Sends a request with the body that `source` has, and waits for the response head. `clock`
    /// measures the backend's pauses.
    ///
    /// # Errors
    ///
    /// [`SendError`], which was counted.
    pub async fn send<S: Source>(
        &self,
        request: Outgoing<'_>,
        source: &mut S,
        limits: SendLimits,
        clock: &mut Clock,
    ) -> Result<Box<Connection>, SendError> {
        clock.begin_at(request.start);
        if let Some(mut connection) = self.take_idle(request.start) {
            connection.begin(request.head, source.length());
            let wait = |cx: &mut Context<'_>| {
                poll_answer(&mut connection, cx, request, source, limits, clock)
            };
            match poll_fn(wait).await {
                Ok(()) => return Ok(connection),
                Err(SendError::Call(CallError::Reset(_)))
                    if connection.may_resend(is_idempotent(request.method)) =>
                {
                    self.counters().resent.bump();
                }
                Err(error) => return Err(self.count(error)),
            }
        }
        let mut connection = self.open(limits.connect, request.deadline).await?;
        connection.begin(request.head, source.length());
        let wait =
            |cx: &mut Context<'_>| poll_answer(&mut connection, cx, request, source, limits, clock);
        match poll_fn(wait).await {
            Ok(()) => Ok(connection),
            Err(error) => Err(self.count(error)),
        }
    }

    /// Takes back a connection after its exchange, at `now`; one that cannot be used again is closed.
    pub fn give_back(&self, mut connection: Box<Connection>, now: Instant) {
        let (mut idle, policy) = (self.idle.borrow_mut(), self.policy.get());
        if connection.is_reusable()
            && idle.len() < policy.max_idle as usize
            && !is_old(&connection, policy, now)
        {
            connection.shrink();
            idle.push(Idle { connection, since: now });
        }
    }

    /// Closes what has been idle for too long or is too old, and what its backend has closed.
    pub fn sweep(&self, now: Instant) {
        let policy = self.policy.get();
        let limit = policy.idle_timeout.limit();
        self.idle.borrow_mut().retain(|idle| {
            limit.is_none_or(|limit| now.saturating_duration_since(idle.since) < limit)
                && !is_old(&idle.connection, policy, now)
                && idle.connection.is_quiet()
        });
    }

    /// Connections now idle.
    pub fn idle(&self) -> usize {
        self.idle.borrow().len()
    }

    fn take_idle(&self, now: Instant) -> Option<Box<Connection>> {
        loop {
            let Idle { connection, since } = self.idle.borrow_mut().pop()?;
            let policy = self.policy.get();
            let limit = policy.idle_timeout.limit();
            if limit.is_some_and(|limit| now.saturating_duration_since(since) >= limit) {
                // The newest is too old: so are the rest.
                self.idle.borrow_mut().clear();
                return None;
            }
            if connection.is_quiet() && !is_old(&connection, policy, now) {
                return Some(connection);
            }
        }
    }

    async fn open(
        &self,
        limit: Option<Duration>,
        deadline: Option<Instant>,
    ) -> Result<Box<Connection>, SendError> {
        let counters = self.counters();
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let limit = match (limit, left) {
            (Some(limit), Some(left)) => Some(limit.min(left)),
            (limit, left) => limit.or(left),
        };
        let stream = connect(&self.endpoint, limit).await.inspect_err(|_| {
            counters.connect_errors.bump();
        })?;
        counters.connects.bump();
        Ok(Box::new(Connection::new(stream)))
    }

    fn count(&self, error: SendError) -> SendError {
        let counters = self.counters();
        match error {
            SendError::TimedOut => counters.timeouts.bump(),
            SendError::Call(CallError::Reset(_)) => counters.resets.bump(),
            SendError::Call(CallError::Invalid(_)) => counters.invalid.bump(),
            SendError::Connect(_) | SendError::Call(CallError::Upload(_)) => {}
        }
        error
    }
}

/// Whether a connection has served for as long as it may.
fn is_old(connection: &Connection, policy: PoolPolicy, now: Instant) -> bool {
    policy.max_lifetime.limit().is_some_and(|limit| connection.age(now) >= limit)
}

/// Drives both directions until the response head is there.
fn poll_answer<S: Source>(
    connection: &mut Connection,
    cx: &mut Context<'_>,
    request: Outgoing<'_>,
    source: &mut S,
    limits: SendLimits,
    clock: &mut Clock,
) -> Poll<Result<(), SendError>> {
    loop {
        let mut moved = false;
        let is_sent = connection.poll_send(cx, source, &mut moved)?.is_ready();
        // A request without a body is as good as sent when it begins.
        if moved && source.length() != BodyLength::Empty {
            clock.progress();
        }
        match connection.poll_head(cx, request.method)? {
            Poll::Ready(Head::Final) => return Poll::Ready(Ok(())),
            Poll::Ready(Head::Interim) => {
                clock.progress();
                source.interim(connection.response());
                continue;
            }
            Poll::Pending => {}
        }
        source.attend(cx).map_err(CallError::Upload)?;
        // As long as the client is sending it is the one that is waited for.
        let longest = limits.response_header.filter(|_| is_sent || connection.is_blocked());
        ready!(clock.poll_too_long(cx, longest, request.deadline));
        return Poll::Ready(Err(SendError::TimedOut));
    }
}

/// Whether sending a request with this method again does nothing twice (RFC 9110, 9.2.2).
pub fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}
