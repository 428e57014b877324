//! The OpenAPI document: what the code says of itself, with what holds for every route.
//!
//! Paths, parameters and bodies are written beside their handlers and collected by the router, so
//! a route and its description cannot part. Who may ask stands in the table of [`access`], and
//! what can go wrong anywhere stands here.

use std::sync::Arc;

use axum::{
    Extension,
    http::header,
    response::{IntoResponse, Response},
};
use lb_model::api::{PROBLEM_TYPE, Problem};
use lb_telemetry::SOFTWARE_VERSION;
use serde_json::{Value, json};
use utoipa::OpenApi;

use super::access::{self, Access};

/// The document as it is sent.
#[derive(Debug, Clone)]
pub(super) struct Document(Arc<str>);

/// What the router starts with; the rest comes with the routes.
#[derive(Debug, OpenApi)]
#[openapi(components(schemas(Problem)))]
struct Base;

/// A document that knows no route yet.
pub(super) fn base() -> utoipa::openapi::OpenApi {
    Base::openapi()
}

/// This document.
#[utoipa::path(
    get,
    path = "/api/v1/openapi.json",
    operation_id = "getOpenApi",
    responses((status = 200, description = "The document", body = serde_json::Value)),
)]
pub(super) async fn get(Extension(document): Extension<Document>) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (kind, document.0.to_string()).into_response()
}

impl Document {
    /// The document of all routes.
    pub(super) fn new(collected: &utoipa::openapi::OpenApi) -> Self {
        // What was collected is text and numbers, which always have JSON.
        let collected = serde_json::to_value(collected).unwrap_or_default();
        Self(complete(collected).to_string().into())
    }
}

/// Adds what holds for every route.
fn complete(mut document: Value) -> Value {
    document["openapi"] = json!("3.1.0");
    document["info"] = json!({
        "title": "lb control plane",
        "version": SOFTWARE_VERSION,
        "description": "Operates a fleet of proxies. Keys are only ever added. See docs/rest-api.md.",
        "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
    });
    document["components"]["securitySchemes"] = json!({
        "token": {
            "type": "http",
            "scheme": "bearer",
            "description": "Needed once an operator has a token; before that, loopback suffices.",
        },
    });
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    for (path, item) in paths {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            let access = access::of(&method.to_uppercase(), path);
            describe(operation, access);
        }
    }
    document
}

/// Adds to an operation who may ask for it, and what else it may answer.
fn describe(operation: &mut Value, access: Option<Access>) {
    let asks = |place: &str| {
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        parameters.clone().any(|parameter| parameter["in"] == place)
    };
    let mut problems = Vec::new();
    if asks("query") || asks("path") || operation["requestBody"].is_object() {
        problems.push((400, "The request cannot be read: the code says what of it"));
    }
    if asks("path") {
        problems.push((404, "There is nothing of that name"));
    }
    if operation["requestBody"].is_object() {
        problems.push((413, "The body is too large"));
        problems.push((415, "The body has another type"));
        problems.push((422, "`invalid_config`: `diagnostics` has every fault with its place"));
    }
    if let Some(role) = access.and_then(Access::role) {
        operation["security"] = json!([{ "token": [] }]);
        operation["x-role"] = json!(role);
        problems.push((401, "There is no good token"));
        problems.push((403, "The token has a lower role, or another site asks"));
        problems.push((429, "Too many wrong tokens came from this address"));
    }
    problems.push((503, "The store does not answer, or takes nothing"));
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    for (status, description) in problems {
        let known = responses.entry(status.to_string());
        known.or_insert_with(|| json!({ "description": description }));
    }
    let problem = json!({ "schema": { "$ref": "#/components/schemas/Problem" } });
    for (status, response) in responses {
        if status.as_str() >= "400" && response.get("content").is_none() {
            response["content"] = json!({ PROBLEM_TYPE: problem });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::routes, *};

    fn document() -> Value {
        let (_, collected) = routes().split_for_parts();
        serde_json::from_str(&Document::new(&collected).0).unwrap()
    }

    #[test]
    fn every_route_has_a_role_and_every_role_a_route() {
        let document = document();
        let mut described = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let method = method.to_uppercase();
                let access = access::of(&method, path);
                assert!(access.is_some(), "{method} {path} cannot be reached");
                let role = access.and_then(Access::role).map(|role| role.to_string());
                assert_eq!(operation["x-role"].as_str(), role.as_deref(), "{method} {path}");
                described.push((method, path.clone()));
            }
        }
        for (method, path, _) in access::ROUTES {
            let route = ((*method).to_owned(), (*path).to_owned());
            assert!(described.contains(&route), "{method} {path} is not described");
        }
        assert_eq!(described.len(), access::ROUTES.len());
    }

    #[test]
    fn every_operation_has_a_name_of_its_own_a_summary_and_described_answers() {
        let document = document();
        let mut names = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let name = operation["operationId"].as_str().unwrap().to_owned();
                assert!(!names.contains(&name), "{name}");
                names.push(name);
                let summary = operation["summary"].as_str().unwrap_or_default();
                assert!(!summary.is_empty(), "{method} {path} says not what it is for");
                let answers = operation["responses"].as_object().unwrap();
                assert!(answers.contains_key("503"), "{method} {path}");
            }
        }
    }

    #[test]
    fn what_is_named_is_there() {
        let document = document();
        let text = document.to_string();
        let named = text.split("\"$ref\":\"#/components/schemas/").skip(1);
        for name in named.map(|rest| rest.split('"').next().unwrap()) {
            assert!(document["components"]["schemas"][name].is_object(), "{name}");
        }
        assert_eq!(document["openapi"], "3.1.0");
    }
}
