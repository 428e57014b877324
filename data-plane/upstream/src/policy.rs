//! What beside health and weight decides who gets a request: everything about a service that is
//! not the same for every service.
//!
//! Made once a configuration. What remembers something (breakers, ejections, sessions, the split
//! of a canary, places at a backend) is taken over from the configuration before wherever its
//! own settings did not change, so a change elsewhere forgets nothing. A cluster of which nothing
//! of this is configured has no policy, and choosing its backends costs nothing for it.

use std::{sync::Arc, time::Duration};

use lb_model::{
    config::{
        CanaryChoice, CircuitBreaker, OutlierDetection, Service, SessionStickiness, Slot, Strategy,
        TrafficManagement,
    },
    resource::HashKey,
    value::{BackendName, Label, Percentage},
};
use tokio::time::Instant;

use crate::{
    ask::{self, Ask},
    breaker::{self, Breaker},
    hash, levels,
    limiter::{self, Limiter},
    outlier::{self, Ejection, Outliers},
    slow_start,
    split::Split,
    sticky::{CookieKey, Table},
};

/// Sessions that are remembered by header, for each service of a proxy.
const SESSIONS: usize = 100_000;

/// What is the same for all clusters of a proxy.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// How many workers there are.
    pub workers: usize,
    /// Where the proxy stands.
    pub zone: Option<Label>,
    /// What all proxies of the fleet, and nobody else, know: cookies are sealed with it.
    pub secret: HashKey,
    /// When the configuration is made to run.
    pub now: Instant,
}

/// What decides about the requests of one service.
#[derive(Debug)]
pub struct Policy {
    /// How backends share requests.
    pub traffic: Arc<TrafficManagement>,
    /// Divides requests between stable and canary.
    pub(crate) split: Option<Arc<Split>>,
    pub(crate) sessions: Option<Sessions>,
    pub(crate) outliers: Option<Arc<Outliers>>,
    pub(crate) levels: Option<levels::Settings>,
    pub(crate) slow_start: Option<slow_start::Settings>,
}

/// How clients are known.
#[derive(Debug)]
pub(crate) struct Sessions {
    pub(crate) key: CookieKey,
    pub(crate) table: Option<Arc<Table>>,
    /// In seconds.
    pub(crate) ttl: u64,
    /// What stands before and after the value of a new cookie.
    before: Box<[u8]>,
    after: Box<[u8]>,
    secure: Option<bool>,
}

/// What a backend is to the policy of its cluster.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// The hash of its name.
    pub(crate) hash: u64,
    /// The slot that it is in, if there are slots.
    pub slot: Option<Slot>,
    /// Whether it is of the new version.
    pub is_canary: bool,
    /// Its level.
    pub priority: u8,
    /// Whether it is in the proxy's zone.
    pub is_local: bool,
    /// Stops requests to it while it fails.
    pub breaker: Option<Arc<Breaker>>,
    /// Takes it out when it answers worse than others.
    pub ejection: Option<Arc<Ejection>>,
    /// The places at it.
    pub limiter: Option<Arc<Limiter>>,
}

impl Standing {
    /// Whether two stand the same, with the same memory.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let same = |one: Option<*const ()>, two: Option<*const ()>| one == two;
        self.slot == other.slot
            && self.is_canary == other.is_canary
            && self.priority == other.priority
            && self.is_local == other.is_local
            && same(pointer(self.breaker.as_ref()), pointer(other.breaker.as_ref()))
            && same(pointer(self.ejection.as_ref()), pointer(other.ejection.as_ref()))
            && same(pointer(self.limiter.as_ref()), pointer(other.limiter.as_ref()))
    }
}

fn pointer<T>(object: Option<&Arc<T>>) -> Option<*const ()> {
    object.map(|object| Arc::as_ptr(object).cast())
}

