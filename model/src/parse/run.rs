//! Middlewares that proxies run, laid on the routes that name them.

use std::sync::Arc;

use crate::{
    config::TrafficManagement,
    config::{CircuitBreaker, InFlightLimit, Middleware, Objects, Retry, Route, Service},
    value::MiddlewareName,
};

/// How deep chains are followed; circles are reported elsewhere.
const MOST_LEVELS: usize = 16;

/// What the middlewares of a route come to.
#[derive(Debug, Default)]
pub(super) struct Run {
    in_flight: Vec<InFlightLimit>,
    retry: Option<Retry>,
    circuit_breaker: Option<CircuitBreaker>,
}

impl Run {
    /// Of middlewares in the order in which requests pass them; of two that say the same, the
    /// first counts.
    pub(super) fn of<'n>(
        names: impl Iterator<Item = &'n MiddlewareName>,
        all: &'n Objects<MiddlewareName, Middleware>,
    ) -> Self {
        let mut run = Self::default();
        for name in names {
            run.add(name, all, 0);
        }
        run
    }

    fn add(
        &mut self,
        name: &MiddlewareName,
        all: &Objects<MiddlewareName, Middleware>,
        level: usize,
    ) {
        let Some(middleware) = all.get(name).filter(|_| level < MOST_LEVELS) else { return };
        match &**middleware {
            Middleware::InFlight { amount, source } => {
                let limit = InFlightLimit { amount: *amount, source: source.clone() };
                self.in_flight.push(limit);
            }
            Middleware::Retry(retry) => {
                self.retry.get_or_insert_with(|| retry.clone());
            }
            Middleware::CircuitBreaker(breaker) => {
                self.circuit_breaker.get_or_insert_with(|| breaker.clone());
            }
            Middleware::Chain(names) => {
                for name in names {
                    self.add(name, all, level + 1);
                }
            }
            _ => {}
        }
    }

    /// Whether nothing of it is run.
    pub(super) fn is_empty(&self) -> bool {
        self.in_flight.is_empty() && self.retry.is_none() && self.circuit_breaker.is_none()
    }

    /// Lays it on a route, beside how its backends share requests where it says so itself.
    pub(super) fn lay(
        self,
        (traffic, service): (Option<Arc<TrafficManagement>>, Option<&Arc<Service>>),
        route: &mut Route,
    ) {
        route.in_flight = self.in_flight;
        route.retry = self.retry;
        route.traffic_management = match self.circuit_breaker {
            None => traffic,
            Some(breaker) => {
                let base = service.map(|service| Arc::clone(&service.traffic_management));
                let mut traffic = traffic.or(base).unwrap_or_default();
                Arc::make_mut(&mut traffic).circuit_breaker = Some(breaker);
                Some(traffic)
            }
        };
    }
}
