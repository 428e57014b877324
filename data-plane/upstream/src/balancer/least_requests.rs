//! The least busy of all backends, in proportion to weight.
//!
//! Where several are equally busy, which is the rule while there is little to do, they take
//! turns by weight as in [`round_robin`](super::round_robin); without turns the first would get
//! everything. It looks at every backend, and workers that look at the same moment choose the
//! same one: it is for few backends with requests of very different length.

/// The state of one worker's turns.
#[derive(Debug)]
pub struct LeastRequests {
    members: Vec<Turn>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Turn {
    credit: i64,
    /// What the first look at this pick found, so that the second sees the same.
    weight: u16,
    load: u64,
}

impl LeastRequests {
    /// Turns among `members`.
    pub fn new(members: usize) -> Self {
        Self { members: vec![Turn::default(); members] }
    }

    /// The member with a weight above 0 that has the least load for its weight.
    pub fn pick(
        &mut self,
        weight: impl Fn(usize) -> u16,
        load: impl Fn(usize) -> u64,
    ) -> Option<usize> {
        let mut least: Option<Turn> = None;
        for (index, turn) in self.members.iter_mut().enumerate() {
            turn.weight = weight(index);
            if turn.weight == 0 {
                // One that comes back starts level, not with what it was owed when it left.
                turn.credit = 0;
                continue;
            }
            turn.load = load(index);
            if least.is_none_or(|least| turn.is_less_busy(&least)) {
                least = Some(*turn);
            }
        }
        self.next_of_equals(least?)
    }

    /// The next in turn among those exactly as busy as `least`. Whoever is busier neither gains
    /// nor loses.
    fn next_of_equals(&mut self, least: Turn) -> Option<usize> {
        let mut total = 0;
        let mut best: Option<(usize, i64)> = None;
        for (index, turn) in self.members.iter_mut().enumerate() {
            if turn.weight == 0 || least.is_less_busy(turn) {
                continue;
            }
            turn.credit += i64::from(turn.weight);
            total += i64::from(turn.weight);
            if best.is_none_or(|(_, most)| turn.credit > most) {
                best = Some((index, turn.credit));
            }
        }
        let (index, _) = best?;
        self.members[index].credit -= total;
        Some(index)
    }
}

impl Turn {
    /// a/wa < b/wb without dividing.
    fn is_less_busy(&self, other: &Self) -> bool {
        u128::from(self.load) * u128::from(other.weight)
            < u128::from(other.load) * u128::from(self.weight)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_least_busy_for_its_weight_is_chosen() {
        let mut balancer = LeastRequests::new(3);
        // 20 of weight 10 are as much as 2 of weight 1; 3 of 2 are less than either.
        let (weights, loads) = ([10, 1, 2], [20, 2, 3]);
        for _ in 0..5 {
            assert_eq!(balancer.pick(|i| weights[i], |i| loads[i]), Some(2));
        }
    }

    #[test]
    fn equally_busy_backends_take_turns_by_weight() {
        let mut balancer = LeastRequests::new(3);
        let (weights, loads) = ([2, 1, 1], [2, 1, 9]);
        let order: Vec<_> =
            (0..6).filter_map(|_| balancer.pick(|i| weights[i], |i| loads[i])).collect();
        assert_eq!(order, [0, 1, 0, 0, 1, 0]);
    }

    #[test]
    fn nothing_is_chosen_when_every_weight_is_zero() {
        assert_eq!(LeastRequests::new(2).pick(|_| 0, |_| 0), None);
        assert_eq!(LeastRequests::new(0).pick(|_| 1, |_| 0), None);
    }

    proptest! {
        #[test]
        fn an_idle_service_is_shared_exactly(weights in prop::collection::vec(0_u16..20, 1..6)) {
            let mut balancer = LeastRequests::new(weights.len());
            let mut taken = vec![0_u16; weights.len()];
            for _ in 0..weights.iter().sum() {
                taken[balancer.pick(|i| weights[i], |_| 0).unwrap()] += 1;
            }
            prop_assert_eq!(taken, weights);
        }

        #[test]
        fn load_follows_weight_and_nobody_starves(
            weights in prop::collection::vec(1_u16..20, 1..6),
            rounds in 1_u64..20,
        ) {
            // Requests that never end: each gets what its weight entitles it to.
            let mut balancer = LeastRequests::new(weights.len());
            let mut loads = vec![0_u64; weights.len()];
            let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
            for _ in 0..total * rounds {
                let chosen = balancer.pick(|i| weights[i], |i| loads[i]).unwrap();
                loads[chosen] += 1;
            }
            for (load, weight) in loads.iter().zip(&weights) {
                prop_assert!(load.abs_diff(u64::from(*weight) * rounds) <= 1, "{:?}", loads);
            }
        }

        #[test]
        fn nobody_less_busy_is_passed_over(
            members in prop::collection::vec((0_u16..4, 0_u64..10), 1..8),
        ) {
            let mut balancer = LeastRequests::new(members.len());
            if let Some(chosen) = balancer.pick(|i| members[i].0, |i| members[i].1) {
                let (weight, load) = members[chosen];
                prop_assert!(weight > 0);
                for (w, l) in members.iter().filter(|(w, _)| *w > 0) {
                    prop_assert!(load * u64::from(*w) <= l * u64::from(weight));
                }
            }
        }
    }
}
