//! Values off the wire, within the bounds that documents have.

use std::fmt;

use crate::{
    document::Leaf,
    value::{BackendName, Duration, InvalidValue, StatusRange},
};

pub(super) type Decoded<T> = Result<T, String>;

/// An error in words.
pub(super) fn text(error: impl fmt::Display) -> String {
    error.to_string()
}

/// A duration.
pub(super) fn duration(field: &str, millis: u64) -> Decoded<Duration> {
    Duration::parse(&format!("{millis}ms")).map_err(|error| format!("{field}: {error}"))
}

/// A duration that must not be zero.
pub(super) fn positive(field: &str, millis: u64) -> Decoded<Duration> {
    if millis == 0 { Err(format!("{field}: it is zero")) } else { duration(field, millis) }
}

/// A number that must not be zero.
pub(super) fn counted(field: &str, number: u32) -> Decoded<u32> {
    if number == 0 { Err(format!("{field}: it is zero")) } else { Ok(number) }
}

/// A small number that must not be zero.
pub(super) fn small(field: &str, number: u32) -> Decoded<u16> {
    match u16::try_from(number) {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("{field}: {number} is out of range")),
    }
}

/// A share, by how the type reads its unit.
pub(super) fn share<T>(field: &str, parts: u32, read: impl Fn(u32) -> Option<T>) -> Decoded<T> {
    read(parts).ok_or_else(|| format!("{field}: {parts} is out of range"))
}

/// A word of the language.
pub(super) fn word<T: Leaf>(text: &str) -> Decoded<T> {
    T::leaf(text).map_err(|error| error.to_string())
}

/// Names, at least one.
pub(super) fn names<N>(
    list: &[String],
    parse: impl Fn(&str) -> Result<N, InvalidValue>,
    field: &str,
) -> Decoded<Vec<N>> {
    if list.is_empty() {
        return Err(format!("{field}: it is empty"));
    }
    list.iter().map(|name| parse(name).map_err(text)).collect()
}

/// Names of backends, at least one.
pub(super) fn backend_names(list: &[String], field: &str) -> Decoded<Vec<BackendName>> {
    names(list, BackendName::parse, field)
}

/// Ranges of codes.
pub(super) fn statuses(list: &[String]) -> Decoded<Vec<StatusRange>> {
    list.iter().map(|range| StatusRange::parse(range).map_err(text)).collect()
}
