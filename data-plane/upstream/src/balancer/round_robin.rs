//! Smooth weighted round robin, as nginx does it.
//!
//! Each turn every candidate gains its weight, the richest is chosen and pays the sum of all
//! weights. Weights 5, 1, 1 give a a b a c a a and not a a a a a b c: over each full cycle the
//! shares are exact, and a heavy backend is not hit in bursts.

/// The state of one rotation.
#[derive(Debug)]
pub struct RoundRobin {
    credit: Vec<i64>,
}

impl RoundRobin {
    /// A rotation over `members`.
    pub fn new(members: usize) -> Self {
        Self { credit: vec![0; members] }
    }

    /// The next member with a weight above 0.
    pub fn pick(&mut self, weight: impl Fn(usize) -> u16) -> Option<usize> {
        let mut total = 0;
        let mut best: Option<(usize, i64)> = None;
        for (index, credit) in self.credit.iter_mut().enumerate() {
            let weight = i64::from(weight(index));
            if weight == 0 {
                // One that comes back starts level, not with what it was owed when it left.
                *credit = 0;
                continue;
            }
            *credit += weight;
            total += weight;
            if best.is_none_or(|(_, most)| *credit > most) {
                best = Some((index, *credit));
            }
        }
        let (index, _) = best?;
        self.credit[index] -= total;
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn weights_interleave_smoothly() {
        let mut rotation = RoundRobin::new(3);
        let weights = [5, 1, 1];
        let order: String =
            (0..14).map(|_| ['a', 'b', 'c'][rotation.pick(|i| weights[i]).unwrap()]).collect();
        assert_eq!(order, "aabacaaaabacaa");
    }

    #[test]
    fn nothing_is_chosen_when_every_weight_is_zero() {
        assert_eq!(RoundRobin::new(2).pick(|_| 0), None);
        assert_eq!(RoundRobin::new(0).pick(|_| 1), None);
    }

    #[test]
    fn one_that_comes_back_does_not_catch_up() {
        let mut rotation = RoundRobin::new(2);
        for _ in 0..10 {
            assert_eq!(rotation.pick(|i| [1, 0][i]), Some(0));
        }
        let back: Vec<_> = (0..4).filter_map(|_| rotation.pick(|_| 1)).collect();
        assert_eq!(back, [0, 1, 0, 1]);
    }

    proptest! {
        #[test]
        fn each_cycle_is_exact(weights in prop::collection::vec(0u16..20, 1..6)) {
            let mut rotation = RoundRobin::new(weights.len());
            let total: u16 = weights.iter().sum();
            let mut taken = vec![0u16; weights.len()];
            for _ in 0..total {
                taken[rotation.pick(|i| weights[i]).unwrap()] += 1;
            }
            prop_assert_eq!(taken, weights);
        }
    }
}
