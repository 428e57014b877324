//! What operators decided about single backends, beside the configuration.
//!
//! An override takes a backend out of service: it drains until a moment, or is disabled. All of
//! them are one value of the store, under a key of its own, so a decision is a version like any
//! other: numbered, signed, in the history, and shipped to the proxies. `apply` and `restore`
//! write the configuration's key only, so they lose none.
//!
//! What ends by itself does so by a commit of [`keeper`]; the functions here are pure.

pub mod keeper;

use std::{collections::BTreeMap, fmt, sync::Arc};

use jiff::Timestamp;
use lb_model::{
    Config, Version,
    api::OverrideView,
    config::AdminState,
    difference::Written,
    value::{BackendName, ServiceName},
};
use lb_store::{Key, Store, StoreError};
use serde::{Deserialize, Serialize};

/// What was decided about one backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// Who decided.
    pub owner: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// Until when the backend drains; it is disabled when this is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_until: Option<Timestamp>,
    /// When the override ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

/// Every override, by the name of its backend.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Overrides(pub BTreeMap<String, Override>);

/// Overrides that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum OverridesError {
    /// The store did not answer.
    #[error("could not read the overrides from the store")]
    Store(#[from] StoreError),
    /// They were written by another release.
    #[error("the overrides are stored in a form that this release does not read")]
    Unreadable(#[source] serde_json::Error),
}

impl Override {
    /// What the backend is by it.
    pub const fn state(&self) -> AdminState {
        match self.drain_until {
            Some(_) => AdminState::Draining,
            None => AdminState::Disabled,
        }
    }

    /// Whether two say the same, whenever they were made.
    pub fn says_the_same(&self, other: &Self) -> bool {
        let Self { owner: _, reason, since: _, drain_until, expires } = self;
        (reason, drain_until, expires) == (&other.reason, &other.drain_until, &other.expires)
    }

    /// When something about it changes by itself.
    fn next_end(&self) -> Option<Timestamp> {
        [self.drain_until, self.expires].into_iter().flatten().min()
    }

    /// As operators see it.
    pub fn view(&self, backend: &str, config: &Config) -> OverrideView {
        OverrideView {
            backend: backend.to_owned(),
            state: self.state(),
            owner: self.owner.clone(),
            reason: self.reason.clone(),
            since: self.since.to_string(),
            drain_until: self.drain_until.map(|time| time.to_string()),
            expires: self.expires.map(|time| time.to_string()),
            dormant: !config.backends.contains_key(backend),
        }
    }
}

/// What ended by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// About which backend.
    pub backend: String,
    /// What it is now: disabled after a drain, enabled after an override.
    pub state: AdminState,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.state {
            AdminState::Enabled => write!(f, "the override of {} ended", self.backend),
            _ => write!(f, "{} was drained and is disabled", self.backend),
        }
    }
}

impl Overrides {
    /// Those of a version.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    pub async fn at(store: &dyn Store, version: Version) -> Result<Self, OverridesError> {
        match store.get_at(version, &Key::overrides()).await? {
            Some(bytes) => serde_json::from_slice(&bytes).map_err(OverridesError::Unreadable),
            None => Ok(Self::default()),
        }
    }

    /// Puts the decided states into a configuration. One about a backend that is not there
    /// changes nothing.
    pub fn merge(&self, config: &mut Config) {
        for (name, decided) in &self.0 {
            // Asked first: writing copies the map.
            if config.backends.contains_key(name.as_str())
                && let Some(backend) = config.backends.get_mut(name.as_str())
            {
                Arc::make_mut(backend).admin_state = decided.state();
            }
        }
    }

    /// Writes them down beside what documents say, to be compared.
    pub fn write_into(&self, written: &mut Written) {
        for (name, decided) in &self.0 {
            let origin = format!("decided by {}", decided.owner);
            let time = |time: &Timestamp| time.to_string();
            let values = [
                ("state", Some(decided.state().as_str().to_owned())),
                ("reason", Some(decided.reason.clone()).filter(|reason| !reason.is_empty())),
                ("drain_until", decided.drain_until.as_ref().map(time)),
                ("expires", decided.expires.as_ref().map(time)),
            ];
            for (key, value) in values {
                if let Some(value) = value {
                    written.insert(&["overrides", name, key], &value, &origin);
                }
            }
        }
    }

    /// Ends what has ended by `now`, and says what that was.
    pub fn end(&mut self, now: Timestamp) -> Vec<End> {
        let mut ended = Vec::new();
        self.0.retain(|name, decided| {
            let stays = decided.expires.is_none_or(|expires| expires > now);
            if !stays {
                ended.push(End { backend: name.clone(), state: AdminState::Enabled });
            }
            stays
        });
        for (name, decided) in &mut self.0 {
            if decided.drain_until.is_some_and(|until| until <= now) {
                decided.drain_until = None;
                ended.push(End { backend: name.clone(), state: AdminState::Disabled });
            }
        }
        ended
    }

    /// When the next of them changes by itself.
    pub fn next_end(&self) -> Option<Timestamp> {
        self.0.values().filter_map(Override::next_end).min()
    }
}

