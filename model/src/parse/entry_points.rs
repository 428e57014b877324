//! Entry points.

use std::{collections::BTreeMap, collections::HashSet, hash::Hash, sync::Arc};

use super::{Faults, Names, defaults, list, or, overlap};
use crate::{
    config::{EntryPoint, EntryPointTimeouts, KeepAlive, Limits, Objects, Tls},
    diagnostic::code,
    document::{self, CipherSuite, ClientAuth, Document, Spanned, TlsVersion},
    value::{ByteSize, Duration, EntryPointName, Labels},
};

/// What a request line or a head may be given at most: a proxy keeps it in memory.
const MOST_HEAD: u64 = 1 << 20;
const MOST_FIELDS: u16 = 1_000;

impl Faults<'_> {
    pub(super) fn entry_points(
        &mut self,
        document: &Document,
    ) -> Objects<EntryPointName, EntryPoint> {
        let overload = self.overload(document);
        let written = document.entry_points.as_deref().unwrap_or_default();
        if written.is_empty() {
            return defaults::entry_points(overload);
        }
        let certificates = Names::of("certificate", "certificates", document.certificates.as_ref());
        let options = Names::of("set of TLS options", "tls_options", document.tls_options.as_ref());
        let names = Names::of("entry point", "entry_points", document.entry_points.as_ref());
        let mut entry_points: Objects<EntryPointName, EntryPoint> = Objects::new();
        let mut listening = overlap::Listening::default();
        for (name, written) in written {
            self.path = vec!["entry_points".to_owned(), name.value.to_string()];
            // Looked at first: all faults are wanted, also beside an address that is wrong.
            let timeouts = entry_point_timeouts(written.timeouts.as_ref());
            let limits = self.limits(written.limits.as_ref());
            let tls = written.tls.as_ref().map(|tls| self.tls(tls, &certificates, &options));
            self.redirect(name, written, &names);
            self.proxy_protocol(written);
            let Some(address) = &written.address else { continue };
            self.within("address", |faults| {
                listening.add(faults, (&name.value, written), *address);
            });
            let entry_point = EntryPoint {
                address: address.value,
                tls,
                timeouts,
                limits,
                keep_alive: keep_alive(written.keep_alive.as_ref()),
                trusted_ips: list(written.trusted_ips.as_ref()),
                overload,
            };
            entry_points.insert(name.value.clone(), Arc::new(entry_point));
        }
        self.path.clear();
        self.http3_port(document, &listening);
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
                let message = "no proxy would run the entry point";
                let help = "name a label, or leave the key out to run it on every proxy";
                self.error(written.at, code::EMPTY, message, help);
            }
            placement.insert(name.value.clone(), labels.into_iter().collect());
        }
        self.path.clear();
        placement
    }

    /// The sets of options that entry points and routes name.
    pub(super) fn tls_options(&mut self, document: &Document) {
        for (name, written) in document.tls_options.iter().flatten() {
            self.path = vec!["tls_options".to_owned(), name.value.to_string()];
            let versions = (written.min_version, written.max_version);
            self.versions(versions, written.cipher_suites.as_deref());
            self.client_auth(written.client_auth.as_ref());
            for key in ["cipher_suites", "curve_preferences", "alpn_protocols"] {
                let empty = match key {
                    "cipher_suites" => written.cipher_suites.as_ref().is_some_and(Vec::is_empty),
                    "alpn_protocols" => written.alpn_protocols.as_ref().is_some_and(Vec::is_empty),
                    _ => written.curve_preferences.as_ref().is_some_and(Vec::is_empty),
                };
                if empty {
                    let message = format!("`{key}` is empty, so no handshake could succeed");
                    let help = "name some, or leave the key out";
                    self.error(written.at, code::EMPTY, message, help);
                }
            }
        }
        self.path.clear();
    }

    fn tls(&mut self, written: &document::Tls, known: &Names<'_>, options: &Names<'_>) -> Tls {
        self.within("tls", |faults| {
            if let Some(name) = &written.options {
                faults.within("options", |faults| faults.refers(name, options));
            }
            let versions = (written.min_version, written.max_version);
            faults.versions(versions, written.cipher_suites.as_deref());
            faults.client_auth(written.client_auth.as_ref());
            let Some(listed) = &written.certificates else { return Tls::default() };
            let certificates = faults.references("certificates", listed, known, "remove it");
            if listed.is_empty() {
                let message = "clients would see no certificate";
                let help = "name one, or leave the key out to show every one";
                faults.error(written.at, code::EMPTY, message, help);
            }
            Tls { certificates: Some(certificates) }
        })
    }

    /// Versions that this proxy speaks, in order, with a suite for each.
    fn versions(
        &mut self,
        (least, most): (Option<Spanned<TlsVersion>>, Option<Spanned<TlsVersion>>),
        suites: Option<&[Spanned<CipherSuite>]>,
    ) {
        for (key, version) in [("min_version", &least), ("max_version", &most)] {
            if let Some(version) = version.as_ref().filter(|version| !version.value.is_spoken()) {
                self.within(key, |faults| {
                    let message = format!(
                        "TLS {} is broken (RFC 8996) and never spoken here",
                        version.value.as_str()
                    );
                    faults.error(version.at, code::WEAK_TLS, message, "write \"1.2\" or \"1.3\"");
                });
            }
        }
        if let (Some(least), Some(most)) = (&least, &most)
            && least.value.rank() > most.value.rank()
        {
            self.within("max_version", |faults| {
                let message = format!(
                    "the newest version ({}) is older than the oldest ({})",
                    most.value.as_str(),
                    least.value.as_str()
                );
                faults.error(most.at, code::CONFLICT, message, "raise it, or leave it out");
            });
        }
        let only_new = least.is_some_and(|least| least.value == TlsVersion::Tls13);
        if let Some([first, ..]) = suites
            && only_new
            && !suites.into_iter().flatten().any(|suite| suite.value.is_for_tls13())
        {
            self.within("cipher_suites", |faults| {
                let message = "none of these is a suite of TLS 1.3, the only version allowed";
                let help = format!("add {}", CipherSuite::Aes128.as_str());
                faults.error(first.at, code::CONFLICT, message, help);
            });
        }
    }

    fn client_auth(&mut self, written: Option<&ClientAuth>) {
        let Some(written) = written else { return };
        self.within("client_auth", |faults| {
            faults.each("ca_files", written.ca_files.iter().flatten(), |faults, path| {
                faults.authorities("", path);
            });
        });
    }

    fn redirect(
        &mut self,
        name: &Spanned<EntryPointName>,
        written: &document::EntryPoint,
        names: &Names<'_>,
    ) {
        let Some(target) = written.redirect_to.as_ref().and_then(|to| to.entry_point.as_ref())
        else {
            return;
        };
        self.within("redirect_to", |faults| {
            faults.within("entry_point", |faults| {
                if target.value == name.value {
                    let message = "clients would be sent here again and again";
                    faults.error(target.at, code::LOOP, message, "name another entry point");
                } else {
                    faults.refers(target, names);
                }
            });
        });
    }

    fn proxy_protocol(&mut self, written: &document::EntryPoint) {
        let Some(protocol) = &written.proxy_protocol else { return };
        self.within("proxy_protocol", |faults| {
            let is_open = or(protocol.insecure.as_ref(), false);
            let is_empty = protocol.trusted_ips.as_ref().is_none_or(Vec::is_empty);
            if is_open {
                let message = "every client may say that it is any other";
                let help = "name who stands in front in `trusted_ips` instead";
                faults.warn(protocol.at, code::OPEN, message, help);
            } else if is_empty && !protocol.faulty.contains(&"trusted_ips") {
                let message = "nobody is trusted, so every connection would fail";
                let help = "write trusted_ips: [ADDRESS or RANGE of who stands in front]";
                faults.error(protocol.at, code::EMPTY, message, help);
            }
        });
    }

    /// The values of a list in which none may stand twice.
    pub(super) fn distinct<T: Clone + Eq + Hash + std::fmt::Display>(
        &mut self,
        listed: &[Spanned<T>],
    ) -> Vec<T> {
        let mut seen = HashSet::with_capacity(listed.len());
        let mut distinct = Vec::with_capacity(listed.len());
        for Spanned { value, at } in listed {
            if seen.insert(value) {
                distinct.push(value.clone());
            } else {
                let message = format!("`{value}` is listed already");
                self.error(*at, code::DUPLICATE_REFERENCE, message, "remove it");
            }
        }
        distinct
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

fn entry_point_timeouts(written: Option<&document::EntryPointTimeouts>) -> EntryPointTimeouts {
    let default = EntryPointTimeouts::default();
    let Some(written) = written else {
        return default;
    };
    EntryPointTimeouts {
        // No limit here would let any client hold a connection for ever with one byte.
        header: written.header.as_ref().map_or(default.header, |d| d.value.get()),
        idle: written.idle.as_ref().map_or(default.idle, |d| d.value.get()),
        body: or(written.body.as_ref(), default.body),
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
