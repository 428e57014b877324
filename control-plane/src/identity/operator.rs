//! Tokens by which operators are known, each with a role.
//!
//! A token is `lbo1.ID.SECRET`: eight characters by which it is named, and 256 random bits. Only
//! a hash of the secret is kept. It is a plain SHA-256 on purpose: slow, salted hashes protect
//! passwords, which people choose and attackers guess; nobody guesses 256 random bits, and a slow
//! hash would be paid for with every request.

use std::collections::BTreeMap;

use aws_lc_rs::{constant_time, rand};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use lb_model::{api::Role, value::Secret};
use serde::{Deserialize, Serialize};

use super::token::hash;

/// How a token begins.
const VERSION: &str = "lbo1";

/// What is kept of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorRecord {
    /// The eight characters.
    pub id: String,
    /// Who uses it: the author of what is done with it.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// SHA-256 of the secret.
    hash: [u8; 32],
    /// When it was made, in seconds since 1970.
    pub created_at: i64,
    /// When it ends, in seconds since 1970; never when absent.
    pub expires_at: Option<i64>,
    /// Who made it.
    pub author: String,
    /// When it was revoked, in seconds since 1970.
    pub revoked_at: Option<i64>,
}

/// The tokens of operators.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operators {
    /// Whether a token is needed. It is from the first one on, for ever: what would one be worth
    /// that opened the doors by its end?
    pub are_known: bool,
    /// By id.
    pub tokens: BTreeMap<String, OperatorRecord>,
}

/// A token as it is shown once.
#[derive(Debug)]
pub struct OperatorToken {
    /// What is kept of it.
    pub record: OperatorRecord,
    /// The text.
    pub text: Secret<String>,
}

/// Who may do what, for how long.
#[derive(Debug, Clone)]
pub struct Appointment {
    /// Who.
    pub name: String,
    /// What.
    pub role: Role,
    /// For how many seconds; for ever when absent.
    pub life: Option<i64>,
}

/// Why a token is not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOperator {
    /// It does not look like one, or nobody made it, or its secret is another one.
    #[error("the token is not known; ask an admin for one: `lbctl tokens create --role ROLE`")]
    Unknown,
    /// It ended or was revoked.
    #[error("the token has ended or was revoked; ask an admin for another")]
    Ended,
}

impl OperatorToken {
    /// A new token.
    ///
    /// # Errors
    ///
    /// When the system gives no randomness.
    pub fn generate(
        author: String,
        appointment: Appointment,
        now: i64,
    ) -> Result<Self, aws_lc_rs::error::Unspecified> {
        let (mut id, mut secret) = ([0; 6], [0; 32]);
        rand::fill(&mut id)?;
        rand::fill(&mut secret)?;
        let id = URL_SAFE_NO_PAD.encode(id);
        let text = format!("{VERSION}.{id}.{}", URL_SAFE_NO_PAD.encode(secret));
        let Appointment { name, role, life } = appointment;
        let record = OperatorRecord {
            id,
            name,
            role,
            hash: hash(&secret),
            created_at: now,
            expires_at: life.map(|life| now.saturating_add(life)),
            author,
            revoked_at: None,
        };
        Ok(Self { record, text: Secret::new(text) })
    }
}

impl OperatorRecord {
    /// Whether it opens anything now.
    pub fn is_good(&self, now: i64) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }

    /// When it stopped being good, if it has.
    pub fn ended_at(&self, now: i64) -> Option<i64> {
        self.revoked_at.or(self.expires_at.filter(|end| *end <= now))
    }
}

impl Operators {
    /// Whose token this is.
    ///
    /// # Errors
    ///
    /// Why it is nobody's. A wrong secret and an unknown token are not told apart.
    pub fn find(&self, text: &str, now: i64) -> Result<&OperatorRecord, InvalidOperator> {
        let mut parts = text.trim().split('.');
        let (Some(VERSION), Some(id), Some(secret), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(InvalidOperator::Unknown);
        };
        let secret = URL_SAFE_NO_PAD.decode(secret).map_err(|_| InvalidOperator::Unknown)?;
        // The id is no secret, so it may be looked up; the hash of the secret is compared in
        // constant time.
        let record = self.tokens.get(id).ok_or(InvalidOperator::Unknown)?;
        constant_time::verify_slices_are_equal(&hash(&secret), &record.hash)
            .map_err(|_| InvalidOperator::Unknown)?;
        if record.is_good(now) { Ok(record) } else { Err(InvalidOperator::Ended) }
    }

    /// How many tokens of admins are good now, besides one.
    pub fn admins_beside(&self, id: &str, now: i64) -> usize {
        let admins = self
            .tokens
            .values()
            .filter(|record| record.role == Role::Admin && record.id != id && record.is_good(now));
        admins.count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(role: Role, life: Option<i64>) -> OperatorToken {
        let appointment = Appointment { name: "ci".into(), role, life };
        OperatorToken::generate("ann".into(), appointment, 1_000).unwrap()
    }

    #[test]
    fn a_token_is_good_until_it_ends_or_is_revoked() {
        let OperatorToken { record, text } = token(Role::Operator, Some(60));
        let mut operators = Operators::default();
        operators.tokens.insert(record.id.clone(), record.clone());
        let text = text.expose_secret();
        assert_eq!(operators.find(text, 1_059).unwrap().role, Role::Operator);
        assert_eq!(operators.find(text, 1_060), Err(InvalidOperator::Ended));
        operators.tokens.get_mut(&record.id).unwrap().revoked_at = Some(1_001);
        assert_eq!(operators.find(text, 1_002), Err(InvalidOperator::Ended));
        assert_eq!(operators.tokens[&record.id].ended_at(1_002), Some(1_001));
    }

    #[test]
    fn a_wrong_secret_and_other_texts_are_nobodys() {
        let (one, other) = (token(Role::Admin, None), token(Role::Admin, None));
        let mut operators = Operators::default();
        operators.tokens.insert(one.record.id.clone(), one.record.clone());
        let secret = other.text.expose_secret().split('.').nth(2).unwrap();
        let mixed = format!("lbo1.{}.{secret}", one.record.id);
        for text in ["", "lbo1", "lbo1.a.b", "lbt1.a.b.c", "lbo1.a.!", &mixed] {
            assert_eq!(operators.find(text, 1_000), Err(InvalidOperator::Unknown), "{text}");
        }
        let whole = one.text.expose_secret();
        assert!(operators.find(whole, 1_000).is_ok());
        assert!(operators.find(&format!("{whole}.x"), 1_000).is_err());
    }

    #[test]
    fn what_is_kept_does_not_hold_the_secret() {
        let OperatorToken { record, text } = token(Role::Viewer, None);
        let secret = text.expose_secret().split('.').nth(2).unwrap().to_owned();
        assert!(!serde_json::to_string(&record).unwrap().contains(&secret));
        assert!(!format!("{:?}", token(Role::Viewer, None)).contains("lbo1"));
    }

    #[test]
    fn admins_are_counted_while_their_tokens_are_good() {
        let mut operators = Operators::default();
        for (role, life) in [(Role::Admin, None), (Role::Admin, Some(5)), (Role::Operator, None)] {
            let record = token(role, life).record;
            operators.tokens.insert(record.id.clone(), record);
        }
        assert_eq!(operators.admins_beside("", 1_000), 2);
        assert_eq!(operators.admins_beside("", 1_005), 1);
    }
}
