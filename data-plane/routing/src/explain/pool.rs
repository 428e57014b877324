//! The backends of a service as one proxy has them, and who of them gets a request.
//!
//! What only a proxy knows is not guessed: whose turn it is, who is less busy, what is in a cookie
//! that it sealed. Then the answer says what decides.

use lb_model::{
    Config,
    config::{AdminState, Backend, Service, Slot, Strategy, TrafficManagement},
    value::{BackendName, HashSource, Label},
};

use super::{
    Sight, View,
    choice::{Answer, Known, Version},
    request::Request,
};
use crate::{
    arm::Arm,
    ask::{self, Ask},
    hash, levels,
};

/// The backends of a service with its traffic management, as its cluster has them.
pub(super) struct Pool<'a> {
    service: &'a Service,
    traffic: &'a TrafficManagement,
    request: &'a Request,
    known: Known,
    pub(super) members: Vec<Member<'a>>,
}

pub(super) struct Member<'a> {
    pub(super) id: &'a BackendName,
    backend: &'a Backend,
    hash: u64,
    weight: u16,
    slot: Option<Slot>,
    is_canary: bool,
}

/// Which of them take part.
#[derive(Clone, Copy)]
struct Part<'a> {
    slot: Option<Slot>,
    arm: Arm,
    only: Option<&'a BackendName>,
}

/// Who takes part with which weight.
enum Weighed {
    By(Vec<u16>),
    /// Several levels share the requests.
    InTurn,
}

impl<'a> Pool<'a> {
    pub(super) fn of(
        config: &'a Config,
        service: &'a Service,
        traffic: &'a TrafficManagement,
        request: &'a Request,
    ) -> Self {
        let members = traffic.members(&service.backends).filter_map(|id| {
            let backend = config.backends.get(id)?;
            let of_canary = traffic.canary_weight(id);
            Some(Member {
                id,
                backend,
                hash: hash::key(id.as_str().as_bytes()),
                weight: of_canary.unwrap_or(backend.weight).get(),
                slot: traffic.slot_of(id),
                is_canary: of_canary.is_some(),
            })
        });
        let known = Known::of(traffic, request);
        Self { service, traffic, request, known, members: members.collect() }
    }

    /// Who gets the request from proxies with this view; nothing if nobody of the service does.
    pub(super) fn choose(&self, view: &View) -> Option<Answer> {
        let mut part = Part { slot: self.slot(), arm: Arm::Stable, only: None };
        let mut why = String::new();
        match self
            .traffic
            .canary
            .as_ref()
            .map(|canary| Version::of(canary, self.request, &self.known))
        {
            None | Some(Version::Stable(_)) => {}
            Some(Version::Canary(_)) => part.arm = Arm::Canary,
            Some(Version::Backend(name)) => (part.arm, part.only) = (Arm::Canary, Some(name)),
            Some(Version::Either(why)) => {
                let canary = Part { arm: Arm::Canary, ..part };
                if self.weigh(canary, view).any() {
                    return Some(Answer::without("split", why));
                }
            }
        }
        let mut weighed = self.weigh(part, view);
        if !weighed.any() && part.arm == Arm::Canary {
            part = Part { arm: Arm::Stable, only: None, ..part };
            why += "the canary has nobody to choose, so the stable version answers: ";
            weighed = self.weigh(part, view);
        }
        let slots = self.traffic.blue_green.as_ref().filter(|slots| slots.fallback);
        if let Some(slots) = slots.filter(|_| !weighed.any()) {
            part.slot = Some(part.slot.unwrap_or(slots.active).other());
            why += "the slot has nobody to choose, so the other one answers: ";
            weighed = self.weigh(part, view);
        }
        if !weighed.any() {
            return None;
        }
        let answer = self.among(part, &weighed);
        Some(Answer { detail: why + &answer.detail, ..answer })
    }

    fn slot(&self) -> Option<Slot> {
        let slots = self.traffic.blue_green.as_ref()?;
        let text = ask::text(slots.switch_header.as_ref(), self.request);
        Some(slots.slot(text, self.request.client()))
    }

    fn has(part: Part<'_>, member: &Member<'_>) -> bool {
        match part.arm {
            Arm::Canary => member.is_canary && part.only.is_none_or(|only| only == member.id),
            Arm::Stable => !member.is_canary && (part.slot.is_none() || member.slot == part.slot),
        }
    }

