//! Asks a backend whether it is well with a request over HTTP/1.1.
//!
//! Of the body no more is read than is looked at.

use bytes::Bytes;
use http::{
    HeaderValue, Request, StatusCode,
    header::{CONNECTION, HOST, HeaderName, USER_AGENT},
};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use lb_model::config::HttpProbe;

use super::{
    dial::Dialer,
    prober::{AGENT, CheckFailed, MAX_BODY},
};

/// Checks once.
pub(super) async fn ask(
    dialer: &Dialer,
    authority: &str,
    probe: &HttpProbe,
) -> Result<(), CheckFailed> {
    let request = request(authority, probe)?;
    let stream = dialer.dial().await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async {
        let mut response = sender.send_request(request).await?;
        let status = response.status();
        let mut body = Vec::new();
        while body.len() < MAX_BODY
            && let Some(frame) = response.body_mut().frame().await
        {
            let frame = frame?;
            let data = frame.data_ref().map_or(&[][..], |data| data);
            body.extend_from_slice(&data[..data.len().min(MAX_BODY - body.len())]);
        }
        Ok((status, body))
    };
    // Driven side by side, so that giving up on the check closes the connection with it.
    let mut connection = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(exchange);
    let answer: Result<(StatusCode, Vec<u8>), hyper::Error> = tokio::select! {
        answer = &mut exchange => answer,
        ended = &mut connection => match ended {
            Ok(()) => exchange.await,
            Err(error) => Err(error),
        },
    };
    let (status, body) = answer?;
    if !probe.passes(status.as_u16()) {
        return Err(CheckFailed::Status(status));
    }
    match &probe.body {
        Some(pattern) if !pattern.is_match(&body) => {
            Err(CheckFailed::Body(pattern.as_str().to_owned()))
        }
        _ => Ok(()),
    }
}

fn request(authority: &str, probe: &HttpProbe) -> Result<Request<Empty<Bytes>>, http::Error> {
    let mut request = Request::builder()
        .method(probe.method.as_str())
        .uri(probe.path.as_str())
        .header(HOST, authority)
        .header(CONNECTION, "close")
        .body(Empty::new())?;
    let headers = request.headers_mut();
    headers.insert(USER_AGENT, AGENT);
    for (name, value) in &probe.headers {
        let value = HeaderValue::from_bytes(value.0.as_bytes())?;
        headers.insert(HeaderName::from_bytes(name.as_str().as_bytes())?, value);
    }
    Ok(request)
}
