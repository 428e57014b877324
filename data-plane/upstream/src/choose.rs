//! Chooses a backend where more than health and weight decides.
//!
//! In this order: the slot that is active or asked for, the version by header, session or share,
//! the backend that the session had; then whoever of the rest is well, not ejected, behind no open
//! breaker and not full, in the level and zone whose turn it is, by the strategy of the service.

use std::{
    rc::Rc,
    time::{SystemTime, UNIX_EPOCH},
};

use lb_http::Reason;
use lb_model::config::{AdminState, BlueGreen, Canary, CanaryChoice, Slot};
use lb_routing::arm::{self, Arm};
use tokio::time::Instant;

use crate::{
    ask::{self, Ask},
    attempt::{Attempt, Watched, tell},
    balancer::Loads,
    cluster::{LocalCluster, Member},
    counters::PolicyCounters,
    hash, levels,
    policy::Policy,
    slow_start,
    sticky::{Session, table::Client},
};

/// A choice.
#[derive(Debug)]
pub struct Picked {
    /// The first try, at the backend that was chosen.
    pub attempt: Attempt,
    /// The backend's place in its cluster.
    pub member: usize,
    /// What the client is to remember: the value of a `Set-Cookie` field.
    pub cookie: Option<Box<[u8]>>,
}

impl Picked {
    pub(crate) const fn of(attempt: Attempt, member: usize) -> Self {
        Self { attempt, member, cookie: None }
    }
}

/// What a service knows of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acquaintance {
    /// Nothing.
    Stranger,
    /// Who it is by its header, as a hash that is the same on every proxy, but no session.
    Named(u64),
    /// It has a session.
    Session,
}

/// Room for one choice, kept from one to the next.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    weights: Vec<u16>,
    levels: Vec<levels::Member>,
    warmth: slow_start::Warmth,
}

/// The backends that a request may go to, before it is looked at who is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pool<'p> {
    slot: Option<Slot>,
    arm: Arm,
    /// The only one, by name, where the client asks for it.
    only: Option<&'p str>,
}

impl Pool<'_> {
    /// Which balancer knows whose turn it is.
    const fn part(&self) -> usize {
        match (self.arm, self.slot) {
            (Arm::Canary, _) => 2,
            (Arm::Stable, Some(Slot::Green)) => 1,
            (Arm::Stable, _) => 0,
        }
    }

    fn has(&self, member: &Member) -> bool {
        let standing = &member.standing;
        match self.arm {
            Arm::Canary => {
                standing.is_canary && self.only.is_none_or(|only| **member.endpoint.name() == *only)
            }
            Arm::Stable => {
                !standing.is_canary && (self.slot.is_none() || standing.slot == self.slot)
            }
        }
    }
}

/// What is known of the client.
#[derive(Debug, Default)]
struct Known {
    /// What its cookie said.
    session: Option<Session>,
    /// Who it is by its header.
    client: Option<(Client, u64)>,
    /// The time of the cookie, in seconds of Unix time.
    clock: u64,
}

/// Why a member takes no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Out {
    /// It had the request already.
    Tried,
    /// An operator took it out.
    Disabled,
    /// Its breaker is open.
    Open,
    /// Anything else.
    Ill,
}

impl LocalCluster {
    /// Chooses by the policy.
    pub(crate) fn choose(
        self: &Rc<Self>,
        policy: &Policy,
        ask: &dyn Ask,
        tried: &[usize],
        now: Instant,
    ) -> Result<Picked, Reason> {
        let counters = self.counters();
        let known = know(policy, ask);
        let mut pool = Pool { slot: None, arm: Arm::Stable, only: None };
        if let Some(blue_green) = &policy.traffic.blue_green {
            pool.slot = Some(slot(blue_green, ask, counters));
        }
        if let Some(canary) = &policy.traffic.canary {
            (pool.arm, pool.only) = arm(policy, canary, ask, &known, counters);
        }
        let mut found = self.within(policy, pool, ask, &known, (tried, now));
        if found.is_none() && pool.arm == Arm::Canary {
            // A version that nobody runs must not cost anybody an answer.
            counters.canary_fallbacks.bump();
            pool = Pool { arm: Arm::Stable, only: None, ..pool };
            found = self.within(policy, pool, ask, &known, (tried, now));
        }
        if found.is_none()
            && let Some(blue_green) = policy.traffic.blue_green.as_ref().filter(|b| b.fallback)
        {
            counters.slot_fallbacks.bump();
            pool.slot = Some(pool.slot.unwrap_or(blue_green.active).other());
            found = self.within(policy, pool, ask, &known, (tried, now));
        }
        let Some((index, watched)) = found else {
            return Err(self.why_nobody(pool, tried, now));
        };
        count(policy, pool, counters);
        let cookie = self.remember(policy, (pool, index), &known, ask);
        let attempt = Attempt::begin(&self.members[index], Some(Box::new(watched)));
        Ok(Picked { attempt, member: index, cookie })
    }

