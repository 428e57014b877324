//! What was decided about deployments, beside the configuration.
//!
//! A service with slots serves from one of them, a service with a canary gives it a share, and so
//! does a route with slots or a canary of its own. The configuration says which and how much; an
//! operator, or a [`schedule`], decides otherwise, about each [`Scope`] by itself. As overrides of
//! backends, these decisions are one value of the store under a key of its own: each is a version,
//! and `apply` and `restore` lose none.
//!
//! A decision ends when the configuration says the same by itself, and that about a canary when
//! the configuration has another canary in its place: it was not about that one. [`driver`] ends
//! them and leads schedules; the functions here are pure.

pub mod driver;
pub mod schedule;
pub mod scope;
mod text;

use std::{collections::BTreeMap, fmt, sync::Arc};

use jiff::Timestamp;
use lb_model::{
    Config, Version,
    api::{DeploymentOverride, ScheduleView},
    config::{Backend, Canary, Objects, Slot, TrafficManagement},
    difference::Written,
    value::{BackendName, Percentage},
};
use lb_store::{Commit, Key, Store, StoreError};
use serde::{Deserialize, Serialize};

use self::schedule::{Schedule, State};
pub use self::{
    scope::{Configured, Deployable, Scope, configured, deployable},
    text::slot::read as slot_of,
};
use crate::overrides::OverridesError;

/// Who decided, why and since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// Who.
    pub owner: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
}

/// Which slot serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotChoice {
    /// The slot.
    #[serde(with = "text::slot")]
    pub slot: Slot,
    /// Who decided.
    #[serde(flatten)]
    pub by: Decided,
}

/// How much a canary gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitChoice {
    /// The percentage of requests.
    #[serde(with = "text::split")]
    pub split: Percentage,
    /// Which canary this is about, by [`canary_id`].
    pub canary: String,
    /// Who decided.
    #[serde(flatten)]
    pub by: Decided,
    /// How far the schedule came, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
}

/// What was decided about one service or route.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// Which slot serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<SlotChoice>,
    /// How much the canary gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<SplitChoice>,
}

/// Every decision, by what it is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Deployments(pub BTreeMap<Scope, Deployment>);

/// A decision that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// What it was about.
    pub scope: Scope,
    /// `slot` or `split`.
    pub kind: &'static str,
    /// Why it is over.
    pub why: &'static str,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scope, kind, why } = self;
        write!(f, "the decided {kind} of {scope} ended: {why}")
    }
}

/// What tells one canary from another: its backends, and where they are.
pub fn canary_id(canary: &Canary, backends: &Objects<BackendName, Backend>) -> String {
    let mut all: Vec<_> = canary.backends.iter().map(|(name, _)| name).collect();
    all.sort_unstable();
    let mut hasher = blake3::Hasher::new();
    for name in all {
        let url = backends.get(name).map(|backend| backend.url.to_string()).unwrap_or_default();
        hasher.update(format!("{name} {url}\n").as_bytes());
    }
    hasher.finalize().to_hex().chars().take(16).collect()
}

impl SplitChoice {
    /// As the schedule says, by nobody's decision but its own.
    pub fn scheduled(schedule: Schedule, canary: String, reason: String, now: Timestamp) -> Self {
        let by = Decided { owner: driver::AUTHOR.to_owned(), reason, since: now };
        Self { split: schedule.split(), canary, by, schedule: Some(schedule) }
    }

    /// Why it is over, by what the configuration says now; nothing while it is not.
    fn ends(&self, canary: &Canary, id: &str, split: Percentage) -> Option<&'static str> {
        if self.canary != id {
            return Some("there is another canary");
        }
        match (&self.schedule, canary.steps.is_empty()) {
            (Some(schedule), false) => {
                (!schedule.is_of(&canary.steps)).then_some("the canary has other steps")
            }
            (None, false) => Some("the canary has steps now"),
            (Some(schedule), true) if schedule.is_running() => Some("the canary has no steps now"),
            (_, true) => (self.split == split).then_some("the configuration says the same"),
        }
    }
}

