//! What was decided about identity: authorities, tokens, proxies.
//!
//! It has a store of its own, so that a token does not make a new version of the configuration.
//! All of it is small and is held in memory as well; every change is durable before it counts.

mod operators;

use std::{
    collections::BTreeMap,
    sync::{Arc, RwLock},
    time::Duration,
};

use jiff::Timestamp;
use lb_model::{api::Role, value::Labels};
use lb_store::{Commit, Key, Store, StoreError};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use time::OffsetDateTime;
use tokio::sync::{Mutex, watch};

use super::{
    authority::{Authority, AuthorityError, Pair, ProxyCertificate, requested_key},
    operator::Operators,
    token::{Grant, InvalidToken, Token, TokenRecord, parse},
};

/// Tokens that ended this long ago are forgotten, in seconds.
const FORGET: i64 = 30 * 86_400;
/// The most tokens and proxies that are kept.
const MOST: usize = 20_000;

/// The authorities of the fleet.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Authorities {
    /// Counts the changes of this record.
    pub generation: u64,
    /// Whom proxies trust. The last one is the newest.
    pub trusted: Vec<Authority>,
    /// Who signs: an index of `trusted`.
    pub signing: usize,
    /// Since when that one signs, in seconds since 1970.
    pub since: i64,
    /// When the newest was announced, in seconds since 1970.
    #[serde(default)]
    pub announced_at: i64,
}

/// A member of the fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyRecord {
    /// What it is called.
    pub name: String,
    /// When it joined, in seconds since 1970.
    pub joined_at: i64,
    /// With which token.
    pub token: String,
    /// Which labels the token granted.
    #[serde(default)]
    pub labels: Labels,
    /// When it was revoked, and by whom.
    pub revoked: Option<(i64, String)>,
}

/// Everything that was decided.
#[derive(Debug, Clone)]
pub struct State {
    /// The authorities.
    pub authorities: Authorities,
    /// Tokens by id.
    pub tokens: BTreeMap<String, TokenRecord>,
    /// Proxies by name.
    pub proxies: BTreeMap<String, ProxyRecord>,
    /// Tokens of operators.
    pub operators: Operators,
}

/// Why a decision was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The store did not take it.
    #[error("could not keep the decision")]
    Store(#[from] StoreError),
    /// What is stored cannot be read.
    #[error("`{0}` in the identity store cannot be read by this release")]
    Damaged(String),
    /// A certificate could not be made.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The token is not good.
    #[error(transparent)]
    Token(#[from] InvalidToken),
    /// There is nothing of that name.
    #[error("there is no {kind} `{name}`")]
    Unknown {
        /// A token or a proxy.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// There are too many.
    #[error("there are {MOST} already")]
    Full,
    /// The system gave no randomness.
    #[error("the system gave no randomness")]
    Randomness,
    /// The first token of an operator is not an admin's.
    #[error(
        "nobody could make another token with one for the role {0}: the first one must be for an \
         admin, `lbctl tokens create --role admin --name NAME`"
    )]
    FirstIsAdmin(Role),
    /// Nobody could make tokens any more.
    #[error("it is the last token of an admin; make another one before")]
    LastAdmin,
    /// A rotation is under way.
    #[error("the authority is being replaced already")]
    Rotating,
}

/// Keeps decisions.
pub struct Ledger {
    store: Arc<dyn Store>,
    state: RwLock<Arc<State>>,
    changes: watch::Sender<u64>,
    writing: Mutex<()>,
    life: Duration,
}

impl Ledger {
    /// Reads the decisions from a store; makes an authority in an empty one. `life` is that of
    /// a proxy's certificate.
    ///
    /// # Errors
    ///
    /// When the store cannot be read or written.
    pub async fn open(store: Arc<dyn Store>, life: Duration) -> Result<Self, LedgerError> {
        let known: Option<Authorities> = load(&*store, &authority_key()).await?;
        let authorities = if let Some(known) = known {
            known
        } else {
            let now = OffsetDateTime::now_utc();
            let fresh = Authorities {
                generation: 1,
                trusted: vec![Authority::generate(now)?],
                signing: 0,
                since: now.unix_timestamp(),
                announced_at: now.unix_timestamp(),
            };
            let put = (authority_key(), encode(&fresh));
            commit(&*store, "control plane", "authority made", vec![put], vec![]).await?;
            fresh
        };
        let tokens = load(&*store, &tokens_key()).await?.unwrap_or_default();
        let proxies = load(&*store, &proxies_key()).await?.unwrap_or_default();
        let operators = load(&*store, &operators_key()).await?.unwrap_or_default();
        let state = Arc::new(State { authorities, tokens, proxies, operators });
        Ok(Self {
            store,
            state: RwLock::new(state),
            changes: watch::Sender::new(0),
            writing: Mutex::new(()),
            life,
        })
    }

    /// Everything that was decided.
    pub fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Wakes at every decision.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// How long a proxy's certificate lives.
    pub const fn life(&self) -> Duration {
        self.life
    }

