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
use serde_json::Value;
use utoipa::IntoParams;

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

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AuthorQuery {
    /// Who makes the change; the name in a token counts instead.
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

/// Makes a token, for one proxy or for an operator.
#[utoipa::path(
    post,
    path = "/api/v1/tokens",
    operation_id = "createToken",
    params(AuthorQuery),
    request_body(content = Option<TokenRequest>, content_type = "application/json"),
    responses(
        (status = 201, description = "The token, shown once", body = TokenCreated),
        (status = 409, description = "`first_token_is_admin`, `full`"),
    ),
)]
pub(super) async fn create_token(
    State(admin): State<Shared>,
    caller: Caller,
    query: Result<Query<AuthorQuery>, QueryRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Extension<Made>, Json<TokenCreated>), ApiError> {
    let author = AuthorQuery::author(query, &caller)?;
    let body = body.map_err(|rejection| unreadable(&rejection))?;
    let request = token_request(&body)?;
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

/// What a body asks for; an empty one asks for a token as it comes.
fn token_request(body: &[u8]) -> Result<TokenRequest, ApiError> {
    let unreadable =
        |why: &dyn std::fmt::Display| invalid(format!("the body is not a token request: {why}"));
    if body.is_empty() {
        return Ok(TokenRequest::default());
    }
    match serde_json::from_slice(body).map_err(|error| unreadable(&error))? {
        Value::Null => Ok(TokenRequest::default()),
        // Read straight from a list, its first entry would be taken for the first key.
        Value::Array(_) => {
            Err(unreadable(&"it is a list; write an object, such as {\"name\": \"edge-1\"}"))
        }
        value => serde_json::from_value(value).map_err(|error| unreadable(&error)),
    }
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

/// Tokens and what became of them.
#[utoipa::path(
    get,
    path = "/api/v1/tokens",
    operation_id = "listTokens",
    responses((status = 200, description = "Every token, without secrets", body = TokenList)),
)]
pub(super) async fn tokens(State(admin): State<Shared>) -> Json<TokenList> {
    let now = Timestamp::now().as_second();
    let state = admin.ledger.state();
    let operators = state.operators.tokens.values().map(|record| operator(record, now));
    let proxies = state.tokens.values().map(|token| view(token, now));
    Json(TokenList { tokens: operators.chain(proxies).collect() })
}

/// Takes back a token that no proxy used, or ends that of an operator.
#[utoipa::path(
    delete,
    path = "/api/v1/tokens/{id}",
    operation_id = "revokeToken",
    params(("id" = String, Path, description = "The token"), AuthorQuery),
    responses(
        (status = 200, description = "It is good for nothing any more", body = Revoked),
        (status = 409, description = "`last_admin`"),
    ),
)]
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

/// Ends a proxy's membership at once.
#[utoipa::path(
    post,
    path = "/api/v1/proxies/{name}/revoke",
    operation_id = "revokeProxy",
    params(("name" = String, Path, description = "The proxy"), AuthorQuery),
    responses((status = 200, description = "It is no member any more", body = Revoked)),
)]
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

/// Whom the fleet trusts.
#[utoipa::path(
    get,
    path = "/api/v1/authority",
    operation_id = "getAuthority",
    responses((status = 200, description = "Whom the fleet trusts", body = AuthorityView)),
)]
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

/// Begins to replace the authority.
#[utoipa::path(
    post,
    path = "/api/v1/authority/rotate",
    operation_id = "rotateAuthority",
    params(AuthorQuery),
    responses(
        (status = 200, description = "Whom the fleet trusts", body = AuthorityView),
        (status = 409, description = "`rotating`"),
    ),
)]
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