    fn weigh(&self, part: Part<'_>, view: &View) -> Weighed {
        let zone = view.zone.as_deref();
        let has_levels = levels::Settings::are_needed(
            self.members.iter().map(|member| member.backend),
            zone.is_some(),
        );
        let seen = self.members.iter().enumerate().map(|(index, member)| {
            let sight = view.sights.get(index).copied().unwrap_or_default();
            let is_enabled = member.backend.admin_state == AdminState::Enabled;
            let own = member.backend.zone.as_ref().map(Label::as_str);
            levels::Member {
                priority: member.backend.priority,
                is_local: own.is_some() && own == zone,
                is_eligible: is_enabled && sight == Sight::Well,
                is_enabled,
                weight: if Self::has(part, member) { member.weight } else { 0 },
            }
        });
        let seen: Vec<_> = seen.collect();
        let weights = |admits: &dyn Fn(levels::Member) -> bool| {
            seen.iter().map(|member| if admits(*member) { member.weight } else { 0 }).collect()
        };
        let Some(settings) = levels::Settings::of(self.service, zone.is_some(), has_levels) else {
            return Weighed::By(weights(&|member| member.is_eligible));
        };
        // A level is drawn for each request: where the least and the greatest draw agree, all do.
        let draws = [0, u32::MAX].map(|draw| levels::choose(settings, &seen, draw));
        match draws {
            [None, _] | [_, None] => Weighed::By(weights(&|_| false)),
            [Some(least), Some(most)] if least == most => {
                Weighed::By(weights(&|member| least.admits(member)))
            }
            _ => Weighed::InTurn,
        }
    }

    /// Who of those with a weight gets the request.
    fn among(&self, part: Part<'_>, weighed: &Weighed) -> Answer {
        let Weighed::By(weights) = weighed else {
            return Answer::without("levels", "several levels share the requests");
        };
        let found = |by: &str, index: usize, detail: String| Answer {
            by: by.to_owned(),
            backend: Some(self.members[index].id.to_string()),
            service: None,
            detail,
        };
        // A session may be at a backend that drains.
        let drains = |member: &&Member<'_>| {
            member.backend.admin_state == AdminState::Draining && Self::has(part, member)
        };
        let has_session = self.known.has_cookie || self.known.header.is_some();
        let may_stay = has_session && self.members.iter().any(|member| drains(&member));
        let mut chosen = weights.iter().enumerate().filter(|(_, weight)| **weight > 0);
        if let (Some((index, _)), None, false) = (chosen.next(), chosen.next(), may_stay) {
            return match part.only {
                Some(_) => found("split_header", index, "the header names it".to_owned()),
                None => found("only", index, "no other may be chosen".to_owned()),
            };
        }
        if self.known.has_cookie {
            let detail = "the session cookie names the backend, if it is one of ours";
            return Answer::without("session_cookie", detail);
        }
        let strategy = &self.service.strategy;
        let key = ask::deciding(strategy, self.request, self.known.header);
        let members = self.members.iter().enumerate();
        let members = members.map(|(index, member)| (index, member.hash, weights[index]));
        let Some(index) = key.and_then(|key| hash::pick(key, members)) else {
            return Answer::without(strategy.as_str(), self.balanced());
        };
        let mut detail = match strategy {
            Strategy::Hash(source) => hashed(source, self.request),
            _ => "the hash of the header of its session".to_owned(),
        };
        if self.known.header.is_some() {
            detail += "; a proxy that knows this session keeps the backend that it had";
        }
        if !self.service.slow_start.get().is_zero() {
            detail += "; a backend in its slow start gets less";
        }
        if self.service.pool.max_connections > 0 {
            detail += "; a backend without a free place is passed over";
        }
        let by = if self.known.header.is_some() && !matches!(strategy, Strategy::Hash(_)) {
            "session_header"
        } else {
            "hash"
        };
        found(by, index, detail)
    }

    /// Why nothing of the request decides.
    fn balanced(&self) -> String {
        let how = match &self.service.strategy {
            Strategy::RoundRobin => "backends take turns",
            _ => "the load of the backends decides",
        };
        let Some(sticky) = &self.traffic.session_stickiness else { return how.to_owned() };
        let cookie = sticky.cookie_name.as_ref().map(|name| format!("no cookie {name}"));
        let header = sticky.header_name.as_ref().map(|name| format!("no field {}", name.as_str()));
        let lacks: Vec<_> = cookie.into_iter().chain(header).collect();
        format!("the request has {}: {how}", lacks.join(" and "))
    }
}

impl Weighed {
    fn any(&self) -> bool {
        match self {
            Self::By(weights) => weights.iter().any(|weight| *weight > 0),
            Self::InTurn => true,
        }
    }
}

/// What was hashed.
fn hashed(source: &HashSource, request: &Request) -> String {
    let part = match source {
        HashSource::ClientIp => {
            return format!("the hash of the client's address {}", request.client());
        }
        HashSource::Path => return format!("the hash of the path {}", request.path()),
        HashSource::Header(name) => format!("field {}", name.as_str()),
        HashSource::Cookie(name) => format!("cookie {name}"),
    };
    if ask::part(source, request).is_some() {
        format!("the hash of the {part}")
    } else {
        let client = request.client();
        format!("the request has no {part}: the hash of the client's address {client}")
    }
}
