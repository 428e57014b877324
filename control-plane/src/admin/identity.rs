//! Tokens, revocation and the authority of the fleet.

use axum::{
    Extension, Json,
    body::Bytes,
    extract::{
        Path, Query, State,
        rejection::{BytesRejection, PathRejection, QueryRejection},
    },
    http::StatusCode,
};
use jiff::Timestamp;
use lb_model::{
    api::{AuthorityView, Revoked, Role, TokenCreated, TokenList, TokenRequest, TokenView},
    resource::Digest,
    value::Labels,
};
use serde::Deserialize;

use super::{
    Shared,
    access::{Caller, Made},
    config::bad_query,
    error::{ApiError, named, unreadable},
    tls,
};
use crate::identity::{
    ledger::LedgerError,
    operator::{Appointment, OperatorRecord},
    rotation,
    token::{Grant, TokenRecord},
};

/// How long a token for a proxy is good when nobody says, and at most, in seconds.
const LIFE: u32 = 3_600;
const LONGEST: u32 = 30 * 86_400;
/// How long one for an operator is good at most, in seconds, unless it is for ever.
const LONGEST_OPERATOR: u32 = 10 * 365 * 86_400;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AuthorQuery {
    author: String,
}

impl AuthorQuery {
    /// Who makes the change.
    fn author(
        query: Result<Query<Self>, QueryRejection>,
        caller: &Caller,
    ) -> Result<String, ApiError> {
        let Query(query) = query.map_err(|rejection| bad_query(&rejection))?;
        Ok(caller.author(query.author))
    }
}

fn invalid(detail: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "invalid_request", detail)
}

