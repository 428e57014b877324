//! Single-use tokens, by which a proxy joins the fleet.
//!
//! A token is `lbt1.ID.SECRET.AUTHORITY`: eight characters by which operators know it, 256 random
//! bits, and the fingerprint of the authority, by which the proxy knows the control plane. The
//! control plane keeps only a hash of the secret.

use aws_lc_rs::{constant_time, digest, rand};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use lb_model::value::{Labels, Secret};
use serde::{Deserialize, Serialize};

/// How a token begins.
const VERSION: &str = "lbt1";

/// What is kept of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// The eight characters.
    pub id: String,
    /// SHA-256 of the secret.
    hash: [u8; 32],
    /// When it was made, in seconds since 1970.
    pub created_at: i64,
    /// When it ends, in seconds since 1970.
    pub expires_at: i64,
    /// Who made it.
    pub author: String,
    /// What the proxy will be called; as it likes when absent.
    pub name: Option<String>,
    /// Which labels the proxy will hold.
    #[serde(default)]
    pub labels: Labels,
    /// Which proxy used it, and when.
    pub used: Option<(String, i64)>,
    /// SHA-256 of the key that the proxy had then.
    #[serde(default)]
    pub key: Option<[u8; 32]>,
    /// Whether it was revoked before it was used.
    pub revoked: bool,
}

/// What the proxy gets that joins with a token.
#[derive(Debug, Clone, Default)]
pub struct Grant {
    /// What it will be called; as it likes when absent.
    pub name: Option<String>,
    /// Which labels it will hold.
    pub labels: Labels,
}

/// A token as it is shown once.
#[derive(Debug)]
pub struct Token {
    /// What is kept of it.
    pub record: TokenRecord,
    /// The text.
    pub text: Secret<String>,
}

/// Why a token is not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    /// It does not look like one, or nobody made it.
    #[error("the token is not known; make one with `lbctl tokens create --proxy`")]
    Unknown,
    /// It was used.
    #[error("the token was used already; a token is good for one proxy")]
    Used,
    /// It ended or was revoked.
    #[error("the token has ended or was revoked; make another")]
    Ended,
}

impl Token {
    /// A new token.
    ///
    /// # Errors
    ///
    /// When the system gives no randomness.
    pub fn generate(
        author: String,
        grant: Grant,
        authority: [u8; 32],
        now: i64,
        life: i64,
    ) -> Result<Self, aws_lc_rs::error::Unspecified> {
        let (mut id, mut secret) = ([0; 6], [0; 32]);
        rand::fill(&mut id)?;
        rand::fill(&mut secret)?;
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let id = encode(&id);
        let text = format!("{VERSION}.{id}.{}.{}", encode(&secret), encode(&authority));
        let record = TokenRecord {
            id,
            hash: hash(&secret),
            created_at: now,
            expires_at: now.saturating_add(life),
            author,
            name: grant.name,
            labels: grant.labels,
            used: None,
            key: None,
            revoked: false,
        };
        Ok(Self { record, text: Secret::new(text) })
    }
}

/// The id and the secret of a token's text.
///
/// # Errors
///
/// When it is not one.
pub fn parse(text: &str) -> Result<(String, Secret<Vec<u8>>), InvalidToken> {
    let mut parts = text.trim().split('.');
    let (Some(VERSION), Some(id), Some(secret), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(InvalidToken::Unknown);
    };
    let secret = URL_SAFE_NO_PAD.decode(secret).map_err(|_| InvalidToken::Unknown)?;
    Ok((id.to_owned(), Secret::new(secret)))
}

impl TokenRecord {
    /// Whether a secret opens the door now.
    ///
    /// # Errors
    ///
    /// Why not. A wrong secret and an unknown token are not told apart.
    pub fn check(&self, secret: &Secret<Vec<u8>>, now: i64) -> Result<(), InvalidToken> {
        let same =
            constant_time::verify_slices_are_equal(&hash(secret.expose_secret()), &self.hash);
        match (same, &self.used) {
            (Err(_), _) => Err(InvalidToken::Unknown),
            (Ok(()), Some(_)) => Err(InvalidToken::Used),
            (Ok(()), None) if self.revoked || now >= self.expires_at => Err(InvalidToken::Ended),
            (Ok(()), None) => Ok(()),
        }
    }
}

pub(super) fn hash(secret: &[u8]) -> [u8; 32] {
    digest::digest(&digest::SHA256, secret).as_ref().try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> Token {
        Token::generate("ann".into(), Grant::default(), [7; 32], 1_000, 3_600).unwrap()
    }

    #[test]
    fn a_token_is_good_once_and_not_for_long() {
        let Token { mut record, text } = token();
        let (id, secret) = parse(text.expose_secret()).unwrap();
        assert_eq!(id, record.id);
        assert_eq!(record.check(&secret, 1_000), Ok(()));
        assert_eq!(record.check(&secret, 4_600), Err(InvalidToken::Ended));
        assert_eq!(record.check(&Secret::new(vec![0; 32]), 1_000), Err(InvalidToken::Unknown));
        record.used = Some(("p".into(), 1_001));
        assert_eq!(record.check(&secret, 1_002), Err(InvalidToken::Used));
    }

    #[test]
    fn what_is_kept_does_not_hold_the_secret() {
        let Token { record, text } = token();
        let secret = text.expose_secret().split('.').nth(2).unwrap().to_owned();
        assert!(!serde_json::to_string(&record).unwrap().contains(&secret));
        assert!(!format!("{:?}", token()).contains("lbt1"));
    }

    #[test]
    fn texts_that_are_no_tokens_are_refused() {
        for text in ["", "lbt1", "lbt1.a.b", "lbt2.a.b.c", "lbt1.a.!.c", "lbt1.a.b.c.d"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
