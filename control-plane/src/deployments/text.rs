//! How slots, shares and times stand in the store: as people write them.

/// A slot by its word.
pub(super) mod slot {
    use lb_model::config::Slot;
    use serde::{Deserialize, Deserializer, Serializer, de};

    /// The slot of a word.
    pub fn read(word: &str) -> Option<Slot> {
        [Slot::Blue, Slot::Green].into_iter().find(|slot| slot.as_str() == word)
    }

    /// Writes it.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands references over")]
    pub(crate) fn serialize<S: Serializer>(slot: &Slot, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(slot.as_str())
    }

    /// Reads it.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Slot, D::Error> {
        let word = String::deserialize(deserializer)?;
        read(&word).ok_or_else(|| de::Error::custom(format!("`{word}` is no slot")))
    }
}

/// A percentage as a decimal number.
pub(super) mod split {
    use lb_model::value::Percentage;
    use serde::{Deserialize, Deserializer, Serializer, de};

    /// Writes it.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands references over")]
    pub(crate) fn serialize<S: Serializer>(
        split: &Percentage,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(split)
    }

    /// Reads it.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Percentage, D::Error> {
        let text = String::deserialize(deserializer)?;
        Percentage::parse(&text).map_err(de::Error::custom)
    }
}

/// A time in milliseconds.
pub(super) mod millis {
    use lb_model::value::Duration;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes it.
    pub(crate) fn serialize<S: Serializer>(
        time: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(time.get().as_millis()).unwrap_or(u64::MAX))
    }

    /// Reads it.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}
