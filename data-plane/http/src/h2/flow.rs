//! How much each side may send (RFC 9113, 5.2 and 6.9).

use super::settings::MOST;

/// A window is larger than one can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Overflow;

/// What may still be sent to the peer. Less than nothing, if the peer changed its mind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outbound(i64);

impl Outbound {
    pub(super) const fn new(window: u32) -> Self {
        Self(window as i64)
    }

    /// How many bytes may be sent.
    pub(super) fn room(self) -> usize {
        usize::try_from(self.0).unwrap_or(0)
    }

    /// Notes that they were.
    pub(super) fn sent(&mut self, count: usize) {
        self.0 -= i64::try_from(count).unwrap_or(i64::MAX);
    }

    /// Opens or, for a setting that became smaller, closes the window.
    pub(super) const fn change(&mut self, by: i64) -> Result<(), Overflow> {
        self.0 += by;
        if self.0 > MOST as i64 { Err(Overflow) } else { Ok(()) }
    }
}

/// What the peer may still send, and what it may not be told yet that it may send again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Inbound {
    size: u32,
    left: u32,
    /// Received and used.
    released: u32,
}

impl Inbound {
    pub(super) const fn new(size: u32) -> Self {
        Self { size, left: size, released: 0 }
    }

    /// Takes bytes of the peer's.
    pub(super) fn receive(&mut self, count: usize) -> Result<(), Overflow> {
        let count = u32::try_from(count).map_err(|_| Overflow)?;
        self.left = self.left.checked_sub(count).ok_or(Overflow)?;
        Ok(())
    }

    /// Bytes that were received and not used.
    pub(super) const fn held(&self) -> u32 {
        self.size - self.left - self.released
    }

    /// Notes bytes as used. Returns by how much to open the window, when half of it is used: less
    /// would be a frame for every few bytes.
    pub(super) fn release(&mut self, count: usize) -> Option<u32> {
        let count = u32::try_from(count).unwrap_or(u32::MAX).min(self.held());
        self.released += count;
        if self.released < self.size / 2 {
            return None;
        }
        let by = std::mem::take(&mut self.released);
        self.left += by;
        Some(by)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_window_never_grows_too_large_and_may_be_less_than_nothing() {
        let mut window = Outbound::new(10);
        window.sent(10);
        assert_eq!((window.change(-5), window.room()), (Ok(()), 0));
        assert_eq!((window.change(6), window.room()), (Ok(()), 1));
        assert_eq!(window.change(i64::from(MOST)), Err(Overflow));
    }

    proptest! {
        #[test]
        fn what_is_opened_was_used(steps in prop::collection::vec((any::<bool>(), 0_usize..400), 0..60)) {
            let mut window = Inbound::new(1000);
            // What the peer knows that it may send, and what we hold.
            let (mut may_send, mut held) = (1000, 0);
            for (receives, count) in steps {
                if receives {
                    prop_assert_eq!(window.receive(count).is_ok(), count <= may_send);
                    if count <= may_send {
                        may_send -= count;
                        held += count;
                    }
                } else {
                    held -= count.min(held);
                    may_send += window.release(count).unwrap_or(0) as usize;
                }
                prop_assert_eq!(window.held() as usize, held);
                prop_assert!(may_send + held <= 1000);
                prop_assert!(may_send + held > 500);
            }
        }
    }
}
