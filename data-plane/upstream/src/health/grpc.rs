//! Asks a backend whether it is well with a call of `grpc.health.v1.Health/Check`.
//!
//! The two messages of that call are so small that they are declared here. A backend that does
//! not know the service asked for, or the call itself, is not well: a check that passes for lack
//! of an answer would pass for ever.

use bytes::{BufMut, Bytes, BytesMut};
use http::{
    HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, Version,
    header::{CONTENT_TYPE, HeaderName, TE, USER_AGENT},
};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use lb_model::config::GrpcProbe;
use prost::Message;

use super::{
    dial::Dialer,
    prober::{AGENT, CheckFailed, MAX_BODY},
};

const PATH: &str = "/grpc.health.v1.Health/Check";

/// What is asked.
#[derive(Clone, PartialEq, Eq, Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// What is answered.
#[derive(Clone, PartialEq, Eq, Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// What came back.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
}

/// Checks once. `origin` is the scheme and who is asked for.
pub(super) async fn ask(
    dialer: &Dialer,
    origin: (&str, &str),
    probe: &GrpcProbe,
) -> Result<(), CheckFailed> {
    let request = request(origin, probe)?;
    let stream = dialer.dial().await?;
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    let exchange = async {
        let mut response = sender.send_request(request).await?;
        let (mut body, mut trailers) = (Vec::new(), None);
        while body.len() < MAX_BODY
            && let Some(frame) = response.body_mut().frame().await
        {
            match frame?.into_data() {
                Ok(data) => body.extend_from_slice(&data[..data.len().min(MAX_BODY - body.len())]),
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        let (head, _) = response.into_parts();
        Ok(Answer { status: head.status, headers: head.headers, body, trailers })
    };
    // Driven side by side, so that giving up on the check closes the connection with it.
    let mut connection = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(exchange);
    let answer: Result<Answer, hyper::Error> = tokio::select! {
        answer = &mut exchange => answer,
        ended = &mut connection => match ended {
            Ok(()) => exchange.await,
            Err(error) => Err(error),
        },
    };
    judge(&answer?)
}

fn request(
    (scheme, authority): (&str, &str),
    probe: &GrpcProbe,
) -> Result<Request<Full<Bytes>>, http::Error> {
    let message = HealthCheckRequest { service: probe.service.clone() };
    let mut body = BytesMut::new();
    body.put_u8(0);
    body.put_u32(u32::try_from(message.encoded_len()).unwrap_or(u32::MAX));
    body.extend_from_slice(&message.encode_to_vec());
    let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(PATH).build()?;
    let mut request = Request::new(Full::new(body.freeze()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_2;
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    headers.insert(USER_AGENT, AGENT);
    for (name, value) in &probe.headers {
        let value = HeaderValue::from_bytes(value.0.as_bytes())?;
        headers.insert(HeaderName::from_bytes(name.as_str().as_bytes())?, value);
    }
    Ok(request)
}

fn judge(answer: &Answer) -> Result<(), CheckFailed> {
    if answer.status != StatusCode::OK {
        return Err(CheckFailed::Status(answer.status));
    }
    // An answer without a message has its status in the head.
    let ends = [answer.trailers.as_ref(), Some(&answer.headers)];
    let status = ends.into_iter().flatten().find_map(|end| end.get("grpc-status"));
    match status.map(HeaderValue::as_bytes) {
        Some(b"0") => {}
        Some(status) => {
            let status = String::from_utf8_lossy(status);
            let name = status.parse().ok().map_or("", name_of);
            return Err(CheckFailed::Call(format!("{status} {name}").trim_end().to_owned()));
        }
        None => return Err(CheckFailed::Answer("it has no gRPC status")),
    }
    let message = message(&answer.body).ok_or(CheckFailed::Answer("it holds no message"))?;
    match message.status {
        1 => Ok(()),
        0 => Err(CheckFailed::NotServing("UNKNOWN")),
        2 => Err(CheckFailed::NotServing("NOT_SERVING")),
        3 => Err(CheckFailed::NotServing("SERVICE_UNKNOWN")),
        _ => Err(CheckFailed::Answer("its status is not known")),
    }
}

/// The one message in a body, which is not compressed as we did not allow it.
fn message(body: &[u8]) -> Option<HealthCheckResponse> {
    let (flag, rest) = body.split_first()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    if *flag != 0 || u32::from_be_bytes(*length) as usize != rest.len() {
        return None;
    }
    HealthCheckResponse::decode(rest).ok()
}

/// The codes that a health check may end with, by name.
const fn name_of(status: u8) -> &'static str {
    match status {
        1 => "(cancelled)",
        4 => "(deadline exceeded)",
        5 => "(not found: the backend does not know this service)",
        7 => "(permission denied)",
        12 => "(unimplemented: the backend does not speak grpc.health.v1)",
        13 => "(internal)",
        14 => "(unavailable)",
        16 => "(unauthenticated)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(body: &[u8], status: &'static str) -> Answer {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static(status));
        let (status, headers) = (StatusCode::OK, HeaderMap::new());
        Answer { status, headers, body: body.to_vec(), trailers: Some(trailers) }
    }

    fn verdict(answer: &Answer) -> String {
        judge(answer).map_or_else(|failed| failed.to_string(), |()| "well".to_owned())
    }

    #[test]
    fn only_serving_passes() {
        for (body, said) in [
            (&[0, 0, 0, 0, 2, 8, 1][..], "well"),
            (&[0, 0, 0, 0, 0], "the backend says UNKNOWN"),
            (&[0, 0, 0, 0, 2, 8, 2], "the backend says NOT_SERVING"),
            (&[0, 0, 0, 0, 2, 8, 9], "no valid answer: its status is not known"),
            (&[1, 0, 0, 0, 2, 8, 1], "no valid answer: it holds no message"),
            (&[0, 0, 0, 0, 3, 8, 1], "no valid answer: it holds no message"),
            (&[], "no valid answer: it holds no message"),
        ] {
            assert_eq!(verdict(&answer(body, "0")), said, "{body:?}");
        }
    }

    #[test]
    fn a_call_that_fails_says_with_what() {
        let failed = verdict(&answer(&[], "12"));
        assert!(failed.contains("12 (unimplemented"), "{failed}");
        assert_eq!(verdict(&answer(&[], "99")), "gRPC status 99");
        let mut bare = answer(&[0, 0, 0, 0, 2, 8, 1], "0");
        bare.trailers = None;
        assert_eq!(verdict(&bare), "no valid answer: it has no gRPC status");
        bare.headers.insert("grpc-status", HeaderValue::from_static("5"));
        assert!(verdict(&bare).contains("not found"));
        bare.status = StatusCode::BAD_GATEWAY;
        assert_eq!(verdict(&bare), "status 502 Bad Gateway");
    }

    proptest! {
        #[test]
        fn whatever_comes_is_judged(body in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = judge(&answer(&body, "0"));
        }
    }
}
