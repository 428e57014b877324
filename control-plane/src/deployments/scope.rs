//! What has a deployment, and so may be decided about: a service, or a route with slots or a canary
//! of its own.
//!
//! A route without an own one goes by that of its service, and so by what is decided about that.

use std::{collections::BTreeMap, fmt};

use lb_model::{
    Config,
    config::{BlueGreen, Canary, OwnDeployments, Slot},
    value::Percentage,
};
use serde::{Deserialize, Serialize};

/// What stands before the name of a route, where services are named as well. No name has a space.
const ROUTE: &str = "route ";

/// What a decision is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub enum Scope {
    /// What a service says, for its routes that say nothing of their own.
    Service(String),
    /// What a route says.
    Route(String),
}

/// Something that has a deployment.
#[derive(Debug, Clone, Default)]
pub struct Deployable<'c> {
    /// The service whose backends are divided.
    pub service: &'c str,
    /// Its slots.
    pub blue_green: Option<Deployed<'c, BlueGreen>>,
    /// Its canary.
    pub canary: Option<Deployed<'c, Canary>>,
}

/// A deployment.
#[derive(Debug, Clone)]
pub struct Deployed<'c, T> {
    /// What is said of it.
    pub said: &'c T,
    /// As what proxies count the requests that it divides: its own scope first, then routes that
    /// have it from their service and something else of their own.
    pub counted: Vec<Scope>,
}

/// What the configuration says, whatever was decided.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Configured {
    /// The slot that serves.
    pub slot: Option<Slot>,
    /// The share of the canary.
    pub split: Option<Percentage>,
}

impl Scope {
    /// The one of a service; of a route, if one is named.
    pub fn of(service: String, route: String) -> Self {
        if route.is_empty() { Self::Service(service) } else { Self::Route(route) }
    }

    /// The name of the service or route.
    pub fn name(&self) -> &str {
        match self {
            Self::Service(name) | Self::Route(name) => name,
        }
    }

    /// The route, if it is one.
    pub fn route(&self) -> Option<&str> {
        match self {
            Self::Service(_) => None,
            Self::Route(name) => Some(name),
        }
    }

    /// Its place in paths of the REST API.
    pub fn path(&self) -> String {
        match self {
            Self::Service(name) => name.clone(),
            Self::Route(name) => format!("routes/{name}"),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(name) => f.write_str(name),
            Self::Route(name) => write!(f, "{ROUTE}{name}"),
        }
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.to_string()
    }
}

impl From<String> for Scope {
    fn from(text: String) -> Self {
        match text.strip_prefix(ROUTE) {
            Some(name) => Self::Route(name.to_owned()),
            None => Self::Service(text),
        }
    }
}

/// Everything that has a deployment.
pub fn deployable(config: &Config) -> BTreeMap<Scope, Deployable<'_>> {
    let mut found = BTreeMap::new();
    for (name, service) in &config.services {
        let traffic = &service.traffic_management;
        if traffic.blue_green.is_some() || traffic.canary.is_some() {
            let scope = Scope::Service(name.to_string());
            let made = Deployable {
                service: name.as_str(),
                blue_green: traffic.blue_green.as_ref().map(|slots| Deployed::of(slots, &scope)),
                canary: traffic.canary.as_ref().map(|canary| Deployed::of(canary, &scope)),
            };
            found.insert(scope, made);
        }
    }
    for (name, route) in &config.routes {
        let Some(traffic) = &route.traffic_management else { continue };
        let own = config.own_deployments.get(name).copied().unwrap_or_default();
        let scope = Scope::Route(name.to_string());
        let service = Scope::Service(route.service.to_string());
        if let Some(service) = found.get_mut(&service) {
            // Its requests are counted by themselves, whatever they go by.
            if let Some(slots) = service.blue_green.as_mut().filter(|_| !own.blue_green) {
                slots.counted.push(scope.clone());
            }
            if let Some(canary) = service.canary.as_mut().filter(|_| !own.canary) {
                canary.counted.push(scope.clone());
            }
        }
        if own != OwnDeployments::default() {
            let slots = traffic.blue_green.as_ref().filter(|_| own.blue_green);
            let canary = traffic.canary.as_ref().filter(|_| own.canary);
            let made = Deployable {
                service: route.service.as_str(),
                blue_green: slots.map(|slots| Deployed::of(slots, &scope)),
                canary: canary.map(|canary| Deployed::of(canary, &scope)),
            };
            found.insert(scope, made);
        }
    }
    found
}

/// What the configuration says of everything that has a deployment.
pub fn configured(config: &Config) -> BTreeMap<Scope, Configured> {
    let each = deployable(config).into_iter().map(|(scope, made)| {
        let slot = made.blue_green.map(|slots| slots.said.active);
        let split = made.canary.map(|canary| canary.said.traffic_split);
        (scope, Configured { slot, split })
    });
    each.collect()
}

impl<'c, T> Deployed<'c, T> {
    fn of(said: &'c T, scope: &Scope) -> Self {
        Self { said, counted: vec![scope.clone()] }
    }
}
