//! The less busy of two backends drawn at random by weight (Mitzenmacher, 2001).
//!
//! Two draws are enough to keep the longest queue short without looking at every backend, and
//! unlike "the least busy of all" it does not send every worker's next request to the same one.
//! Both draws are by weight; between the two, load is compared in proportion to weight.

/// The state of one worker's draws.
#[derive(Debug)]
pub struct P2c {
    members: usize,
    random: u64,
}

impl P2c {
    /// Draws among `members`.
    pub const fn new(members: usize, seed: u64) -> Self {
        Self { members, random: seed | 1 }
    }

    /// The less busy of two members with a weight above 0.
    pub fn pick(
        &mut self,
        weight: impl Fn(usize) -> u16,
        load: impl Fn(usize) -> u64,
    ) -> Option<usize> {
        let total = (0..self.members).map(|i| u64::from(weight(i))).sum();
        let first = self.draw(total, &weight, None)?;
        let rest = total - u64::from(weight(first));
        let Some(second) = self.draw(rest, &weight, Some(first)) else {
            return Some(first);
        };
        // a/wa <= b/wb without dividing.
        let busy = |i, other| load(i).saturating_mul(u64::from(weight(other)));
        Some(if busy(first, second) <= busy(second, first) { first } else { second })
    }

    fn draw(
        &mut self,
        total: u64,
        weight: impl Fn(usize) -> u16,
        except: Option<usize>,
    ) -> Option<usize> {
        if total == 0 {
            return None;
        }
        // The high half of a product maps 64 random bits onto a range without a division.
        let mut left = (u128::from(self.next()) * u128::from(total)) >> 64;
        for index in (0..self.members).filter(|index| Some(*index) != except) {
            let weight = u128::from(weight(index));
            if left < weight {
                return Some(index);
            }
            left -= weight;
        }
        None
    }

    /// xorshift64*: fast, and predictable draws harm nobody here.
    const fn next(&mut self) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(weights: &[u16], loads: &[u64], draws: u32) -> Vec<u32> {
        let mut balancer = P2c::new(weights.len(), 42);
        let mut taken = vec![0; weights.len()];
        for _ in 0..draws {
            taken[balancer.pick(|i| weights[i], |i| loads[i]).unwrap()] += 1;
        }
        taken
    }

    #[test]
    fn idle_backends_share_by_weight() {
        let taken = shares(&[3, 1, 0], &[0, 0, 0], 40_000);
        assert_eq!(taken[2], 0);
        assert!((29_500..30_500).contains(&taken[0]), "{taken:?}");
    }

    #[test]
    fn the_busiest_backend_is_never_chosen_among_others() {
        let taken = shares(&[1, 1, 1], &[9, 0, 0], 10_000);
        assert_eq!(taken[0], 0);
    }

    #[test]
    fn load_counts_in_proportion_to_weight() {
        // Ten requests on a backend of weight 10 are less than two on one of weight 1.
        assert_eq!(shares(&[10, 1], &[10, 2], 1_000), [1_000, 0]);
    }

    #[test]
    fn a_single_candidate_is_chosen_whatever_its_load() {
        assert_eq!(shares(&[0, 7], &[0, 1_000], 10), [0, 10]);
        assert_eq!(P2c::new(2, 1).pick(|_| 0, |_| 0), None);
    }
}
