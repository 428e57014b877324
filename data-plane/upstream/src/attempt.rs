//! One try of a request at one backend, followed to what it says of the backend.
//!
//! As long as it lives it counts as in flight and holds its place. What the backend made of it is
//! told once, as soon as that is known; a try that ends without a word, because its client went
//! away, says nothing about the backend.

use std::{rc::Rc, time::Duration};

use lb_http::{Fields, Reason, grpc, h1::ResponseHead};
use tokio::time::Instant;

use crate::{
    arms::ArmCounters,
    breaker::{Outcome, Permit, Transition},
    cluster::LocalCluster,
    latency::Took,
    limiter::{NoPlace, Place},
    pending::Pending,
    pool::LocalEndpoint,
};

/// What a response that was not one counts for among response times.
const COST_OF_FAILURE: Duration = Duration::from_secs(1);

/// A try.
#[derive(Debug)]
pub struct Attempt {
    endpoint: Rc<LocalEndpoint>,
    /// Boxed, so that tries that nobody watches do not carry the room for it.
    watched: Option<Box<Watched>>,
}

/// A try at a backend of a cluster that has a policy.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) cluster: Rc<LocalCluster>,
    pub(crate) index: usize,
    /// What the breaker gave.
    pub(crate) permit: Option<Permit>,
    pub(crate) place: Option<Place>,
    pub(crate) start: Instant,
    /// How long the head of an answer took whose end will tell what became of the call.
    pub(crate) answered: Option<Duration>,
    /// Whether it counts among those who wait for a response.
    pub(crate) is_pending: bool,
    pub(crate) is_judged: bool,
}

impl Attempt {
    /// Begins a try, which counts as in flight from now on.
    pub(crate) fn begin(endpoint: &Rc<LocalEndpoint>, watched: Option<Box<Watched>>) -> Self {
        let counters = endpoint.counters();
        counters.in_flight.bump();
        counters.requests.bump();
        if let Some(arm) = watched.as_ref().and_then(|watched| watched.arm()) {
            arm.begin();
        }
        if let Some(watched) = &watched {
            endpoint.pending(|pending| pending.sent(watched.start));
        }
        Self { endpoint: Rc::clone(endpoint), watched }
    }

    /// The backend.
    pub const fn endpoint(&self) -> &Rc<LocalEndpoint> {
        &self.endpoint
    }

    /// Whether somebody wants to know what becomes of it.
    pub const fn is_watched(&self) -> bool {
        self.watched.is_some()
    }

    /// Whether it must wait for a place before it may be sent.
    pub fn must_wait(&self) -> bool {
        self.watched.as_ref().is_some_and(|watched| {
            watched.place.is_none() && watched.cluster.limiter(watched.index).is_some()
        })
    }

    /// Waits for a place at the backend.
    ///
    /// # Errors
    ///
    /// [`NoPlace`].
    pub async fn wait(&mut self) -> Result<(), NoPlace> {
        let Some(watched) = &mut self.watched else { return Ok(()) };
        let Some(limiter) = watched.cluster.limiter(watched.index).cloned() else { return Ok(()) };
        let place = limiter.take().await?;
        watched.place = Some(place);
        // What was waited for is not the backend's response time.
        watched.start = Instant::now();
        Ok(())
    }

    /// The backend answered with this head. An answer of gRPC says what became of the call only
    /// behind its body, unless it has none: then [`Attempt::end`] judges it. A probe is judged
    /// now, since a stream may last and its place is needed.
    pub fn respond(&mut self, head: &ResponseHead, now: Instant) {
        let Some(watched) = &mut self.watched else { return };
        if watched.is_pending {
            watched.is_pending = false;
            self.endpoint.pending(|pending| pending.answered(now));
        }
        let status = head.status.as_u16();
        if let Some(arm) = watched.arm() {
            arm.respond(status);
        }
        let is_failure = watched.cluster.policy().is_some_and(|policy| policy.is_failure(status));
        let took = now.saturating_duration_since(watched.start);
        let mut is_failed_call = false;
        if grpc::is_message(&head.fields) {
            match grpc::status(&head.fields) {
                Some(code) => is_failed_call = grpc::is_failure(code),
                None if is_failure => {}
                None => {
                    watched.answered = Some(took);
                    if !watched.permit.as_ref().is_some_and(Permit::is_probe) {
                        return;
                    }
                }
            }
        }
        if let (true, Some(arm)) = (is_failed_call, watched.arm()) {
            arm.fail();
        }
        // A breaker counts the codes that it names, an ejection those of servers that fail.
        let failed = (is_failure || is_failed_call, status >= 500 || is_failed_call);
        watched.respond(&self.endpoint, failed, took, now);
    }