    /// Chooses within a pool, and gets all that a try there needs.
    fn within(
        self: &Rc<Self>,
        policy: &Policy,
        pool: Pool<'_>,
        ask: &dyn Ask,
        known: &Known,
        (tried, now): (&[usize], Instant),
    ) -> Option<(usize, Watched)> {
        if let Some(index) = self.pinned(policy, pool, known, tried, now)
            && let Some(watched) = self.watch(index, now)
        {
            self.counters().sessions_kept.bump();
            return Some((index, watched));
        }
        let scratch = &mut *self.scratch.borrow_mut();
        // Who is full is asked only when all are.
        for takes_full in [false, true] {
            if !self.weigh(policy, pool, (tried, takes_full), now, scratch) {
                continue;
            }
            // A breaker that is half open may have no place left by now: then the next is asked.
            while let Some(index) = self.balance(pool.part(), (ask, known), &scratch.weights, now) {
                match self.watch(index, now) {
                    Some(watched) => return Some((index, watched)),
                    None => scratch.weights[index] = 0,
                }
            }
        }
        None
    }

    /// The backend that the client had before, if it may still be chosen.
    fn pinned(
        &self,
        policy: &Policy,
        pool: Pool<'_>,
        known: &Known,
        tried: &[usize],
        now: Instant,
    ) -> Option<usize> {
        let of_cookie = known.session.filter(|session| session.slot == pool.slot);
        let of_cookie = of_cookie.map(|session| session.backend);
        let backend = of_cookie.or_else(|| remembered(policy, known, now))?;
        let members = self.cluster.members();
        let index = members.iter().position(|member| member.standing.hash == backend)?;
        let member = &members[index];
        // Sessions stay where they are while their backend drains.
        let out = out(index, member, tried, now);
        let may = out.is_none()
            || (out == Some(Out::Disabled)
                && member.admin_state == AdminState::Draining
                && !is_ill(member, now));
        (pool.has(member) && may).then_some(index)
    }

    /// Fills in the weights with which members of a pool take part. Says whether anyone does.
    fn weigh(
        &self,
        policy: &Policy,
        pool: Pool<'_>,
        (tried, takes_full): (&[usize], bool),
        now: Instant,
        scratch: &mut Scratch,
    ) -> bool {
        let members = self.cluster.members();
        let Scratch { weights, levels, warmth } = scratch;
        weights.clear();
        weights.reserve(members.len());
        levels.clear();
        let mut any = false;
        let slow = policy.slow_start.filter(|settings| {
            let all = members.iter().map(|member| member.endpoint.health());
            !warmth.are_warm(all, settings.window, now)
        });
        let room = policy.slow_start.map(|_| self.room);
        for (index, member) in members.iter().enumerate() {
            let is_full = !takes_full
                && member.standing.limiter.as_ref().is_some_and(|limiter| limiter.is_full());
            let out = out(index, member, tried, now);
            let takes_part = pool.has(member) && !is_full;
            let mut weight = if takes_part { member.weight } else { 0 };
            // Whether anyone is in its slow start or not: balancers remember weights.
            if let Some(room) = room {
                weight = weight.saturating_mul(room);
            }
            if let Some(settings) = slow {
                weight = settings.share(weight, member.endpoint.health().up_for(now));
            }
            if policy.levels.is_some() {
                levels.push(levels::Member {
                    priority: member.standing.priority,
                    is_local: member.standing.is_local,
                    is_eligible: out.is_none(),
                    is_enabled: !matches!(out, Some(Out::Disabled | Out::Tried)),
                    weight,
                });
            } else if out.is_some() {
                weight = 0;
            }
            any |= weight > 0;
            weights.push(weight);
        }
        let Some(settings) = policy.levels else { return any };
        let Some(choice) = levels::choose(settings, levels, self.draw() as u32) else {
            return false;
        };
        if choice.is_panic {
            self.counters().panics.bump();
        }
        for (weight, member) in weights.iter_mut().zip(levels.iter()) {
            if !choice.admits(*member) {
                *weight = 0;
            }
        }
        true
    }

