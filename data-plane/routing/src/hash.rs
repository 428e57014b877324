//! Consistent hashing: which backend a key belongs to, without any state.
//!
//! Weighted rendezvous (Thaler and Ravishankar, 1998): key and backend together give a score,
//! the highest wins. Every proxy that knows the same backends chooses the same one, a backend
//! that leaves hands over its own keys and moves no other, and one that returns gets exactly
//! those back. We rejected a ring and Maglev's table: both hold memory for each backend and
//! service, have to be built anew with each change of health, and move more keys. The price is a
//! look at every backend, a few nanoseconds each.
//!
//! Two proxies may run two versions of this program, so [`key`] and the scores never change:
//! XXH3 is specified, and the tests hold examples.

use xxhash_rust::xxh3::xxh3_64;

/// The hash of a request's key or of a backend's name; the same everywhere and for ever.
#[inline]
pub fn key(bytes: &[u8]) -> u64 {
    xxh3_64(bytes)
}

/// The member that `key` belongs to, among those with a weight above 0. Each is given as what
/// to return, the [`key`] of its name, and its weight. Their order does not matter.
pub fn pick(key: u64, members: impl Iterator<Item = (usize, u64, u16)>) -> Option<usize> {
    let mut best: Option<Candidate> = None;
    for (index, name, weight) in members.filter(|(_, _, weight)| *weight > 0) {
        let mut candidate = Candidate { index, name, weight, hash: mix(key, name), score: None };
        if best.as_mut().is_none_or(|best| candidate.beats(best)) {
            best = Some(candidate);
        }
    }
    best.map(|best| best.index)
}

struct Candidate {
    index: usize,
    name: u64,
    weight: u16,
    hash: u64,
    /// Only worked out when weights differ.
    score: Option<f64>,
}

impl Candidate {
    fn beats(&mut self, other: &mut Self) -> bool {
        if self.weight == other.weight {
            // Scores of one weight rise with the hash: no logarithm is needed to compare them.
            return (self.hash, self.name) > (other.hash, other.name);
        }
        let (mine, theirs) = (self.score(), other.score());
        mine > theirs || (mine >= theirs && self.name > other.name)
    }

    /// `-weight / ln(h)` for `h` in (0, 1): an exponential race in which a backend of twice the
    /// weight wins twice as often, and a change of one weight moves keys to or from it only.
    fn score(&mut self) -> f64 {
        let (hash, weight) = (self.hash, self.weight);
        *self.score.get_or_insert_with(|| {
            let h = ((hash >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
            -f64::from(weight) / h.ln()
        })
    }
}

/// Joins two hashes to one in which every bit depends on all bits of both (the finaliser of
/// SplitMix64).
const fn mix(key: u64, name: u64) -> u64 {
    let mut hash = key ^ name.rotate_left(32);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// How many keys are dealt out; `LB_HASH_KEYS` asks for more. A million, the figure of the
    /// documentation, takes a debug build some seconds.
    fn keys() -> u64 {
        let wanted = std::env::vars().find(|(name, _)| name == "LB_HASH_KEYS");
        wanted.map_or(200_000, |(_, count)| count.parse().unwrap())
    }

    fn names(count: usize) -> Vec<u64> {
        (0..count).map(|n| key(format!("backend-{n}").as_bytes())).collect()
    }

    fn owner(n: u64, names: &[u64], weight: impl Fn(usize) -> u16) -> usize {
        let members = names.iter().enumerate().map(|(index, name)| (index, *name, weight(index)));
        pick(key(&n.to_le_bytes()), members).unwrap()
    }

    #[test]
    fn hashes_are_those_of_every_other_version() {
        assert_eq!(key(b""), 0x2d06_8005_38d3_94c2);
        assert_eq!(key(b"backend-0"), 0x3e87_f526_804a_b2ea);
        assert_eq!(mix(1, 2), 0xc72c_0d73_624b_3f8e);
        let names = names(10);
        let even: Vec<_> = (0..10).map(|n| owner(n, &names, |_| 1)).collect();
        let uneven: Vec<_> = (0..10).map(|n| owner(n, &names, |i| i as u16)).collect();
        assert_eq!(even, [2, 0, 6, 2, 3, 3, 9, 3, 7, 9]);
        assert_eq!(uneven, [4, 8, 6, 2, 3, 3, 9, 3, 7, 9]);
    }

    #[test]
    fn keys_spread_evenly_and_a_leaving_backend_moves_only_its_own() {
        let (names, keys) = (names(100), keys());
        let mut taken = vec![0_u64; names.len()];
        let mut moved = 0_u64;
        for n in 0..keys {
            let before = owner(n, &names, |_| 1);
            taken[before] += 1;
            let after = owner(n, &names, |index| u16::from(index != 42));
            if before == 42 {
                moved += 1;
                assert_ne!(after, 42);
            } else {
                assert_eq!(after, before, "key {n} did not belong to the backend that left");
            }
        }
        let ideal = keys as f64 / 100.0;
        // Five standard deviations of chance; with a million keys that is 5 % of the ideal.
        let bound = 5.0 * ideal.sqrt();
        for (index, taken) in taken.iter().enumerate() {
            let off = (*taken as f64 - ideal).abs();
            assert!(off <= bound, "backend {index} has {taken} keys, {ideal} is its share");
        }
        assert!(moved as f64 <= keys as f64 * 0.015, "{moved} keys moved");
    }

    #[test]
    fn keys_are_shared_by_weight() {
        let names = names(5);
        let weights = [1, 2, 3, 4, 10];
        let mut taken = [0_u32; 5];
        for n in 0..100_000 {
            taken[owner(n, &names, |index| weights[index])] += 1;
        }
        for (taken, weight) in taken.iter().zip(weights) {
            let ideal = 100_000.0 * f64::from(weight) / 20.0;
            assert!((f64::from(*taken) - ideal).abs() <= ideal * 0.05, "{taken} of {ideal}");
        }
    }

    #[test]
    fn nobody_is_chosen_where_nobody_has_weight() {
        assert_eq!(pick(7, [(0, 1, 0), (1, 2, 0)].into_iter()), None);
        assert_eq!(pick(7, std::iter::empty()), None);
    }

    proptest! {
        #[test]
        fn the_order_of_members_does_not_matter(
            key: u64,
            members in prop::collection::vec((any::<u64>(), 0_u16..5), 0..20),
            turn in 0_usize..20,
        ) {
            let mut members: Vec<_> =
                members.into_iter().enumerate().map(|(i, (name, w))| (i, name, w)).collect();
            let chosen = pick(key, members.iter().copied());
            let turn = turn % members.len().max(1);
            members.rotate_left(turn);
            prop_assert_eq!(pick(key, members.iter().copied()), chosen);
            members.reverse();
            prop_assert_eq!(pick(key, members.iter().copied()), chosen);
        }

        #[test]
        fn a_change_of_weight_moves_keys_to_or_from_that_backend_only(
            key: u64,
            mut weights in prop::collection::vec(0_u16..1_000, 1..20),
            changed in 0_usize..20,
            weight in 0_u16..1_000,
        ) {
            let names = names(weights.len());
            let choose = |weights: &[u16]| {
                pick(key, weights.iter().enumerate().map(|(i, w)| (i, names[i], *w)))
            };
            let changed = changed % weights.len();
            let before = choose(&weights);
            let is_more = weight > weights[changed];
            weights[changed] = weight;
            let after = choose(&weights);
            if before != after {
                let gainer = if is_more { after } else { before };
                prop_assert_eq!(gainer, Some(changed));
            }
        }
    }
}
