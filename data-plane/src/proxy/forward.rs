//! Turns the client's request into the backend's, and the backend's response into the client's.
//!
//! Header maps are edited where they are; the bodies are handed through. Time limits other than
//! those of single steps are kept here.

use std::rc::Rc;

use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, Version,
    header::{CONNECTION, COOKIE, EXPECT, HOST, UPGRADE},
    uri::Parts,
};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use lb_http::{Body, Pause, Reason, Upload, UploadState, hop_by_hop};
use lb_upstream::SendError;
use tokio::time::timeout_at;

use super::{
    ProxyBody,
    client::{Client, Entry},
    exchange::Exchange,
    rescue::Refusal,
    upgrade,
};

/// A request as the backend will get it.
#[derive(Debug)]
pub struct Prepared {
    request: Request<Upload>,
    upload: Option<Rc<UploadState>>,
    upgrade: Option<OnUpgrade>,
}

impl Prepared {
    /// Rewrites a client's request.
    pub fn new(
        mut request: Request<Incoming>,
        entry: &Entry,
        client: &Client,
        is_host_in_target: bool,
    ) -> Self {
        let protocol = carried_upgrade(&request);
        let upgrade = protocol.is_some().then(|| hyper::upgrade::on(&mut request));
        let (mut parts, body) = request.into_parts();
        let headers = &mut parts.headers;
        hop_by_hop::strip_request(headers);
        // The client's parser answers it when the body is asked for.
        headers.remove(EXPECT);
        if parts.version == Version::HTTP_2 {
            join_cookies(headers);
        }
        if is_host_in_target {
            let host = parts.uri.authority().and_then(|host| client.host(host));
            if let Some(host) = host {
                headers.insert(HOST, host);
            }
            parts.uri = origin_form(parts.uri);
        }
        let host = headers.get(HOST).cloned();
        entry.forwarded.apply(headers, host.as_ref());
        if let Some(protocol) = protocol {
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, protocol);
        }
        let pause = Pause::new(entry.body_pause, None);
        let (body, upload) = Upload::new(body, entry.max_body, pause);
        let mut request = Request::new(body);
        *request.method_mut() = parts.method;
        *request.uri_mut() = parts.uri;
        *request.version_mut() = Version::HTTP_11;
        *request.headers_mut() = parts.headers;
        Self { request, upload, upgrade }
    }
}

/// Sends a request to its backend and returns the response when its head is there.
pub async fn forward(
    mut exchange: Exchange,
    prepared: Prepared,
) -> Result<Response<ProxyBody>, Refusal> {
    let Prepared { mut request, upload, upgrade } = prepared;
    let route = exchange.route();
    let limits = route.limits;
    let endpoint = Rc::clone(exchange.endpoint());
    if !route.pass_host_header {
        let authority = endpoint.endpoint().authority().clone();
        request.headers_mut().insert(HOST, authority);
    }
    let deadline = limits.total.map(|total| exchange.start() + total);
    exchange.set_upload(upload);
    let sending = endpoint.send(request, exchange.upload(), limits.send);
    let result = match deadline {
        None => sending.await,
        Some(deadline) => timeout_at(deadline, sending).await.unwrap_or(Err(SendError::TimedOut)),
    };
    let (mut response, lease) = match result {
        Ok(answered) => answered,
        Err(error) => {
            let reason = error.reason();
            tracing::debug!(
                backend = %endpoint.endpoint().name(),
                error = %display_chain(&error),
                "no response"
            );
            exchange.fail(reason);
            return Err(reason.into());
        }
    };
    let status = response.status();
    if status == StatusCode::SWITCHING_PROTOCOLS {
        let Some(upgrade) = upgrade else {
            // Nobody asked for it.
            endpoint.counters().invalid.bump();
            exchange.fail(Reason::UpstreamInvalid);
            return Err(Reason::UpstreamInvalid.into());
        };
        exchange.respond(status, lease);
        return Ok(upgrade::start(exchange, upgrade, response, limits.idle));
    }
    exchange.respond(status, lease);
    *response.version_mut() = Version::HTTP_11;
    hop_by_hop::strip_response(response.headers_mut());
    let pause = Pause::new(limits.idle, deadline);
    Ok(response.map(|body| Body::streaming(body, pause, exchange)))
}

/// The protocol to switch to, if the client may ask for it. HTTP/2 over plain TCP needs no
/// upgrade here and must not be tunnelled past the routes.
fn carried_upgrade(request: &Request<Incoming>) -> Option<HeaderValue> {
    if request.version() != Version::HTTP_11 {
        return None;
    }
    let protocol = hop_by_hop::upgrade(request.headers())?;
    let is_http2 = protocol.as_bytes().eq_ignore_ascii_case(b"h2c");
    (!is_http2).then(|| protocol.clone())
}

/// What a request line to a server holds (RFC 9112, 3.2.1).
fn origin_form(uri: Uri) -> Uri {
    let mut parts = Parts::default();
    parts.path_and_query = uri.into_parts().path_and_query;
    Uri::from_parts(parts).unwrap_or_default()
}

/// HTTP/2 clients may split cookies into fields that HTTP/1 has only one of (RFC 9113, 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let cookies: Vec<_> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

fn display_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
