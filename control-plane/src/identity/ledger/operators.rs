//! What was decided about operators.

use jiff::Timestamp;
use lb_model::api::Role;

use super::{FORGET, Kept, Ledger, LedgerError, State};
use crate::identity::operator::{Appointment, OperatorToken};

/// The most tokens of operators that are kept.
const MOST_OPERATORS: usize = 1_000;

impl Ledger {
    /// Whether operators are known by tokens, so that every request needs one.
    pub fn knows_operators(&self) -> bool {
        self.state().operators.are_known
    }

    /// Makes a token for an operator.
    ///
    /// # Errors
    ///
    /// When it is the first and not an admin's, there are too many, or it could not be kept.
    pub async fn appoint(
        &self,
        author: &str,
        appointment: Appointment,
    ) -> Result<OperatorToken, LedgerError> {
        let _one_at_a_time = self.writing.lock().await;
        let mut state = State::clone(&self.state());
        let now = Timestamp::now().as_second();
        let operators = &mut state.operators;
        if !operators.are_known && appointment.role != Role::Admin {
            return Err(LedgerError::FirstIsAdmin(appointment.role));
        }
        let is_remembered = |ended: Option<i64>| ended.is_none_or(|ended| now - ended < FORGET);
        operators.tokens.retain(|_, record| is_remembered(record.ended_at(now)));
        if operators.tokens.len() >= MOST_OPERATORS {
            return Err(LedgerError::Full);
        }
        let token = OperatorToken::generate(author.to_owned(), appointment, now)
            .map_err(|_| LedgerError::Randomness)?;
        let reason =
            format!("token {} made: {} {}", token.record.id, token.record.role, token.record.name);
        operators.are_known = true;
        operators.tokens.insert(token.record.id.clone(), token.record.clone());
        self.keep(state, author, &reason, Kept::Operators).await?;
        Ok(token)
    }

    /// Revokes the token of an operator, at once.
    ///
    /// # Errors
    ///
    /// When there is none of that id, or no admin would be left.
    pub async fn dismiss(&self, author: &str, id: &str) -> Result<(), LedgerError> {
        let _one_at_a_time = self.writing.lock().await;
        let mut state = State::clone(&self.state());
        let now = Timestamp::now().as_second();
        let others = state.operators.admins_beside(id, now);
        let record = state
            .operators
            .tokens
            .get_mut(id)
            .ok_or_else(|| LedgerError::Unknown { kind: "token", name: id.to_owned() })?;
        if !record.is_good(now) {
            return Ok(());
        }
        if record.role == Role::Admin && others == 0 {
            return Err(LedgerError::LastAdmin);
        }
        record.revoked_at = Some(now);
        self.keep(state, author, &format!("token {id} revoked"), Kept::Operators).await
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use lb_store::{MemoryStore, Store};

    use super::*;

    fn as_role(role: Role) -> Appointment {
        Appointment { name: "ann".into(), role, life: None }
    }

    #[tokio::test]
    async fn the_first_is_an_admin_and_the_last_admin_stays() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let open = || Ledger::open(Arc::clone(&store), Duration::from_hours(24));
        let ledger = open().await.unwrap();
        assert!(!ledger.knows_operators());
        let first = ledger.appoint("ann", as_role(Role::Operator)).await.unwrap_err();
        assert!(matches!(first, LedgerError::FirstIsAdmin(Role::Operator)), "{first}");
        let admin = ledger.appoint("ann", as_role(Role::Admin)).await.unwrap();
        let viewer = ledger.appoint("ann", as_role(Role::Viewer)).await.unwrap();
        let last = ledger.dismiss("ann", &admin.record.id).await.unwrap_err();
        assert!(matches!(last, LedgerError::LastAdmin), "{last}");
        ledger.dismiss("ann", &viewer.record.id).await.unwrap();
        let reopened = open().await.unwrap();
        assert!(reopened.knows_operators());
        let state = reopened.state();
        assert!(state.operators.find(admin.text.expose_secret(), 0).is_ok());
        assert!(state.operators.find(viewer.text.expose_secret(), 0).is_err());
        let other = ledger.appoint("ann", as_role(Role::Admin)).await.unwrap();
        ledger.dismiss("ann", &admin.record.id).await.unwrap();
        assert_eq!(ledger.state().operators.admins_beside(&other.record.id, 0), 0);
        assert!(ledger.dismiss("ann", "nobody").await.is_err());
    }
}
