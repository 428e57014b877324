//! Certificates, from files or inline.

use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use x509_parser::pem::Pem;

use super::Faults;
use crate::{
    config::{Certificate, Objects},
    diagnostic::code,
    document::{At, CertificateFiles, ClientTls, Document, Spanned},
    value::{CertificateName, FilePath},
};

/// The certificate of this name serves clients without a matching server name.
const DEFAULT: &str = "default";

impl Faults<'_> {
    pub(super) fn certificates(
        &mut self,
        document: &Document,
    ) -> Objects<CertificateName, Certificate> {
        let mut certificates = Objects::new();
        for (name, written) in document.certificates.iter().flatten() {
            self.path = vec!["certificates".to_owned(), name.value.to_string()];
            let is_default = name.value.as_str() == DEFAULT;
            let made = self.certificate(name.at, written.files(), is_default);
            certificates.extend(made.map(|made| (name.value.clone(), Arc::new(made))));
        }
        self.path.clear();
        certificates
    }

    /// A chain and its key, wherever they are named.
    pub(super) fn certificate(
        &mut self,
        at: At,
        written: CertificateFiles<'_>,
        is_default: bool,
    ) -> Option<Certificate> {
        let chain = self.part(at, written, Part::Chain);
        let key = self.part(at, written, Part::Key);
        let ((chain, chain_at), (key, key_at)) = chain.zip(key)?;
        match Certificate::from_pem(&chain, &key, is_default) {
            Ok(certificate) => {
                self.validity(chain_at, &certificate);
                Some(certificate)
            }
            Err(fault) => {
                use crate::config::InvalidCertificate as Fault;
                let (at, help) = match &fault {
                    Fault::NoCertificate(_) | Fault::NotX509(_) => {
                        (chain_at, "give a PEM chain, leaf first: -----BEGIN CERTIFICATE-----")
                    }
                    Fault::NoKey(_) => (key_at, "give a PEM key: -----BEGIN PRIVATE KEY-----"),
                    Fault::UnsupportedKey => (key_at, "make a new key, ECDSA P-256 for one"),
                    Fault::KeyMismatch(_) => {
                        (key_at, "give the key this certificate was issued for")
                    }
                };
                self.error(at, code::INVALID_CERTIFICATE, fault.to_string(), help);
                None
            }
        }
    }

    /// The certificates that somebody trusts, from a file.
    pub(super) fn authorities(
        &mut self,
        key: &str,
        path: &Spanned<FilePath>,
    ) -> Vec<CertificateDer<'static>> {
        let Some(content) = self.file(key, path, "") else { return Vec::new() };
        let read = |block: Result<Pem, _>| {
            let block = block.ok()?;
            block.parse_x509().is_ok().then(|| CertificateDer::from(block.contents))
        };
        let read: Option<Vec<_>> = Pem::iter_from_buffer(content).map(read).collect();
        match read {
            Some(read) if !read.is_empty() => read,
            _ => {
                self.within(key, |faults| {
                    let message = format!("the file `{}` holds no PEM certificates", path.value);
                    let help = "name a file of -----BEGIN CERTIFICATE----- blocks";
                    faults.error(path.at, code::INVALID_CERTIFICATE, message, help);
                });
                Vec::new()
            }
        }
    }

    /// TLS to somebody else.
    pub(super) fn client_tls(&mut self, written: Option<&ClientTls>) {
        let Some(written) = written else { return };
        self.within("tls", |faults| {
            if let Some(path) = &written.ca_file {
                faults.authorities("ca_file", path);
            }
            if written.cert_file.is_some() || written.key_file.is_some() {
                let files = CertificateFiles {
                    cert_file: written.cert_file.as_ref(),
                    key_file: written.key_file.as_ref(),
                    cert: None,
                    key: None,
                    faulty: &written.faulty,
                };
                faults.certificate(written.at, files, false);
            }
            if let Some(skip) = written.insecure_skip_verify.as_ref().filter(|skip| skip.value) {
                faults.within("insecure_skip_verify", |faults| {
                    let message = "anybody on the way can read and change what is sent";
                    faults.warn(skip.at, code::WEAK_TLS, message, "name its authority in ca_file");
                });
            }
        });
    }

    /// The bytes of one half and where they were named.
    fn part(&mut self, at: At, written: CertificateFiles<'_>, part: Part) -> Option<(Vec<u8>, At)> {
        let (file_key, inline_key) = part.keys();
        let (file, inline) = match part {
            Part::Chain => {
                (written.cert_file, written.cert.map(|text| (text.value.clone(), text.at)))
            }
            Part::Key => (
                written.key_file,
                written.key.map(|text| (text.value.expose_secret().clone(), text.at)),
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
                self.error(at, code::MISSING, message, help);
                None
            }
            (Some(path), Some(_)) => {
                let message = format!("`{file_key}` and `{inline_key}` say the same twice");
                self.error(path.at, code::CONFLICT, message, "keep one of the two");
                None
            }
            (None, Some((text, at))) => Some((text.into_bytes(), at)),
            (Some(path), None) => {
                let content = self.file(file_key, path, ", or write the PEM text inline")?;
                Some((content.to_vec(), path.at))
            }
        }
    }

    fn validity(&mut self, at: At, certificate: &Certificate) {
        let names = certificate.names().join(", ");
        let now = self.now;
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
