//! The key and the certificate of this proxy, on its disk.
//!
//! One file, readable by its owner only, replaced whole: a key without its certificate is worth
//! nothing.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use lb_model::value::Secret;
use lb_proto::v1::Issued;
use rcgen::{CertificateParams, KeyPair, PublicKeyData, SigningKey};
use serde::{Deserialize, Serialize};
use x509_parser::prelude::{FromDer, X509Certificate};

const FILE: &str = "identity.json";

/// What proves who this proxy is.
#[derive(Clone)]
pub struct Material {
    /// What the fleet calls it.
    pub name: String,
    /// DER, leaf first.
    pub chain: Vec<Vec<u8>>,
    /// PKCS#8.
    pub key: Secret<Vec<u8>>,
    /// The authorities it trusts, DER.
    pub trust: Vec<Vec<u8>>,
    /// When the certificate ends, in seconds since 1970.
    pub not_after: i64,
}

impl std::fmt::Debug for Material {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Material({}, until {})", self.name, self.not_after)
    }
}

/// As it stands on the disk.
#[derive(Serialize, Deserialize)]
struct Stored {
    name: String,
    chain: Vec<Vec<u8>>,
    key: Vec<u8>,
    trust: Vec<Vec<u8>>,
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum MaterialError {
    /// The file cannot be read or written.
    #[error("could not {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is damaged.
    #[error("{path} cannot be read; remove it and join with a new token")]
    Damaged {
        /// Which file.
        path: PathBuf,
    },
    /// The control plane issued something that is no certificate for our key.
    #[error("the control plane issued a certificate that does not fit")]
    Unfit,
    /// A key could not be made or used.
    #[error("a key could not be made or used")]
    Key(#[from] rcgen::Error),
}

/// Where the identity is kept.
#[derive(Debug, Clone)]
pub struct Keys {
    path: PathBuf,
}

/// A new key that has no certificate yet.
pub struct Pending(KeyPair);

impl Keys {
    /// In a data directory.
    pub fn in_directory(directory: &Path) -> Self {
        Self { path: directory.join(FILE) }
    }

    /// What is there.
    ///
    /// # Errors
    ///
    /// When something is there that cannot be read.
    pub fn load(&self) -> Result<Option<Material>, MaterialError> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(self.failed("read", source)),
        };
        let damaged = || MaterialError::Damaged { path: self.path.clone() };
        let stored: Stored = serde_json::from_slice(&bytes).map_err(|_| damaged())?;
        let leaf = stored.chain.first().ok_or_else(damaged)?;
        let not_after = not_after(leaf).ok_or_else(damaged)?;
        let Stored { name, chain, key, trust } = stored;
        Ok(Some(Material { name, chain, key: Secret::new(key), trust, not_after }))
    }

    /// Keeps it, whole or not at all.
    ///
    /// # Errors
    ///
    /// When the disk does not take it.
    pub fn save(&self, material: &Material) -> Result<(), MaterialError> {
        let stored = Stored {
            name: material.name.clone(),
            chain: material.chain.clone(),
            key: material.key.expose_secret().clone(),
            trust: material.trust.clone(),
        };
        let write = || -> io::Result<()> {
            let temporary = self.path.with_extension("writing");
            let mut options = OpenOptions::new();
            let mut file =
                options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            file.write_all(&serde_json::to_vec(&stored)?)?;
            file.sync_all()?;
            fs::rename(&temporary, &self.path)?;
            match self.path.parent() {
                Some(directory) => File::open(directory)?.sync_all(),
                None => Ok(()),
            }
        };
        write().map_err(|source| self.failed("write", source))
    }

    fn failed(&self, action: &'static str, source: io::Error) -> MaterialError {
        MaterialError::Io { action, path: self.path.clone(), source }
    }
}

impl Material {
    /// The certificate itself.
    pub fn leaf(&self) -> &[u8] {
        self.chain.first().map_or(&[], Vec::as_slice)
    }

