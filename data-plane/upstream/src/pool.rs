//! One worker's connections to one backend.
//!
//! Idle connections are taken last in, first out, so that a shrinking load lets the rest grow
//! old and be closed. [`LocalEndpoint::send`] hides the one repair a proxy may make unasked: a
//! reused connection that turns out to be dead before any byte of a response is replaced by a
//! fresh one, if the request can be sent again without doing something twice. Nothing else is
//! retried here.
//!
//! The connection itself is hyper's for now and appears in no public signature but its body.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use http::{Method, Request, Response, Version};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use lb_http::{Reason, Upload, UploadState};
use lb_model::config::Pool as PoolPolicy;
use tokio::time::{Instant, sleep};

use crate::{
    connect::{ConnectError, connect},
    counters::Counters,
    endpoint::Endpoint,
};

/// The largest response head taken from a backend.
const MAX_HEAD: usize = 256 << 10;

/// One backend as one worker sees it.
#[derive(Debug)]
pub struct LocalEndpoint {
    endpoint: Arc<Endpoint>,
    worker: usize,
    idle: RefCell<Vec<Idle>>,
    policy: Cell<PoolPolicy>,
}

#[derive(Debug)]
struct Idle {
    sender: SendRequest<Upload>,
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

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No connection could be made.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The response head did not come in time.
    #[error("the backend did not answer in time")]
    TimedOut,
    /// The connection broke.
    #[error("the backend closed the connection")]
    Reset(#[source] hyper::Error),
    /// What came is not HTTP.
    #[error("the backend sent an invalid response")]
    Invalid(#[source] hyper::Error),
    /// The request body failed, which is not the backend's fault.
    #[error("the request body broke off")]
    Upload(Reason),
}

impl SendError {
    /// The word for it.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Connect(ConnectError::TimedOut(_)) | Self::TimedOut => Reason::UpstreamTimeout,
            Self::Connect(_) => Reason::UpstreamConnectError,
            Self::Reset(_) => Reason::UpstreamReset,
            Self::Invalid(_) => Reason::UpstreamInvalid,
            Self::Upload(reason) => *reason,
        }
    }
}

/// A request that counts as in flight as long as this lives.
#[derive(Debug)]
pub struct InFlight(Rc<LocalEndpoint>);

impl InFlight {
    /// The backend.
    pub const fn endpoint(&self) -> &Rc<LocalEndpoint> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.counters().in_flight.drop_one();
    }
}

/// A connection in use. Dropping it closes the connection; giving it back keeps it.
#[derive(Debug)]
pub struct Lease(SendRequest<Upload>);

