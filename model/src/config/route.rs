//! Which requests go to which service.

use std::sync::Arc;

use super::{InFlightLimit, Retry, TrafficManagement};
use crate::{
    rule::Rule,
    value::{Duration, EntryPointName, ServiceName},
};

/// A rule and the service that answers what it matches.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Which requests.
    pub rule: Arc<Rule>,
    /// Where they must come in; never empty.
    pub entry_points: Vec<EntryPointName>,
    /// Higher is tried first; by default the length of the rule's text.
    pub priority: i64,
    /// Who answers.
    pub service: ServiceName,
    /// Time-outs that differ from the service's.
    pub timeouts: RouteTimeouts,
    /// How many of its requests may be on their way at once; each of these holds.
    pub in_flight: Vec<InFlightLimit>,
    /// When a request is tried again, where that differs from its service.
    pub retry: Option<Retry>,
    /// How backends share its requests, where that differs from its service.
    pub traffic_management: Option<Arc<TrafficManagement>>,
}

/// Time-outs of a route that replace those of its service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RouteTimeouts {
    /// Until a connection to a backend stands.
    pub connect: Option<Duration>,
    /// Until the response head arrives.
    pub response_header: Option<Duration>,
    /// The longest pause in a response body.
    pub idle: Option<Duration>,
    /// The whole exchange; zero means no limit.
    pub total: Option<Duration>,
}
