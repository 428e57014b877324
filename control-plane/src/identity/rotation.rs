//! Replaces the authority while the fleet runs.
//!
//! Three steps, each waiting for the one before to have reached the fleet: the new authority is
//! announced, then it signs, then the old one is dropped. At no moment does a proxy meet a
//! certificate that it does not trust.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::{
    authority::{Authority, key_identifier},
    ledger::{Authorities, Ledger, LedgerError, State},
};
use crate::sync::registry::{Member, Registry};

/// How often the fleet is looked at while a rotation is under way.
const LOOK: Duration = Duration::from_millis(500);
/// Nobody is waited for who is away for longer than certificates live and this, in seconds: such
/// a proxy needs a new token anyway. Likewise an old authority is dropped this long after the last certificate it can have signed ended, in
/// seconds: until then a proxy may come back with one and renew it.
const LAPSE: i64 = super::service::LAPSE;

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing yet, or nothing any more.
    Wait,
    /// The new authority signs.
    Sign,
    /// The old one is dropped.
    Retire,
}

/// Decides what comes next.
pub fn step(state: &State, fleet: &[Member], now: i64, life: Duration) -> Step {
    let authorities = &state.authorities;
    let Some(newest) = authorities.trusted.len().checked_sub(1).filter(|newest| *newest > 0) else {
        return Step::Wait;
    };
    let away = life.as_secs().cast_signed() + LAPSE;
    if authorities.signing != newest {
        // Those who are away must learn of the new authority before it signs: they would not
        // trust the control plane when they come back.
        let all_given_up = now > authorities.announced_at + away;
        let is_announced = awaited(state, fleet).is_empty() || all_given_up;
        return if is_announced { Step::Sign } else { Step::Wait };
    }
    let all_ended = now > authorities.since + away;
    if awaited(state, fleet).is_empty() || all_ended { Step::Retire } else { Step::Wait }
}

/// The members that a rotation waits for.
fn awaited(state: &State, fleet: &[Member]) -> Vec<String> {
    let authorities = &state.authorities;
    let newest = authorities.trusted.last().and_then(|newest| newest.der().ok());
    let key = newest.and_then(|der| key_identifier(&der));
    let signs = authorities.signing + 1 == authorities.trusted.len();
    let is_done = |member: &Member| {
        if signs {
            Some(&member.authority_key) == key.as_ref()
        } else {
            member.trusted_generation >= authorities.generation
        }
    };
    let members = state.proxies.values().filter(|proxy| proxy.revoked.is_none());
    members
        .map(|proxy| &proxy.name)
        .filter(|name| !fleet.iter().any(|member| member.name == **name && is_done(member)))
        .cloned()
        .collect()
}

/// Begins a rotation.
///
/// # Errors
///
/// When one is under way, or it could not be kept.
pub async fn begin(ledger: &Ledger, author: &str) -> Result<(), LedgerError> {
    let announce = |authorities: &mut Authorities| {
        if authorities.trusted.len() > 1 {
            return Err(LedgerError::Rotating);
        }
        let now = OffsetDateTime::now_utc();
        authorities.trusted.push(Authority::generate(now)?);
        authorities.announced_at = now.unix_timestamp();
        Ok(())
    };
    ledger.change_authorities(author, "new authority announced", announce).await
}

/// Carries rotations on until told to stop.
pub async fn run(ledger: Arc<Ledger>, registry: Arc<Registry>, stop: CancellationToken) {
    let mut said = Vec::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        let now = Timestamp::now().as_second();
        let (state, fleet) = (ledger.state(), registry.members());
        let kept = match step(&state, &fleet, now, ledger.life()) {
            Step::Wait => {
                if state.authorities.trusted.len() > 1 {
                    let waiting = awaited(&state, &fleet);
                    if waiting != said {
                        tracing::info!(proxies = ?waiting, "the rotation of the authority waits");
                        said = waiting;
                    }
                }
                continue;
            }
            Step::Sign => {
                let sign = |authorities: &mut Authorities| {
                    authorities.signing = authorities.trusted.len() - 1;
                    authorities.since = now;
                    Ok(())
                };
                ledger.change_authorities("control plane", "new authority signs", sign).await
            }
            Step::Retire => {
                let retire = |authorities: &mut Authorities| {
                    authorities.trusted.drain(..authorities.trusted.len() - 1);
                    authorities.signing = 0;
                    Ok(())
                };
                ledger.change_authorities("control plane", "old authority dropped", retire).await
            }
        };
        if let Err(error) = kept {
            tracing::error!(%error, "the rotation of the authority does not go on");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{super::ledger::ProxyRecord, *};

    const LIFE: Duration = Duration::from_hours(24);

    fn state(count: usize, signing: usize) -> State {
        let fresh = |_| Authority::generate(OffsetDateTime::now_utc()).unwrap();
        let proxy = ProxyRecord {
            name: "p".into(),
            joined_at: 0,
            token: String::new(),
            labels: lb_model::value::Labels::default(),
            revoked: None,
        };
        State {
            authorities: Authorities {
                generation: 5,
                trusted: (0..count).map(fresh).collect(),
                signing,
                since: 0,
                announced_at: 0,
            },
            tokens: BTreeMap::new(),
            operators: super::super::operator::Operators::default(),
            proxies: BTreeMap::from([("p".to_owned(), proxy)]),
        }
    }

    fn member(generation: u64, authority: &Authority) -> Member {
        let authority_key = key_identifier(&authority.der().unwrap()).unwrap();
        Member { name: "p".into(), trusted_generation: generation, authority_key }
    }

    #[test]
    fn nothing_is_due_without_a_rotation() {
        assert_eq!(step(&state(1, 0), &[], i64::MAX / 2, LIFE), Step::Wait);
    }

    #[test]
    fn the_new_authority_signs_when_everybody_trusts_it() {
        let state = state(2, 0);
        let old = &state.authorities.trusted[0];
        assert_eq!(step(&state, &[member(4, old)], 0, LIFE), Step::Wait);
        assert_eq!(step(&state, &[], 0, LIFE), Step::Wait, "it may come back");
        assert_eq!(step(&state, &[member(5, old)], 0, LIFE), Step::Sign);
        let late = LIFE.as_secs().cast_signed() + LAPSE + 1;
        assert_eq!(step(&state, &[], late, LIFE), Step::Sign);
    }

    #[test]
    fn the_old_one_is_dropped_when_nobody_has_its_certificates_any_more() {
        let state = state(2, 1);
        let [old, new] = &state.authorities.trusted[..] else { panic!() };
        assert_eq!(step(&state, &[member(5, old)], 0, LIFE), Step::Wait);
        assert_eq!(step(&state, &[], 0, LIFE), Step::Wait, "it may come back");
        assert_eq!(step(&state, &[member(5, new)], 0, LIFE), Step::Retire);
        let late = LIFE.as_secs().cast_signed() + LAPSE + 1;
        assert_eq!(step(&state, &[], late, LIFE), Step::Retire);
    }
}
