//! Times for people: how long ago, in the two largest units that matter.

use jiff::Timestamp;

/// How long before `now` an RFC 3339 time was, such as `12s ago`. What is no time stays as it is.
pub(crate) fn ago(text: &str, now: Timestamp) -> String {
    let Ok(time) = text.parse::<Timestamp>() else { return text.to_owned() };
    let seconds = now.as_second() - time.as_second();
    // Clocks differ a little between machines.
    if seconds < 1 { "now".to_owned() } else { format!("{} ago", span(seconds.unsigned_abs())) }
}

/// How long it is from `now` until an RFC 3339 time; nothing when there is none.
pub(crate) fn left(time: Option<&str>, now: Timestamp) -> String {
    let Some(time) = time.and_then(|time| time.parse::<Timestamp>().ok()) else {
        return String::new();
    };
    span((time.as_second() - now.as_second()).max(0).unsigned_abs())
}

/// A number of seconds, such as `2h5m`.
pub(crate) fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, 1..10) => format!("{minutes}m{}s", seconds % 60),
        (0, 0, _) => format!("{minutes}m"),
        (0, 1..10, _) => format!("{hours}h{}m", minutes % 60),
        (0, _, _) => format!("{hours}h"),
        (1..10, _, _) => format!("{days}d{}h", hours % 24),
        _ => format!("{days}d"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_by_their_distance() {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("2026-03-01T12:00:00Z", "now"),
            ("2026-03-01T12:00:05Z", "now"),
            ("2026-03-01T11:59:48.5Z", "12s ago"),
            ("2026-03-01T11:55:30+00:00", "4m30s ago"),
            ("2026-03-01T11:30:00Z", "30m ago"),
            ("2026-03-01T09:55:00Z", "2h5m ago"),
            ("2026-02-27T11:00:00Z", "2d1h ago"),
            ("2026-01-01T12:00:00Z", "59d ago"),
            ("yesterday", "yesterday"),
        ] {
            assert_eq!(ago(text, now), expected, "{text}");
        }
    }
}