impl Policy {
    /// The policy of a service under this traffic management; none if nothing is configured that
    /// needs one. `has_levels` tells whether its backends have levels or zones.
    pub(crate) fn build(
        name: &str,
        service: &Service,
        traffic: &Arc<TrafficManagement>,
        has_levels: bool,
        around: &Surroundings,
        previous: Option<&Self>,
    ) -> Option<Self> {
        let levels = levels::Settings::of(service, around.zone.is_some(), has_levels);
        let slow_start = slow_start::Settings {
            window: service.slow_start.get(),
            ..slow_start::Settings::default()
        };
        let slow_start = (!slow_start.window.is_zero()).then_some(slow_start);
        let needs_one = traffic.session_stickiness.is_some()
            || traffic.blue_green.is_some()
            || traffic.canary.is_some()
            || traffic.circuit_breaker.is_some()
            || service.outlier_detection.is_some()
            || service.pool.max_connections > 0
            || matches!(service.strategy, Strategy::Hash(_) | Strategy::PeakEwma)
            || levels.is_some()
            || slow_start.is_some();
        if !needs_one {
            return None;
        }
        let outliers = service.outlier_detection.as_ref().map(outlier_settings).map(|settings| {
            let kept = previous.and_then(|previous| previous.outliers.as_ref());
            let kept = kept.filter(|outliers| *outliers.settings() == settings);
            kept.map_or_else(|| Arc::new(Outliers::new(settings)), Arc::clone)
        });
        Some(Self {
            split: traffic.canary.as_ref().map(|_| {
                let kept = previous.and_then(|previous| previous.split.as_ref());
                kept.map_or_else(|| Arc::new(Split::new()), Arc::clone)
            }),
            sessions: traffic
                .session_stickiness
                .as_ref()
                .map(|spec| Sessions::build(name, spec, around, previous)),
            outliers,
            levels,
            slow_start,
            traffic: Arc::clone(traffic),
        })
    }

    /// The standing of a backend, with the memory of the one before where it still fits.
    pub(crate) fn standing(
        &self,
        (backend, priority, is_local): (&BackendName, u8, bool),
        service: &Service,
        around: &Surroundings,
        previous: Option<&Standing>,
    ) -> Standing {
        let breaker = self.traffic.circuit_breaker.as_ref().map(|spec| {
            let settings = breaker_settings(spec);
            let kept = previous.and_then(|previous| previous.breaker.as_ref());
            let kept = kept.filter(|breaker| *breaker.settings() == settings);
            kept.map_or_else(
                || Arc::new(Breaker::new(settings, around.workers, around.now)),
                Arc::clone,
            )
        });
        let ejection = self.outliers.as_ref().map(|_| {
            let kept = previous.and_then(|previous| previous.ejection.as_ref());
            kept.map_or_else(|| Arc::new(Ejection::new(around.workers, around.now)), Arc::clone)
        });
        let pool = &service.pool;
        let limiter = (pool.max_connections > 0).then(|| {
            let settings = limiter::Settings {
                most: pool.max_connections,
                queue: pool.max_pending_requests,
                patience: pool.queue_timeout.get(),
            };
            let kept = previous.and_then(|previous| previous.limiter.as_ref());
            let kept = kept.filter(|limiter| *limiter.settings() == settings);
            kept.map_or_else(|| Arc::new(Limiter::new(settings)), Arc::clone)
        });
        Standing {
            hash: hash::key(backend.as_str().as_bytes()),
            slot: self.traffic.slot_of(backend),
            is_canary: self.traffic.canary_weight(backend).is_some(),
            priority,
            is_local,
            breaker,
            ejection,
            limiter,
        }
    }

    /// Whether only a part of the backends may get a request.
    pub(crate) fn divides(&self) -> bool {
        self.traffic.blue_green.is_some() || self.traffic.canary.is_some()
    }

    /// The parts that a request may be led to, where there are parts.
    pub(crate) fn pools(&self, ask: &dyn Ask) -> Option<Pools> {
        let TrafficManagement { blue_green, canary, .. } = &*self.traffic;
        let slot = blue_green.as_ref().filter(|blue_green| !blue_green.fallback).map(|it| {
            let text = ask::text(it.switch_header.as_ref(), ask);
            it.slot(text, ask.client())
        });
        let takes_canary = canary.as_ref().is_some_and(|canary| {
            match canary.choice(ask::text(canary.split_header.as_ref(), ask)) {
                CanaryChoice::Canary | CanaryChoice::Backend(_) => true,
                CanaryChoice::Stable => false,
                CanaryChoice::Split => canary.traffic_split == Percentage::ALL,
            }
        });
        self.divides().then_some(Pools { slot, takes_canary })
    }

    /// Whether an answer with this status is a failure for the breaker of the backend.
    pub(crate) fn is_failure(&self, status: u16) -> bool {
        match &self.traffic.circuit_breaker {
            Some(breaker) => breaker.failure_status.iter().any(|range| range.contains(status)),
            None => status >= 500,
        }
    }

