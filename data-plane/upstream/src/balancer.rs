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

use least_requests::LeastRequests;
use p2c::P2c;
use peak_ewma::PeakP2c;
use round_robin::RoundRobin;

/// The balancer of one cluster on one worker.
#[derive(Debug)]
pub enum Balancer {
    /// In turn; also where a hash decides, for requests that it does not decide about.
    RoundRobin(RoundRobin),
    /// The less busy of two.
    P2c(P2c),
    /// The cheaper of two.
    PeakEwma(PeakP2c),
    /// The least busy.
    LeastRequests(LeastRequests),
}

/// What balancers may ask about a backend by its index.
#[derive(Debug, Clone, Copy)]
pub struct Loads<Busy, Cost> {
    /// Requests on their way.
    pub busy: Busy,
    /// What one more would cost, as [`peak_ewma::PeakEwma::cost`] says.
    pub cost: Cost,
}

impl Balancer {
    /// A balancer for `members` backends. The seed makes workers start differently.
    pub fn new(strategy: &Strategy, members: usize, seed: u64) -> Self {
        match strategy {
            Strategy::RoundRobin | Strategy::Hash(_) => Self::RoundRobin(RoundRobin::new(members)),
            Strategy::P2c => Self::P2c(P2c::new(members, seed)),
            Strategy::PeakEwma => Self::PeakEwma(PeakP2c::new(members, seed)),
            Strategy::LeastRequests => Self::LeastRequests(LeastRequests::new(members)),
        }
    }

    /// Chooses a member with a weight above 0; none if there is none.
    pub fn pick(
        &mut self,
        weight: impl Fn(usize) -> u16,
        loads: Loads<impl Fn(usize) -> u64, impl Fn(usize) -> u64>,
    ) -> Option<usize> {
        match self {
            Self::RoundRobin(balancer) => balancer.pick(weight),
            Self::P2c(balancer) => balancer.pick(weight, loads.busy),
            Self::PeakEwma(balancer) => balancer.pick(weight, loads.cost),
            Self::LeastRequests(balancer) => balancer.pick(weight, loads.busy),
        }
    }
}
