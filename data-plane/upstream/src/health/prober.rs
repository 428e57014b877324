//! Checks one endpoint, over and over.
//!
//! A fresh connection each time, because that is what a new user would get. What does not change
//! from one check to the next is made once: names, and what TLS needs.

use std::{io, sync::Arc};

use http::{HeaderValue, StatusCode};
use lb_model::config::{HealthCheck, Probe};

use super::{
    dial::{Dialer, port, speaks_tls},
    grpc, http as over_http, tcp,
};
use crate::{
    connect::{ConnectError, bracketed},
    endpoint::Endpoint,
};

/// The most that is read of the body of an answer.
pub(super) const MAX_BODY: usize = 64 << 10;

/// What `User-Agent` says.
pub(super) const AGENT: HeaderValue = HeaderValue::from_static("lb-health-check");

/// A check that did not pass.
#[derive(Debug, thiserror::Error)]
pub(super) enum CheckFailed {
    /// It could never be made.
    #[error("{0}")]
    Setup(String),
    /// There was no connection.
    #[error("{0}")]
    Connect(#[from] ConnectError),
    /// There was no agreement on TLS.
    #[error("TLS: {0}")]
    Tls(#[source] io::Error),
    /// The exchange failed.
    #[error("no valid response: {0}")]
    Exchange(#[from] hyper::Error),
    /// What is to be asked is no request.
    #[error("invalid request: {0}")]
    Request(#[from] http::Error),
    /// The answer says that the backend is not well.
    #[error("status {0}")]
    Status(StatusCode),
    /// The body holds something else.
    #[error("the body does not match `{0}`")]
    Body(String),
    /// The call failed.
    #[error("gRPC status {0}")]
    Call(String),
    /// The answer to the call says that the backend is not well.
    #[error("the backend says {0}")]
    NotServing(&'static str),
    /// The answer to the call is none.
    #[error("no valid answer: {0}")]
    Answer(&'static str),
    /// The answer took too long.
    #[error("no answer in time")]
    TimedOut,
}

/// Checks one endpoint.
pub(super) struct Prober<'a> {
    check: &'a HealthCheck,
    dialer: Dialer,
    /// Who is asked for, as `Host` says it.
    authority: String,
    is_secure: bool,
}

impl<'a> Prober<'a> {
    pub(super) async fn new(endpoint: &'a Arc<Endpoint>, check: &'a HealthCheck) -> Self {
        let authority = match &check.host {
            Some(host) => host.0.to_string(),
            None => authority(endpoint, check),
        };
        let protocols: &[&[u8]] = match check.probe {
            Probe::Http(_) => &[b"http/1.1"],
            Probe::Tcp => &[],
            Probe::Grpc(_) => &[b"h2"],
        };
        let dialer = Dialer::new(endpoint, check, host_of(&authority), protocols).await;
        Self { check, dialer, authority, is_secure: speaks_tls(endpoint, check) }
    }

    /// Checks once.
    pub(super) async fn check(&self) -> Result<(), CheckFailed> {
        tokio::time::timeout(self.check.timeout.get(), self.ask())
            .await
            .unwrap_or(Err(CheckFailed::TimedOut))
    }

    async fn ask(&self) -> Result<(), CheckFailed> {
        match &self.check.probe {
            Probe::Http(probe) => over_http::ask(&self.dialer, &self.authority, probe).await,
            Probe::Tcp => tcp::ask(&self.dialer).await,
            Probe::Grpc(probe) => {
                let scheme = if self.is_secure { "https" } else { "http" };
                grpc::ask(&self.dialer, (scheme, &self.authority), probe).await
            }
        }
    }
}

/// The endpoint's own name with the port that is asked, left out where it is the usual one.
fn authority(endpoint: &Endpoint, check: &HealthCheck) -> String {
    let host = bracketed(endpoint.url().host());
    let port = port(endpoint, check);
    let usual = if speaks_tls(endpoint, check) { 443 } else { 80 };
    if port == usual { host.into_owned() } else { format!("{host}:{port}") }
}

/// The host without its port, and an address without its brackets.
fn host_of(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    authority.split(':').next().unwrap_or(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_what_stands_before_the_port() {
        for (authority, host) in
            [("a.example:81", "a.example"), ("a", "a"), ("[::1]:81", "::1"), ("[::1]", "::1")]
        {
            assert_eq!(host_of(authority), host);
        }
    }
}
