//! The share of a backend among the others of its service.

use super::InvalidValue;

/// A relative weight from 0 to 1000; 0 takes no new traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(u16);

impl Weight {
    /// The weight of a backend that names none.
    pub const ONE: Self = Self(1);
    /// The largest weight.
    pub const MAX: u16 = 1000;

    /// A weight, if `value` is in range.
    pub fn new(value: u64) -> Option<Self> {
        u16::try_from(value).ok().filter(|value| *value <= Self::MAX).map(Self)
    }

    /// Reads a whole number from 0 to 1000.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        text.trim().parse().ok().and_then(Self::new).ok_or_else(|| {
            InvalidValue::new(
                format!("`{text}` is not a weight"),
                "write a whole number from 0 (no new traffic) to 1000; weights are relative",
            )
        })
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }
}
