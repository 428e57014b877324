//! How many requests of a route may be on their way at once, of all clients or of each.
//!
//! A gate belongs to its route for as long as its limit stays the same, so a change elsewhere
//! does not forget who is inside. Clients are only remembered while they are.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use lb_model::config::InFlightLimit;
use lb_upstream::{Ask, ask};

/// Parts of the table of clients, each under a lock of its own.
const PARTS: usize = 16;

/// Lets so many requests in.
#[derive(Debug)]
pub struct Gate {
    limit: InFlightLimit,
    all: AtomicU32,
    clients: [Mutex<HashMap<u64, u32>>; PARTS],
}

/// A request inside a gate; it leaves when this is dropped.
#[derive(Debug)]
pub struct Pass {
    gate: Arc<Gate>,
    client: Option<u64>,
}

/// Requests inside gates, nearly always of one gate or none: these take no memory of their own.
#[derive(Debug, Default)]
pub struct Passes {
    first: Option<Pass>,
    others: Vec<Pass>,
}

impl Passes {
    /// Whether the request is inside no gate.
    pub const fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Holds one more.
    pub fn push(&mut self, pass: Pass) {
        if self.first.is_none() {
            self.first = Some(pass);
        } else {
            self.others.push(pass);
        }
    }
}

impl Gate {
    /// Nobody is inside.
    pub fn new(limit: InFlightLimit) -> Self {
        Self { limit, all: AtomicU32::new(0), clients: Default::default() }
    }

    /// How many it lets in.
    pub const fn limit(&self) -> &InFlightLimit {
        &self.limit
    }

    /// Lets a request in if there is room. A request without what clients are told apart by
    /// counts for its address.
    pub fn enter(self: &Arc<Self>, request: &dyn Ask) -> Option<Pass> {
        let Some(source) = &self.limit.source else {
            let before = self.all.fetch_add(1, Relaxed);
            if before >= self.limit.amount {
                self.all.fetch_sub(1, Relaxed);
                return None;
            }
            return Some(Pass { gate: Arc::clone(self), client: None });
        };
        let client = ask::key(source, request);
        let mut inside = self.part(client).lock().unwrap_or_else(PoisonError::into_inner);
        let count = inside.entry(client).or_default();
        if *count >= self.limit.amount {
            return None;
        }
        *count += 1;
        Some(Pass { gate: Arc::clone(self), client: Some(client) })
    }

    fn part(&self, client: u64) -> &Mutex<HashMap<u64, u32>> {
        &self.clients[client as usize % PARTS]
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let Some(client) = self.client else {
            self.gate.all.fetch_sub(1, Relaxed);
            return;
        };
        let mut inside = self.gate.part(client).lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = inside.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                inside.remove(&client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use lb_model::value::HashSource;

    use super::*;

    struct From(IpAddr, Option<&'static str>);

    impl Ask for From {
        fn field<'s>(&'s self, _: &str) -> Option<&'s [u8]> {
            self.1.map(str::as_bytes)
        }

        fn cookie<'s>(&'s self, _: &str) -> Option<&'s [u8]> {
            None
        }

        fn path(&self) -> &'static str {
            "/"
        }

        fn client(&self) -> IpAddr {
            self.0
        }

        fn is_secure(&self) -> bool {
            false
        }
    }

    fn from(last: u8, user: Option<&'static str>) -> From {
        From([192, 0, 2, last].into(), user)
    }

    fn gate(source: Option<&str>) -> Arc<Gate> {
        let source = source.map(|source| HashSource::parse(source).unwrap());
        Arc::new(Gate::new(InFlightLimit { amount: 2, source }))
    }

    #[test]
    fn all_clients_together_get_no_more_than_the_amount() {
        let gate = gate(None);
        let passes = [gate.enter(&from(1, None)), gate.enter(&from(2, None))];
        assert!(passes.iter().all(Option::is_some));
        assert!(gate.enter(&from(3, None)).is_none());
        drop(passes);
        assert!(gate.enter(&from(3, None)).is_some());
    }

    #[test]
    fn each_client_has_an_amount_of_its_own_and_is_forgotten_when_it_left() {
        let gate = gate(Some("header:X-User"));
        let passes = [gate.enter(&from(1, Some("a"))), gate.enter(&from(2, Some("a")))];
        assert!(passes.iter().all(Option::is_some));
        assert!(gate.enter(&from(3, Some("a"))).is_none());
        let other = gate.enter(&from(1, Some("b")));
        assert!(other.is_some(), "another client is not held up");
        assert!(gate.enter(&from(9, None)).is_some(), "without the field the address counts");
        drop((passes, other));
        assert!(gate.clients.iter().all(|part| part.lock().unwrap().is_empty()));
    }
}
