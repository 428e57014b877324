//! Tokens, revocation and the authority of the fleet.

use axum::{
    Json,
    body::Bytes,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::StatusCode,
};
use jiff::Timestamp;
use lb_model::api::{AuthorityView, TokenCreated, TokenList, TokenRequest, TokenView};
use lb_model::{resource::Digest, value::Labels};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Shared, config::bad_query, error::ApiError};
use crate::identity::{
    ledger::LedgerError,
    rotation,
    token::{Grant, TokenRecord},
};

/// How long a token is good when nobody says, and at most, in seconds.
const LIFE: u32 = 3_600;
const LONGEST: u32 = 30 * 86_400;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AuthorQuery {
    author: String,
}

impl AuthorQuery {
    fn read(query: Result<Query<Self>, QueryRejection>) -> Result<String, ApiError> {
        let Query(query) = query.map_err(|rejection| bad_query(&rejection))?;
        Ok(if query.author.is_empty() { "unknown".to_owned() } else { query.author })
    }
}

pub(super) async fn create_token(
    State(admin): State<Shared>,
    query: Result<Query<AuthorQuery>, QueryRejection>,
    body: Bytes,
) -> Result<(StatusCode, Json<TokenCreated>), ApiError> {
    let author = AuthorQuery::read(query)?;
    let request: TokenRequest = if body.is_empty() {
        TokenRequest::default()
    } else {
        serde_json::from_slice(&body).map_err(|error| {
            let detail = format!("the body is not a token request: {error}");
            ApiError::new(StatusCode::BAD_REQUEST, "invalid_request", detail)
        })?
    };
    let life = request.ttl_seconds.unwrap_or(LIFE);
    if !(1..=LONGEST).contains(&life) {
        let detail = format!("a token is good for 1 to {LONGEST} seconds");
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "invalid_request", detail));
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if let Some(name) = &request.name
        && (name.is_empty() || name.len() > 64 || !name.chars().all(fits))
    {
        let detail = "a name has 1 to 64 letters, digits, `-`, `_` and `.`";
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "invalid_request", detail));
    }
    let labels = Labels::grant(&request.labels).map_err(|error| {
        let help = error.help.as_deref().unwrap_or_default();
        ApiError::new(StatusCode::BAD_REQUEST, "invalid_request", format!("{error}; {help}"))
    })?;
    let grant = Grant { name: request.name, labels };
    let token = admin.ledger.create_token(&author, grant, life.into()).await?;
    let created = TokenCreated {
        id: token.record.id.clone(),
        token: token.text.expose_secret().clone(),
        expires: time(token.record.expires_at),
    };
    Ok((StatusCode::CREATED, Json(created)))
}

pub(super) async fn tokens(State(admin): State<Shared>) -> Json<TokenList> {
    let now = Timestamp::now().as_second();
    let state = admin.ledger.state();
    let tokens = state.tokens.values().map(|token| view(token, now)).collect();
    Json(TokenList { tokens })
}

pub(super) async fn revoke_token(
    State(admin): State<Shared>,
    Path(id): Path<String>,
    query: Result<Query<AuthorQuery>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let author = AuthorQuery::read(query)?;
    admin.ledger.revoke_token(&author, &id).await?;
    Ok(Json(json!({ "id": id, "state": "revoked" })))
}

pub(super) async fn revoke_proxy(
    State(admin): State<Shared>,
    Path(name): Path<String>,
    query: Result<Query<AuthorQuery>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let author = AuthorQuery::read(query)?;
    admin.ledger.revoke_proxy(&author, &name).await?;
    Ok(Json(json!({ "id": name, "state": "revoked" })))
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
    Ok(Json(AuthorityView { trusted, signing, state: state.to_owned() }))
}

pub(super) async fn rotate(
    State(admin): State<Shared>,
    query: Result<Query<AuthorQuery>, QueryRejection>,
) -> Result<Json<AuthorityView>, ApiError> {
    let author = AuthorQuery::read(query)?;
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
        name: token.name.clone(),
        labels: token.labels.to_strings(),
        used_by: token.used.as_ref().map(|(proxy, _)| proxy.clone()),
        author: token.author.clone(),
        expires: time(token.expires_at),
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
            LedgerError::Full => Self::new(StatusCode::CONFLICT, "full", text),
            _ => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", text),
        }
    }
}
