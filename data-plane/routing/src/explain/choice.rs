//! Which backend gets a request, where that follows from it.
//!
//! The order is that of the proxy, and whatever decides (the key of a request, the version of a
//! client, levels, the hash) is what the proxy calls.

use std::collections::{BTreeMap, BTreeSet};

use lb_model::{
    Config,
    api::Choice,
    config::{Canary, CanaryChoice, CanarySticky, Route, TrafficManagement},
    value::{BackendName, Percentage, ServiceName},
};

use super::{Live, View, pool::Pool, request::Request};
use crate::{
    arm::{self, Arm},
    ask::{self, Ask},
    hash,
};

/// What decides where no backend may be chosen.
pub(super) const NOBODY: &str = "nobody";

/// What decides where other services are in the place of backends.
pub(super) const SERVICES: &str = "services";

/// How many services stand in for each other at most, as in the proxy.
const MOST: usize = 16;

/// The choices of all proxies, those that choose alike together.
pub(super) fn choices(
    config: &Config,
    route: &Route,
    request: &Request,
    live: Option<&dyn Live>,
) -> Vec<Choice> {
    let mut asked = Asked { config, request, live, answers: BTreeMap::new() };
    let traffic = route.traffic_management.as_deref();
    asked.follow((&route.service, traffic), (None, None), 0);
    let is_same = asked.answers.len() == 1;
    let answers = asked.answers.into_iter();
    let choice = |(answer, proxies): (Answer, Vec<String>)| {
        let Answer { backend, by, service, detail } = answer;
        let proxies = if is_same { Vec::new() } else { proxies };
        Choice { by, backend, service, detail, proxies }
    };
    answers.map(choice).collect()
}

/// What is known of the client of a request.
pub(super) struct Known {
    /// It carries a session cookie. Whether that is one of ours only a proxy can tell.
    pub(super) has_cookie: bool,
    /// The key of the header that stands for a client.
    pub(super) header: Option<u64>,
}

/// The version for a request, and why.
pub(super) enum Version<'c> {
    Stable(&'static str),
    Canary(&'static str),
    /// One backend of the new version.
    Backend(&'c BackendName),
    /// That is decided at run time, by this.
    Either(&'static str),
}

/// What follows for some proxies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Answer {
    pub(super) backend: Option<String>,
    pub(super) by: String,
    pub(super) service: Option<String>,
    pub(super) detail: String,
}

struct Asked<'a> {
    config: &'a Config,
    request: &'a Request,
    live: Option<&'a dyn Live>,
    answers: BTreeMap<Answer, Vec<String>>,
}

impl Known {
    pub(super) fn of(traffic: &TrafficManagement, request: &Request) -> Self {
        let Some(sticky) = &traffic.session_stickiness else {
            return Self { has_cookie: false, header: None };
        };
        let cookie = sticky.cookie_name.as_ref().and_then(|name| request.cookie(name.as_str()));
        let header = sticky.header_name.as_ref().and_then(|name| request.field(name.as_str()));
        Self { has_cookie: cookie.is_some(), header: header.map(hash::key) }
    }
}

impl<'c> Version<'c> {
    pub(super) fn of(canary: &'c Canary, request: &Request, known: &Known) -> Self {
        match canary.choice(ask::text(canary.split_header.as_ref(), request)) {
            CanaryChoice::Stable => return Self::Stable("the header asks for it"),
            CanaryChoice::Canary => return Self::Canary("the header asks for it"),
            CanaryChoice::Backend(name) => return Self::Backend(name),
            CanaryChoice::Split => {}
        }
        match canary.traffic_split {
            Percentage::ZERO => return Self::Stable("the canary has no share"),
            Percentage::ALL => return Self::Canary("the canary has all of them"),
            _ => {}
        }
        if known.has_cookie && matches!(canary.sticky, Some(sticky) if sticky != CanarySticky::Ip) {
            return Self::Either("the session cookie decides the version, if it is one of ours");
        }
        let why = match canary.sticky {
            Some(CanarySticky::Ip) => "the client's address decides",
            _ => "the header of its session decides",
        };
        match arm::of_client(canary, request, None, known.header) {
            Some(Arm::Stable) => Self::Stable(why),
            Some(Arm::Canary) => Self::Canary(why),
            None => Self::Either("requests are dealt out between stable and canary"),
        }
    }
}

impl Asked<'_> {
    /// Follows a request into a service, and on into those that stand in for it. `only` are the
    /// proxies that come this far; all do if it is none.
    fn follow(
        &mut self,
        (name, traffic): (&ServiceName, Option<&TrafficManagement>),
        (only, before): (Option<&BTreeSet<String>>, Option<&str>),
        level: usize,
    ) {
        let Some(service) = self.config.services.get(name) else { return };
        let of = before.is_some().then(|| name.to_string());
        let everybody = || only.into_iter().flatten().cloned().collect::<Vec<_>>();
        if !service.weighted.is_empty() {
            let detail = "services in its place take turns, those that have a backend to choose";
            self.answer(Answer::without(SERVICES, detail), of, everybody());
            return;
        }
        let traffic = traffic.unwrap_or(&service.traffic_management);
        let pool = Pool::of(self.config, service, traffic, self.request);
        let ids: Vec<_> = pool.members.iter().map(|member| member.id.as_str()).collect();
        let mut views = self.live.map_or_else(Vec::new, |live| live.views(name.as_str(), &ids));
        if let Some(only) = only {
            let mut silent = only.clone();
            for view in &mut views {
                view.proxies.retain(|proxy| silent.remove(proxy));
            }
            views.retain(|view| !view.proxies.is_empty());
            if !silent.is_empty() {
                views.push(View { proxies: silent.into_iter().collect(), ..View::default() });
            }
        }
        if views.is_empty() {
            views.push(View::default());
        }
        let mut stuck: Option<BTreeSet<String>> = None;
        for view in views {
            match (pool.choose(&view), &service.failover) {
                (Some(answer), _) => self.answer(answer, of.clone(), view.proxies),
                (None, Some(_)) if level < MOST => {
                    stuck.get_or_insert_default().extend(view.proxies);
                }
                (None, _) => {
                    let answer = Answer::without(NOBODY, "no backend may be chosen");
                    self.answer(answer, of.clone(), view.proxies);
                }
            }
        }
        if let (Some(stuck), Some(failover)) = (stuck, &service.failover) {
            let only = Some(&stuck).filter(|stuck| !stuck.is_empty());
            self.follow((&failover.service, None), (only, Some(name.as_str())), level + 1);
        }
    }

    fn answer(&mut self, answer: Answer, service: Option<String>, proxies: Vec<String>) {
        self.answers.entry(Answer { service, ..answer }).or_default().extend(proxies);
    }
}

impl Answer {
    /// No backend: something else decides.
    pub(super) fn without(by: &str, detail: impl Into<String>) -> Self {
        Self { by: by.to_owned(), backend: None, service: None, detail: detail.into() }
    }
}
