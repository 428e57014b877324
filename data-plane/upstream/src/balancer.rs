//! Who takes the next request.
//!
//! Balancers are pure: they see weights and loads by index and return an index. Whoever asks
//! gives weight 0 to what must not be chosen (ill, or configured so), so no balancer knows what
//! health is. Each worker has its own; they do not agree among each other and need not.

pub mod least_requests;
pub mod p2c;
pub mod peak_ewma;
pub mod round_robin;

use lb_model::config::Strategy;

use p2c::P2c;
use round_robin::RoundRobin;

/// The balancer of one cluster on one worker.
#[derive(Debug)]
pub enum Balancer {
    /// In turn.
    RoundRobin(RoundRobin),
    /// The less busy of two.
    P2c(P2c),
}

impl Balancer {
    /// A balancer for `members` backends. The seed makes workers start differently.
    pub fn new(strategy: &Strategy, members: usize, seed: u64) -> Self {
        match strategy {
            Strategy::P2c | Strategy::PeakEwma | Strategy::LeastRequests => {
                Self::P2c(P2c::new(members, seed))
            }
            Strategy::RoundRobin | Strategy::Hash(_) => Self::RoundRobin(RoundRobin::new(members)),
        }
    }

    /// Chooses a member with a weight above 0; none if there is none.
    pub fn pick(
        &mut self,
        weight: impl Fn(usize) -> u16,
        load: impl Fn(usize) -> u64,
    ) -> Option<usize> {
        match self {
            Self::RoundRobin(balancer) => balancer.pick(weight),
            Self::P2c(balancer) => balancer.pick(weight, load),
        }
    }
}