    /// Makes a token for a proxy that joins within `life` seconds.
    ///
    /// # Errors
    ///
    /// When it could not be kept.
    pub async fn create_token(
        &self,
        author: &str,
        grant: Grant,
        life: i64,
    ) -> Result<Token, LedgerError> {
        let _one_at_a_time = self.writing.lock().await;
        let mut state = State::clone(&self.state());
        let now = Timestamp::now().as_second();
        state.tokens.retain(|_, token| now - token.expires_at < FORGET);
        if state.tokens.len() >= MOST {
            return Err(LedgerError::Full);
        }
        let authority = state.authorities.signing()?.fingerprint()?;
        let token = Token::generate(author.to_owned(), grant, authority, now, life)
            .map_err(|_| LedgerError::Randomness)?;
        let reason = format!("token {} made", token.record.id);
        state.tokens.insert(token.record.id.clone(), token.record.clone());
        self.keep(state, author, &reason, Kept::Tokens).await?;
        Ok(token)
    }

    /// Takes back a token that was not used.
    ///
    /// # Errors
    ///
    /// When there is none of that id.
    pub async fn revoke_token(&self, author: &str, id: &str) -> Result<(), LedgerError> {
        let _one_at_a_time = self.writing.lock().await;
        let mut state = State::clone(&self.state());
        let token = state
            .tokens
            .get_mut(id)
            .ok_or_else(|| LedgerError::Unknown { kind: "token", name: id.to_owned() })?;
        token.revoked = true;
        self.keep(state, author, &format!("token {id} revoked"), Kept::Tokens).await
    }

    /// Lets a proxy join, once for a token: gives its name and its certificate. The same key may
    /// ask again, because the answer may have been lost on its way.
    ///
    /// # Errors
    ///
    /// When the token is not good, the request is not one, or it could not be kept.
    pub async fn enroll(
        &self,
        token: &str,
        request: &[u8],
        wanted: &str,
    ) -> Result<(String, Vec<Vec<u8>>), LedgerError> {
        let (id, secret) = parse(token)?;
        let _one_at_a_time = self.writing.lock().await;
        let mut state = State::clone(&self.state());
        if state.proxies.len() >= MOST {
            return Err(LedgerError::Full);
        }
        let now = Timestamp::now().as_second();
        let record = state.tokens.get_mut(&id).ok_or(InvalidToken::Unknown)?;
        let checked = record.check(&secret, now);
        if !matches!(checked, Ok(()) | Err(InvalidToken::Used)) {
            checked?;
        }
        let key = requested_key(request)?;
        if checked == Err(InvalidToken::Used)
            && record.key == Some(key)
            && now < record.expires_at
            && let Some((name, _)) = &record.used
            && state.proxies.get(name).is_some_and(|p| p.token == id && p.revoked.is_none())
        {
            return Ok((name.clone(), self.renew(name, request)?));
        }
        checked?;
        // A token for a name admits that name again: its proxy lost its disk.
        let name = match &record.name {
            Some(name) => name.clone(),
            None => free_name(&state.proxies, wanted),
        };
        record.used = Some((name.clone(), now));
        record.key = Some(key);
        let labels = record.labels.clone();
        let chain = state.authorities.signing()?.issue_proxy(
            request,
            &name,
            &labels,
            OffsetDateTime::now_utc(),
            self.life,
        )?;
        let member =
            ProxyRecord { name: name.clone(), joined_at: now, token: id, labels, revoked: None };
        state.proxies.insert(name.clone(), member);
        self.keep(state, &name, "proxy joined", Kept::TokensAndProxies).await?;
        Ok((name, chain))
    }

    /// A new certificate for a member, with the labels it was granted when it joined.
    ///
    /// # Errors
    ///
    /// When the name is not one of a member, or was revoked.
    pub fn renew(&self, name: &str, request: &[u8]) -> Result<Vec<Vec<u8>>, LedgerError> {
        let state = self.state();
        let member = state.proxies.get(name).filter(|proxy| proxy.revoked.is_none());
        let unknown = || LedgerError::Unknown { kind: "proxy", name: name.to_owned() };
        let labels = &member.ok_or_else(unknown)?.labels;
        let now = OffsetDateTime::now_utc();
        Ok(state.authorities.signing()?.issue_proxy(request, name, labels, now, self.life)?)
    }

    /// Ends a membership, at once.
    ///
    /// # Errors
    ///
    /// When there is no such proxy.
    pub async fn revoke_proxy(&self, author: &str, name: &str) -> Result<(), LedgerError> {
        let _one_at_a_time = self.writing.lock().await;
        let mut state = State::clone(&self.state());
        let proxy = state
            .proxies
            .get_mut(name)
            .ok_or_else(|| LedgerError::Unknown { kind: "proxy", name: name.to_owned() })?;
        proxy.revoked.get_or_insert((Timestamp::now().as_second(), author.to_owned()));
        self.keep(state, author, &format!("proxy {name} revoked"), Kept::Proxies).await
    }

