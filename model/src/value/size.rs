//! Byte sizes: `10485760`, `10MiB`, `4MB`.

use std::fmt;

use super::InvalidValue;

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

const UNITS: [(&str, u64); 9] = [
    ("", 1),
    ("B", 1),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

impl ByteSize {
    /// Reads a whole number of bytes with an optional unit.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        let text = text.trim();
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let unit = text[digits..].trim_start();
        let wrong = || {
            InvalidValue::new(
                format!("`{text}` is not a size in bytes"),
                "write a whole number of bytes, or a unit such as 16KiB, 10MiB or 4MB",
            )
        };
        let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        number.checked_mul(*factor).map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, factor) in [("GiB", 1u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
            if self.0 >= factor && self.0.is_multiple_of(factor) {
                return write!(f, "{}{unit}", self.0 / factor);
            }
        }
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_and_units_are_read() {
        for (text, bytes) in [
            ("10485760", 10_485_760),
            ("10MiB", 10_485_760),
            ("4MB", 4_000_000),
            ("16 KiB", 16_384),
        ] {
            assert_eq!(ByteSize::parse(text).unwrap(), ByteSize(bytes));
        }
        assert_eq!(ByteSize(16_384).to_string(), "16KiB");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "-1", "1.5MiB", "10XB", "MiB", "18446744073709551615GiB"] {
            assert!(ByteSize::parse(text).is_err(), "{text}");
        }
    }
}
