//! Which backend the clients of a header have.
//!
//! It is shared by all workers of a proxy and bounded. When it is full, those go that were not
//! used again: whoever sends made-up values pushes out other made-up values and not the sessions
//! that are in use (the order is that of CLOCK-Pro). Losing an entry costs little, since the hash
//! of the value finds the same backend again unless backends came or went.
//!
//! Values of headers are not kept, only a hash of 128 bits, so ten megabytes take as much room as
//! ten bytes. The hash has a seed, but no secret depends on it: two values that collide share a
//! backend.

use std::{
    hash::{BuildHasherDefault, Hasher},
    time::Duration,
};

use quick_cache::{
    UnitWeighter,
    sync::{Cache, DefaultLifecycle},
};
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// How many clients are remembered unless configured otherwise.
pub const CAPACITY: usize = 100_000;

/// A client, by the hash of what it sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Client(u128);

/// The backend of a client, by the [hash](crate::hash::key) of its name.
#[derive(Debug, Clone, Copy)]
struct Pin {
    backend: u64,
    /// Seconds from the start.
    expires: u32,
}

type Pins =
    Cache<Client, Pin, UnitWeighter, BuildHasherDefault<Folded>, DefaultLifecycle<Client, Pin>>;

/// The backends of all clients of one service on one proxy.
#[derive(Debug)]
pub struct Table {
    pins: Pins,
    ttl: Duration,
    start: Instant,
    seed: u64,
}

impl Table {
    /// A table for at most `capacity` clients, each remembered for `ttl` after its last request.
    pub fn new(capacity: usize, ttl: Duration, seed: u64, now: Instant) -> Self {
        let capacity = capacity.max(1) as u64;
        let pins = Pins::with(
            capacity as usize,
            capacity,
            UnitWeighter,
            BuildHasherDefault::default(),
            DefaultLifecycle::default(),
        );
        // It has parts, with a lock each, whose shares are rounded up; the sum must not be more
        // than what was asked for. There are never more parts than room.
        let parts = pins.num_shards() as u64;
        pins.set_capacity(capacity / parts * parts);
        Self { pins, ttl, start: now, seed }
    }

    /// The client that sent `value`.
    pub fn client(&self, value: &[u8]) -> Client {
        Client(xxh3_128_with_seed(value, self.seed))
    }

    /// The backend that the client had less than the time to live ago; it is remembered anew.
    pub fn get(&self, client: Client, now: Instant) -> Option<u64> {
        let Pin { backend, expires } = self.pins.get(&client)?;
        if expires <= self.seconds(now) {
            return None;
        }
        let renewed = self.expiry(now);
        if renewed > expires {
            // At most once a second and client. It is not put back if it has gone meanwhile. If
            // another worker has just pinned another backend, that choice is lost and made again:
            // whoever asks looks at the backend before it is used.
            let _ = self.pins.replace(client, Pin { backend, expires: renewed }, true);
        }
        Some(backend)
    }

    /// Remembers the backend of a client.
    pub fn pin(&self, client: Client, backend: u64, now: Instant) {
        self.pins.insert(client, Pin { backend, expires: self.expiry(now) });
    }

    /// Removes the clients whose time is over. Each part is locked in turn.
    pub fn sweep(&self, now: Instant) {
        let now = self.seconds(now);
        self.pins.retain(|_, pin| pin.expires > now);
    }

    /// How many clients it remembers, those among them whose time is over but were not swept.
    pub fn len(&self) -> usize {
        self.pins.len()
    }

    /// Whether it remembers nobody.
    pub fn is_empty(&self) -> bool {
        self.pins.is_empty()
    }

    fn seconds(&self, at: Instant) -> u32 {
        u32::try_from(at.saturating_duration_since(self.start).as_secs()).unwrap_or(u32::MAX)
    }

    /// In whole seconds, so a little later than the time to live and never earlier.
    fn expiry(&self, now: Instant) -> u32 {
        let rest = u64::from(self.ttl.subsec_nanos() > 0);
        let ttl = u32::try_from(self.ttl.as_secs().saturating_add(rest)).unwrap_or(u32::MAX);
        self.seconds(now).saturating_add(ttl).saturating_add(1)
    }
}

/// A client is a hash already.
#[derive(Debug, Default, Clone, Copy)]
struct Folded(u64);

