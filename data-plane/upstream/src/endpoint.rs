//! One backend of one service, as all threads share it.
//!
//! It belongs to the pair because health does: two services may check the same backend in
//! different ways. It outlives configurations as long as its URL and its check stay the same, so
//! a change elsewhere neither forgets that it is ill nor sets its counters back. Its weight is
//! policy and lives with the cluster.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use http::HeaderValue;
use lb_model::{
    config::{AdminState, HealthCheck},
    value::BackendUrl,
};
use tokio::time::Instant;

use crate::{
    breaker,
    cluster::Member,
    counters::{BackendCounts, Counters, PerWorker},
    health::{Health, HealthSummary},
    latency::{Histogram, Latency},
    policy::Standing,
};

/// One backend of one service.
#[derive(Debug)]
pub struct Endpoint {
    service: Arc<str>,
    name: Arc<str>,
    url: BackendUrl,
    check: Option<HealthCheck>,
    authority: HeaderValue,
    address: Option<SocketAddr>,
    health: Health,
    counters: PerWorker<Counters>,
    latency: PerWorker<Histogram>,
    /// Times that an operator closed a circuit breaker in front of it. Whoever does that is no
    /// worker, and has none of their counters; and the breaker itself may be replaced by one with
    /// other settings, while numbers of an endpoint only grow.
    resets: AtomicU64,
}

/// What is known of an endpoint at one moment.
#[derive(Debug, Clone)]
pub struct EndpointStats {
    /// The service it belongs to.
    pub service: Arc<str>,
    /// The backend's name.
    pub backend: Arc<str>,
    /// Where it is.
    pub url: String,
    /// Its share of new requests.
    pub weight: u16,
    /// What an operator decided about it.
    pub admin_state: AdminState,
    /// Whether it is well, and since when.
    pub health: HealthSummary,
    /// What happened to its requests.
    pub counts: BackendCounts,
    /// How long they took.
    pub latency: Latency,
    /// Its circuit breaker.
    pub breaker: Option<breaker::Summary>,
    /// Until when it is out because it answers worse than others.
    pub ejected_until: Option<Instant>,
    /// Requests that wait for a place.
    pub waiting: u32,
}

impl EndpointStats {
    /// Adds what another cluster around the same endpoint made of it: the worse of two breakers,
    /// the longer of two ejections.
    pub fn join(&mut self, standing: &Standing, now: Instant) {
        if let Some(other) = standing.breaker.as_ref().map(|breaker| breaker.summary(now)) {
            let opened = other.opened + self.breaker.map_or(0, |breaker| breaker.opened);
            let rank = |state| match state {
                breaker::State::Closed => 0,
                breaker::State::HalfOpen => 1,
                breaker::State::Open => 2,
            };
            let worse = self.breaker.filter(|breaker| rank(breaker.state) >= rank(other.state));
            self.breaker = Some(breaker::Summary { opened, ..worse.unwrap_or(other) });
        }
        let until = standing.ejection.as_ref().and_then(|it| it.summary(now).until);
        self.ejected_until = self.ejected_until.max(until);
        self.waiting += standing.limiter.as_ref().map_or(0, |limiter| limiter.waiting());
    }
}

impl Endpoint {
    /// A new endpoint; it is down until its first passed check, or up if it has no check.
    pub fn new(
        service: Arc<str>,
        name: Arc<str>,
        url: BackendUrl,
        check: Option<HealthCheck>,
        workers: usize,
    ) -> Self {
        // A parsed URL has a host of letters, digits, dots and colons: a field value always.
        let authority = HeaderValue::try_from(url.authority())
            .unwrap_or_else(|_| HeaderValue::from_static("invalid"));
        let address = url.host().parse::<IpAddr>().ok();
        Self {
            address: address.map(|ip| SocketAddr::new(ip, url.port())),
            health: Health::new(check.is_some()),
            counters: PerWorker::new(workers),
            latency: PerWorker::new(workers),
            resets: AtomicU64::new(0),
            service,
            name,
            url,
            check,
            authority,
        }
    }

    /// Whether this endpoint serves as well for a backend with this URL and check.
    pub fn is_for(&self, url: &BackendUrl, check: Option<&HealthCheck>) -> bool {
        self.url == *url && self.check.as_ref() == check
    }

    /// The service it belongs to.
    pub fn service(&self) -> &Arc<str> {
        &self.service
    }

    /// The backend's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Where it is.
    pub const fn url(&self) -> &BackendUrl {
        &self.url
    }

    /// Its address, if the URL holds one instead of a name.
    pub const fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// What a `Host` field names it.
    pub const fn authority(&self) -> &HeaderValue {
        &self.authority
    }

    /// How it is checked.
    pub const fn check(&self) -> Option<&HealthCheck> {
        self.check.as_ref()
    }

    /// Whether it is well.
    pub const fn health(&self) -> &Health {
        &self.health
    }

    /// How long requests take.
    pub const fn latency(&self) -> &PerWorker<Histogram> {
        &self.latency
    }

    /// What workers count.
    pub const fn counters(&self) -> &PerWorker<Counters> {
        &self.counters
    }

    /// An operator closed its circuit breaker. Any thread may say so.
    pub(crate) fn breaker_was_reset(&self) {
        self.resets.fetch_add(1, Relaxed);
        let (service, backend) = (&self.service, &self.name);
        tracing::info!(%service, %backend, "circuit breaker closed by an operator");
    }

    /// What happened to its requests, over all workers.
    fn counts(&self) -> BackendCounts {
        let mut counts = BackendCounts::sum(&self.counters);
        let resets = self.resets.load(Relaxed);
        counts.breaker_transitions = counts.breaker_transitions.wrapping_add(resets);
        counts
    }

    /// Requests between being sent and the end of their response, over all workers.
    pub fn in_flight(&self) -> u64 {
        self.counters.sum(|part| &part.in_flight)
    }

    /// All that is known of it, as the member of a cluster.
    pub fn stats(&self, member: &Member, now: Instant) -> EndpointStats {
        let standing = &member.standing;
        EndpointStats {
            service: Arc::clone(&self.service),
            backend: Arc::clone(&self.name),
            url: self.url.to_string(),
            weight: member.weight,
            admin_state: member.admin_state,
            health: self.health.summary(),
            counts: self.counts(),
            latency: Latency::sum(&self.latency, |part| part),
            breaker: standing.breaker.as_ref().map(|breaker| breaker.summary(now)),
            ejected_until: standing
                .ejection
                .as_ref()
                .and_then(|ejection| ejection.summary(now).until),
            waiting: standing.limiter.as_ref().map_or(0, |limiter| limiter.waiting()),
        }
    }
}
