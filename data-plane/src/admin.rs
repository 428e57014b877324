//! The proxy's own endpoint: is it alive, is it ready, what does it serve, what has it counted.
//! Reading only, and without the control plane.

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use lb_telemetry::SOFTWARE_VERSION;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Semaphore};

use crate::{
    apply::State,
    metrics::{self, ApplyMetrics},
    runtime::RuntimeHandle,
};

/// The most callers at once.
const CONNECTIONS: usize = 128;
/// How long a caller may take over a request head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// What the endpoint answers from.
#[derive(Debug)]
pub struct Admin {
    /// Who this is.
    pub proxy: String,
    /// The workers.
    pub runtime: RuntimeHandle,
    /// What serves.
    pub state: Arc<Mutex<State>>,
    /// What is counted.
    pub metrics: Arc<ApplyMetrics>,
    /// Whether the proxy is ending.
    pub draining: AtomicBool,
}

impl Admin {
    /// Answers on `listener` for ever.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "admin connection not accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let admin = Arc::clone(&self);
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let response = admin.answer(&request);
                    async move { Ok::<_, Infallible>(response) }
                });
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEADER_TIMEOUT)
                    .serve_connection(TokioIo::new(stream), service);
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "admin connection ended");
                }
                drop(place);
            });
        }
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let body = json!({ "status": 405, "code": "method_not_allowed", "detail": "this endpoint only answers GET and HEAD" });
            return answer(StatusCode::METHOD_NOT_ALLOWED, &body);
        }
        match request.uri().path() {
            "/livez" => answer(StatusCode::OK, &json!({ "status": "ok" })),
            "/readyz" | "/health" => self.readiness(),
            "/metrics" => {
                let text = metrics::render(&self.runtime.stats(), &self.state(), &self.metrics);
                let kind = "text/plain; version=0.0.4; charset=utf-8";
                respond(StatusCode::OK, kind, text)
            }
            "/admin" | "/admin/" => answer(StatusCode::OK, &self.overview()),
            "/admin/backends" => answer(StatusCode::OK, &self.backends()),
            path => {
                let detail = format!(
                    "there is nothing at {path}; try /livez, /readyz, /health, /metrics, /admin \
                     or /admin/backends"
                );
                let body = json!({ "status": 404, "code": "not_found", "detail": detail });
                answer(StatusCode::NOT_FOUND, &body)
            }
        }
    }

    fn state(&self) -> State {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn readiness(&self) -> Response<Full<Bytes>> {
        let version = self.state().running.map(|running| running.version);
        let (code, status) = if self.draining.load(Ordering::Relaxed) {
            (StatusCode::SERVICE_UNAVAILABLE, "draining")
        } else if version.is_none() {
            (StatusCode::SERVICE_UNAVAILABLE, "no_configuration")
        } else {
            (StatusCode::OK, "ok")
        };
        answer(code, &json!({ "status": status, "version": version }))
    }

    fn overview(&self) -> Value {
        let state = self.state();
        let listeners = self.runtime.listeners();
        let listeners: Vec<_> = listeners
            .iter()
            .map(|(name, address)| json!({ "entry_point": **name, "address": address.to_string() }))
            .collect();
        json!({
            "proxy": self.proxy,
            "software_version": SOFTWARE_VERSION,
            "version": state.running.as_ref().map(|running| running.version),
            "lineage": state.running.as_ref().map(|running| running.lineage.to_string()),
            "root": state.running.as_ref().map(|running| running.resources.root().to_hex()),
            "since": state.since.map(|since| since.to_string()),
            "control_plane_connected": self.metrics.is_connected(),
            "draining": self.draining.load(Ordering::Relaxed),
            "listeners": listeners,
        })
    }

    fn backends(&self) -> Value {
        let backends = self.runtime.stats().backends;
        let backends = backends.into_iter().map(|backend| {
            json!({
                "id": *backend.backend,
                "service": *backend.service,
                "url": backend.url,
                "weight": backend.weight,
                "admin_state": backend.admin_state,
                "up": backend.health.up,
                "checked": backend.health.checked,
                "last_error": backend.health.last_error.as_deref(),
                "in_flight": backend.counts.in_flight,
                "requests": backend.counts.requests,
            })
        });
        json!({ "backends": backends.collect::<Vec<_>>() })
    }
}

fn answer(code: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    respond(code, "application/json", format!("{body}\n"))
}

fn respond(code: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}