impl Hasher for Folded {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const TTL: Duration = Duration::from_mins(1);

    fn table(capacity: usize) -> (Table, Instant) {
        let now = Instant::now();
        (Table::new(capacity, TTL, 7, now), now)
    }

    fn client(table: &Table, n: usize) -> Client {
        table.client(format!("client-{n}").as_bytes())
    }

    #[test]
    fn a_client_keeps_its_backend_for_as_long_as_it_comes() {
        let (table, start) = table(CAPACITY);
        let ann = table.client(b"ann");
        assert_eq!(table.get(ann, start), None);
        table.pin(ann, 42, start);
        let mut now = start;
        for _ in 0..10 {
            now += TTL;
            assert_eq!(table.get(ann, now), Some(42));
        }
        assert_eq!(table.get(ann, now + TTL + Duration::from_secs(2)), None);
        assert_eq!(table.get(table.client(b"bob"), start), None);
    }

    #[test]
    fn an_endless_time_to_live_does_not_overflow() {
        let now = Instant::now();
        let table = Table::new(10, Duration::MAX, 7, now);
        let ann = table.client(b"ann");
        table.pin(ann, 1, now);
        assert_eq!(table.get(ann, now + Duration::from_hours(24 * 365)), Some(1));
    }

    #[test]
    fn another_choice_replaces_the_first() {
        let (table, now) = table(CAPACITY);
        let ann = table.client(b"ann");
        table.pin(ann, 1, now);
        table.pin(ann, 2, now);
        assert_eq!((table.get(ann, now), table.len()), (Some(2), 1));
    }

    #[test]
    fn a_sweep_removes_whoever_stayed_away() {
        let (table, start) = table(CAPACITY);
        for n in 0..100 {
            table.pin(client(&table, n), 1, start);
        }
        table.sweep(start + TTL);
        assert_eq!(table.len(), 100);
        assert_eq!(table.get(client(&table, 7), start + TTL), Some(1));
        table.sweep(start + TTL + Duration::from_secs(2));
        assert_eq!(table.len(), 1);
        table.sweep(start + TTL * 3);
        assert!(table.is_empty());
    }

    #[test]
    fn it_never_holds_more_than_its_capacity() {
        for capacity in [0, 1, 10, 1_000, 5_000] {
            let (table, now) = table(capacity);
            for n in 0..capacity * 3 + 10 {
                table.pin(client(&table, n), 1, now);
                assert!(table.len() <= capacity.max(1));
            }
            assert!(table.len() >= capacity * 9 / 10, "{} of {capacity}", table.len());
        }
    }

    #[test]
    fn sessions_in_use_outlive_a_flood_of_made_up_values() {
        let (table, now) = table(5_000);
        for n in 0..1_000 {
            table.pin(client(&table, n), n as u64, now);
            assert_eq!(table.get(client(&table, n), now), Some(n as u64));
        }
        for n in 1_000_000..1_050_000 {
            table.pin(client(&table, n), 1, now);
            // Those in use go on meanwhile.
            table.get(client(&table, n % 1_000), now);
        }
        let kept = (0..1_000).filter(|n| table.get(client(&table, *n), now).is_some()).count();
        assert!(kept >= 990, "{kept} of 1000 were kept");
    }

    #[test]
    fn the_longest_value_takes_no_more_room_than_another() {
        let (table, now) = table(10);
        let long = vec![b'x'; 10 << 20];
        table.pin(table.client(&long), 3, now);
        assert_eq!(table.get(table.client(&long), now), Some(3));
        assert_eq!(size_of::<(Client, Pin)>(), 32);
    }

    #[test]
    fn workers_share_it() {
        let (table, now) = table(CAPACITY);
        thread::scope(|scope| {
            for worker in 0..4 {
                let table = &table;
                scope.spawn(move || {
                    for n in 0..2_000 {
                        let later = now + Duration::from_secs(n as u64 / 100);
                        let client = client(table, n);
                        if table.get(client, later).is_none() {
                            table.pin(client, n as u64, later);
                        }
                        assert_eq!(table.get(client, later), Some(n as u64), "worker {worker}");
                    }
                });
            }
        });
        assert_eq!(table.len(), 2_000);
    }
}
