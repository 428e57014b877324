//! The certificates of a fleet: its authority, its control plane, its proxies.

use std::time::Duration;

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::STANDARD};
use lb_model::value::{Label, Labels, Secret};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// The name that the control plane's certificate carries, wherever it listens.
pub const SERVER_NAME: &str = "control-plane.lb.internal";
/// How long an authority lives.
const AUTHORITY_LIFE: Duration = Duration::from_hours(10 * 365 * 24);
/// Certificates begin a little before they are made: clocks differ.
const CLOCK_SKEW: Duration = Duration::from_mins(5);
/// The longest request that is read.
const MAX_REQUEST: usize = 16 << 10;

/// An authority with its key.
#[derive(Clone, Serialize, Deserialize)]
pub struct Authority {
    certificate: String,
    key: String,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority([redacted])")
    }
}

/// A certificate chain with its key, in DER.
#[derive(Debug, Clone)]
pub struct Pair {
    /// Leaf first.
    pub chain: Vec<Vec<u8>>,
    /// PKCS#8.
    pub key: Secret<Vec<u8>>,
}

/// A certificate that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The request of a proxy is not one.
    #[error("the certificate request cannot be read, or is not signed by its own key")]
    InvalidRequest,
    /// The authority or the library failed.
    #[error("the certificate could not be made")]
    Failed(#[from] rcgen::Error),
    /// The stored authority cannot be read.
    #[error("the stored authority cannot be read")]
    Damaged,
}

impl Authority {
    /// A new authority.
    ///
    /// # Errors
    ///
    /// When the library fails.
    pub fn generate(now: OffsetDateTime) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "lb fleet authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = (now - CLOCK_SKEW, now + AUTHORITY_LIFE);
        let certificate = params.self_signed(&key)?;
        Ok(Self {
            certificate: STANDARD.encode(certificate.der()),
            key: STANDARD.encode(key.serialized_der()),
        })
    }

    /// The certificate in DER.
    ///
    /// # Errors
    ///
    /// When what was stored cannot be read.
    pub fn der(&self) -> Result<Vec<u8>, AuthorityError> {
        STANDARD.decode(&self.certificate).map_err(|_| AuthorityError::Damaged)
    }

    /// The SHA-256 of the authority's public key, which tokens carry: by it a proxy knows the
    /// control plane at their first meeting.
    ///
    /// # Errors
    ///
    /// When what was stored cannot be read.
    pub fn fingerprint(&self) -> Result<[u8; 32], AuthorityError> {
        let der = self.der()?;
        fingerprint(&der).ok_or(AuthorityError::Damaged)
    }

    /// A certificate for the control plane itself, under these names and addresses.
    ///
    /// # Errors
    ///
    /// When the authority cannot be read or the library fails.
    pub fn issue_server(
        &self,
        names: Vec<String>,
        now: OffsetDateTime,
        life: Duration,
    ) -> Result<Pair, AuthorityError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, "lb control plane");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        (params.not_before, params.not_after) = (now - CLOCK_SKEW, now + life);
        let leaf = params.signed_by(&key, &self.issuer()?)?;
        let chain = vec![leaf.der().to_vec(), self.der()?];
        Ok(Pair { chain, key: Secret::new(key.serialized_der().to_vec()) })
    }

    /// A certificate for a proxy. Of its request only the key is taken: what it is called and
    /// which labels it holds is not for it to say.
    ///
    /// # Errors
    ///
    /// When the request is not signed by its own key, or the library fails.
    pub fn issue_proxy(
        &self,
        request: &[u8],
        name: &str,
        labels: &Labels,
        now: OffsetDateTime,
        life: Duration,
    ) -> Result<Vec<Vec<u8>>, AuthorityError> {
        let request = read_request(request)?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        let labels = labels.iter().map(|label| format!("{LABEL_PREFIX}{label}"));
        params.subject_alt_names = std::iter::once(format!("{PREFIX}{name}"))
            .chain(labels)
            .map(|uri| Ok(SanType::URI(uri.try_into()?)))
            .collect::<Result<_, rcgen::Error>>()?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        (params.not_before, params.not_after) = (now - CLOCK_SKEW, now + life);
        let leaf = params.signed_by(&request.public_key, &self.issuer()?)?;
        Ok(vec![leaf.der().to_vec(), self.der()?])
    }

    fn issuer(&self) -> Result<Issuer<'static, KeyPair>, AuthorityError> {
        let key = STANDARD.decode(&self.key).map_err(|_| AuthorityError::Damaged)?;
        let key = KeyPair::try_from(key).map_err(|_| AuthorityError::Damaged)?;
        Ok(Issuer::from_ca_cert_der(&self.der()?.into(), key)?)
    }
}

fn read_request(request: &[u8]) -> Result<CertificateSigningRequestParams, AuthorityError> {
    if request.len() > MAX_REQUEST {
        return Err(AuthorityError::InvalidRequest);
    }
    CertificateSigningRequestParams::from_der(&request.into())
        .map_err(|_| AuthorityError::InvalidRequest)
}

/// The SHA-256 of the key for which a certificate is requested, and which signed the request.
///
/// # Errors
///
/// When the request is not signed by its own key.
pub fn requested_key(request: &[u8]) -> Result<[u8; 32], AuthorityError> {
    let request = read_request(request)?;
    let hash = digest::digest(&digest::SHA256, request.public_key.der_bytes());
    hash.as_ref().try_into().map_err(|_| AuthorityError::InvalidRequest)
}

/// What the name of a proxy stands behind in its certificate (a SPIFFE ID).
const PREFIX: &str = "spiffe://lb/proxy/";
/// What each of its labels stands behind, in a URI of its own beside that of the name.
const LABEL_PREFIX: &str = "spiffe://lb/label/";

