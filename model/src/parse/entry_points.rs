//! Entry points.

use std::{collections::BTreeMap, sync::Arc};

use super::{Faults, defaults};
use crate::{
    config::{EntryPoint, EntryPointTimeouts, KeepAlive, Limits, Objects, Tls},
    diagnostic::code,
    document::{self, Document, Spanned, nearest},
    value::{ByteSize, CertificateName, Duration, EntryPointName, Label, Labels},
};

/// What a request line or a head may be given at most: a proxy keeps it in memory.
const MOST_HEAD: u64 = 1 << 20;
const MOST_FIELDS: u16 = 1_000;

impl Faults<'_> {
    pub(super) fn entry_points(
        &mut self,
        document: &Document,
    ) -> Objects<EntryPointName, EntryPoint> {
        let written = document.entry_points.as_deref().unwrap_or_default();
        if written.is_empty() {
            return defaults::entry_points();
        }
        let mut entry_points: Objects<EntryPointName, EntryPoint> = BTreeMap::new();
        for (name, written) in written {
            self.path = vec!["entry_points".to_owned(), name.value.to_string()];
            // Looked at first: all faults are wanted, also beside an address that is wrong.
            let timeouts = self.entry_point_timeouts(written.timeouts.as_ref());
            let limits = self.limits(written.limits.as_ref());
            let tls = written.tls.as_ref().map(|tls| self.tls(document, tls));
            let Some(address) = &written.address else {
                if written.faulty.contains(&"address") {
                    continue;
                }
                self.missing("entry_points", name, "address", "address: \"0.0.0.0:8000\"");
                continue;
            };
            let taken = entry_points.iter().find(|(other, made)| {
                made.address == address.value
                    && address.value.0.port() != 0
                    && !run_apart(document, other, written)
            });
            if let Some((other, _)) = taken {
                let message = format!("{} is the address of `{other}` already", address.value);
                let help = "give one of the two another port, or `proxies` of its own to each";
                self.error(address.at, code::ADDRESS_TAKEN, message, help);
            }
            let entry_point = EntryPoint {
                address: address.value,
                tls,
                timeouts,
                limits,
                keep_alive: keep_alive(written.keep_alive.as_ref()),
                trusted_ips: written
                    .trusted_ips
                    .iter()
                    .flatten()
                    .map(|range| range.value)
                    .collect(),
            };
            entry_points.insert(name.value.clone(), Arc::new(entry_point));
        }
        self.path.clear();
        entry_points
    }

    /// Which proxies run which entry point, where that is said.
    pub(super) fn placement(&mut self, document: &Document) -> BTreeMap<EntryPointName, Labels> {
        let mut placement = BTreeMap::new();
        for (name, written) in document.entry_points.iter().flatten() {
            let Some(listed) = &written.proxies else { continue };
            self.path =
                ["entry_points", name.value.as_str(), "proxies"].map(str::to_owned).to_vec();
            let labels = self.distinct(listed);
            if listed.is_empty() {
                let message = "no proxy would run the entry point".to_owned();
                let help = "name a label, or leave the key out to run it on every proxy";
                self.error(written.at, code::EMPTY, message, help);
            }
            placement.insert(name.value.clone(), labels.into_iter().collect());
        }
        self.path.clear();
        placement
    }

    fn tls(&mut self, document: &Document, written: &document::Tls) -> Tls {
        let Some(listed) = &written.certificates else { return Tls::default() };
        let known: Vec<&str> =
            document.certificates.iter().flatten().map(|(name, _)| name.value.as_str()).collect();
        let certificates = self.within("tls", |faults| {
            faults.within("certificates", |faults| {
                for name in listed {
                    let wanted = name.value.as_str();
                    if !known.contains(&wanted) {
                        let help = match nearest(wanted, known.iter().copied()) {
                            Some(near) => format!("did you mean `{near}`?"),
                            None => "add it to the certificates map".to_owned(),
                        };
                        let message = format!("there is no certificate `{wanted}`");
                        faults.error(name.at, code::UNKNOWN_REFERENCE, message, help);
                    }
                }
                if listed.is_empty() {
                    let message = "clients would see no certificate".to_owned();
                    let help = "name one, or leave the key out to show every one";
                    faults.error(written.at, code::EMPTY, message, help);
                }
                faults.distinct::<CertificateName>(listed)
            })
        });
        Tls { certificates: Some(certificates) }
    }

    /// The values of a list in which none may stand twice.
    fn distinct<T: Clone + PartialEq + std::fmt::Display>(
        &mut self,
        listed: &[Spanned<T>],
    ) -> Vec<T> {
        let mut distinct: Vec<T> = Vec::with_capacity(listed.len());
        for Spanned { value, at } in listed {
            if distinct.contains(value) {
                let message = format!("`{value}` is listed already");
                self.error(*at, code::DUPLICATE_REFERENCE, message, "remove it");
            } else {
                distinct.push(value.clone());
            }
        }
        distinct
    }

    fn entry_point_timeouts(
        &mut self,
        written: Option<&document::EntryPointTimeouts>,
    ) -> EntryPointTimeouts {
        let default = EntryPointTimeouts::default();
        let Some(written) = written else {
            return default;
        };
        self.within("timeouts", |faults| EntryPointTimeouts {
            // No limit here would let any client hold a connection for ever with one byte.
            header: faults.positive("header", written.header.as_ref(), default.header),
            idle: faults.positive("idle", written.idle.as_ref(), default.idle),
            body: written.body.as_ref().map_or(default.body, |d| d.value),
        })
    }

    fn limits(&mut self, written: Option<&document::Limits>) -> Limits {
        let default = Limits::default();
        let Some(written) = written else {
            return default;
        };
        self.within("limits", |faults| Limits {
            connections: written.connections.as_ref().map_or(default.connections, |n| n.value),
            request_line: faults.head_size(
                "request_line",
                written.request_line.as_ref(),
                default.request_line,
            ),
            header_bytes: faults.head_size(
                "header_bytes",
                written.header_bytes.as_ref(),
                default.header_bytes,
            ),
            header_count: match &written.header_count {
                Some(count) if !(1..=MOST_FIELDS).contains(&count.value) => {
                    faults.within("header_count", |faults| {
                        let message = format!("{} is out of range", count.value);
                        let help = format!("write a number from 1 to {MOST_FIELDS}");
                        faults.error(count.at, code::INVALID_VALUE, message, help);
                    });
                    default.header_count
                }
                Some(count) => count.value,
                None => default.header_count,
            },
            body: written.body.as_ref().map_or(default.body, |size| size.value),
        })
    }

    fn head_size(
        &mut self,
        key: &str,
        written: Option<&Spanned<ByteSize>>,
        default: ByteSize,
    ) -> ByteSize {
        let Some(written) = written else {
            return default;
        };
        if !(256..=MOST_HEAD).contains(&written.value.0) {
            self.within(key, |faults| {
                let message = format!("{} is out of range", written.value);
                faults.error(written.at, code::INVALID_VALUE, message, "write 256 to 1MiB");
            });
        }
        written.value
    }
}

/// Whether both entry points say which proxies run them, and share no label: then they may share
/// an address. A proxy that holds labels of both refuses it.
fn run_apart(document: &Document, other: &EntryPointName, written: &document::EntryPoint) -> bool {
    let labels = |written: &document::EntryPoint| -> Option<Labels> {
        let listed = written.proxies.as_ref()?;
        Some(listed.iter().map(|label: &Spanned<Label>| label.value.clone()).collect())
    };
    let mut all = document.entry_points.iter().flatten();
    let other = all.find(|(name, _)| name.value == *other).and_then(|(_, other)| labels(other));
    matches!((other, labels(written)), (Some(one), Some(two)) if !one.meets(&two))
}

fn keep_alive(written: Option<&document::KeepAlive>) -> KeepAlive {
    let default = KeepAlive::default();
    let Some(written) = written else {
        return default;
    };
    KeepAlive {
        max_requests: written.max_requests.as_ref().map_or(0, |n| n.value),
        max_time: written.max_time.as_ref().map_or(Duration::ZERO, |d| d.value),
    }
}