    /// Clients that are remembered by header.
    pub fn sessions(&self) -> usize {
        let table = self.sessions.as_ref().and_then(|sessions| sessions.table.as_ref());
        table.map_or(0, |table| table.len())
    }

    /// Forgets clients whose time is over.
    pub fn sweep_sessions(&self, now: Instant) {
        if let Some(table) = self.sessions.as_ref().and_then(|sessions| sessions.table.as_ref()) {
            table.sweep(now);
        }
    }

    /// How often backends are to be compared with each other, if they are.
    pub fn sweep_interval(&self) -> Option<Duration> {
        self.outliers.as_ref().map(|outliers| outliers.settings().interval)
    }
}

/// The parts of a cluster that a request may be led to. Whoever gets a share of requests only
/// does not count: it cannot be relied on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pools {
    /// The only slot, if there is only one.
    slot: Option<Slot>,
    takes_canary: bool,
}

impl Pools {
    pub(crate) fn have(self, standing: &Standing) -> bool {
        if standing.is_canary {
            return self.takes_canary;
        }
        self.slot.is_none() || standing.slot == self.slot
    }
}

impl Sessions {
    fn build(
        name: &str,
        spec: &SessionStickiness,
        around: &Surroundings,
        previous: Option<&Policy>,
    ) -> Self {
        let ttl = spec.ttl.get();
        let before = previous
            .filter(|previous| {
                let spec = previous.traffic.session_stickiness.as_ref();
                spec.is_some_and(|spec| spec.ttl.get() == ttl)
            })
            .and_then(|previous| previous.sessions.as_ref());
        let table = spec.header_name.as_ref().map(|_| {
            let kept = before.and_then(|before| before.table.as_ref());
            let seed = u64::from_le_bytes(std::array::from_fn(|index| around.secret.0[index]));
            kept.map_or_else(|| Arc::new(Table::new(SESSIONS, ttl, seed, around.now)), Arc::clone)
        });
        let seconds = ttl.as_secs().max(1);
        let cookie = spec.cookie_name.as_ref().map_or("", |name| name.as_str());
        let mut after = format!("; Path={}", spec.path);
        if let Some(domain) = &spec.domain {
            after.push_str("; Domain=");
            after.push_str(domain.as_str());
        }
        if spec.http_only {
            after.push_str("; HttpOnly");
        }
        after.push_str(match spec.same_site {
            lb_model::config::SameSite::Lax => "; SameSite=Lax",
            lb_model::config::SameSite::Strict => "; SameSite=Strict",
            lb_model::config::SameSite::None => "; SameSite=None",
        });
        after.push_str("; Max-Age=");
        after.push_str(&seconds.to_string());
        Self {
            key: CookieKey::derive(&around.secret.0, name),
            table,
            ttl: seconds,
            before: format!("{cookie}=").into_bytes().into(),
            after: after.into_bytes().into(),
            secure: spec.secure,
        }
    }

    /// The value of a `Set-Cookie` field (RFC 6265, 4.1.1).
    pub(crate) fn set_cookie(&self, value: &[u8], is_secure: bool) -> Box<[u8]> {
        let is_secure = self.secure.unwrap_or(is_secure);
        let secure: &[u8] = if is_secure { b"; Secure" } else { b"" };
        [&self.before, value, &self.after, secure].concat().into()
    }
}

fn breaker_settings(spec: &CircuitBreaker) -> breaker::Settings {
    breaker::Settings {
        failure_threshold: spec.failure_threshold,
        success_threshold: spec.success_threshold,
        recovery_timeout: spec.recovery_timeout.get(),
        max_recovery_timeout: spec.max_recovery_timeout.map(lb_model::value::Duration::get),
        request_volume_threshold: spec.request_volume_threshold,
        window: spec.window.get(),
    }
}

fn outlier_settings(spec: &OutlierDetection) -> outlier::Settings {
    let rate = spec.success_rate;
    outlier::Settings {
        consecutive_failures: spec.max_failed_attempts,
        window: spec.failure_window.get(),
        success_rate: rate.map(|rate| outlier::SuccessRate {
            minimum_hosts: rate.minimum_hosts,
            request_volume: rate.request_volume.into(),
            stdev_factor: rate.stdev_factor.thousandths(),
        }),
        interval: rate.map_or(Duration::from_secs(10), |rate| rate.interval.get()),
        base_ejection_time: spec.ejection_time.get(),
        max_ejection_time: spec.max_ejection_time.get(),
        max_ejection_percent: spec.max_ejection_percent.rounded_up(),
    }
}
