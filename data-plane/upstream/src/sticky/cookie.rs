//! What a session cookie holds.
//!
//! | bytes | |
//! |---|---|
//! | 1 | the version of this form |
//! | 8 | the [hash](crate::hash::key) of the backend's name |
//! | 1 | the slot, so that a client sees one version of a service all along |
//! | 2 | its place among all sessions, which decides between stable and canary |
//! | 4 | when it expires, in seconds of Unix time |
//! | 16 | a keyed BLAKE3 hash of all that |
//!
//! These 32 bytes are 43 characters of base64url. A value is bound to a service by its
//! key; one that was changed, cut, made up, made for another service, or is too old is as good as
//! none. Nothing in it is secret: it tells its client no more than when its backend changes.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use lb_model::{config::Slot, value::Secret};
use lb_routing::arm::Arm;

/// The length of a cookie's value.
pub const TEXT: usize = 43;

const VERSION: u8 = 1;
const CONTENT: usize = 16;
const MAC: usize = 16;

/// What a client carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// The [hash](crate::hash::key) of the name of its backend.
    pub backend: u64,
    /// The slot that was active, of a service that has slots.
    pub slot: Option<Slot>,
    /// Its place among all sessions. Those below the share of a canary get it, so a share that
    /// grows takes more sessions in and gives none back.
    pub place: u16,
    /// When it ends, in seconds of Unix time.
    pub expires: u64,
}

impl Session {
    /// Whether less than half of `ttl` seconds is left at `now`: time for a new cookie. To send
    /// one with each response would cost more than it gives.
    pub const fn needs_renewal(&self, ttl: u64, now: u64) -> bool {
        self.expires.saturating_sub(now) < ttl.div_ceil(2)
    }

    /// The version for it, where the canary has a share of so many parts in a million.
    pub fn arm(&self, share: u32) -> Arm {
        if (u64::from(self.place) * 1_000_000) < (u64::from(share) << 16) {
            Arm::Canary
        } else {
            Arm::Stable
        }
    }
}

/// What seals and opens the cookies of one service. It is made once a configuration.
#[derive(Debug, Clone)]
pub struct CookieKey(Secret<[u8; 32]>);

impl CookieKey {
    /// The key of a service, from one that all proxies of the fleet have.
    pub fn derive(fleet: &[u8; 32], service: &str) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(fleet);
        hasher.update(b"lb session cookie of the service ");
        hasher.update(service.as_bytes());
        Self(Secret::new(hasher.finalize().into()))
    }

    /// The value of a cookie: [`TEXT`] characters that may stand in one as they are.
    pub fn seal(&self, session: &Session) -> [u8; TEXT] {
        let mut bytes = [0; CONTENT + MAC];
        bytes[0] = VERSION;
        bytes[1..9].copy_from_slice(&session.backend.to_be_bytes());
        bytes[9] = match session.slot {
            None => 0,
            Some(Slot::Blue) => 1,
            Some(Slot::Green) => 2,
        };
        bytes[10..12].copy_from_slice(&session.place.to_be_bytes());
        let expires = u32::try_from(session.expires).unwrap_or(u32::MAX);
        bytes[12..CONTENT].copy_from_slice(&expires.to_be_bytes());
        let mac = self.mac(&bytes[..CONTENT]);
        bytes[CONTENT..].copy_from_slice(&mac);
        let mut text = [0; TEXT];
        // 32 bytes are 43 characters: it cannot fail, and what is empty opens as nothing.
        let written = BASE64_URL_SAFE_NO_PAD.encode_slice(bytes, &mut text).unwrap_or_default();
        debug_assert_eq!(written, TEXT);
        text
    }

    /// What a value says, if this key sealed it and it has not expired at `now`, in seconds of
    /// Unix time.
    pub fn open(&self, text: &[u8], now: u64) -> Option<Session> {
        let text = text.try_into().ok()?;
        let bytes = decode(text)?;
        let (content, mac) = bytes.split_at(CONTENT);
        // A comparison of these takes the same time wherever the difference is; they are 32 bytes.
        let whole = |mac: &[u8]| {
            let mut whole = [0; blake3::OUT_LEN];
            whole[..MAC].copy_from_slice(mac);
            blake3::Hash::from_bytes(whole)
        };
        if whole(&self.mac(content)) != whole(mac) {
            return None;
        }
        let [version, b0, b1, b2, b3, b4, b5, b6, b7, flags, p0, p1, e0, e1, e2, e3] = *content
        else {
            return None;
        };
        let slot = match flags {
            0 => None,
            1 => Some(Slot::Blue),
            2 => Some(Slot::Green),
            _ => return None,
        };
        let expires = u64::from(u32::from_be_bytes([e0, e1, e2, e3]));
        (version == VERSION && expires > now).then_some(Session {
            backend: u64::from_be_bytes([b0, b1, b2, b3, b4, b5, b6, b7]),
            slot,
            place: u16::from_be_bytes([p0, p1]),
            expires,
        })
    }

    fn mac(&self, content: &[u8]) -> [u8; MAC] {
        let hash = blake3::keyed_hash(self.0.expose_secret(), content);
        let mut mac = [0; MAC];
        mac.copy_from_slice(&hash.as_bytes()[..MAC]);
        mac
    }
}

