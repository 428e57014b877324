//! `POST /api/v1/explain`: what would become of a request, and why.

use std::{collections::HashMap, sync::Arc};

use axum::{
    Json,
    extract::{State, rejection::JsonRejection},
    http::StatusCode,
};
use jiff::Timestamp;
use lb_model::{
    Config, Version,
    api::{CircuitState, ExplainRequest, Explanation},
};
use lb_routing::explain::{KeptAway, Live, Unexplainable, View, explain};

use super::{Admin, Shared, error::ApiError, versions::bundle_of};
use crate::decisions::Decisions;

/// What the fleet reports.
struct Reported {
    admin: Shared,
    /// By service and backend: up on, reported by, last error; and what keeps requests away.
    backends: HashMap<(String, String), (Health, KeptAway)>,
}

type Health = (usize, usize, Option<String>);

impl Live for Reported {
    fn health(&self, service: &str, backend: &str) -> Option<(usize, usize, Option<String>)> {
        let key = (service.to_owned(), backend.to_owned());
        let (health, _) = self.backends.get(&key)?;
        (health.1 > 0).then(|| health.clone())
    }

    fn kept_away(&self, service: &str, backend: &str) -> KeptAway {
        let key = (service.to_owned(), backend.to_owned());
        self.backends.get(&key).map(|(_, away)| *away).unwrap_or_default()
    }

    fn views(&self, service: &str, backends: &[&str]) -> Vec<View> {
        self.admin.reports.views(service, backends, Timestamp::now())
    }
}

/// What would become of a request, and why.
#[utoipa::path(
    post,
    path = "/api/v1/explain",
    operation_id = "explain",
    request_body = ExplainRequest,
    responses(
        (status = 200, description = "What would become of it", body = Explanation),
        (status = 400, description = "`invalid_request`"),
        (status = 404, description = "`unknown_version`"),
        (status = 409, description = "`unreadable_version`"),
        (status = 410, description = "`forgotten`"),
        (status = 415, description = "`invalid_request`"),
        (status = 422, description = "`invalid_request`, or `invalid_config` for a version that this release does not take"),
    ),
)]
pub(super) async fn post(
    State(admin): State<Shared>,
    asked: Result<Json<ExplainRequest>, JsonRejection>,
) -> Result<Json<Explanation>, ApiError> {
    let Json(mut asked) = asked.map_err(|rejection| {
        ApiError::new(rejection.status(), "invalid_request", rejection.body_text())
    })?;
    let newest = admin.cache.newest();
    let current = newest.as_ref().map(|release| release.version);
    let (version, config, live) = match (asked.version, newest) {
        (Some(version), newest) if Some(version) != current => {
            drop(newest);
            (version, Arc::new(older(&admin, version).await?), None)
        }
        (_, Some(release)) => {
            let reported = reported(&admin, &release.config);
            (release.version, Arc::clone(&release.config), Some(reported))
        }
        (_, None) => (Version::NONE, Arc::new(Config::default()), None),
    };
    asked.version = Some(version);
    let explained = tokio::task::spawn_blocking(move || {
        explain(&config, &asked, live.as_ref().map(|live| live as &dyn Live))
    });
    let explained =
        explained.await.map_err(|_| ApiError::internal("explaining ended without an answer"))?;
    explained.map(Json).map_err(|Unexplainable(why)| {
        ApiError::new(StatusCode::BAD_REQUEST, "invalid_request", why)
    })
}

/// What a version said, with what was decided beside it.
async fn older(admin: &Admin, version: Version) -> Result<Config, ApiError> {
    let bundle = bundle_of(admin, version).await?;
    let decisions = Decisions::at(&*admin.store, version).await;
    let decisions = decisions.map_err(|error| ApiError::internal(error.to_string()))?;
    let now = Timestamp::now().as_second();
    let parsed = tokio::task::spawn_blocking(move || Config::parse(&bundle, now)).await;
    let parsed = parsed.map_err(|_| ApiError::internal("parsing ended without an answer"))?;
    let mut config = parsed.map_err(ApiError::invalid)?.config;
    decisions.merge(&mut config);
    Ok(config)
}

fn reported(admin: &Shared, config: &Config) -> Reported {
    let views = admin.reports.backends(config, Timestamp::now());
    let of = |view: lb_model::api::BackendView| {
        let away = KeptAway {
            is_open: view.circuit == Some(CircuitState::Open),
            ejected_on: view.ejected_on,
            reported_by: view.reported_by,
        };
        ((view.service, view.id), ((view.up_on, view.reported_by, view.last_error), away))
    };
    Reported { admin: Arc::clone(admin), backends: views.into_iter().map(of).collect() }
}
