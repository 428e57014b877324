//! Entry points.

use std::{collections::BTreeMap, sync::Arc};

use super::{Faults, defaults};
use crate::{
    config::{EntryPoint, EntryPointTimeouts, KeepAlive, Limits, Objects, Tls},
    diagnostic::code,
    document::{self, Document, Spanned},
    value::{ByteSize, Duration, EntryPointName},
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
            let Some(address) = &written.address else {
                if written.faulty.contains(&"address") {
                    continue;
                }
                self.missing("entry_points", name, "address", "address: \"0.0.0.0:8000\"");
                continue;
            };
            let taken = entry_points
                .iter()
                .find(|(_, other)| other.address == address.value && address.value.0.port() != 0);
            if let Some((other, _)) = taken {
                let message = format!("{} is the address of `{other}` already", address.value);
                let help = "give one of the two another port";
                self.error(address.at, code::ADDRESS_TAKEN, message, help);
            }
            let entry_point = EntryPoint {
                address: address.value,
                tls: written.tls.as_ref().map(|_| Tls {}),
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
