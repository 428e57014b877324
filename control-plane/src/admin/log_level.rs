//! How much the control plane and its proxies log: shown, and changed for a while.
//!
//! A level goes back by itself, and is kept nowhere: a restart forgets it.

use std::time::{Duration, Instant};

use axum::{
    Json,
    body::Bytes,
    extract::{
        Path, State,
        rejection::{BytesRejection, PathRejection},
    },
    http::StatusCode,
};
use jiff::{SignedDuration, Timestamp};
use lb_model::api::{LogLevelRequest, LogLevelView};
use lb_proto::v1::{SetLogLevel, to_proxy};
use lb_telemetry::logging::{LEVELS, Logged};
use serde_json::Value;

use super::{
    Admin, Shared,
    error::{ApiError, named, shown, unreadable},
};
use crate::sync::registry::{NoLog, ProxyLog};

/// For how long when nobody says, and at most, in seconds.
const LASTS: u32 = 300;
const LONGEST: u32 = 86_400;
/// How long a proxy may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How much the control plane logs.
#[utoipa::path(
    get,
    path = "/api/v1/log-level",
    operation_id = "getLogLevel",
    responses((status = 200, description = "What it logs", body = LogLevelView)),
)]
pub(super) async fn get(State(admin): State<Shared>) -> Json<LogLevelView> {
    Json(own(&admin))
}

/// Makes the control plane log another level for a while.
#[utoipa::path(
    put,
    path = "/api/v1/log-level",
    operation_id = "setLogLevel",
    request_body = LogLevelRequest,
    responses((status = 200, description = "What it logs now", body = LogLevelView)),
)]
pub(super) async fn set(
    State(admin): State<Shared>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<LogLevelView>, ApiError> {
    let (level, lasts) = read(body)?;
    admin.log.set(&level, lasts).map_err(invalid)?;
    Ok(Json(own(&admin)))
}

/// How much a proxy logs.
#[utoipa::path(
    get,
    path = "/api/v1/proxies/{name}/log-level",
    operation_id = "getProxyLogLevel",
    params(("name" = String, Path, description = "The proxy")),
    responses(
        (status = 200, description = "What it logs", body = LogLevelView),
        (status = 409, description = "`not_connected`, `unsupported`"),
    ),
)]
pub(super) async fn of_proxy(
    State(admin): State<Shared>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<LogLevelView>, ApiError> {
    let name = named(path)?;
    Ok(Json(view(&admin.log_of(&name)?)))
}

/// Makes a proxy log another level for a while.
#[utoipa::path(
    put,
    path = "/api/v1/proxies/{name}/log-level",
    operation_id = "setProxyLogLevel",
    params(("name" = String, Path, description = "The proxy")),
    request_body = LogLevelRequest,
    responses(
        (status = 200, description = "What it logs now", body = LogLevelView),
        (status = 409, description = "`not_connected`, `unsupported`, `refused`"),
        (status = 504, description = "`no_answer`"),
    ),
)]
pub(super) async fn set_of_proxy(
    State(admin): State<Shared>,
    path: Result<Path<String>, PathRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<LogLevelView>, ApiError> {
    let name = named(path)?;
    let (level, lasts) = read(body)?;
    let mut changes = admin.registry.watch();
    let before = admin.log_of(&name)?;
    let command = SetLogLevel { level, for_ms: lasts.as_millis() as u64 };
    let answered = async {
        // One that cannot be handed over is one whose stream ended: its next look says so.
        let _ = before.commands.send(to_proxy::Message::SetLogLevel(command)).await;
        loop {
            let now = admin.log_of(&name)?;
            let is_same = now.commands.same_channel(&before.commands);
            if is_same && now.answers > before.answers {
                return Ok(now);
            }
            if changes.changed().await.is_err() {
                return Err(away(&name));
            }
        }
    };
    let answered = tokio::time::timeout(PATIENCE, answered).await.unwrap_or_else(|_| {
        let detail = format!("{name} did not answer within {} seconds", PATIENCE.as_secs());
        Err(ApiError::new(StatusCode::GATEWAY_TIMEOUT, "no_answer", detail))
    })?;
    if !answered.level.error.is_empty() {
        let detail = format!("{name} refused: {}", answered.level.error);
        return Err(ApiError::new(StatusCode::CONFLICT, "refused", detail));
    }
    Ok(Json(view(&answered)))
}

impl Admin {
    fn log_of(&self, name: &str) -> Result<ProxyLog, ApiError> {
        let shown = shown(name);
        self.registry.log_of(name).map_err(|why| match why {
            NoLog::Unknown => {
                let detail = format!("there is no proxy `{shown}`; see `lbctl proxies`");
                ApiError::new(StatusCode::NOT_FOUND, "not_found", detail)
            }
            NoLog::Away => away(&shown),
            NoLog::Unable => {
                let detail = format!(
                    "the software of {shown} is too old to change its log level; restart it with \
                     --log-level, or bring it to this release"
                );
                ApiError::new(StatusCode::CONFLICT, "unsupported", detail)
            }
        })
    }
}

fn away(name: &str) -> ApiError {
    let detail = format!("{name} is not connected, so nothing can be asked of it");
    ApiError::new(StatusCode::CONFLICT, "not_connected", detail)
}

fn invalid(detail: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "invalid_request", detail)
}

/// The level in a body, and for how long.
fn read(body: Result<Bytes, BytesRejection>) -> Result<(String, Duration), ApiError> {
    let body = body.map_err(|rejection| unreadable(&rejection))?;
    let wrong = |error: serde_json::Error| {
        invalid(format!("the body is not {{\"level\": \"debug\", \"for_seconds\": 300}}: {error}"))
    };
    let value: Value = serde_json::from_slice(&body).map_err(wrong)?;
    if !value.is_object() {
        return Err(invalid("the body is no object, such as {\"level\": \"debug\"}"));
    }
    let LogLevelRequest { level, for_seconds } = serde_json::from_value(value).map_err(wrong)?;
    if !LEVELS.contains(&level.as_str()) {
        return Err(invalid(format!("`{level}` is not a log level; write {}", LEVELS.join(", "))));
    }
    let lasts = for_seconds.unwrap_or(LASTS);
    if !(1..=LONGEST).contains(&lasts) {
        return Err(invalid(format!("`for_seconds` is 1 to {LONGEST}")));
    }
    Ok((level, Duration::from_secs(lasts.into())))
}

fn own(admin: &Admin) -> LogLevelView {
    let Logged { level, until } = admin.log.now();
    let left = until.map(|until| until.saturating_duration_since(Instant::now()));
    LogLevelView { level, until: left.and_then(|left| later(Timestamp::now(), left)) }
}

fn view(log: &ProxyLog) -> LogLevelView {
    let left = log.level.ends_in_ms.map(Duration::from_millis);
    let until = left.and_then(|left| later(log.at, left));
    LogLevelView { level: log.level.level.clone(), until }
}

fn later(from: Timestamp, span: Duration) -> Option<String> {
    let span = SignedDuration::try_from(span).ok()?;
    from.checked_add(span).ok().map(|time| time.to_string())
}