    /// One of those that have a weight.
    fn balance(
        &self,
        part: usize,
        (ask, known): (&dyn Ask, &Known),
        weights: &[u16],
        now: Instant,
    ) -> Option<usize> {
        let members = self.cluster.members();
        // Every proxy chooses the same backend for a client that it knows by header, or by hash.
        let client = known.client.map(|(_, key)| key);
        if let Some(key) = ask::deciding(&self.cluster.service().strategy, ask, client) {
            let of =
                |(index, member): (usize, &Member)| (index, member.standing.hash, weights[index]);
            return hash::pick(key, members.iter().enumerate().map(of));
        }
        let busy = |index: usize| members[index].endpoint.in_flight();
        let cost = |index: usize| {
            self.members[index].cost(members[index].endpoint.in_flight(), weights[index], now)
        };
        self.balancers[part].borrow_mut().pick(|index| weights[index], Loads { busy, cost })
    }

    /// What a try at a backend needs; nothing if its breaker has no place left.
    fn watch(self: &Rc<Self>, index: usize, now: Instant) -> Option<Watched> {
        let standing = self.standing(index)?;
        let permit = match &standing.breaker {
            Some(breaker) => {
                let permit = breaker.try_begin(now)?;
                if let Some(transition) = permit.transition() {
                    tell(&self.members[index], transition);
                }
                Some(permit)
            }
            None => None,
        };
        let place = standing.limiter.as_ref().and_then(|limiter| limiter.try_take());
        Some(Watched {
            cluster: Rc::clone(self),
            index,
            permit,
            place,
            start: now,
            answered: None,
            is_pending: true,
            is_judged: false,
        })
    }

