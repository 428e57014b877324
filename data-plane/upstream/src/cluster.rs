//! A service as it runs, and how one worker looks at it.
//!
//! [`Cluster`] is immutable and shared; a new configuration builds a new one around the
//! endpoints that did not change. [`LocalCluster`] is one worker's: balancer state and idle
//! connections, carried over to the next configuration in the same way.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
};

use lb_http::Reason;
use lb_model::{
    config::{AdminState, Backend, Objects, Service, TrafficManagement},
    value::{BackendName, ServiceName, Weight},
};
use lb_routing::hash;
use tokio::time::Instant;

use crate::{
    arms::{ArmCounters, ArmsCounters},
    ask::Ask,
    attempt::Attempt,
    balancer::{Balancer, Loads, round_robin::RoundRobin},
    breaker::Breaker,
    choose::{Picked, Scratch, out},
    counters::{PerWorker, PolicyCounters},
    endpoint::Endpoint,
    levels,
    limiter::Limiter,
    outlier::Ejection,
    policy::{Policy, Standing, Surroundings},
    pool::LocalEndpoint,
    retry_budget::{self, RetryBudget},
    slow_start,
};

/// Parts that the members of a cluster may be divided into: the blue slot or the only part, the
/// green one, and the canaries.
pub(crate) const PARTS: usize = 3;

/// A service as it runs.
#[derive(Debug)]
pub struct Cluster {
    key: Arc<str>,
    name: Arc<str>,
    service: Arc<Service>,
    members: Vec<Member>,
    policy: Option<Policy>,
    /// What was decided, where anything is.
    counters: Option<Arc<PerWorker<PolicyCounters>>>,
    /// How the versions answer, where there are two.
    arms: Option<Arc<PerWorker<ArmsCounters>>>,
}

/// One backend in its place in a cluster.
#[derive(Debug, Clone)]
pub struct Member {
    /// The backend.
    pub endpoint: Arc<Endpoint>,
    /// Its share of new requests; 0 takes none.
    pub weight: u16,
    /// What an operator decided about it. Like the weight it is policy: the endpoint, with its
    /// health and what is in flight, stays the same whatever is decided.
    pub admin_state: AdminState,
    /// What it is to the policy of the cluster.
    pub standing: Standing,
}

impl Member {
    /// Its share of new requests as of now: none while it is ill, or was taken out.
    fn share(&self) -> u16 {
        let takes = self.admin_state == AdminState::Enabled && self.endpoint.health().is_up();
        if takes { self.weight } else { 0 }
    }

    /// Closes its circuit breaker, as an operator asks, and counts that. Says whether it was not
    /// closed; it has none, or was, where nothing changed.
    pub fn reset_breaker(&self, now: Instant) -> bool {
        let breaker = self.standing.breaker.as_ref();
        let was_reset = breaker.is_some_and(|breaker| breaker.reset(now).is_some());
        if was_reset {
            self.endpoint.breaker_was_reset();
        }
        was_reset
    }

    fn is_like(&self, other: &Self) -> bool {
        self.weight == other.weight
            && self.admin_state == other.admin_state
            && Arc::ptr_eq(&self.endpoint, &other.endpoint)
            && self.standing.is_like(&other.standing)
    }
}

/// A service names a backend that is not configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("backend `{0}` is not configured")]
pub struct MissingBackend(pub BackendName);

/// What a cluster is built from.
#[derive(Debug, Clone, Copy)]
pub struct Blueprint<'a> {
    /// What tells the cluster from all others.
    pub key: &'a Arc<str>,
    /// The service's name.
    pub name: &'a Arc<str>,
    /// The service.
    pub service: &'a Arc<Service>,
    /// How backends share requests: as the service says, or a route in its place.
    pub traffic: &'a Arc<TrafficManagement>,
    /// All backends.
    pub backends: &'a Objects<BackendName, Backend>,
    /// Whether a route has its requests tried again.
    pub is_retried: bool,
    /// What is the same for all clusters.
    pub around: &'a Surroundings,
}

