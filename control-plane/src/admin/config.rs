//! `GET` and `PUT /api/v1/config`.

use axum::{
    Json,
    body::Bytes,
    extract::{
        Query, State,
        rejection::{BytesRejection, QueryRejection},
    },
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use lb_model::{
    Bundle, Diagnostics, Version,
    api::{BUNDLE_TYPE, Committed, ConfigView, FileView, SettingView, YAML_TYPE},
    bundle::Source,
    resource::Digest,
};
use lb_store::{Commit, Key};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{Admin, Shared, access::Caller, changes, error::ApiError, versions::commit_view};
use crate::{checked::Checked, pipeline::bundle_at};

/// The name of a document that came without one.
const UNNAMED: &str = "lb.yaml";
/// The longest author or reason.
const MOST_TEXT: usize = 500;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ChangeQuery {
    /// Who makes the change; the name in a token counts instead.
    author: String,
    /// Why.
    reason: String,
    /// Check and change nothing.
    dry_run: bool,
}

/// What a change is made on top of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Precondition {
    /// Exactly this version.
    Version(Version),
    /// Whatever is current.
    Any,
}

/// The documents of the current version, without secrets.
#[utoipa::path(
    get,
    path = "/api/v1/config",
    operation_id = "getConfig",
    responses(
        (status = 200, description = "The documents; the version is the ETag", body = ConfigView),
    ),
)]
pub(super) async fn get_config(State(admin): State<Shared>) -> Result<Response, ApiError> {
    let version = admin.store.head().await?;
    let bundle = bundle_at(&*admin.store, version).await?.unwrap_or_default();
    let commit = match version {
        Version::NONE => None,
        version => Some(commit_view(admin.store.record(version).await?)),
    };
    Ok(tagged(version, Json(ConfigView { commit, ..view(&admin, version, &bundle) })))
}

fn keyed_hash(admin: &Admin, bundle: &Bundle) -> blake3::Hash {
    blake3::keyed_hash(&admin.store.lineage().hash_key, &bundle.content_hash())
}

/// What is shown of a bundle: everything but what must stay secret.
pub(super) fn view(admin: &Admin, version: Version, bundle: &Bundle) -> ConfigView {
    ConfigView {
        version,
        commit: None,
        content_hash: Digest(*keyed_hash(admin, bundle).as_bytes()).to_hex(),
        held_by: admin.held_by.as_ref().map(|file| file.name().to_owned()),
        reload: admin.held_by.as_ref().map(|file| file.view()),
        documents: bundle
            .documents
            .iter()
            .map(|source| Source::new(&source.name, redact(&source.text)))
            .collect(),
        files: bundle
            .files
            .iter()
            .map(|file| FileView {
                document: file.document.clone(),
                path: file.path.clone(),
                size: file.content.0.len() as u64,
            })
            .collect(),
        settings: bundle
            .settings
            .iter()
            .map(|setting| SettingView {
                path: setting.path.join("."),
                origin: setting.origin.clone(),
            })
            .collect(),
    }
}

/// Makes a configuration the current version.
#[utoipa::path(
    put,
    path = "/api/v1/config",
    operation_id = "putConfig",
    params(
        ChangeQuery,
        ("If-Match" = String, Header, description = "The ETag of the version that the change is made on top of, or `*`"),
    ),
    request_body(content((String = "application/yaml"), (Bundle = "application/vnd.lb.bundle+json"))),
    responses(
        (status = 200, description = "What was committed", body = Committed),
        (status = 409, description = "`held_by_file`"),
        (status = 412, description = "`version_conflict`"),
        (status = 428, description = "`precondition_required`"),
    ),
)]
pub(super) async fn put_config(
    State(admin): State<Shared>,
    caller: Caller,
    query: Result<Query<ChangeQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|rejection| bad_query(&rejection))?;
    if let Some(file) = &admin.held_by {
        return Err(ApiError::held_by(file.name()));
    }
    let bundle = read_body(&headers, body)?;
    let precondition = if_match(&headers)?.ok_or_else(|| {
        let detail = "name the version the change is made on top of: send the ETag of \
                      GET /api/v1/config as If-Match";
        ApiError::new(StatusCode::PRECONDITION_REQUIRED, "precondition_required", detail)
    })?;
    let committed = change(&admin, bundle, precondition, query.signed_by(&caller)).await;
    let result = match &committed {
        Ok(committed) if committed.changed => "committed",
        Ok(_) => "unchanged",
        Err(_) => "refused",
    };
    admin.metrics.commits.with_label_values(&[result]).inc();
    let committed = committed?;
    Ok(tagged(committed.version, Json(committed)))
}

/// Validates a bundle and commits it if it says something new.
pub(super) async fn change(
    admin: &Admin,
    bundle: Bundle,
    precondition: Precondition,
    query: ChangeQuery,
) -> Result<Committed, ApiError> {
    let head = admin.store.head().await?;
    let expected = match precondition {
        Precondition::Version(version) => version,
        Precondition::Any => head,
    };
    if expected != head {
        return Err(lb_store::StoreError::Conflict { expected, head }.into());
    }
    let current = changes::standing(admin, head).await?;
    let (bundle, checked, warnings) = validated(admin, bundle).await?;
    let connected_proxies = admin.registry.counts(head).connected;
    let same = current.content == checked.content;
    let changes = current.changes_to(&checked.written).await?;
    if same || query.dry_run {
        if same && !query.dry_run {
            // Applying the same again is how an operator asks those who refused to try again.
            admin.cache.retry();
        }
        return Ok(Committed {
            version: head,
            changed: !same,
            warnings,
            changes,
            connected_proxies,
        });
    }
    let bytes =
        serde_json::to_vec(&bundle).map_err(|error| ApiError::internal(error.to_string()))?;
    admin.cache.checked.remember(&bytes, checked);
    let commit = Commit {
        author: query.author,
        reason: text(query.reason, ""),
        time: Timestamp::now(),
        puts: vec![(Key::config(), bytes.into())],
        removes: vec![],
    };
    let record = admin.store.commit(expected, commit).await?;
    tracing::info!(version = record.version.0, author = record.author, "configuration committed");
    Ok(Committed { version: record.version, changed: true, warnings, changes, connected_proxies })
}