impl LocalEndpoint {
    /// The view of worker number `worker`.
    pub fn new(endpoint: Arc<Endpoint>, worker: usize) -> Self {
        Self {
            endpoint,
            worker,
            idle: RefCell::default(),
            policy: Cell::new(PoolPolicy::default()),
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

    /// Counts a request as in flight.
    pub fn begin(self: &Rc<Self>) -> InFlight {
        let counters = self.counters();
        counters.in_flight.bump();
        counters.requests.bump();
        InFlight(Rc::clone(self))
    }

    /// Sends `request` and waits for the response head. `upload` is the state of its body.
    pub async fn send(
        &self,
        mut request: Request<Upload>,
        upload: Option<&UploadState>,
        limits: SendLimits,
    ) -> Result<(Response<Incoming>, Lease), SendError> {
        if let Some(mut sender) = self.take_idle().await {
            // hyper hands a request back only as long as nothing of it was written; after that
            // a copy is needed, and sending it again must do no harm.
            let copy =
                (upload.is_none() && is_idempotent(request.method())).then(|| copy_of(&request));
            match exchange(&mut sender, request, upload, limits.response_header).await {
                Ok(response) => return Ok((response, Lease(sender))),
                Err((error @ SendError::Reset(_), unsent)) => {
                    let unsent =
                        unsent.filter(|_| upload.is_none_or(|upload| !upload.has_started()));
                    let Some(again) = unsent.map(|unsent| *unsent).or(copy) else {
                        return Err(self.count(error));
                    };
                    self.counters().resent.bump();
                    request = again;
                }
                Err((error, _)) => return Err(self.count(error)),
            }
        }
        let mut sender = self.open(limits.connect).await?;
        match exchange(&mut sender, request, upload, limits.response_header).await {
            Ok(response) => Ok((response, Lease(sender))),
            Err((error, _)) => Err(self.count(error)),
        }
    }

    /// Takes back a connection whose response was read to its end.
    pub fn give_back(&self, lease: Lease) {
        let mut idle = self.idle.borrow_mut();
        if !lease.0.is_closed() && idle.len() < self.policy.get().max_idle as usize {
            idle.push(Idle { sender: lease.0, since: Instant::now() });
        }
    }

    /// Closes what has been idle for too long.
    pub fn sweep(&self, now: Instant) {
        let limit = self.policy.get().idle_timeout.limit();
        self.idle.borrow_mut().retain(|idle| {
            !idle.sender.is_closed()
                && limit.is_none_or(|limit| now.saturating_duration_since(idle.since) < limit)
        });
    }

    /// Connections now idle.
    pub fn idle(&self) -> usize {
        self.idle.borrow().len()
    }

    async fn take_idle(&self) -> Option<SendRequest<Upload>> {
        loop {
            let Idle { mut sender, since } = self.idle.borrow_mut().pop()?;
            let limit = self.policy.get().idle_timeout.limit();
            if limit.is_some_and(|limit| since.elapsed() >= limit) {
                // The newest is too old: so are the rest.
                self.idle.borrow_mut().clear();
                return None;
            }
            if sender.is_ready() || sender.ready().await.is_ok() {
                return Some(sender);
            }
        }
    }

    async fn open(&self, limit: Option<Duration>) -> Result<SendRequest<Upload>, SendError> {
        let counters = self.counters();
        let stream = connect(&self.endpoint, limit).await.inspect_err(|_| {
            counters.connect_errors.bump();
        })?;
        counters.connects.bump();
        let (sender, connection) = http1::Builder::new()
            .max_header_size(MAX_HEAD)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.count(SendError::Reset(error)))?;
        // Failures reach whoever waits for a response; an idle connection may just end.
        tokio::task::spawn_local(async move { drop(connection.with_upgrades().await) });
        Ok(sender)
    }

    fn count(&self, error: SendError) -> SendError {
        let counters = self.counters();
        match error {
            SendError::TimedOut => counters.timeouts.bump(),
            SendError::Reset(_) => counters.resets.bump(),
            SendError::Invalid(_) => counters.invalid.bump(),
            SendError::Connect(_) | SendError::Upload(_) => {}
        }
        error
    }
}

type Unsent = Option<Box<Request<Upload>>>;

async fn exchange(
    sender: &mut SendRequest<Upload>,
    request: Request<Upload>,
    upload: Option<&UploadState>,
    limit: Option<Duration>,
) -> Result<Response<Incoming>, (SendError, Unsent)> {
    let response = sender.try_send_request(request);
    let result = match limit {
        None => response.await,
        Some(limit) => within(limit, upload, response).await.ok_or((SendError::TimedOut, None))?,
    };
    result.map_err(|mut failed| {
        let unsent = failed.take_message().map(Box::new);
        let error = failed.into_error();
        let error = if let Some(reason) = upload.and_then(UploadState::fault) {
            SendError::Upload(reason)
        } else if error.is_parse() {
            SendError::Invalid(error)
        } else {
            SendError::Reset(error)
        };
        (error, unsent)
    })
}

/// Waits for `response`, at most `limit` from the moment the request body was sent. While one is
/// being sent the timer only looks whether it still is.
async fn within<T>(
    limit: Duration,
    upload: Option<&UploadState>,
    response: impl Future<Output = T>,
) -> Option<T> {
    const LOOK: Duration = Duration::from_millis(250);
    let mut response = pin!(response);
    let is_sent = || upload.is_none_or(UploadState::is_done);
    let mut was_sent = is_sent();
    let mut timer = pin!(sleep(if was_sent { limit } else { limit.min(LOOK) }));
    poll_fn(|cx| {
        if let Poll::Ready(result) = response.as_mut().poll(cx) {
            return Poll::Ready(Some(result));
        }
        while timer.as_mut().poll(cx).is_ready() {
            if was_sent {
                return Poll::Ready(None);
            }
            was_sent = is_sent();
            let next = if was_sent { limit } else { limit.min(LOOK) };
            timer.as_mut().reset(Instant::now() + next);
        }
        Poll::Pending
    })
    .await
}

/// RFC 9110, 9.2.2.
fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}

fn copy_of(request: &Request<Upload>) -> Request<Upload> {
    let mut copy = Request::new(Upload::Empty);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = Version::HTTP_11;
    *copy.headers_mut() = request.headers().clone();
    copy
}