/// The services of a configuration that would lose their last backend with a share if `backend`
/// were taken out.
pub fn emptied(config: &Config, backend: &BackendName) -> Vec<ServiceName> {
    let takes = |name: &BackendName| config.backends.get(name).is_some_and(|b| takes_requests(b));
    let loses = config.services.iter().filter(|(_, service)| {
        service.backends.contains(backend)
            && takes(backend)
            && !service.backends.iter().any(|other| other != backend && takes(other))
    });
    loses.map(|(name, _)| name.clone()).collect()
}

/// The services in which operators left no backend that takes requests.
pub fn empty(config: &Config) -> Vec<ServiceName> {
    let is_out = |name: &BackendName| {
        config.backends.get(name).is_some_and(|b| b.admin_state != AdminState::Enabled)
    };
    let takes = |name: &BackendName| config.backends.get(name).is_some_and(|b| takes_requests(b));
    let found = config.services.iter().filter(|(_, service)| {
        service.backends.iter().any(is_out) && !service.backends.iter().any(takes)
    });
    found.map(|(name, _)| name.clone()).collect()
}

fn takes_requests(backend: &lb_model::config::Backend) -> bool {
    backend.admin_state == AdminState::Enabled && backend.weight.get() > 0
}

#[cfg(test)]
mod tests {
    use lb_model::Bundle;

    use super::*;

    const DOCUMENT: &str = "
backends:
  a: { url: \"http://127.0.0.1:1\" }
  b: { url: \"http://127.0.0.1:2\" }
  spare: { url: \"http://127.0.0.1:3\", weight: 0 }
services:
  both: { backends: [a, b] }
  one: { backends: [a, spare] }
routes:
  r: { rule: PathPrefix(`/`), service: both }
  s: { rule: PathPrefix(`/s`), service: one }
";

    fn config() -> Config {
        Config::parse(&Bundle::of_text("lb.yaml", DOCUMENT), 0).unwrap().config
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn decided(drain_until: Option<i64>, expires: Option<i64>) -> Override {
        Override {
            owner: "ann".into(),
            reason: String::new(),
            since: at(0),
            drain_until: drain_until.map(at),
            expires: expires.map(at),
        }
    }

    fn overrides(list: &[(&str, Override)]) -> Overrides {
        Overrides(list.iter().map(|(name, each)| ((*name).to_owned(), each.clone())).collect())
    }

    fn name(text: &str) -> BackendName {
        BackendName::parse(text).unwrap()
    }

    #[test]
    fn a_decision_is_merged_and_one_about_nobody_changes_nothing() {
        let mut config = config();
        let untouched = Arc::clone(&config.backends["b"]);
        let decided = [("a", decided(None, None)), ("gone", decided(Some(9), None))];
        let overrides = overrides(&decided);
        overrides.merge(&mut config);
        assert_eq!(config.backends["a"].admin_state, AdminState::Disabled);
        assert!(Arc::ptr_eq(&config.backends["b"], &untouched));
        assert!(overrides.0["gone"].view("gone", &config).dormant);
        assert!(!overrides.0["a"].view("a", &config).dormant);
    }

    #[test]
    fn a_drain_ends_disabled_and_an_override_ends_altogether() {
        let mut all = overrides(&[
            ("a", decided(Some(10), Some(30))),
            ("b", decided(None, Some(20))),
            ("c", decided(None, None)),
        ]);
        assert_eq!(all.next_end(), Some(at(10)));
        assert!(all.end(at(9)).is_empty());
        let end = |all: &mut Overrides, now| {
            all.end(at(now)).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(end(&mut all, 10), ["a was drained and is disabled"]);
        assert_eq!((all.0["a"].state(), all.next_end()), (AdminState::Disabled, Some(at(20))));
        assert_eq!(
            end(&mut all, 31),
            ["the override of a ended", "the override of b ended"],
            "what was missed is made up for"
        );
        assert_eq!((all.0.len(), all.next_end()), (1, None));
    }

    #[test]
    fn a_service_is_emptied_by_its_last_backend_with_a_share() {
        let mut config = config();
        let emptied = |config: &Config, backend| {
            let found = super::emptied(config, &name(backend));
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(emptied(&config, "a"), ["one"], "a weight of 0 takes nothing");
        assert!(emptied(&config, "b").is_empty() && emptied(&config, "spare").is_empty());
        overrides(&[("b", decided(None, None))]).merge(&mut config);
        assert_eq!(emptied(&config, "a"), ["both", "one"]);
        assert!(emptied(&config, "b").is_empty(), "it takes nothing already");
        assert!(empty(&config).is_empty());
        overrides(&[("a", decided(Some(1), None))]).merge(&mut config);
        assert_eq!(empty(&config).len(), 2);
    }

    #[test]
    fn what_is_stored_is_read_again() {
        let all = overrides(&[("a", decided(Some(10), None)), ("b", decided(None, Some(20)))]);
        let text = serde_json::to_string(&all).unwrap();
        assert_eq!(serde_json::from_str::<Overrides>(&text).unwrap(), all);
        assert!(!text.contains("null"), "{text}");
    }
}