    /// The answer came to its end, with these fields behind its body.
    pub fn end(&mut self, trailers: Option<&Fields>, now: Instant) {
        let Some(watched) = &mut self.watched else { return };
        let Some(took) = watched.answered else { return };
        let failed = trailers.and_then(grpc::status).is_some_and(grpc::is_failure);
        if let (true, Some(arm)) = (failed, watched.arm()) {
            arm.fail();
        }
        watched.respond(&self.endpoint, (failed, failed), took, now);
    }

    /// There is no response, or it broke off, for this reason.
    pub fn fail(&mut self, reason: Reason, now: Instant) {
        let Some(watched) = &mut self.watched else { return };
        let outcome = match reason {
            Reason::UpstreamConnectError
            | Reason::UpstreamReset
            | Reason::UpstreamInvalid
            | Reason::UpstreamTimeout => Outcome::Failure,
            _ => Outcome::Undecided,
        };
        if let (Outcome::Failure, Some(arm)) = (outcome, watched.arm()) {
            arm.fail();
        }
        let took = now.saturating_duration_since(watched.start).max(COST_OF_FAILURE);
        watched.judge(&self.endpoint, (outcome, outcome), took, now);
    }

    /// Takes in how long the whole request took that ended with this try.
    pub fn took(&self, took: Took) {
        self.endpoint.took(took);
        if let Some(arm) = self.watched.as_ref().and_then(|watched| watched.arm()) {
            arm.took(took);
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.endpoint.counters().in_flight.drop_one();
        if self.watched.as_ref().is_some_and(|watched| watched.is_pending) {
            self.endpoint.pending(Pending::dropped);
        }
        if let Some(watched) = &mut self.watched
            && !watched.is_judged
            && let Some(permit) = watched.permit.take()
            && let Some(breaker) = watched.cluster.breaker(watched.index)
        {
            breaker.record(self.endpoint.worker(), permit, Outcome::Undecided, Instant::now());
        }
    }
}

impl Watched {
    fn arm(&self) -> Option<&ArmCounters> {
        self.cluster.arm(self.index)
    }

    /// Tells the breaker whether the first failed, and whoever ejects whether the second did.
    fn respond(
        &mut self,
        endpoint: &LocalEndpoint,
        (failed, failed_for_all): (bool, bool),
        took: Duration,
        now: Instant,
    ) {
        let took = if failed { took.max(COST_OF_FAILURE) } else { took };
        let outcome = |failed| if failed { Outcome::Failure } else { Outcome::Success };
        self.judge(endpoint, (outcome(failed), outcome(failed_for_all)), took, now);
    }

    /// Tells the breaker the first outcome, and whoever ejects the second.
    fn judge(
        &mut self,
        endpoint: &LocalEndpoint,
        (outcome, answered): (Outcome, Outcome),
        took: Duration,
        now: Instant,
    ) {
        if self.is_judged && outcome != Outcome::Failure {
            return;
        }
        self.is_judged = true;
        let worker = endpoint.worker();
        if outcome != Outcome::Undecided {
            endpoint.observe(took, now);
        }
        if let Some(breaker) = self.cluster.breaker(self.index) {
            // A response that breaks off after its head counts once more, as a failure of its own.
            let permit = self.permit.take().or_else(|| breaker.try_begin(now));
            let transition = permit.and_then(|permit| breaker.record(worker, permit, outcome, now));
            if let Some(transition) = transition {
                tell(endpoint, transition);
            }
        }
        match answered {
            Outcome::Success => {
                if let Some(ejection) = self.cluster.ejection(self.index) {
                    ejection.success(worker);
                }
            }
            Outcome::Failure => self.cluster.suspect(self.index, worker, now),
            Outcome::Undecided => {}
        }
    }
}

/// Notes that a breaker opened or closed.
pub(crate) fn tell(endpoint: &LocalEndpoint, transition: Transition) {
    let (service, backend) = (endpoint.endpoint().service(), endpoint.endpoint().name());
    match transition {
        Transition::Opened => tracing::warn!(%service, %backend, "circuit breaker opened"),
        Transition::HalfOpened => tracing::info!(%service, %backend, "circuit breaker half-open"),
        Transition::Closed => tracing::info!(%service, %backend, "circuit breaker closed"),
    }
    endpoint.counters().breaker_transitions.bump();
}