impl Cluster {
    /// Builds the running form of a service, with the endpoints and the memory of `previous` that
    /// did not change; `previous` itself if nothing did. Endpoints of `base` come first: the
    /// service's own cluster, where a route has one of its own.
    pub fn build(
        blueprint: Blueprint<'_>,
        previous: Option<&Arc<Self>>,
        base: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, MissingBackend> {
        let Blueprint { key, name, service, traffic, backends, is_retried, around } = blueprint;
        let mut found = Vec::with_capacity(service.backends.len());
        for id in traffic.members(&service.backends) {
            let backend = backends.get(id).ok_or_else(|| MissingBackend(id.clone()))?;
            found.push((id, backend));
        }
        let all = found.iter().map(|(_, backend)| &***backend);
        let has_levels = levels::Settings::are_needed(all, around.zone.is_some());
        let before = previous.and_then(|previous| previous.policy.as_ref());
        let policy = Policy::build(name, service, traffic, has_levels, around, before);
        let decides = policy.is_some()
            || is_retried
            || service.retry.is_some()
            || service.others().next().is_some();
        let counters = decides.then(|| {
            let before = previous.and_then(|previous| previous.counters.as_ref());
            before.map_or_else(|| Arc::new(PerWorker::new(around.workers)), Arc::clone)
        });
        let arms = traffic.canary.is_some().then(|| {
            let before = previous.and_then(|previous| previous.arms.as_ref());
            before.map_or_else(|| Arc::new(PerWorker::new(around.workers)), Arc::clone)
        });
        let mut members = Vec::with_capacity(found.len());
        for (index, (id, backend)) in found.into_iter().enumerate() {
            let check = service.health_check.as_ref();
            let member_of = |cluster: Option<&'_ Arc<Self>>| {
                let is_same = |member: &&Member| **member.endpoint.name() == *id.as_str();
                cluster.and_then(|cluster| at_first(&cluster.members, index, is_same).cloned())
            };
            let fits = |member: &Member| member.endpoint.is_for(&backend.url, check);
            let previous = member_of(previous).filter(fits);
            let kept = member_of(base).filter(fits).or_else(|| previous.clone());
            let endpoint = kept.map_or_else(
                || {
                    Arc::new(Endpoint::new(
                        Arc::clone(name),
                        id.to_arc(),
                        backend.url.clone(),
                        check.cloned(),
                        around.workers,
                    ))
                },
                |member| member.endpoint,
            );
            let is_local = backend.zone.is_some() && backend.zone == around.zone;
            let standing = policy.as_ref().map(|policy| {
                let previous = previous.as_ref().map(|member| &member.standing);
                let place = (id, backend.priority, is_local);
                policy.standing(place, service, around, previous)
            });
            members.push(Member {
                endpoint,
                weight: traffic.canary_weight(id).unwrap_or(backend.weight).get(),
                admin_state: backend.admin_state,
                standing: standing.unwrap_or_default(),
            });
        }
        if let Some(previous) = previous
            && previous.service == *service
            && previous.policy.as_ref().map(|policy| &policy.traffic)
                == policy.as_ref().map(|policy| &policy.traffic)
            && previous.counters.is_some() == counters.is_some()
            && previous.members.len() == members.len()
            && previous.members.iter().zip(&members).all(|(a, b)| a.is_like(b))
        {
            return Ok(Arc::clone(previous));
        }
        let (key, name, service) = (Arc::clone(key), Arc::clone(name), Arc::clone(service));
        Ok(Arc::new(Self { key, name, service, members, policy, counters, arms }))
    }

    /// What tells it from all others: the service's name, unless it is for one route only.
    pub const fn key(&self) -> &Arc<str> {
        &self.key
    }

    /// The service's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The service's policy.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// The backends, in configured order, canaries beside the pool last.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// What beside health and weight decides, if anything does.
    pub const fn policy(&self) -> Option<&Policy> {
        self.policy.as_ref()
    }

    /// What was decided about its requests, where anything is.
    pub const fn counters(&self) -> Option<&Arc<PerWorker<PolicyCounters>>> {
        self.counters.as_ref()
    }

    /// How its stable version and its canary answer, where it has one.
    pub const fn arms(&self) -> Option<&Arc<PerWorker<ArmsCounters>>> {
        self.arms.as_ref()
    }

    /// Compares its backends with each other, and takes out those that answer much worse. To be
    /// called once an interval.
    pub fn sweep_outliers(&self, now: Instant) {
        let Some(outliers) = self.policy.as_ref().and_then(|policy| policy.outliers.as_ref())
        else {
            return;
        };
        for decision in outliers.sweep(self.ejections(), now) {
            self.tell(decision);
        }
    }

    pub(crate) fn ejections(&self) -> impl Iterator<Item = &Ejection> + Clone {
        self.members.iter().filter_map(|member| member.standing.ejection.as_deref())
    }

