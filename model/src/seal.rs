//! Encrypts what rests on a disk.
//!
//! Each value gets a random data key (AES-256-GCM), and that key is wrapped by the holder's key,
//! so changing the holder's key rewraps data keys and touches no value. The label of a value is
//! authenticated with it: one sealed value cannot be put in the place of another.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey},
    rand,
};

use crate::value::Secret;

/// How a sealed value begins.
const MAGIC: &[u8; 5] = b"lbs1\0";
const NONCE: usize = 12;
const TAG: usize = 16;
const KEY: usize = 32;
/// A wrapped data key: nonce, key, tag.
const WRAPPED: usize = NONCE + KEY + TAG;

/// A key that seals and opens.
#[derive(Debug, Clone)]
pub struct SealKey(Secret<[u8; KEY]>);

/// Why a value cannot be sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The value is not a sealed one.
    #[error("the value is not sealed, or was cut short")]
    NotSealed,
    /// The value was sealed with another key or for another place, or was changed.
    #[error("the value was sealed with another key, or was changed since")]
    WrongKey,
    /// The system gave no randomness, or encryption failed.
    #[error("the value could not be encrypted")]
    Failed,
}

impl SealKey {
    /// A new random key.
    ///
    /// # Errors
    ///
    /// When the system gives no randomness.
    pub fn generate() -> Result<Self, SealError> {
        let mut key = [0; KEY];
        rand::fill(&mut key).map_err(|_| SealError::Failed)?;
        Ok(Self(Secret::new(key)))
    }

    /// A key from 64 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.len() != 2 * KEY || !text.is_ascii() {
            return None;
        }
        let mut key = [0; KEY];
        for (n, byte) in key.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * n..2 * n + 2], 16).ok()?;
        }
        Some(Self(Secret::new(key)))
    }

    /// The key as 64 hexadecimal digits, to be kept where only its owner reads.
    pub fn to_hex(&self) -> Secret<String> {
        use std::fmt::Write;
        let hex = self.0.expose_secret().iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        Secret::new(hex)
    }

    /// Seals a value for the place that `label` names.
    ///
    /// # Errors
    ///
    /// When the system gives no randomness.
    pub fn seal(&self, label: &str, value: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut data_key = [0; KEY];
        rand::fill(&mut data_key).map_err(|_| SealError::Failed)?;
        let mut sealed = Vec::with_capacity(MAGIC.len() + WRAPPED + NONCE + value.len() + TAG);
        sealed.extend_from_slice(MAGIC);
        sealed.extend(encrypt(self.0.expose_secret(), label, &data_key)?);
        sealed.extend(encrypt(&data_key, label, value)?);
        Ok(sealed)
    }

    /// Opens a value that was sealed for the place that `label` names.
    ///
    /// # Errors
    ///
    /// When it was not, or not with this key, or was changed since.
    pub fn open(&self, label: &str, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let rest = sealed.strip_prefix(MAGIC).ok_or(SealError::NotSealed)?;
        let (wrapped, value) = rest.split_at_checked(WRAPPED).ok_or(SealError::NotSealed)?;
        let data_key = decrypt(self.0.expose_secret(), label, wrapped)?;
        let data_key: [u8; KEY] = data_key.try_into().map_err(|_| SealError::NotSealed)?;
        decrypt(&data_key, label, value)
    }

    /// Whether a value looks sealed.
    pub fn is_sealed(value: &[u8]) -> bool {
        value.starts_with(MAGIC)
    }
}

/// Nonce, ciphertext, tag.
fn encrypt(key: &[u8; KEY], label: &str, value: &[u8]) -> Result<Vec<u8>, SealError> {
    let key = RandomizedNonceKey::new(&AES_256_GCM, key).map_err(|_| SealError::Failed)?;
    let mut text = value.to_vec();
    let nonce = key
        .seal_in_place_append_tag(Aad::from(label.as_bytes()), &mut text)
        .map_err(|_| SealError::Failed)?;
    let mut sealed = nonce.as_ref().to_vec();
    sealed.append(&mut text);
    Ok(sealed)
}

fn decrypt(key: &[u8; KEY], label: &str, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
    let key = RandomizedNonceKey::new(&AES_256_GCM, key).map_err(|_| SealError::Failed)?;
    let (nonce, text) = sealed.split_at_checked(NONCE).ok_or(SealError::NotSealed)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::NotSealed)?;
    let mut text = text.to_vec();
    let opened = key
        .open_in_place(nonce, Aad::from(label.as_bytes()), &mut text)
        .map_err(|_| SealError::WrongKey)?;
    Ok(opened.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_with_its_key_for_its_place_only() {
        let key = SealKey::generate().unwrap();
        let sealed = key.seal("config", b"secret").unwrap();
        assert_eq!(key.open("config", &sealed).unwrap(), b"secret");
        assert_eq!(key.open("token", &sealed), Err(SealError::WrongKey));
        let other = SealKey::generate().unwrap();
        assert_eq!(other.open("config", &sealed), Err(SealError::WrongKey));
        assert_ne!(sealed, key.seal("config", b"secret").unwrap(), "never twice the same");
        assert!(!sealed.windows(6).any(|part| part == b"secret"));
    }

    #[test]
    fn any_damage_is_found() {
        let key = SealKey::generate().unwrap();
        let sealed = key.seal("config", b"secret").unwrap();
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert!(key.open("config", &damaged).is_err(), "byte {at}");
            assert!(key.open("config", &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_key_survives_its_written_form_and_does_not_print_itself() {
        let key = SealKey::generate().unwrap();
        let sealed = key.seal("x", b"v").unwrap();
        let again = SealKey::from_hex(key.to_hex().expose_secret()).unwrap();
        assert_eq!(again.open("x", &sealed).unwrap(), b"v");
        assert_eq!(format!("{key:?}"), "SealKey([redacted])");
        for bad in ["", "zz", &"0".repeat(63), &"é".repeat(32)] {
            assert!(SealKey::from_hex(bad).is_none());
        }
    }
}
