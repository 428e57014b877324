//! Shares: fractions from 0 to 1 and percentages from 0 to 100, both exact to a millionth; and
//! small factors.

use std::fmt;

use super::InvalidValue;

/// One, in the unit that both types count.
const WHOLE: u32 = 1_000_000;

/// A share from 0 to 1, such as `0.1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fraction(u32);

/// A share from 0 to 100, such as `10` or `12.5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percentage(u32);

impl Fraction {
    /// All of it.
    pub const ONE: Self = Self(WHOLE);

    /// So many millionths.
    pub fn of_millionths(parts: u32) -> Option<Self> {
        (parts <= WHOLE).then_some(Self(parts))
    }

    /// Reads a decimal number from 0 to 1.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        decimal(text, 6).filter(|parts| *parts <= u64::from(WHOLE)).map_or_else(
            || {
                Err(InvalidValue::new(
                    format!("`{text}` is not a share of one"),
                    "write a number from 0 (none) to 1 (all), such as 0.1 for a tenth",
                ))
            },
            |parts| Ok(Self(parts as u32)),
        )
    }

    /// The share in millionths.
    pub const fn parts_per_million(self) -> u32 {
        self.0
    }
}

impl Percentage {
    /// None of it.
    pub const ZERO: Self = Self(0);

    /// All of it.
    pub const ALL: Self = Self(WHOLE);

    /// So many millionths.
    pub fn of_millionths(parts: u32) -> Option<Self> {
        (parts <= WHOLE).then_some(Self(parts))
    }

    /// Reads a decimal number from 0 to 100, with at most four places.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        decimal(text, 4).filter(|parts| *parts <= u64::from(WHOLE)).map_or_else(
            || {
                Err(InvalidValue::new(
                    format!("`{text}` is not a percentage"),
                    "write a number from 0 (none) to 100 (all), such as 10 or 12.5, without `%`",
                ))
            },
            |parts| Ok(Self(parts as u32)),
        )
    }

    /// The share in millionths: 10% is 100,000.
    pub const fn parts_per_million(self) -> u32 {
        self.0
    }

    /// In whole percents, rounded so that some is never none.
    pub const fn rounded_up(self) -> u8 {
        // At most 100, for there are at most a million parts.
        self.0.div_ceil(10_000) as u8
    }
}

/// A factor from 0 to 10, such as `1.9`, exact to a thousandth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Factor(u32);

impl Factor {
    /// Reads a decimal number from 0 to 10, with at most three places.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        decimal(text, 3).filter(|parts| *parts <= 10_000).map_or_else(
            || {
                Err(InvalidValue::new(
                    format!("`{text}` is not a factor"),
                    "write a number from 0 to 10, such as 1.9",
                ))
            },
            |parts| Ok(Self(parts as u32)),
        )
    }

    /// So many thousandths.
    pub fn of_thousandths(parts: u32) -> Option<Self> {
        (parts <= 10_000).then_some(Self(parts))
    }

    /// The factor in thousandths.
    pub const fn thousandths(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(f, self.0, 3)
    }
}

impl fmt::Display for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(f, self.0, 6)
    }
}

impl fmt::Display for Percentage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(f, self.0, 4)
    }
}

/// A decimal number, in units of its last place.
fn decimal(text: &str, places: u32) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !is_digits(whole) || !is_digits(part) || whole.len() > 9 || part.len() > places as usize {
        return None;
    }
    let unit = 10u64.pow(places);
    let scale = 10u64.pow(places - part.len() as u32);
    Some(whole.parse::<u64>().ok()? * unit + part.parse::<u64>().ok()? * scale)
}

fn print(f: &mut fmt::Formatter<'_>, value: u32, places: u32) -> fmt::Result {
    let unit = 10u32.pow(places);
    let text = format!("{}.{:0width$}", value / unit, value % unit, width = places as usize);
    f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_exact_and_within_their_range() {
        assert_eq!(Fraction::parse("0.1").unwrap().parts_per_million(), 100_000);
        assert_eq!(Percentage::parse("10").unwrap().parts_per_million(), 100_000);
        assert_eq!(Percentage::parse("12.5").unwrap().to_string(), "12.5");
        assert_eq!(Percentage::parse("100").unwrap().to_string(), "100");
        assert_eq!(Fraction::parse("1").unwrap(), Fraction::ONE);
        for text in ["", "1.1", "-0.1", "1e-1", ".5", "0.", "0.0000001", "10%", "nan", "+1"] {
            assert!(Fraction::parse(text).is_err(), "{text}");
        }
        for text in ["100.1", "101", "10%", "-1", "0.00001", "99999999999999999999"] {
            assert!(Percentage::parse(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn printing_and_reading_again_gives_the_same(parts in 0..=WHOLE) {
            proptest::prop_assert_eq!(Fraction::parse(&Fraction(parts).to_string()).unwrap().0, parts);
            let percentage = Percentage(parts);
            proptest::prop_assert_eq!(Percentage::parse(&percentage.to_string()).unwrap(), percentage);
        }
    }
}