/// A bundle that is valid, what it says, and what deserves a second look in it.
pub(super) async fn validated(
    admin: &Admin,
    bundle: Bundle,
) -> Result<(Bundle, Checked, Diagnostics), ApiError> {
    let key = admin.store.lineage().hash_key;
    let parse = move || {
        let read = Checked::read(&bundle, Timestamp::now().as_second(), &key);
        (read, bundle)
    };
    let (read, bundle) = tokio::task::spawn_blocking(parse).await.map_err(|_| {
        ApiError::internal("validation ended without an answer; nothing was changed")
    })?;
    let (checked, warnings) = read.map_err(ApiError::invalid)?;
    Ok((bundle, checked, warnings))
}

impl ChangeQuery {
    /// The same, with the author that the caller really is.
    pub(super) fn signed_by(self, caller: &Caller) -> Self {
        Self { author: caller.author(self.author), ..self }
    }

    pub(super) fn with_reason(mut self, reason: impl FnOnce() -> String) -> Self {
        if self.reason.is_empty() {
            self.reason = reason();
        }
        self
    }
}

pub(super) fn bad_query(rejection: &QueryRejection) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "invalid_query", rejection.body_text())
}

/// The bundle in a request body.
pub(super) fn read_body(
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Bundle, ApiError> {
    let body = body.map_err(|rejection| {
        ApiError::new(rejection.status(), "unreadable_body", rejection.body_text())
    })?;
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    match kind {
        BUNDLE_TYPE => serde_json::from_slice(&body).map_err(|error| {
            let detail = format!("the body is not a bundle: {error}");
            ApiError::new(StatusCode::BAD_REQUEST, "invalid_bundle", detail)
        }),
        YAML_TYPE | "text/yaml" | "application/x-yaml" => {
            let text = std::str::from_utf8(&body).map_err(|error| {
                let detail =
                    format!("the document is not UTF-8 after byte {}", error.valid_up_to());
                ApiError::new(StatusCode::BAD_REQUEST, "invalid_document", detail)
            })?;
            Ok(Bundle::of_text(UNNAMED, text))
        }
        other => {
            let detail = format!("the body is `{other}`; send {YAML_TYPE} or {BUNDLE_TYPE}");
            Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail))
        }
    }
}

/// The version in `If-Match` (RFC 9110 section 13.1.1).
pub(super) fn if_match(headers: &HeaderMap) -> Result<Option<Precondition>, ApiError> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(Some(Precondition::Any));
    }
    let number = text.trim_start_matches("W/").trim_matches('"').parse().map_err(|_| {
        let detail = format!("`{text}` is not the ETag of a version; write If-Match: \"42\"");
        ApiError::new(StatusCode::BAD_REQUEST, "invalid_if_match", detail)
    })?;
    Ok(Some(Precondition::Version(Version(number))))
}

pub(super) fn text(mut text: String, default: &str) -> String {
    text.retain(|c| !c.is_control());
    if text.is_empty() {
        return default.to_owned();
    }
    text.chars().take(MOST_TEXT).collect()
}

/// Blanks every secret that stands in a document.
fn redact(text: &str) -> String {
    let (document, _) = lb_model::Document::read(&Bundle::of_text("", text));
    let mut redacted = text.to_owned();
    // From the last to the first, so that the places before stay right.
    let spans = document.secrets().into_iter().rev().map(|secret| secret.position);
    for span in spans {
        let (start, end) = (span.offset as usize, (span.offset + span.len) as usize);
        if redacted.is_char_boundary(start) && redacted.is_char_boundary(end) {
            redacted.replace_range(start..end, "[redacted]\n");
        }
    }
    redacted
}

pub(super) fn tagged(version: Version, body: impl IntoResponse) -> Response {
    let mut response = body.into_response();
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{version}\"")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_keys_are_blanked_in_every_style_of_writing() {
        for value in [
            "|\n      -----BEGIN PRIVATE KEY-----\n      SECRET\n      -----END PRIVATE KEY-----",
            "\"-----BEGIN PRIVATE\\x20KEY-----\\nSECRET\\n\"",
            "SECRET",
        ] {
            let text = format!("certificates:\n  a:\n    cert: x\n    key: {value}\n");
            let shown = redact(&text);
            assert!(!shown.contains("SECRET") && shown.contains("[redacted]"), "{shown}");
        }
    }

    #[test]
    fn secrets_of_every_block_are_blanked() {
        let text = "jwt: { secret: \"SECRET\" }\nmiddlewares:\n  m:\n    basic_auth:\n      \
                    users:\n        - SECRET\n        - 'a:SECRET'\nservice_discovery: { token: \
                    SECRET }\nplugins: { wasm_plugins: [{ config: { key: { a: SECRET } } }] }\n";
        let shown = redact(text);
        assert!(!shown.contains("SECRET"), "{shown}");
        assert_eq!(shown.matches("[redacted]").count(), 5, "{shown}");
    }

    #[test]
    fn if_match_takes_a_version_or_a_star() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_MATCH, HeaderValue::from_str(text).unwrap());
            if_match(&headers).ok().flatten()
        };
        assert_eq!(read("\"42\""), Some(Precondition::Version(Version(42))));
        assert_eq!(read("*"), Some(Precondition::Any));
        assert_eq!(read("\"x\""), None);
    }
}