impl Deployments {
    /// Those of a version.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    pub async fn at(store: &dyn Store, version: Version) -> Result<Self, OverridesError> {
        match store.get_at(version, &Key::deployments()).await? {
            Some(bytes) => serde_json::from_slice(&bytes).map_err(OverridesError::Unreadable),
            None => Ok(Self::default()),
        }
    }

    /// Makes these the decisions, on top of `expected`.
    ///
    /// # Errors
    ///
    /// As [`Store::commit`].
    pub async fn commit(
        &self,
        store: &dyn Store,
        expected: Version,
        (author, reason): (&str, &str),
        now: Timestamp,
    ) -> Result<Version, StoreError> {
        // Names, texts, numbers and times: nothing that has no JSON.
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        let commit = Commit {
            author: author.to_owned(),
            reason: reason.to_owned(),
            time: now,
            puts: vec![(Key::deployments(), bytes.into())],
            removes: vec![],
        };
        store.commit(expected, commit).await.map(|record| record.version)
    }

    /// Changes what was decided about a service or route.
    pub fn change(&mut self, scope: &Scope, make: impl FnOnce(&mut Deployment)) {
        let mut decided = self.0.remove(scope).unwrap_or_default();
        make(&mut decided);
        if decided != Deployment::default() {
            self.0.insert(scope.clone(), decided);
        }
    }

    /// Lays the decisions on a configuration: on services, and on routes that say of their own how
    /// requests are divided. These go by what was decided about themselves where the slots or the
    /// canary are their own, and else by what was decided about their service. One about what is
    /// not there changes nothing.
    pub fn merge(&self, config: &mut Config) {
        if self.0.is_empty() {
            return;
        }
        // Found first: writing copies the map.
        let laid = |slots: &Scope, canary: &Scope, traffic: &TrafficManagement| {
            let slot = self.0.get(slots).and_then(|decided| decided.slot.as_ref());
            let split = self.0.get(canary).and_then(|decided| decided.split.as_ref());
            lay(traffic, (slot, split), &config.backends).map(Arc::new)
        };
        let services = config.services.iter().filter_map(|(name, service)| {
            let scope = Scope::Service(name.to_string());
            Some((name.clone(), laid(&scope, &scope, &service.traffic_management)?))
        });
        let services: Vec<_> = services.collect();
        let routes = config.routes.iter().filter_map(|(name, route)| {
            let traffic = route.traffic_management.as_deref()?;
            let own = config.own_deployments.get(name).copied().unwrap_or_default();
            let of = |is_own| {
                let service = || Scope::Service(route.service.to_string());
                if is_own { Scope::Route(name.to_string()) } else { service() }
            };
            Some((name.clone(), laid(&of(own.blue_green), &of(own.canary), traffic)?))
        });
        let routes: Vec<_> = routes.collect();
        for (name, laid) in services {
            if let Some(service) = config.services.get_mut(&name) {
                Arc::make_mut(service).traffic_management = laid;
            }
        }
        for (name, laid) in routes {
            if let Some(route) = config.routes.get_mut(&name) {
                Arc::make_mut(route).traffic_management = Some(laid);
            }
        }
    }

    /// Ends what is over by what a configuration says, and says what that was.
    pub fn end(&mut self, config: &Config, configured: &BTreeMap<Scope, Configured>) -> Vec<Ended> {
        let deployable = deployable(config);
        let mut ended = Vec::new();
        for (scope, decided) in &mut self.0 {
            let said = configured.get(scope).copied().unwrap_or_default();
            let slot = decided.slot.as_ref().map(|choice| choice.slot);
            if slot.is_some() && slot == said.slot {
                decided.slot = None;
                let why = "the configuration says the same";
                ended.push(Ended { scope: scope.clone(), kind: "slot", why });
            }
            let canary = deployable.get(scope).and_then(|made| made.canary.as_ref());
            if let (Some(choice), Some(canary), Some(split)) = (&decided.split, canary, said.split)
            {
                let id = canary_id(canary.said, &config.backends);
                if let Some(why) = choice.ends(canary.said, &id, split) {
                    decided.split = None;
                    ended.push(Ended { scope: scope.clone(), kind: "split", why });
                }
            }
        }
        self.0.retain(|_, decided| *decided != Deployment::default());
        ended
    }

    /// As operators see them.
    pub fn views(&self, config: &Config, now: Timestamp) -> Vec<DeploymentOverride> {
        let deployable = deployable(config);
        let nothing = Deployable::default();
        let mut views = Vec::new();
        for (scope, decided) in &self.0 {
            let made = deployable.get(scope).unwrap_or(&nothing);
            views.extend(decided.slot_view(scope, made));
            views.extend(decided.split_view(scope, made, now));
        }
        views
    }

    /// Writes them down beside what documents say, to be compared.
    pub fn write_into(&self, written: &mut Written) {
        for (scope, Deployment { slot, split }) in &self.0 {
            let name = scope.to_string();
            let mut write = |key: &str, value: &str, by: &Decided| {
                let origin = format!("decided by {}", by.owner);
                written.insert(&["deployments", &name, key], value, &origin);
            };
            if let Some(choice) = slot {
                write("slot", choice.slot.as_str(), &choice.by);
            }
            let Some(choice) = split else { continue };
            write("split", &choice.split.to_string(), &choice.by);
            if let Some(schedule) = &choice.schedule {
                let step = format!("{} of {}", schedule.step + 1, schedule.steps.len());
                write("step", &step, &choice.by);
                write("schedule", schedule.state.as_str(), &choice.by);
            }
        }
    }
}