    /// Signs a message with the key.
    ///
    /// # Errors
    ///
    /// When the key cannot be used.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, MaterialError> {
        let key = KeyPair::try_from(self.key.expose_secret().as_slice())?;
        Ok(key.sign(message)?)
    }
}

impl Pending {
    /// A new key.
    ///
    /// # Errors
    ///
    /// When the system gives no randomness.
    pub fn new() -> Result<Self, MaterialError> {
        Ok(Self(KeyPair::generate()?))
    }

    /// The request for its certificate (PKCS#10).
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn request(&self) -> Result<Vec<u8>, MaterialError> {
        Ok(CertificateParams::default().serialize_request(&self.0)?.der().to_vec())
    }

    /// The key with what was issued for it.
    ///
    /// # Errors
    ///
    /// When it was issued for another.
    pub fn complete(self, issued: Issued) -> Result<Material, MaterialError> {
        let chain: Vec<Vec<u8>> = issued.chain.into_iter().map(Into::into).collect();
        let leaf = chain.first().ok_or(MaterialError::Unfit)?;
        let (_, certificate) = X509Certificate::from_der(leaf).map_err(|_| MaterialError::Unfit)?;
        let theirs = &certificate.public_key().subject_public_key.data;
        if **theirs != *self.0.der_bytes() || issued.trust.is_empty() || issued.proxy.is_empty() {
            return Err(MaterialError::Unfit);
        }
        let not_after = certificate.validity().not_after.timestamp();
        Ok(Material {
            name: issued.proxy,
            key: Secret::new(self.0.serialized_der().to_vec()),
            trust: issued.trust.into_iter().map(Into::into).collect(),
            not_after,
            chain,
        })
    }
}

/// The fingerprint of the authority that a token names.
pub fn authority_of(token: &str) -> Option<[u8; 32]> {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let mut parts = token.trim().split('.');
    let (Some("lbt1"), Some(_), Some(_), Some(authority), None) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    URL_SAFE_NO_PAD.decode(authority).ok()?.try_into().ok()
}

fn not_after(der: &[u8]) -> Option<i64> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn issued(key: &KeyPair) -> Issued {
        let certificate = CertificateParams::default().self_signed(key).unwrap();
        Issued {
            proxy: "p".into(),
            chain: vec![certificate.der().to_vec().into()],
            trust: vec![vec![1].into()],
            renew_after_ms: 1,
        }
    }

    #[test]
    fn an_identity_survives_the_disk_and_only_its_owner_reads_it() {
        let directory = tempfile::tempdir().unwrap();
        let keys = Keys::in_directory(directory.path());
        assert!(keys.load().unwrap().is_none());
        let pending = Pending::new().unwrap();
        let issued = issued(&pending.0);
        let material = pending.complete(issued).unwrap();
        keys.save(&material).unwrap();
        let loaded = keys.load().unwrap().unwrap();
        assert_eq!((&loaded.name, &loaded.chain), (&material.name, &material.chain));
        let mode = fs::metadata(directory.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!format!("{loaded:?}").contains("key"));
        fs::write(directory.path().join(FILE), "{").unwrap();
        assert!(matches!(keys.load(), Err(MaterialError::Damaged { .. })));
    }

    #[test]
    fn a_certificate_for_another_key_is_not_taken() {
        let other = KeyPair::generate().unwrap();
        let outcome = Pending::new().unwrap().complete(issued(&other));
        assert!(matches!(outcome, Err(MaterialError::Unfit)));
    }

    #[test]
    fn a_token_names_its_authority() {
        let text = format!("lbt1.a.b.{}\n", "A".repeat(43));
        assert_eq!(authority_of(&text), Some([0; 32]));
        for bad in ["", "lbt1.a.b", "lbt1.a.b.AAAA", "x.a.b.c"] {
            assert_eq!(authority_of(bad), None);
        }
    }
}
