//! Certificates, from files or inline.

use std::{collections::BTreeMap, sync::Arc};

use super::Faults;
use crate::{
    config::{Certificate, Objects},
    diagnostic::code,
    document::{self, At, Document, Spanned},
    value::CertificateName,
};

/// The certificate of this name serves clients without a matching server name.
const DEFAULT: &str = "default";

impl Faults<'_> {
    pub(super) fn certificates(
        &mut self,
        document: &Document,
        now: i64,
    ) -> Objects<CertificateName, Certificate> {
        let mut certificates = BTreeMap::new();
        let bundle = self.bundle;
        let files = bundle.index();
        for (name, written) in document.certificates.iter().flatten() {
            self.path = vec!["certificates".to_owned(), name.value.to_string()];
            let chain = self.part(name, written, &files, Part::Chain);
            let key = self.part(name, written, &files, Part::Key);
            let (Some((chain, at)), Some((key, key_at))) = (chain, key) else {
                continue;
            };
            match Certificate::from_pem(&chain, &key, name.value.as_str() == DEFAULT) {
                Ok(certificate) => {
                    self.validity(at, &certificate, now);
                    certificates.insert(name.value.clone(), Arc::new(certificate));
                }
                Err(fault) => {
                    use crate::config::InvalidCertificate as Fault;
                    let (at, help) = match &fault {
                        Fault::NoCertificate(_) | Fault::NotX509(_) => {
                            (at, "give a PEM chain, leaf first: -----BEGIN CERTIFICATE-----")
                        }
                        Fault::NoKey(_) => (key_at, "give a PEM key: -----BEGIN PRIVATE KEY-----"),
                        Fault::UnsupportedKey => (key_at, "make a new key, ECDSA P-256 for one"),
                        Fault::KeyMismatch(_) => {
                            (key_at, "give the key this certificate was issued for")
                        }
                    };
                    self.error(at, code::INVALID_CERTIFICATE, fault.to_string(), help);
                }
            }
        }
        self.path.clear();
        certificates
    }

    /// The bytes of one half and where they were named.
    fn part(
        &mut self,
        name: &Spanned<CertificateName>,
        written: &document::Certificate,
        files: &BTreeMap<(&str, &str), &[u8]>,
        part: Part,
    ) -> Option<(Vec<u8>, At)> {
        let (file_key, inline_key) = part.keys();
        let (file, inline) = match part {
            Part::Chain => (
                written.cert_file.as_ref(),
                written.cert.as_ref().map(|text| (text.value.clone(), text.at)),
            ),
            Part::Key => (
                written.key_file.as_ref(),
                written.key.as_ref().map(|text| (text.value.expose_secret().clone(), text.at)),
            ),
        };
        match (file, inline) {
            (None, None)
                if written.faulty.contains(&file_key) || written.faulty.contains(&inline_key) =>
            {
                None
            }
            (None, None) => {
                let message = format!("`{file_key}` is missing");
                let help = format!("write {file_key}: PATH, or {inline_key}: with the PEM text");
                self.error(name.at, code::MISSING, message, help);
                None
            }
            (Some(path), Some(_)) => {
                let message = format!("`{file_key}` and `{inline_key}` say the same twice");
                self.error(path.at, code::CONFLICT, message, "keep one of the two");
                None
            }
            (None, Some((text, at))) => Some((text.into_bytes(), at)),
            (Some(path), None) => {
                let document = self.bundle.base_of(path.at.source).to_owned();
                if let Some(content) = files.get(&(document.as_str(), path.value.as_str())) {
                    return Some((content.to_vec(), path.at));
                }
                let unread = self.bundle.unread(&document, &path.value);
                let (what, help) = match unread {
                    Some(unread) => (format!("could not be read: {}", unread.reason), unread.help),
                    None => (
                        "was not given".to_owned(),
                        "whoever reads the document ships its files: use `lbctl apply`, or write \
                         the PEM text inline",
                    ),
                };
                self.within(file_key, |faults| {
                    let message = format!("the file `{}` {what}", path.value);
                    faults.error(path.at, code::FILE_MISSING, message, help);
                });
                None
            }
        }
    }

    fn validity(&mut self, at: At, certificate: &Certificate, now: i64) {
        let names = certificate.names().join(", ");
        if certificate.not_after() < now {
            let days = (now - certificate.not_after()) / 86_400;
            let message = format!("the certificate of {names} expired {days} days ago");
            self.warn(at, code::EXPIRED_CERTIFICATE, message, "renew it; clients refuse it");
        } else if certificate.not_before() > now {
            let message = format!("the certificate of {names} is not valid yet");
            self.warn(at, code::EXPIRED_CERTIFICATE, message, "check its dates and this clock");
        }
    }
}

#[derive(Clone, Copy)]
enum Part {
    Chain,
    Key,
}

impl Part {
    const fn keys(self) -> (&'static str, &'static str) {
        match self {
            Self::Chain => ("cert_file", "cert"),
            Self::Key => ("key_file", "key"),
        }
    }
}
