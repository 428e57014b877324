//! Which certificate a client sees: by exact name, by wildcard, the default, or a self-signed
//! one.
//!
//! The set belongs to the snapshot and is swapped with it; handshakes read it without a lock.
//! A certificate that did not change keeps its loaded key.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use lb_model::{
    config::{Certificate, Objects},
    value::CertificateName,
};
use rustls::{
    crypto::aws_lc_rs,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// A certificate that the TLS library does not take.
#[derive(Debug, thiserror::Error)]
pub enum InvalidKey {
    /// The bytes are no private key.
    #[error("the private key is not PKCS#8, PKCS#1 or SEC1")]
    Form,
    /// The key cannot be used, or not with this chain.
    #[error("the private key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
    /// The self-signed certificate could not be made.
    #[error("could not make a self-signed certificate: {0}")]
    SelfSigned(#[from] rcgen::Error),
}

/// The certificates of one configuration.
#[derive(Debug)]
pub struct CertificateSet {
    loaded: Vec<(Arc<Certificate>, Arc<CertifiedKey>)>,
    by_name: HashMap<Box<str>, Arc<CertifiedKey>>,
    default: Arc<CertifiedKey>,
}

impl CertificateSet {
    /// A set that has nothing but the certificate of last resort.
    pub fn empty(fallback: &Arc<CertifiedKey>) -> Self {
        Self { loaded: Vec::new(), by_name: HashMap::new(), default: Arc::clone(fallback) }
    }

    /// Loads what `previous` has not loaded already.
    pub fn build(
        certificates: &Objects<CertificateName, Certificate>,
        previous: Option<&Self>,
        fallback: &Arc<CertifiedKey>,
    ) -> Result<Self, Vec<(String, InvalidKey)>> {
        let mut set = Self::empty(fallback);
        let mut faults = Vec::new();
        for (name, certificate) in certificates {
            let kept = previous.and_then(|previous| {
                let mut all = previous.loaded.iter();
                all.find(|(loaded, _)| loaded == certificate)
            });
            let key = match kept {
                Some((_, key)) => Ok(Arc::clone(key)),
                None => load(certificate).map(Arc::new),
            };
            match key {
                Ok(key) => set.loaded.push((Arc::clone(certificate), key)),
                Err(error) => faults.push((name.to_string(), error)),
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        // Of two certificates for a name the one that is good for longer wins.
        let mut by_age: Vec<_> = set.loaded.iter().collect();
        by_age.sort_by_key(|(certificate, _)| certificate.not_after());
        for (certificate, key) in by_age {
            for name in certificate.names() {
                set.by_name.insert(name.as_str().into(), Arc::clone(key));
            }
            if certificate.is_default() {
                set.default = Arc::clone(key);
            }
        }
        Ok(set)
    }

    /// The same, with one of its certificates for clients without a matching server name.
    #[must_use]
    pub fn with_default(mut self, certificate: &Certificate) -> Self {
        let found = self.loaded.iter().find(|(loaded, _)| **loaded == *certificate);
        if let Some((_, key)) = found {
            self.default = Arc::clone(key);
        }
        self
    }

    /// The certificate for a server name, or the default.
    pub fn find(&self, server_name: Option<&str>) -> &Arc<CertifiedKey> {
        server_name.and_then(|name| self.named(name)).unwrap_or(&self.default)
    }

    fn named(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        if self.by_name.is_empty() {
            return None;
        }
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        self.by_name.get(name.as_str()).or_else(|| {
            // A wildcard stands for exactly one label (RFC 9525, 6.3).
            let (_, parent) = name.split_once('.')?;
            self.by_name.get(format!("*.{parent}").as_str())
        })
    }
}

/// Gives each handshake a certificate of the set that is installed.
#[derive(Debug)]
pub struct CertificateResolver(ArcSwap<CertificateSet>);

impl CertificateResolver {
    /// Starts with `set`.
    pub fn new(set: Arc<CertificateSet>) -> Self {
        Self(ArcSwap::new(set))
    }

    /// Uses `set` from the next handshake on.
    pub fn install(&self, set: Arc<CertificateSet>) {
        self.0.store(set);
    }
}

impl ResolvesServerCert for CertificateResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load().resolve(hello)
    }
}

impl ResolvesServerCert for CertificateSet {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(self.find(hello.server_name())))
    }
}

fn load(certificate: &Certificate) -> Result<CertifiedKey, InvalidKey> {
    let key = PrivateKeyDer::try_from(certificate.key().expose_secret().clone())
        .map_err(|_| InvalidKey::Form)?;
    let chain = certificate.chain().to_vec();
    Ok(CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())?)
}

/// The certificate of last resort: a TLS entry point answers even if nothing is configured, and
/// clients see at once what is missing.
pub fn self_signed() -> Result<Arc<CertifiedKey>, InvalidKey> {
    let made = rcgen::generate_simple_self_signed(["lb.invalid".to_owned()])?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let chain = vec![made.cert.der().clone()];
    let provider = aws_lc_rs::default_provider();
    Ok(Arc::new(CertifiedKey::from_der(chain, key.into(), &provider)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(list: &[(&str, bool)]) -> (CertificateSet, Arc<CertifiedKey>) {
        let certificates = list
            .iter()
            .enumerate()
            .map(|(index, (name, default))| {
                let made = rcgen::generate_simple_self_signed([(*name).to_owned()]).unwrap();
                let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
                let certificate =
                    Certificate::from_pem(chain.as_bytes(), key.as_bytes(), *default).unwrap();
                let key = CertificateName::parse(&format!("c{index}")).unwrap();
                (key, Arc::new(certificate))
            })
            .collect();
        let fallback = self_signed().unwrap();
        let set = CertificateSet::build(&certificates, None, &fallback).unwrap();
        let again = CertificateSet::build(&certificates, Some(&set), &fallback).unwrap();
        for ((_, before), (_, after)) in set.loaded.iter().zip(&again.loaded) {
            assert!(Arc::ptr_eq(before, after), "an unchanged key is kept");
        }
        (set, fallback)
    }

    #[test]
    fn exact_names_go_before_wildcards_and_the_default() {
        let (set, _) =
            set(&[("shop.example.com", false), ("*.example.com", false), ("other.test", true)]);
        let found = |name| {
            let found = set.find(name);
            set.loaded.iter().position(|(_, key)| Arc::ptr_eq(key, found))
        };
        assert_eq!(found(Some("shop.example.com")), Some(0));
        assert_eq!(found(Some("SHOP.Example.com.")), Some(0));
        assert_eq!(found(Some("a.example.com")), Some(1));
        assert_eq!(found(Some("a.b.example.com")), Some(2));
        assert_eq!(found(Some("example.com")), Some(2));
        assert_eq!(found(None), Some(2));
    }

    #[test]
    fn without_a_default_clients_get_the_self_signed_one() {
        let (set, fallback) = set(&[("shop.example.com", false)]);
        assert!(Arc::ptr_eq(set.find(Some("x.test")), &fallback));
    }
}
