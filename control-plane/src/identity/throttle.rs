//! Slows those who guess.

use std::{collections::HashMap, net::IpAddr};

/// How many failures a source has in a minute before it must wait.
const FAILURES: u32 = 5;
/// In seconds.
const WINDOW: i64 = 60;
/// The most sources remembered; past that, the oldest are forgotten.
const MOST: usize = 10_000;

/// Failures by source.
#[derive(Debug, Default)]
pub struct Throttle(HashMap<IpAddr, (i64, u32)>);

impl Throttle {
    /// How many seconds a source must wait; none when it may try.
    pub fn wait(&self, source: IpAddr, now: i64) -> Option<i64> {
        let (since, failures) = self.0.get(&source)?;
        let left = since + WINDOW - now;
        (*failures >= FAILURES && left > 0).then_some(left)
    }

    /// A source failed.
    pub fn fail(&mut self, source: IpAddr, now: i64) {
        if self.0.len() >= MOST {
            self.0.retain(|_, (since, _)| now - *since < WINDOW);
            if self.0.len() >= MOST {
                self.0.clear();
            }
        }
        let (since, failures) = self.0.entry(source).or_insert((now, 0));
        if now - *since >= WINDOW {
            (*since, *failures) = (now, 0);
        }
        *failures += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_five_failures_a_source_waits_and_others_do_not() {
        let (mut throttle, a, b) =
            (Throttle::default(), IpAddr::from([1, 1, 1, 1]), IpAddr::from([2, 2, 2, 2]));
        for now in 0..5 {
            assert_eq!(throttle.wait(a, now), None);
            throttle.fail(a, now);
        }
        assert_eq!(throttle.wait(a, 5), Some(55));
        assert_eq!(throttle.wait(b, 5), None);
        assert_eq!(throttle.wait(a, 60), None);
        throttle.fail(a, 61);
        assert_eq!(throttle.wait(a, 62), None, "the count begins anew");
    }

    #[test]
    fn many_sources_do_not_fill_memory() {
        let mut throttle = Throttle::default();
        for n in 0..50_000u32 {
            throttle.fail(IpAddr::from(n.to_be_bytes()), 0);
        }
        assert!(throttle.0.len() <= MOST);
    }
}