/// What a proxy's certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyCertificate {
    /// What the proxy is called.
    pub name: String,
    /// Which labels it holds.
    pub labels: Labels,
    /// When it was made, in seconds since 1970.
    pub issued_at: i64,
    /// When it ends, in seconds since 1970.
    pub not_after: i64,
    /// Who signed it: the key identifier of the authority.
    pub authority_key: Vec<u8>,
}

/// Reads a proxy's certificate. Who signed it is for TLS to check, or for [`signed_by`].
pub fn read_proxy(der: &[u8]) -> Option<ProxyCertificate> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    let uris = |prefix| {
        names.value.general_names.iter().filter_map(move |name| match name {
            GeneralName::URI(uri) => uri.strip_prefix(prefix),
            _ => None,
        })
    };
    let mut named = uris(PREFIX);
    let name = named.next()?.to_owned();
    if named.next().is_some() {
        return None;
    }
    let labels = uris(LABEL_PREFIX).map(Label::parse).collect::<Result<_, _>>().ok()?;
    let authority_key =
        certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            x509_parser::extensions::ParsedExtension::AuthorityKeyIdentifier(key) => {
                key.key_identifier.as_ref().map(|key| key.0.to_vec())
            }
            _ => None,
        });
    Some(ProxyCertificate {
        name,
        labels,
        issued_at: certificate
            .validity()
            .not_before
            .timestamp()
            .saturating_add(CLOCK_SKEW.as_secs().cast_signed()),
        not_after: certificate.validity().not_after.timestamp(),
        authority_key: authority_key.unwrap_or_default(),
    })
}

/// Whether one of these authorities signed a certificate, whatever its dates.
pub fn signed_by(der: &[u8], authorities: &[Vec<u8>]) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return false };
    authorities.iter().any(|authority| {
        X509Certificate::from_der(authority).is_ok_and(|(_, authority)| {
            certificate.verify_signature(Some(authority.public_key())).is_ok()
        })
    })
}

/// Whether the key of a certificate signed a message (ECDSA P-256, as proxies make it).
pub fn key_signed(der: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return false };
    let key = &certificate.public_key().subject_public_key.data;
    aws_lc_rs::signature::UnparsedPublicKey::new(&aws_lc_rs::signature::ECDSA_P256_SHA256_ASN1, key)
        .verify(message, signature)
        .is_ok()
}

/// The SHA-256 of the public key (SubjectPublicKeyInfo) of a certificate.
pub fn fingerprint(der: &[u8]) -> Option<[u8; 32]> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let hash = digest::digest(&digest::SHA256, certificate.public_key().raw);
    hash.as_ref().try_into().ok()
}

/// The key identifier that certificates signed by this authority carry.
pub fn key_identifier(der: &[u8]) -> Option<Vec<u8>> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        x509_parser::extensions::ParsedExtension::SubjectKeyIdentifier(key) => Some(key.0.to_vec()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn request(key: &KeyPair) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["evil.example".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "somebody else");
        let label = format!("{LABEL_PREFIX}evil").try_into().unwrap();
        params.subject_alt_names.push(SanType::URI(label));
        params.serialize_request(key).unwrap().der().to_vec()
    }

    #[test]
    fn a_proxy_gets_the_name_it_was_given_and_no_other() {
        let now = OffsetDateTime::now_utc();
        let authority = Authority::generate(now).unwrap();
        let key = KeyPair::generate().unwrap();
        let labels = Labels::grant(&["edge", "eu"]).unwrap();
        let chain = authority.issue_proxy(&request(&key), "proxy-1", &labels, now, DAY).unwrap();
        let read = read_proxy(&chain[0]).unwrap();
        assert_eq!(read.name, "proxy-1");
        assert_eq!(read.labels, labels);
        assert_eq!(read.issued_at, now.unix_timestamp());
        assert_eq!(read.not_after, (now + DAY).unix_timestamp());
        assert!(!chain[0].windows(4).any(|part| part == b"evil"));
        assert!(signed_by(&chain[0], &[authority.der().unwrap()]));
        assert_eq!(Some(read.authority_key), key_identifier(&authority.der().unwrap()));
        let other = Authority::generate(now).unwrap();
        assert!(!signed_by(&chain[0], &[other.der().unwrap()]));
    }

    #[test]
    fn a_request_that_was_tampered_with_is_refused() {
        let now = OffsetDateTime::now_utc();
        let authority = Authority::generate(now).unwrap();
        let good = request(&KeyPair::generate().unwrap());
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            // What is not covered by the signature names nothing but the signature's algorithm.
            if let Ok(chain) = authority.issue_proxy(&bad, "p", &Labels::default(), now, DAY) {
                let read = read_proxy(&chain[0]).unwrap();
                assert!(read.name == "p" && read.labels.is_empty(), "byte {at}");
                assert!(at > 150, "byte {at}");
            }
        }
        let (long, none) = (vec![0; MAX_REQUEST + 1], Labels::default());
        assert!(authority.issue_proxy(&long, "p", &none, now, DAY).is_err());
    }

    #[test]
    fn an_authority_survives_its_stored_form() {
        let now = OffsetDateTime::now_utc();
        let authority = Authority::generate(now).unwrap();
        let stored = serde_json::to_string(&authority).unwrap();
        let again: Authority = serde_json::from_str(&stored).unwrap();
        assert_eq!(again.fingerprint().unwrap(), authority.fingerprint().unwrap());
        assert!(again.issue_server(vec![SERVER_NAME.to_owned()], now, DAY).is_ok());
        assert_eq!(format!("{again:?}"), "Authority([redacted])");
    }
}