    /// Changes the authorities.
    ///
    /// # Errors
    ///
    /// When `change` refuses, or it could not be kept.
    pub async fn change_authorities(
        &self,
        author: &str,
        reason: &str,
        change: impl FnOnce(&mut Authorities) -> Result<(), LedgerError>,
    ) -> Result<(), LedgerError> {
        let _one_at_a_time = self.writing.lock().await;
        let mut state = State::clone(&self.state());
        change(&mut state.authorities)?;
        state.authorities.generation += 1;
        self.keep(state, author, reason, Kept::Authorities).await
    }

    async fn keep(
        &self,
        state: State,
        author: &str,
        reason: &str,
        kept: Kept,
    ) -> Result<(), LedgerError> {
        let tokens = (tokens_key(), encode(&state.tokens));
        let proxies = (proxies_key(), encode(&state.proxies));
        let puts = match kept {
            Kept::Tokens => vec![tokens],
            Kept::Proxies => vec![proxies],
            Kept::TokensAndProxies => vec![tokens, proxies],
            Kept::Operators => vec![(operators_key(), encode(&state.operators))],
            Kept::Authorities => vec![(authority_key(), encode(&state.authorities))],
        };
        commit(&*self.store, author, reason, puts, vec![]).await?;
        tracing::info!(author, reason, "identity");
        *self.state.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Arc::new(state);
        self.changes.send_modify(|count| *count += 1);
        Ok(())
    }
}

/// Which parts a change touches.
#[derive(Debug, Clone, Copy)]
enum Kept {
    Tokens,
    Proxies,
    TokensAndProxies,
    Operators,
    Authorities,
}

impl Authorities {
    /// Who signs.
    ///
    /// # Errors
    ///
    /// When what was stored names nobody.
    pub fn signing(&self) -> Result<&Authority, AuthorityError> {
        self.trusted.get(self.signing).ok_or(AuthorityError::Damaged)
    }

    /// Whom proxies trust, in DER.
    ///
    /// # Errors
    ///
    /// When what was stored cannot be read.
    pub fn trust(&self) -> Result<Vec<Vec<u8>>, AuthorityError> {
        self.trusted.iter().map(Authority::der).collect()
    }

    /// A certificate for the control plane, under these names and addresses.
    ///
    /// # Errors
    ///
    /// When the authority cannot be read, or a name is not one.
    pub fn server_pair(&self, names: Vec<String>, life: Duration) -> Result<Pair, AuthorityError> {
        self.signing()?.issue_server(names, OffsetDateTime::now_utc(), life)
    }
}

impl State {
    /// Whether a name is that of a proxy that was not revoked.
    pub fn is_member(&self, name: &str) -> bool {
        self.proxies.get(name).is_some_and(|proxy| proxy.revoked.is_none())
    }

    /// Whether a certificate is one of a member. Those made before the proxy of that name joined,
    /// or with other labels, belong to one that had the name before, and was perhaps revoked.
    pub fn admits(&self, certificate: &ProxyCertificate) -> bool {
        self.proxies.get(&certificate.name).is_some_and(|proxy| {
            proxy.revoked.is_none()
                && certificate.issued_at >= proxy.joined_at
                && certificate.labels == proxy.labels
        })
    }
}

/// The wanted name, or one near it that nobody has.
fn free_name(proxies: &BTreeMap<String, ProxyRecord>, wanted: &str) -> String {
    let fits = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let mut base: String = wanted.chars().filter(fits).take(64).collect();
    if base.is_empty() {
        "proxy".clone_into(&mut base);
    }
    if !proxies.contains_key(&base) {
        return base;
    }
    // There are fewer proxies than numbers to try.
    (2..=MOST + 2)
        .map(|n| format!("{base}-{n}"))
        .find(|name| !proxies.contains_key(name))
        .unwrap_or(base)
}

fn authority_key() -> Key {
    key("identity/authorities")
}

fn tokens_key() -> Key {
    key("identity/tokens")
}

fn operators_key() -> Key {
    key("identity/operators")
}

fn proxies_key() -> Key {
    key("identity/proxies")
}

fn key(text: &str) -> Key {
    Key::new(text).unwrap_or_else(|_| Key::config())
}

fn encode(value: &impl Serialize) -> bytes::Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
}

async fn load<T: DeserializeOwned>(store: &dyn Store, key: &Key) -> Result<Option<T>, LedgerError> {
    let Some(bytes) = store.get(key).await? else { return Ok(None) };
    let damaged = |_| LedgerError::Damaged(key.as_str().to_owned());
    serde_json::from_slice(&bytes).map(Some).map_err(damaged)
}

async fn commit(
    store: &dyn Store,
    author: &str,
    reason: &str,
    puts: Vec<(Key, bytes::Bytes)>,
    removes: Vec<Key>,
) -> Result<(), StoreError> {
    let head = store.head().await?;
    let commit = Commit {
        author: author.to_owned(),
        reason: reason.to_owned(),
        time: Timestamp::now(),
        puts,
        removes,
    };
    store.commit(head, commit).await.map(|_| ())
}

#[cfg(test)]
mod tests;
