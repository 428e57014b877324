//! Which version of a service a client gets, where that follows from who the client is.
//!
//! Requests of nobody in particular are dealt out by whoever counts them; here is what needs no
//! memory, so that every proxy, and whoever explains one, says the same.

use lb_model::config::{Canary, CanarySticky};

use crate::ask::{self, Ask};

/// All requests, in the unit of shares.
pub const MILLION: u32 = 1_000_000;

/// One of the two versions of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Arm {
    /// The version that most get.
    #[default]
    Stable,
    /// The new version.
    Canary,
}

impl Arm {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Canary => "canary",
        }
    }
}

/// Whose the client with this [`key`](crate::hash::key) is, if the canary's share is `ppm`
/// millionths. Whoever is the canary's at one share is so at every larger one.
#[inline]
pub fn by_hash(key: u64, ppm: u32) -> Arm {
    // The high half of a product maps 64 bits onto a range without a division.
    let place = (u128::from(key) * u128::from(MILLION)) >> 64;
    if place < u128::from(ppm) { Arm::Canary } else { Arm::Stable }
}

/// Whose the client of a request is: by its address, by the key of its `header`, or by what its
/// `session` says, whichever the canary goes by. None where the next request is anybody's.
#[inline]
pub fn of_client(
    canary: &Canary,
    ask: &dyn Ask,
    session: Option<Arm>,
    header: Option<u64>,
) -> Option<Arm> {
    let share = canary.traffic_split.parts_per_million();
    match (canary.sticky, session, header) {
        (Some(CanarySticky::Ip), _, _) => Some(by_hash(ask::client(ask), share)),
        (Some(CanarySticky::Header), _, Some(key)) => Some(by_hash(key, share)),
        (Some(_), Some(arm), _) => Some(arm),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hash;

    #[test]
    fn clients_are_shared_evenly_and_stay() {
        let keys: Vec<_> = (0..100_000_u32).map(|n| hash::key(&n.to_le_bytes())).collect();
        let at = |ppm| keys.iter().filter(|key| by_hash(**key, ppm) == Arm::Canary).count();
        assert_eq!((at(0), at(MILLION)), (0, keys.len()));
        assert!(at(100_000).abs_diff(10_000) < 500, "{}", at(100_000));
        assert!(at(200_000).abs_diff(20_000) < 650, "{}", at(200_000));
    }

    proptest! {
        #[test]
        fn a_client_of_the_canary_stays_as_the_share_grows(key: u64, a in 0..=MILLION, b in 0..=MILLION) {
            let (small, large) = (a.min(b), a.max(b));
            prop_assert!(by_hash(key, small) == Arm::Stable || by_hash(key, large) == Arm::Canary);
        }
    }
}
