//! Asks a backend whether it is well: `GET path` on a connection of its own.
//!
//! A fresh connection each time, because that is what a new user would get. Of the body no more
//! is read than it takes to see that one comes.

use bytes::Bytes;
use http::{
    Request, StatusCode,
    header::{CONNECTION, HOST, USER_AGENT},
};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use lb_model::config::HealthCheck;

use crate::{
    connect::{ConnectError, connect},
    endpoint::Endpoint,
};

/// The most read of a response body.
const MAX_BODY: usize = 64 << 10;

/// A check that did not pass.
#[derive(Debug, thiserror::Error)]
pub enum CheckFailed {
    /// There was no connection.
    #[error("{0}")]
    Connect(#[from] ConnectError),
    /// The exchange failed.
    #[error("no valid response: {0}")]
    Exchange(#[from] hyper::Error),
    /// The path cannot be asked for.
    #[error("invalid path: {0}")]
    Path(#[from] http::Error),
    /// The answer says that the backend is not well.
    #[error("status {0}")]
    Status(StatusCode),
    /// The answer took too long.
    #[error("no answer in time")]
    TimedOut,
}

/// Checks once. A status of 2xx or 3xx passes.
pub async fn check(endpoint: &Endpoint, check: &HealthCheck) -> Result<(), CheckFailed> {
    tokio::time::timeout(check.timeout.get(), ask(endpoint, check))
        .await
        .unwrap_or(Err(CheckFailed::TimedOut))
}

async fn ask(endpoint: &Endpoint, check: &HealthCheck) -> Result<(), CheckFailed> {
    let request = Request::get(check.path.as_str())
        .header(HOST, endpoint.authority())
        .header(USER_AGENT, "lb-health-check")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let stream = connect(endpoint, None).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async {
        let mut response = sender.send_request(request).await?;
        let mut read = 0;
        while read < MAX_BODY
            && let Some(frame) = response.body_mut().frame().await
        {
            read += frame?.data_ref().map_or(0, Bytes::len);
        }
        Ok(response.status())
    };
    // Driven side by side, so that giving up on the check closes the connection with it.
    let mut connection = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(exchange);
    let status: Result<StatusCode, hyper::Error> = tokio::select! {
        status = &mut exchange => status,
        ended = &mut connection => match ended {
            Ok(()) => exchange.await,
            Err(error) => Err(error),
        },
    };
    let status = status?;
    if status.is_success() || status.is_redirection() {
        Ok(())
    } else {
        Err(CheckFailed::Status(status))
    }
}