    pub(crate) fn tell(&self, decision: crate::outlier::Decision) {
        let Some(member) = self.members.get(decision.member()) else { return };
        let (service, backend) = (&self.name, member.endpoint.name());
        match decision {
            crate::outlier::Decision::Eject { cause, .. } => {
                tracing::warn!(%service, %backend, ?cause, "backend ejected");
            }
            crate::outlier::Decision::Return { .. } => {
                tracing::info!(%service, %backend, "backend taken back");
            }
            crate::outlier::Decision::Forgive { .. } => {}
        }
    }
}

/// The object that is looked for, which most changes leave in its place: all others are looked at
/// only when it is not there.
fn at_first<T>(all: &[T], place: usize, is_it: impl Fn(&&T) -> bool) -> Option<&T> {
    all.get(place).filter(&is_it).or_else(|| all.iter().find(is_it))
}

/// How one worker looks at a cluster.
#[derive(Debug)]
pub struct LocalCluster {
    pub(crate) cluster: Arc<Cluster>,
    /// One for each part of the members that requests are divided into: what one part does must
    /// not disturb the turns of another.
    pub(crate) balancers: [RefCell<Balancer>; PARTS],
    /// Turns among other services, where they take the place of backends.
    others: RefCell<RoundRobin>,
    pub(crate) members: Vec<Rc<LocalEndpoint>>,
    pub(crate) scratch: RefCell<Scratch>,
    budget: RefCell<RetryBudget>,
    pub(crate) worker: usize,
    /// By how much weights are multiplied where there is slow start.
    pub(crate) room: u16,
    pub(crate) random: Cell<u64>,
    unread: PolicyCounters,
}

