//! Which proxies take requests, as a client that follows `/readyz` sees it.
//!
//! A client leaves a proxy that says 503 and comes back when it says 200, as a balancer of a
//! network or a service registry would. What it has open to a proxy that it leaves, it closes.

use std::{
    net::SocketAddr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::http::Connection;

/// The most connections kept to one proxy.
const KEPT: usize = 256;

/// The addresses that requests go to by turns.
#[derive(Debug)]
pub(crate) struct Rotation {
    places: Vec<Mutex<Place>>,
    turn: AtomicUsize,
}

#[derive(Debug, Default)]
struct Place {
    address: Option<SocketAddr>,
    idle: Vec<Connection>,
}

/// Where one request goes.
#[derive(Debug)]
pub(crate) struct Pick {
    index: usize,
    /// The address.
    pub(crate) address: SocketAddr,
    /// A connection that was kept.
    pub(crate) kept: Option<Connection>,
}

impl Rotation {
    /// A rotation of these.
    pub(crate) fn new(addresses: &[SocketAddr]) -> Self {
        let place =
            |address: &SocketAddr| Mutex::new(Place { address: Some(*address), idle: Vec::new() });
        Self { places: addresses.iter().map(place).collect(), turn: AtomicUsize::new(0) }
    }

    /// Sends no more requests to a place, or sends them to `address` from now on.
    pub(crate) fn set(&self, index: usize, address: Option<SocketAddr>) {
        let mut place = self.lock(index);
        if place.address != address {
            *place = Place { address, idle: Vec::new() };
        }
    }

    /// The next place that takes requests.
    pub(crate) fn pick(&self) -> Option<Pick> {
        (0..self.places.len()).find_map(|_| {
            let index = self.turn.fetch_add(1, Ordering::Relaxed) % self.places.len();
            let mut place = self.lock(index);
            let address = place.address?;
            Some(Pick { index, address, kept: place.idle.pop() })
        })
    }

    /// A connection that was kept to a place, if there is another.
    pub(crate) fn another(&self, pick: &Pick) -> Option<Connection> {
        let mut place = self.lock(pick.index);
        if place.address == Some(pick.address) { place.idle.pop() } else { None }
    }

    /// Keeps a connection.
    pub(crate) fn keep(&self, pick: &Pick, connection: Connection) {
        let mut place = self.lock(pick.index);
        if place.address == Some(pick.address) && place.idle.len() < KEPT {
            place.idle.push(connection);
        }
    }

    fn lock(&self, index: usize) -> MutexGuard<'_, Place> {
        self.places[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