/// The bytes that a value stands for (RFC 4648, 5), for which each request of a known client asks:
/// with a length that is known it is less work than a decoder of any length does.
fn decode(text: &[u8; TEXT]) -> Option<[u8; CONTENT + MAC]> {
    const NONE: u8 = 0xff;
    const VALUES: [u8; 256] = {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut values = [NONE; 256];
        let mut value = 0;
        while value < alphabet.len() {
            values[alphabet[value] as usize] = value as u8;
            value += 1;
        }
        values
    };
    let mut bytes = [0; CONTENT + MAC];
    let mut seen = 0;
    let mut bits = |four: &[u8]| {
        let values = four.iter().map(|character| VALUES[usize::from(*character)]);
        values.fold(0, |bits: u32, value| {
            seen |= value;
            bits << 6 | u32::from(value)
        })
    };
    let (fours, rest) = text.as_chunks::<4>();
    let (threes, two) = bytes.as_chunks_mut::<3>();
    for (four, three) in fours.iter().zip(threes) {
        let [_, bytes @ ..] = bits(four).to_be_bytes();
        *three = bytes;
    }
    // Three characters are 18 bits, of which two bytes are 16: the others say nothing, so 0.
    let last = bits(rest);
    two.copy_from_slice(&((last >> 2) as u16).to_be_bytes());
    (seen & 0xc0 == 0 && last.trailing_zeros() >= 2).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hash;

    const NOW: u64 = 1_800_000_000;

    fn key() -> CookieKey {
        CookieKey::derive(&[7; 32], "shop")
    }

    fn session() -> Session {
        Session {
            backend: hash::key(b"web1"),
            slot: Some(Slot::Green),
            place: 40_000,
            expires: NOW + 3_600,
        }
    }

    #[test]
    fn every_proxy_opens_what_another_one_sealed() {
        let text = key().seal(&session());
        assert_eq!(text.len(), TEXT);
        assert_eq!(key().open(&text, NOW), Some(session()));
        assert!(text.iter().all(|c| c.is_ascii_alphanumeric() || b"-_".contains(c)));
    }

    #[test]
    fn values_are_those_of_every_other_version() {
        let text = key().seal(&session());
        assert_eq!(str::from_utf8(&text).unwrap(), "AUsEIyPpXo6GApxAa0ngEFQnosiS8jFHcvFvw5f6wJw");
    }

    #[test]
    fn an_expired_value_is_none() {
        let text = key().seal(&session());
        assert!(key().open(&text, NOW + 3_599).is_some());
        assert_eq!(key().open(&text, NOW + 3_600), None);
    }

    #[test]
    fn a_value_for_another_service_or_fleet_is_none() {
        let text = key().seal(&session());
        assert_eq!(CookieKey::derive(&[7; 32], "shop2").open(&text, NOW), None);
        assert_eq!(CookieKey::derive(&[8; 32], "shop").open(&text, NOW), None);
    }

    #[test]
    fn what_is_no_value_is_none() {
        let good = key().seal(&session());
        let long = [&good[..], b"A"].concat();
        let padded = [&good[..41], b"=="].concat();
        let spaced = [b" ", &good[..42]].concat();
        for text in [&b""[..], &good[..42], &long, &padded, &spaced, &[b'A'; TEXT], &[0xff; TEXT]] {
            assert_eq!(key().open(text, NOW), None);
        }
    }

    #[test]
    fn a_value_of_a_later_form_is_none() {
        let mut bytes = BASE64_URL_SAFE_NO_PAD.decode(key().seal(&session())).unwrap();
        bytes[0] = 2;
        let mac = key().mac(&bytes[..CONTENT]);
        bytes[CONTENT..].copy_from_slice(&mac);
        assert_eq!(key().open(BASE64_URL_SAFE_NO_PAD.encode(&bytes).as_bytes(), NOW), None);
    }

    #[test]
    fn a_session_is_renewed_in_its_second_half() {
        let session = session();
        assert!(!session.needs_renewal(3_600, NOW));
        assert!(!session.needs_renewal(3_600, NOW + 1_800));
        assert!(session.needs_renewal(3_600, NOW + 1_801));
        assert!(session.needs_renewal(3_600, NOW + 9_999));
    }

    #[test]
    fn a_share_that_grows_takes_sessions_in_and_gives_none_back() {
        let canaries = |share: u32| {
            let all = (0..=u16::MAX).map(|place| Session { place, ..session() });
            all.filter(|session| session.arm(share) == Arm::Canary).count()
        };
        assert_eq!((canaries(0), canaries(500_000), canaries(1_000_000)), (0, 32_768, 65_536));
        for place in [0, 6_000, 40_000, u16::MAX] {
            let session = Session { place, ..session() };
            let arms: Vec<_> = (0..=100).map(|share| session.arm(share * 10_000)).collect();
            assert!(arms.is_sorted_by_key(|arm| *arm == Arm::Canary));
        }
    }

    #[test]
    fn a_key_does_not_print() {
        let bytes = format!("{:?}", key().0.expose_secret());
        assert!(!format!("{:?}", key()).contains(&bytes));
    }

    proptest! {
        #[test]
        fn values_are_read_as_every_other_decoder_reads_them(
            mut text in prop::collection::vec(prop::sample::select(
                &b"ABCYZabyz0189-_"[..]), TEXT),
            changed in prop::option::of((0..TEXT, any::<u8>())),
        ) {
            if let Some((at, byte)) = changed {
                text[at] = byte;
            }
            let theirs = BASE64_URL_SAFE_NO_PAD.decode(&text).ok();
            let ours = decode(&text.try_into().unwrap()).map(Vec::from);
            prop_assert_eq!(ours, theirs);
        }

        #[test]
        fn what_was_sealed_opens_and_what_was_changed_does_not(
            backend: u64,
            slot in prop_oneof![Just(None), Just(Some(Slot::Blue)), Just(Some(Slot::Green))],
            share: u16,
            expires in 1_u64..1 << 32,
            changed in 0_usize..TEXT,
            other: u8,
        ) {
            let session = Session { backend, slot, place: share, expires };
            let mut text = key().seal(&session);
            prop_assert_eq!(key().open(&text, 0), Some(session));
            prop_assume!(text[changed] != other);
            text[changed] = other;
            prop_assert_eq!(key().open(&text, 0), None);
        }

        #[test]
        fn no_bytes_do_harm(text in prop::collection::vec(any::<u8>(), 0..80)) {
            prop_assert_eq!(key().open(&text, 0), None);
        }
    }
}