impl LocalCluster {
    /// The view of worker number `worker`, with the idle connections of `previous`.
    pub fn new(cluster: Arc<Cluster>, worker: usize, previous: Option<&Self>) -> Self {
        let members: Vec<_> = cluster
            .members
            .iter()
            .enumerate()
            .map(|(index, member)| {
                let kept = previous.and_then(|previous| {
                    at_first(&previous.members, index, |local| {
                        Arc::ptr_eq(local.endpoint(), &member.endpoint)
                    })
                });
                let local = kept.map_or_else(
                    || Rc::new(LocalEndpoint::new(Arc::clone(&member.endpoint), worker)),
                    Rc::clone,
                );
                local.set_policy(cluster.service.pool);
                local
            })
            .collect();
        let seed = (worker as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let service = &cluster.service;
        let settings = retry_budget::Settings::default();
        let is_divided = cluster.policy.as_ref().is_some_and(Policy::divides);
        Self {
            balancers: std::array::from_fn(|part| {
                let members = if part == 0 || is_divided { members.len() } else { 0 };
                RefCell::new(Balancer::new(&service.strategy, members, seed))
            }),
            others: RefCell::new(RoundRobin::new(service.weighted.len())),
            scratch: RefCell::default(),
            budget: RefCell::new(RetryBudget::new(settings, Instant::now())),
            random: Cell::new(seed | 1),
            unread: PolicyCounters::default(),
            room: slow_start::room(cluster.members.iter().map(|m| m.weight).max().unwrap_or(0)),
            cluster,
            members,
            worker,
        }
    }

    /// The shared side.
    pub const fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// The backends as this worker sees them.
    pub fn members(&self) -> &[Rc<LocalEndpoint>] {
        &self.members
    }

    /// The number of the worker.
    pub const fn worker(&self) -> usize {
        self.worker
    }

    /// What pays for tries beyond the first.
    pub const fn budget(&self) -> &RefCell<RetryBudget> {
        &self.budget
    }

    /// Chooses who takes a request that came in at `now`, and begins the first try there. `tried`
    /// are the backends that had it already.
    ///
    /// # Errors
    ///
    /// Why nobody can take it.
    pub fn pick(
        self: &Rc<Self>,
        ask: &dyn Ask,
        tried: &[usize],
        now: Instant,
    ) -> Result<Picked, Reason> {
        if let Some(policy) = self.cluster.policy.as_ref() {
            return self.choose(policy, ask, tried, now);
        }
        match self.next(tried) {
            Some(index) => Ok(Picked::of(Attempt::begin(&self.members[index], None), index)),
            None => Err(self.without_policy()),
        }
    }

    /// Who takes the next request among those that are well, enabled, and have a weight.
    fn next(&self, tried: &[usize]) -> Option<usize> {
        let members = &self.cluster.members;
        let weight = |index: usize| {
            if tried.contains(&index) { 0 } else { members[index].share() }
        };
        if members.len() == 1 {
            (weight(0) > 0).then_some(0)
        } else {
            let busy = |index: usize| members[index].endpoint.in_flight();
            self.balancers[0].borrow_mut().pick(weight, Loads { busy, cost: |_| 0 })
        }
    }

    fn without_policy(&self) -> Reason {
        let members = &self.cluster.members;
        let is_out = |member: &Member| member.admin_state != AdminState::Enabled;
        if !members.is_empty() && members.iter().all(is_out) {
            Reason::BackendDisabled
        } else {
            Reason::NoHealthyBackend
        }
    }

    /// Which of the services in its place takes the next request, among those for which `can`
    /// says so: for a client that is known by its header the one of its hash, on every proxy.
    pub fn next_other(&self, client: Option<u64>, can: impl Fn(usize) -> bool) -> Option<usize> {
        let weighted: &[(ServiceName, Weight)] = &self.cluster.service.weighted;
        let weight = |index: usize| if can(index) { weighted[index].1.get() } else { 0 };
        let Some(client) = client else { return self.others.borrow_mut().pick(weight) };
        // The other way round, so that a backend of the same name gets no more than its share.
        let names = weighted.iter().map(|(name, _)| !hash::key(name.as_str().as_bytes()));
        hash::pick(client, names.enumerate().map(|(index, name)| (index, name, weight(index))))
    }

    /// Whether it has a backend to choose for a request as of now, beside those that had it.
    pub fn is_available(
        &self,
        ask: &dyn Ask,
        had_it: impl Fn(usize) -> bool,
        now: Instant,
    ) -> bool {
        let pools = self.policy().and_then(|policy| policy.pools(ask));
        let mut members = self.cluster.members.iter().enumerate();
        members.any(|(index, member)| {
            member.weight > 0
                && pools.is_none_or(|pools| pools.have(&member.standing))
                && out(index, member, &[], now).is_none()
                && !had_it(index)
        })
    }

    /// Whether it chooses among backends that seem ill when none is well, and has any.
    pub fn may_panic(&self) -> bool {
        let levels = self.policy().and_then(|policy| policy.levels);
        levels.is_some_and(|levels| levels.panic_threshold > 0)
            && self
                .cluster
                .members
                .iter()
                .any(|member| member.admin_state == AdminState::Enabled && member.weight > 0)
    }

    /// What this worker counts of decisions; what nobody reads, where nothing is decided.
    pub fn counters(&self) -> &PolicyCounters {
        match &self.cluster.counters {
            Some(counters) => counters.of(self.worker),
            None => &self.unread,
        }
    }

    /// What this worker counts of the version that a member is of, where there are two.
    pub(crate) fn arm(&self, index: usize) -> Option<&ArmCounters> {
        let arms = self.cluster.arms.as_ref()?.of(self.worker);
        Some(if self.standing(index)?.is_canary { &arms.canary } else { &arms.stable })
    }

    pub(crate) fn policy(&self) -> Option<&Policy> {
        self.cluster.policy()
    }

    pub(crate) fn standing(&self, index: usize) -> Option<&Standing> {
        self.cluster.members.get(index).map(|member| &member.standing)
    }

    pub(crate) fn breaker(&self, index: usize) -> Option<&Arc<Breaker>> {
        self.standing(index)?.breaker.as_ref()
    }

    pub(crate) fn ejection(&self, index: usize) -> Option<&Arc<Ejection>> {
        self.standing(index)?.ejection.as_ref()
    }

    pub(crate) fn limiter(&self, index: usize) -> Option<&Arc<Limiter>> {
        self.standing(index)?.limiter.as_ref()
    }

    /// A backend failed: if that makes a run of failures, it is taken out.
    pub(crate) fn suspect(&self, index: usize, worker: usize, now: Instant) {
        let outliers = self.policy().and_then(|policy| policy.outliers.as_ref());
        let (Some(outliers), Some(ejection)) = (outliers, self.ejection(index)) else { return };
        if ejection.failure(worker, outliers.settings(), now)
            && let Some(decision) = outliers.eject(self.cluster.ejections(), index, now)
        {
            self.cluster.tell(decision);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
