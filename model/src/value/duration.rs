//! Durations as operators write them: `30s`, `250ms`, `1h30m`, or a bare number of seconds.

use std::{fmt, time};

use super::InvalidValue;

/// A span of time with millisecond resolution, printed in its shortest exact form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(time::Duration);

/// A duration that is not zero, for what would otherwise happen never or always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PositiveDuration(Duration);

const UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Ten years: anything longer is a typing error, and sums of such values cannot overflow.
const LONGEST: u64 = 10 * 365 * 86_400_000;

impl Duration {
    /// Zero, which most settings read as "no limit".
    pub const ZERO: Self = Self(time::Duration::ZERO);

    /// A duration of whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(time::Duration::from_secs(seconds))
    }

    /// A duration of milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(time::Duration::from_millis(millis))
    }

    /// The value in milliseconds.
    pub fn as_millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }

    /// The value for timers.
    pub const fn get(self) -> time::Duration {
        self.0
    }

    /// The value for timers, or nothing where zero means "no limit".
    pub fn limit(self) -> Option<time::Duration> {
        (!self.0.is_zero()).then_some(self.0)
    }

    /// Reads `1h30m`, `250ms`, `5s` or a bare number of seconds.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        let text = text.trim();
        let wrong = |why: &str| {
            InvalidValue::new(
                format!("`{text}` is not a duration: {why}"),
                "write a number with a unit, such as 250ms, 30s, 5m or 1h30m",
            )
        };
        if text.is_empty() {
            return Err(wrong("it is empty"));
        }
        if text.starts_with('-') {
            return Err(wrong("it is negative"));
        }
        let (mut rest, mut millis) = (text, 0u64);
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            if digits == 0 {
                return Err(wrong("a unit needs a whole number before it"));
            }
            let number: u64 = rest[..digits].parse().map_err(|_| wrong("it is too large"))?;
            rest = &rest[digits..];
            let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
            let factor = match &rest[..letters] {
                // A bare number is seconds, and only when nothing else stands beside it.
                "" if rest.is_empty() && digits == text.len() => 1_000,
                unit => {
                    UNITS
                        .iter()
                        .find(|(name, _)| *name == unit)
                        .ok_or_else(|| wrong("its units are ms, s, m, h and d"))?
                        .1
                }
            };
            rest = &rest[letters..];
            millis = number
                .checked_mul(factor)
                .and_then(|part| millis.checked_add(part))
                .filter(|sum| *sum <= LONGEST)
                .ok_or_else(|| wrong("it is longer than ten years"))?;
        }
        Ok(Self::from_millis(millis))
    }
}

impl PositiveDuration {
    /// Reads what [`Duration::parse`] does, without zero.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        match Duration::parse(text)? {
            Duration::ZERO => Err(InvalidValue::new(
                "zero would mean never or always, and neither works",
                "write a duration such as 5s",
            )),
            duration => Ok(Self(duration)),
        }
    }

    /// The duration.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl fmt::Display for PositiveDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.as_millis();
        if left == 0 {
            return f.write_str("0s");
        }
        for (unit, factor) in UNITS.iter().rev().filter(|(unit, _)| *unit != "d") {
            if left >= *factor {
                write!(f, "{}{unit}", left / factor)?;
                left %= factor;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_form_is_read_and_printed_in_canonical_form() {
        for (text, millis, canonical) in [
            ("3600s", 3_600_000, "1h"),
            ("250ms", 250, "250ms"),
            ("2m", 120_000, "2m"),
            ("1h30m", 5_400_000, "1h30m"),
            ("15", 15_000, "15s"),
            ("0", 0, "0s"),
            ("1d", 86_400_000, "24h"),
        ] {
            let duration = Duration::parse(text).unwrap();
            assert_eq!(duration.as_millis(), millis, "{text}");
            assert_eq!(duration.to_string(), canonical);
        }
    }

    #[test]
    fn nonsense_is_refused_with_an_example() {
        for text in ["", "-5s", "s", "5x", "1.5s", "5s3", "99999999999999999999s", "4000d", "5 s"] {
            assert!(Duration::parse(text).unwrap_err().help.unwrap().contains("30s"), "{text}");
        }
    }

    #[test]
    fn a_positive_duration_is_not_zero() {
        assert_eq!(PositiveDuration::parse("5s").unwrap().get(), Duration::from_secs(5));
        for text in ["0", "0s", "0ms"] {
            assert!(PositiveDuration::parse(text).unwrap_err().message.contains("never or always"));
        }
    }

    proptest::proptest! {
        #[test]
        fn printing_and_reading_again_gives_the_same(millis in 0..LONGEST) {
            let duration = Duration::from_millis(millis);
            proptest::prop_assert_eq!(Duration::parse(&duration.to_string()).unwrap(), duration);
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".*") {
            let _ = Duration::parse(&text);
        }
    }
}
