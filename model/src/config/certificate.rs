//! What TLS entry points show to clients.

use aws_lc_rs::{
    rsa,
    signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::value::Secret;

/// A certificate chain, its private key, and what the leaf says of itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    chain: Vec<CertificateDer<'static>>,
    key: Secret<Vec<u8>>,
    names: Vec<String>,
    not_before: i64,
    not_after: i64,
    default: bool,
}

/// The names and addresses a certificate is good for.
pub type PublicNames = Vec<String>;

/// Why a chain and a key are not a usable certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCertificate {
    /// The text is not PEM or holds no certificate.
    #[error("{0} holds no PEM certificate")]
    NoCertificate(&'static str),
    /// The text is not PEM or holds no private key.
    #[error("{0} holds no PEM private key")]
    NoKey(&'static str),
    /// A certificate of the chain cannot be read.
    #[error("certificate {0} of the chain is not X.509")]
    NotX509(usize),
    /// The key is of a kind that TLS 1.2 and 1.3 do not use here.
    #[error(
        "the private key is not RSA (2048 bits or more), ECDSA (P-256, P-384, P-521) or Ed25519"
    )]
    UnsupportedKey,
    /// The key belongs to another certificate.
    #[error("the private key does not belong to the certificate of {0}")]
    KeyMismatch(String),
}

impl Certificate {
    /// Reads a PEM chain (leaf first) and its PEM key, and checks that they belong together.
    ///
    /// # Errors
    ///
    /// Says which of the two is wrong; the key itself is never part of the message.
    pub fn from_pem(chain: &[u8], key: &[u8], default: bool) -> Result<Self, InvalidCertificate> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, pem::Error>>()
            .map_err(|_| InvalidCertificate::NoCertificate("the certificate"))?;
        if chain.is_empty() {
            return Err(InvalidCertificate::NoCertificate("the certificate"));
        }
        let key =
            PrivateKeyDer::from_pem_slice(key).map_err(|_| InvalidCertificate::NoKey("the key"))?;
        Self::from_der(chain, key.secret_der().to_vec(), default)
    }

    /// Takes a DER chain (leaf first) and its DER key, and checks that they belong together.
    ///
    /// # Errors
    ///
    /// As [`Certificate::from_pem`].
    pub fn from_der(
        chain: Vec<CertificateDer<'static>>,
        key: Vec<u8>,
        default: bool,
    ) -> Result<Self, InvalidCertificate> {
        for (index, der) in chain.iter().enumerate() {
            X509Certificate::from_der(der).map_err(|_| InvalidCertificate::NotX509(index + 1))?;
        }
        let leaf = chain.first().ok_or(InvalidCertificate::NoCertificate("the certificate"))?;
        let (_, leaf) =
            X509Certificate::from_der(leaf).map_err(|_| InvalidCertificate::NotX509(1))?;
        let names = public_names(&leaf);
        let theirs: &[u8] = &leaf.public_key().subject_public_key.data;
        if !public_keys(&key)?.iter().any(|ours| ours == theirs) {
            let named = names.first().cloned().unwrap_or_else(|| leaf.subject().to_string());
            return Err(InvalidCertificate::KeyMismatch(named));
        }
        let validity = leaf.validity();
        let (not_before, not_after) =
            (validity.not_before.timestamp(), validity.not_after.timestamp());
        Ok(Self { chain, key: Secret::new(key), names, not_before, not_after, default })
    }

    /// The chain in DER, leaf first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The private key in DER: PKCS#8, PKCS#1 or SEC1.
    pub fn key(&self) -> &Secret<Vec<u8>> {
        &self.key
    }

    /// The DNS names (lower case, a leading `*.` kept) and addresses of the leaf.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Seconds since 1970 before which the leaf is not valid.
    pub const fn not_before(&self) -> i64 {
        self.not_before
    }

    /// Seconds since 1970 after which the leaf is not valid.
    pub const fn not_after(&self) -> i64 {
        self.not_after
    }

    /// Whether clients without a matching server name get this one.
    pub const fn is_default(&self) -> bool {
        self.default
    }
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate")
            .field("names", &self.names)
            .field("not_after", &self.not_after)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// The subject alternative names, or the common name of a leaf that has none.
fn public_names(leaf: &X509Certificate<'_>) -> PublicNames {
    let mut names = Vec::new();
    if let Ok(Some(extension)) = leaf.subject_alternative_name() {
        for name in &extension.value.general_names {
            match name {
                GeneralName::DNSName(name) => names.push(name.to_ascii_lowercase()),
                GeneralName::IPAddress(bytes) => names.extend(address(bytes)),
                _ => {}
            }
        }
    }
    if names.is_empty() {
        let common = leaf.subject().iter_common_name().find_map(|name| name.as_str().ok());
        names.extend(common.map(str::to_ascii_lowercase));
    }
    names
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(std::net::Ipv4Addr::from(v4).to_string());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|v6| std::net::Ipv6Addr::from(v6).to_string())
}

/// The public halves a private key may have, as they stand in a certificate. An EC key in SEC1
/// form does not always name its curve, so each is tried.
fn public_keys(key: &[u8]) -> Result<Vec<Vec<u8>>, InvalidCertificate> {
    let mut found = Vec::new();
    if let Ok(pair) = rsa::KeyPair::from_pkcs8(key).or_else(|_| rsa::KeyPair::from_der(key)) {
        found.push(pair.public_key().as_ref().to_vec());
    }
    for curve in [
        &signature::ECDSA_P256_SHA256_ASN1_SIGNING,
        &signature::ECDSA_P384_SHA384_ASN1_SIGNING,
        &signature::ECDSA_P521_SHA512_ASN1_SIGNING,
    ] {
        let pair = EcdsaKeyPair::from_pkcs8(curve, key)
            .or_else(|_| EcdsaKeyPair::from_private_key_der(curve, key));
        if let Ok(pair) = pair {
            found.push(pair.public_key().as_ref().to_vec());
        }
    }
    if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(key) {
        found.push(pair.public_key().as_ref().to_vec());
    }
    if found.is_empty() { Err(InvalidCertificate::UnsupportedKey) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str) -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_chain_and_its_key_make_a_certificate() {
        let (chain, key) = pair("shop.example.com");
        let certificate = Certificate::from_pem(chain.as_bytes(), key.as_bytes(), false).unwrap();
        assert_eq!(certificate.names(), ["shop.example.com"]);
        assert!(certificate.not_after() > certificate.not_before());
        assert!(!format!("{certificate:?}").contains("PRIVATE"));
    }

    #[test]
    fn a_key_of_another_certificate_is_refused_by_name() {
        let ((chain, _), (_, key)) = (pair("a.example.com"), pair("b.example.com"));
        let error = Certificate::from_pem(chain.as_bytes(), key.as_bytes(), false).unwrap_err();
        assert_eq!(error, InvalidCertificate::KeyMismatch("a.example.com".into()));
    }

    #[test]
    fn swapped_files_and_garbage_are_told_apart() {
        let (chain, key) = pair("a.example.com");
        let read = |chain: &str, key: &str| {
            Certificate::from_pem(chain.as_bytes(), key.as_bytes(), false).unwrap_err()
        };
        assert_eq!(read(&key, &chain), InvalidCertificate::NoCertificate("the certificate"));
        assert_eq!(read(&chain, &chain), InvalidCertificate::NoKey("the key"));
        assert_eq!(read("", &key), InvalidCertificate::NoCertificate("the certificate"));
    }
}
