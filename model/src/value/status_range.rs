//! Ranges of HTTP status codes: `200`, `500-599`, `5xx`.

use std::fmt;

use super::InvalidValue;

/// Status codes from one to another, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusRange {
    first: u16,
    last: u16,
}

impl StatusRange {
    /// Reads a code, `FIRST-LAST`, or a class such as `5xx`.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        let wrong = || {
            InvalidValue::new(
                format!("`{text}` is not a range of status codes"),
                "write 200, 200-299 or 2xx, within 100 to 599",
            )
        };
        let code = |text: &str| text.parse::<u16>().ok().filter(|code| (100..600).contains(code));
        let (first, last) = match (text.split_once('-'), text.strip_suffix("xx")) {
            (Some((first, last)), _) => (code(first), code(last)),
            (None, Some(class)) => (code(&format!("{class}00")), code(&format!("{class}99"))),
            (None, None) => (code(text), code(text)),
        };
        match (first, last) {
            (Some(first), Some(last)) if first <= last => Ok(Self { first, last }),
            _ => Err(wrong()),
        }
    }

    /// Whether a code is in it.
    pub const fn contains(self, code: u16) -> bool {
        self.first <= code && code <= self.last
    }
}

impl fmt::Display for StatusRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            return write!(f, "{}", self.first);
        }
        write!(f, "{}-{}", self.first, self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_what_they_say() {
        for (text, within, without) in [("200", 200, 201), ("2xx", 299, 300), ("500-503", 503, 504)]
        {
            let range = StatusRange::parse(text).unwrap();
            assert!(range.contains(within) && !range.contains(without), "{text}");
        }
        for text in ["", "99", "600", "300-200", "xx", "6xx", "2x", "-200", "200-"] {
            assert!(StatusRange::parse(text).is_err(), "{text}");
        }
    }
}