pub(super) async fn create_token(
    State(admin): State<Shared>,
    caller: Caller,
    query: Result<Query<AuthorQuery>, QueryRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Extension<Made>, Json<TokenCreated>), ApiError> {
    let author = AuthorQuery::author(query, &caller)?;
    let body = body.map_err(|rejection| unreadable(&rejection))?;
    let request: TokenRequest = if body.is_empty() {
        TokenRequest::default()
    } else {
        serde_json::from_slice(&body)
            .map_err(|error| invalid(format!("the body is not a token request: {error}")))?
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if let Some(name) = &request.name
        && (name.is_empty() || name.len() > 64 || !name.chars().all(fits))
    {
        return Err(invalid("a name has 1 to 64 letters, digits, `-`, `_` and `.`"));
    }
    let created = match request.role {
        Some(role) => appoint(&admin, &author, role, request).await?,
        None => invite(&admin, &author, request).await?,
    };
    Ok((StatusCode::CREATED, Extension(Made(created.id.clone())), Json(created)))
}

/// Makes a token for a proxy.
async fn invite(
    admin: &Shared,
    author: &str,
    request: TokenRequest,
) -> Result<TokenCreated, ApiError> {
    let life = request.ttl_seconds.unwrap_or(LIFE);
    if !(1..=LONGEST).contains(&life) {
        return Err(invalid(format!("a token for a proxy is good for 1 to {LONGEST} seconds")));
    }
    let labels = Labels::grant(&request.labels).map_err(|error| {
        invalid(format!("{error}; {}", error.help.as_deref().unwrap_or_default()))
    })?;
    let grant = Grant { name: request.name, labels };
    let token = admin.ledger.create_token(author, grant, life.into()).await?;
    Ok(TokenCreated {
        id: token.record.id.clone(),
        token: token.text.expose_secret().clone(),
        expires: Some(time(token.record.expires_at)),
    })
}

/// Makes a token for an operator.
async fn appoint(
    admin: &Shared,
    author: &str,
    role: Role,
    request: TokenRequest,
) -> Result<TokenCreated, ApiError> {
    let name = request.name.ok_or_else(|| {
        invalid("an operator has a `name`: it is the author of what is done with the token")
    })?;
    if !request.labels.is_empty() {
        return Err(invalid("labels are for proxies; leave them out, or leave out `role`"));
    }
    if request.ttl_seconds.is_some_and(|life| !(1..=LONGEST_OPERATOR).contains(&life)) {
        let detail = format!(
            "a token for an operator is good for 1 to {LONGEST_OPERATOR} seconds, or for ever: \
             leave `ttl_seconds` out"
        );
        return Err(invalid(detail));
    }
    let appointment = Appointment { name, role, life: request.ttl_seconds.map(Into::into) };
    let token = admin.ledger.appoint(author, appointment).await?;
    Ok(TokenCreated {
        id: token.record.id.clone(),
        token: token.text.expose_secret().clone(),
        expires: token.record.expires_at.map(time),
    })
}

pub(super) async fn tokens(State(admin): State<Shared>) -> Json<TokenList> {
    let now = Timestamp::now().as_second();
    let state = admin.ledger.state();
    let operators = state.operators.tokens.values().map(|record| operator(record, now));
    let proxies = state.tokens.values().map(|token| view(token, now));
    Json(TokenList { tokens: operators.chain(proxies).collect() })
}

pub(super) async fn revoke_token(
    State(admin): State<Shared>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<AuthorQuery>, QueryRejection>,
) -> Result<Json<Revoked>, ApiError> {
    let id = named(path)?;
    let author = AuthorQuery::author(query, &caller)?;
    if admin.ledger.state().operators.tokens.contains_key(&id) {
        admin.ledger.dismiss(&author, &id).await?;
    } else {
        admin.ledger.revoke_token(&author, &id).await?;
    }
    Ok(Json(Revoked::new(id)))
}

pub(super) async fn revoke_proxy(
    State(admin): State<Shared>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<AuthorQuery>, QueryRejection>,
) -> Result<Json<Revoked>, ApiError> {
    let name = named(path)?;
    let author = AuthorQuery::author(query, &caller)?;
    admin.ledger.revoke_proxy(&author, &name).await?;
    Ok(Json(Revoked::new(name)))
}

pub(super) async fn authority(
    State(admin): State<Shared>,
) -> Result<Json<AuthorityView>, ApiError> {
    let state = admin.ledger.state();
    let authorities = &state.authorities;
    let mut trusted = Vec::new();
    for authority in &authorities.trusted {
        let fingerprint = authority.fingerprint().map_err(LedgerError::from)?;
        trusted.push(Digest(fingerprint).to_hex());
    }
    let signing = trusted.get(authorities.signing).cloned().unwrap_or_default();
    let state = match (trusted.len(), authorities.signing + 1 == trusted.len()) {
        (1, _) => "steady",
        (_, false) => "announced",
        (_, true) => "signing",
    };
    let certificates = tls::authorities(&admin.ledger).map_err(LedgerError::from)?;
    Ok(Json(AuthorityView { trusted, signing, state: state.to_owned(), certificates }))
}

pub(super) async fn rotate(
    State(admin): State<Shared>,
    caller: Caller,
    query: Result<Query<AuthorQuery>, QueryRejection>,
) -> Result<Json<AuthorityView>, ApiError> {
    let author = AuthorQuery::author(query, &caller)?;
    rotation::begin(&admin.ledger, &author).await?;
    authority(State(admin)).await
}

fn view(token: &TokenRecord, now: i64) -> TokenView {
    let state = match (&token.used, token.revoked) {
        (Some(_), _) => "used",
        (None, true) => "revoked",
        (None, false) if now >= token.expires_at => "ended",
        (None, false) => "open",
    };
    TokenView {
        id: token.id.clone(),
        state: state.to_owned(),
        role: None,
        name: token.name.clone(),
        labels: token.labels.to_strings(),
        used_by: token.used.as_ref().map(|(proxy, _)| proxy.clone()),
        author: token.author.clone(),
        expires: Some(time(token.expires_at)),
    }
}

fn operator(record: &OperatorRecord, now: i64) -> TokenView {
    let state = match record.revoked_at {
        Some(_) => "revoked",
        None if record.is_good(now) => "open",
        None => "ended",
    };
    TokenView {
        id: record.id.clone(),
        state: state.to_owned(),
        role: Some(record.role),
        name: Some(record.name.clone()),
        labels: Vec::new(),
        used_by: None,
        author: record.author.clone(),
        expires: record.expires_at.map(time),
    }
}

fn time(seconds: i64) -> String {
    Timestamp::from_second(seconds).map(|time| time.to_string()).unwrap_or_default()
}

impl From<LedgerError> for ApiError {
    fn from(error: LedgerError) -> Self {
        let text = error.to_string();
        match error {
            LedgerError::Store(error) => error.into(),
            LedgerError::Unknown { .. } => Self::new(StatusCode::NOT_FOUND, "not_found", text),
            LedgerError::Rotating => Self::new(StatusCode::CONFLICT, "rotating", text),
            LedgerError::FirstIsAdmin(_) => {
                Self::new(StatusCode::CONFLICT, "first_token_is_admin", text)
            }
            LedgerError::LastAdmin => Self::new(StatusCode::CONFLICT, "last_admin", text),
            LedgerError::Full => Self::new(StatusCode::CONFLICT, "full", text),
            _ => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", text),
        }
    }
}