    /// What the client is to remember, if that is not what it remembers already.
    fn remember(
        &self,
        policy: &Policy,
        (pool, index): (Pool<'_>, usize),
        known: &Known,
        ask: &dyn Ask,
    ) -> Option<Box<[u8]>> {
        let sessions = policy.sessions.as_ref()?;
        let backend = self.cluster.members()[index].standing.hash;
        let counters = self.counters();
        if let (None, Some((client, _)), Some(table)) =
            (&known.session, known.client, &sessions.table)
        {
            table.pin(client, backend, Instant::now());
            return None;
        }
        policy.traffic.session_stickiness.as_ref()?.cookie_name.as_ref()?;
        let place = match &policy.traffic.canary {
            Some(canary) => self.place(pool.arm, canary, known.session),
            None => 0,
        };
        let expires = known.clock + sessions.ttl;
        let session = Session { backend, slot: pool.slot, place, expires };
        if let Some(before) = known.session {
            let is_same = (before.backend, before.slot, before.place)
                == (session.backend, session.slot, session.place);
            if is_same && !before.needs_renewal(sessions.ttl, known.clock) {
                return None;
            }
            if !is_same {
                counters.sessions_moved.bump();
            }
        } else {
            counters.sessions_begun.bump();
        }
        Some(sessions.set_cookie(&sessions.key.seal(&session), ask.is_secure()))
    }

    /// Where a session stands between those of the new version and the rest: what it had, if that
    /// still leads to its version, or else somewhere on that side.
    fn place(&self, arm: Arm, canary: &Canary, session: Option<Session>) -> u16 {
        let share = canary.traffic_split.parts_per_million();
        if let Some(session) = session.filter(|session| session.arm(share) == arm) {
            return session.place;
        }
        let edge = (u64::from(share) << 16) / 1_000_000;
        let (from, to) = match arm {
            Arm::Canary => (0, edge.max(1)),
            Arm::Stable => (edge.min(0xffff), 0x1_0000),
        };
        (from + self.draw() % (to - from)) as u16
    }

    /// xorshift64*: nobody is harmed by a draw that can be predicted.
    fn draw(&self) -> u64 {
        let mut random = self.random.get();
        random ^= random >> 12;
        random ^= random << 25;
        random ^= random >> 27;
        self.random.set(random);
        random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    }

    /// What is known of the client here.
    pub fn acquaintance(&self, ask: &dyn Ask, now: Instant) -> Acquaintance {
        let Some(policy) = self.policy() else { return Acquaintance::Stranger };
        let known = know(policy, ask);
        if known.session.is_some() || remembered(policy, &known, now).is_some() {
            return Acquaintance::Session;
        }
        known.client.map_or(Acquaintance::Stranger, |(_, key)| Acquaintance::Named(key))
    }

    /// Why no member of a pool takes a request.
    fn why_nobody(&self, pool: Pool<'_>, tried: &[usize], now: Instant) -> Reason {
        let members = self.cluster.members().iter().enumerate();
        let in_pool = members.filter(|(_, member)| pool.has(member) && member.weight > 0);
        let mut outs = in_pool.map(|(index, member)| out(index, member, tried, now)).peekable();
        if outs.peek().is_none() {
            return Reason::NoHealthyBackend;
        }
        let outs: Vec<_> = outs.collect();
        if outs.contains(&Some(Out::Open)) || outs.contains(&None) {
            Reason::CircuitOpen
        } else if outs.iter().all(|out| *out == Some(Out::Disabled)) {
            Reason::BackendDisabled
        } else {
            Reason::NoHealthyBackend
        }
    }

    /// After how long the first breaker of the cluster that is open lets a request through.
    pub fn opens_again(&self, now: Instant) -> Option<std::time::Duration> {
        let breakers = self.cluster.members().iter().filter_map(|m| m.standing.breaker.as_ref());
        let next = breakers.filter_map(|breaker| breaker.summary(now).next_attempt).min()?;
        Some(next.saturating_duration_since(now))
    }
}

/// The slot for a request.
fn slot(blue_green: &BlueGreen, ask: &dyn Ask, counters: &PolicyCounters) -> Slot {
    let text = ask::text(blue_green.switch_header.as_ref(), ask);
    let Some(text) = text else { return blue_green.active };
    let slot = blue_green.slot(Some(text), ask.client());
    if !text.trim().eq_ignore_ascii_case(slot.as_str()) {
        counters.headers_ignored.bump();
    }
    slot
}

/// Why a member takes no request, apart from its weight and whether it is full.
#[inline]
pub(crate) fn out(index: usize, member: &Member, tried: &[usize], now: Instant) -> Option<Out> {
    let standing = &member.standing;
    if !tried.is_empty() && tried.contains(&index) {
        return Some(Out::Tried);
    }
    if member.admin_state != AdminState::Enabled {
        return Some(Out::Disabled);
    }
    if is_ill(member, now) {
        return Some(Out::Ill);
    }
    let is_open = standing.breaker.as_ref().is_some_and(|breaker| !breaker.allows(now));
    is_open.then_some(Out::Open)
}

/// Whether its checks or its answers say that it is not well.
#[inline]
fn is_ill(member: &Member, now: Instant) -> bool {
    let ejection = member.standing.ejection.as_ref();
    !member.endpoint.health().is_up() || ejection.is_some_and(|it| it.is_ejected(now))
}

/// What is known of the client, as far as anything of it decides.
fn know(policy: &Policy, ask: &dyn Ask) -> Known {
    let (Some(sessions), Some(spec)) = (&policy.sessions, &policy.traffic.session_stickiness)
    else {
        return Known::default();
    };
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let cookie = spec.cookie_name.as_ref().and_then(|name| ask.cookie(name.as_str()));
    let session = cookie.and_then(|cookie| sessions.key.open(cookie, clock));
    let field = spec.header_name.as_ref().filter(|_| session.is_none());
    let field = field.and_then(|name| ask.field(name.as_str()));
    let client = field.zip(sessions.table.as_ref());
    let client = client.map(|(value, table)| (table.client(value), hash::key(value)));
    Known { session, client, clock }
}

/// The backend that is remembered for the client, if it is known by its header.
fn remembered(policy: &Policy, known: &Known, now: Instant) -> Option<u64> {
    policy.sessions.as_ref()?.table.as_ref()?.get(known.client?.0, now)
}

/// The version for a request, and the only backend of it where the client asks for one.
fn arm<'p>(
    policy: &'p Policy,
    canary: &'p Canary,
    ask: &dyn Ask,
    known: &Known,
    counters: &PolicyCounters,
) -> (Arm, Option<&'p str>) {
    let text = ask::text(canary.split_header.as_ref(), ask);
    match canary.choice(text) {
        CanaryChoice::Stable => return (Arm::Stable, None),
        CanaryChoice::Canary => return (Arm::Canary, None),
        CanaryChoice::Backend(name) => return (Arm::Canary, Some(name.as_str())),
        CanaryChoice::Split if text.is_some() => counters.headers_ignored.bump(),
        CanaryChoice::Split => {}
    }
    let share = canary.traffic_split.parts_per_million();
    let session = known.session.map(|session| session.arm(share));
    let client = known.client.map(|(_, key)| key);
    let of_client = arm::of_client(canary, ask, session, client);
    let next = || policy.split.as_ref().map_or(Arm::Stable, |split| split.next(share));
    (of_client.unwrap_or_else(next), None)
}

fn count(policy: &Policy, pool: Pool<'_>, counters: &PolicyCounters) {
    if policy.traffic.canary.is_some() {
        match pool.arm {
            Arm::Stable => counters.stable.bump(),
            Arm::Canary => counters.canary.bump(),
        }
    }
    match pool.slot {
        Some(Slot::Blue) => counters.blue.bump(),
        Some(Slot::Green) => counters.green.bump(),
        None => {}
    }
}

#[cfg(test)]
mod explained;
#[cfg(test)]
mod tests;
