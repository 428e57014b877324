//! Refuses requests while the proxy has more to do than it can, so that those that it takes are
//! answered in time.
//!
//! Two signs count. A worker that is late with what is due has a queue that grows: from the delay
//! that is allowed on it refuses a share that grows with the delay, up to nearly all. Memory is
//! the whole process's: from the size that is allowed on everything is refused, until there is
//! room again. Each worker judges itself, a few times a second; a request only looks at the
//! outcome. Backends that are slow are no sign: requests that wait for them cost hardly anything.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use lb_model::config::Overload;

/// From one look of a worker at itself to the next.
pub const LOOK: Duration = Duration::from_millis(50);

/// All requests, in the unit of shares.
const ALL: u32 = 1_000_000;

/// The largest share that is refused for a delay: some must pass for it to be seen that the
/// delay is over.
const MOST: u32 = 950_000;

/// How often memory is looked at, in looks.
const MEMORY: u32 = 10;

/// A size for which the allocator takes pages of their own, which cost nothing until they are
/// written to.
const PAGE: usize = 4 << 20;

/// A worker's judgement of itself.
#[derive(Debug, Default)]
pub struct Shedding {
    /// In millionths.
    share: Cell<u32>,
    /// What is owed to refusal, in millionths of a request.
    owed: Cell<u32>,
    /// The delay of late, which goes down slowly.
    delay: Cell<Duration>,
    looks: Cell<u32>,
    is_full: Cell<bool>,
}

impl Shedding {
    /// Whether the next request is refused.
    pub fn refuses(&self) -> bool {
        let share = self.share.get();
        if share == 0 {
            return false;
        }
        let owed = self.owed.get() + share;
        self.owed.set(owed % ALL);
        owed >= ALL
    }

    /// Judges anew: a look that was due at `due` came at `now`.
    pub fn look(&self, limits: Overload, due: Instant, now: Instant) {
        let late = now.saturating_duration_since(due);
        // A peak counts at once, its end after a few looks.
        self.delay.set(late.max(self.delay.get().mul_f64(0.7)));
        let looks = self.looks.get();
        self.looks.set(looks.wrapping_add(1));
        if looks.is_multiple_of(MEMORY) {
            let most = limits.max_memory.map(|most| most.0);
            let is_full = most.is_some_and(|most| resident().is_some_and(|used| used >= most));
            self.is_full.set(is_full);
            if is_full {
                give_back();
            }
        }
        self.share.set(share(self.delay.get(), limits.max_delay.get(), self.is_full.get()));
    }

    /// Nothing is limited any more.
    pub fn end(&self) {
        self.share.set(0);
        self.delay.set(Duration::ZERO);
    }
}

/// The share of requests to refuse, in millionths.
fn share(delay: Duration, most: Duration, is_full: bool) -> u32 {
    if is_full {
        return ALL;
    }
    if delay <= most {
        return 0;
    }
    // Nearly all at four times the delay that is allowed.
    let beyond = delay.saturating_sub(most).as_secs_f64() / (3.0 * most.as_secs_f64().max(0.001));
    ((beyond * f64::from(MOST)) as u32).clamp(10_000, MOST)
}

/// Has the allocator return to the system what was freed. It does so on its own while it is asked
/// for new pages, and a proxy that refuses everything asks for none.
fn give_back() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(PAGE)));
}

/// The memory of this process, in bytes.
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use lb_model::value::{self, ByteSize};
    use proptest::prelude::*;

    use super::*;

    fn limits(memory: Option<u64>) -> Overload {
        Overload { max_memory: memory.map(ByteSize), max_delay: value::Duration::from_millis(100) }
    }

    fn refused(shedding: &Shedding) -> usize {
        (0..1_000).filter(|_| shedding.refuses()).count()
    }

    #[test]
    fn a_worker_that_is_late_refuses_more_the_later_it_is_and_recovers() {
        let shedding = Shedding::default();
        let due = Instant::now();
        let look = |late| shedding.look(limits(None), due, due + Duration::from_millis(late));
        look(90);
        assert_eq!(refused(&shedding), 0);
        look(200);
        let some = refused(&shedding);
        look(350);
        let more = refused(&shedding);
        assert!(0 < some && some < more, "{some} {more}");
        look(10_000);
        assert_eq!(refused(&shedding), 950, "a few pass whatever happens");
        for _ in 0..20 {
            look(0);
        }
        assert_eq!(refused(&shedding), 0);
    }

    #[test]
    fn a_process_that_is_too_large_refuses_everything() {
        let shedding = Shedding::default();
        let now = Instant::now();
        shedding.look(limits(Some(1)), now, now);
        assert_eq!(refused(&shedding), 1_000);
        shedding.end();
        assert_eq!(refused(&shedding), 0);
        let shedding = Shedding::default();
        shedding.look(limits(Some(u64::MAX)), now, now);
        assert_eq!(refused(&shedding), 0);
    }

    proptest! {
        #[test]
        fn the_share_grows_with_the_delay(one in 0_u64..10_000, two in 0_u64..10_000) {
            let (one, two) = (one.min(two), one.max(two));
            let most = Duration::from_millis(100);
            let of = |millis| share(Duration::from_millis(millis), most, false);
            prop_assert!(of(one) <= of(two));
            prop_assert!(of(two) <= MOST);
        }
    }
}