/// What decisions make of how requests are divided; nothing where that stays as it is.
fn lay(
    traffic: &TrafficManagement,
    (slot, split): (Option<&SlotChoice>, Option<&SplitChoice>),
    backends: &Objects<BackendName, Backend>,
) -> Option<TrafficManagement> {
    let active = slot.map(|choice| choice.slot);
    let active = active
        .filter(|slot| traffic.blue_green.as_ref().is_some_and(|slots| slots.active != *slot));
    let split = split.zip(traffic.canary.as_ref()).filter(|(choice, canary)| {
        choice.split != canary.traffic_split && choice.canary == canary_id(canary, backends)
    });
    let split = split.map(|(choice, _)| choice.split);
    if active.is_none() && split.is_none() {
        return None;
    }
    let mut laid = traffic.clone();
    if let (Some(slots), Some(active)) = (&mut laid.blue_green, active) {
        slots.active = active;
    }
    if let (Some(canary), Some(split)) = (&mut laid.canary, split) {
        canary.traffic_split = split;
    }
    Some(laid)
}

impl Deployment {
    /// The decided slot, as operators see it.
    pub fn slot_view(&self, scope: &Scope, made: &Deployable<'_>) -> Option<DeploymentOverride> {
        let SlotChoice { slot, by } = self.slot.as_ref()?;
        let dormant = made.blue_green.is_none();
        let value = slot.as_str().to_owned();
        Some(by.view("slot", (scope, made), value, (dormant, None)))
    }

    /// The decided split, as operators see it.
    pub fn split_view(
        &self,
        scope: &Scope,
        made: &Deployable<'_>,
        now: Timestamp,
    ) -> Option<DeploymentOverride> {
        let SplitChoice { split, by, schedule, .. } = self.split.as_ref()?;
        let schedule = schedule.as_ref().map(|schedule| schedule.view(now));
        let dormant = made.canary.is_none();
        Some(by.view("split", (scope, made), split.to_string(), (dormant, schedule)))
    }
}

impl Decided {
    fn view(
        &self,
        kind: &str,
        (scope, made): (&Scope, &Deployable<'_>),
        value: String,
        (dormant, schedule): (bool, Option<ScheduleView>),
    ) -> DeploymentOverride {
        let service = match scope {
            Scope::Service(name) => name,
            Scope::Route(_) => made.service,
        };
        DeploymentOverride {
            service: service.to_owned(),
            route: scope.route().map(ToOwned::to_owned),
            kind: kind.to_owned(),
            value,
            owner: self.owner.clone(),
            reason: self.reason.clone(),
            since: self.since.to_string(),
            dormant,
            schedule,
        }
    }
}

impl Schedule {
    /// As operators see it.
    fn view(&self, now: Timestamp) -> ScheduleView {
        let until = self.until();
        let state = match until {
            Some(until) if until <= now => "holding",
            _ => self.state.as_str(),
        };
        ScheduleView {
            state: state.to_owned(),
            step: self.step + 1,
            steps: self.steps.len(),
            since: self.since.to_string(),
            until: until.map(|until| until.to_string()),
            why: self.why.clone(),
        }
    }
}

impl State {
    /// The word in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Aborted => "aborted",
            Self::Stopped => "stopped",
        }
    }
}

#[cfg(test)]
mod tests;
