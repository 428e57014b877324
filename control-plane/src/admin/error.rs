//! The one place where failures become answers (RFC 9457).

use axum::{
    Json,
    extract::{
        Path,
        rejection::{BytesRejection, PathRejection},
    },
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use lb_model::{
    Diagnostics, Version,
    api::{PROBLEM_TYPE, Problem},
    value::name::MAX_LEN,
};
use lb_store::StoreError;

/// How many names are suggested in place of an unknown one.
const SUGGESTIONS: usize = 3;

/// A failure, ready to be answered.
#[derive(Debug)]
pub(super) struct ApiError(Box<Problem>, Option<(HeaderName, HeaderValue)>);

/// The code of a problem, beside its answer: the audit log notes it.
#[derive(Debug, Clone)]
pub(super) struct Code(pub(super) String);

impl ApiError {
    pub(super) fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        let problem = Problem {
            kind: "about:blank".to_owned(),
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            status: status.as_u16(),
            code: code.to_owned(),
            detail: detail.into(),
            ..Problem::default()
        };
        Self(Box::new(problem), None)
    }

    /// The same, with a field that the status asks for.
    pub(super) fn with_field(self, name: HeaderName, value: HeaderValue) -> Self {
        Self(self.0, Some((name, value)))
    }

    /// A fault of our own.
    pub(super) fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    pub(super) fn with_current(mut self, current: Version) -> Self {
        self.0.current = Some(current);
        self
    }

    pub(super) fn invalid(diagnostics: Diagnostics) -> Self {
        let errors = diagnostics.len();
        let detail = format!("the configuration has {errors} faults; nothing was changed");
        let mut error = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_config", detail);
        error.0.diagnostics = diagnostics;
        error
    }

    pub(super) fn held_by(file: &str) -> Self {
        let detail = format!(
            "the configuration is held by {file}: change the file, or start the control plane \
             without --config"
        );
        Self::new(StatusCode::CONFLICT, "held_by_file", detail)
    }

    /// What was asked for is not there: the names that may have been meant, by [`suggestions`], or
    /// else what to do.
    pub(super) fn missing(lacks: &str, near: &str, otherwise: &str) -> Self {
        let detail = if near.is_empty() {
            format!("{lacks}; {otherwise}")
        } else {
            format!("{lacks}; did you mean {near}?")
        };
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    pub(super) fn unknown_version(version: Version, head: Version) -> Self {
        let detail = format!("there is no version {version}; the newest is {head}");
        Self::new(StatusCode::NOT_FOUND, "unknown_version", detail).with_current(head)
    }
}

/// The name in a path.
pub(super) fn named(path: Result<Path<String>, PathRejection>) -> Result<String, ApiError> {
    path.map(|Path(name)| name).map_err(|rejection| {
        ApiError::new(StatusCode::BAD_REQUEST, "invalid_path", rejection.body_text())
    })
}

/// A name that somebody asked for, as it is told again: no longer than a name can be.
pub(super) fn shown(asked: &str) -> String {
    asked.chars().take(MAX_LEN).collect()
}

/// Names that somebody may have meant by one that is not there, in words; empty when none is near.
pub(super) fn suggestions<'n>(asked: &str, names: impl Iterator<Item = &'n str>) -> String {
    let mut near: Vec<_> = names
        .map(|name| (strsim::damerau_levenshtein(asked, name), name))
        .filter(|(distance, name)| *distance <= 2.max(asked.len() / 3) || name.contains(asked))
        .collect();
    near.sort_unstable();
    near.dedup();
    let names = near.iter().take(SUGGESTIONS).map(|(_, name)| format!("`{name}`"));
    names.collect::<Vec<_>>().join(" or ")
}

/// Why a body was not taken.
pub(super) fn unreadable(rejection: &BytesRejection) -> ApiError {
    ApiError::new(rejection.status(), "unreadable_body", rejection.body_text())
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let chain = || {
            let mut text = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                text = format!("{text}: {cause}");
                source = cause.source();
            }
            text
        };
        match &error {
            StoreError::Conflict { expected, head } => {
                let detail = format!(
                    "the change was made on top of version {expected}, but {head} is current: \
                     look at what changed and try again"
                );
                Self::new(StatusCode::PRECONDITION_FAILED, "version_conflict", detail)
                    .with_current(*head)
            }
            StoreError::UnknownVersion { version, head } => Self::unknown_version(*version, *head),
            StoreError::Forgotten { .. } => Self::new(StatusCode::GONE, "forgotten", chain()),
            StoreError::TooLarge { .. } => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", chain())
            }
            _ => {
                tracing::error!(error = chain(), "the store failed");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", chain())
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let code = Code(self.0.code.clone());
        let status =
            StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self.0)).into_response();
        let kind = HeaderValue::from_static(PROBLEM_TYPE);
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response.headers_mut().extend(self.1);
        response.extensions_mut().insert(code);
        response
    }
}
