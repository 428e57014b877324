//! Opens connections to backends.
//!
//! Names are looked up for each connection: the operating system's resolver caches, follows
//! `/etc/hosts`, and its answer is never older than the pool makes it. Each address is tried in
//! turn. The caller's time limit covers the look-up and all attempts.

use std::{borrow::Cow, io, time::Duration};

use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};

use crate::endpoint::Endpoint;

/// A connection that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name has no address.
    #[error("could not look up `{0}`")]
    Lookup(String, #[source] io::Error),
    /// No address took the connection.
    #[error("could not connect to `{0}`")]
    Refused(String, #[source] io::Error),
    /// It took too long.
    #[error("could not connect to `{0}` in time")]
    TimedOut(String),
}

/// Connects to a backend within `limit`.
pub async fn connect(
    endpoint: &Endpoint,
    limit: Option<Duration>,
) -> Result<TcpStream, ConnectError> {
    let port = endpoint.url().port();
    let Some(limit) = limit else {
        return open(endpoint, port).await;
    };
    timeout(limit, open(endpoint, port))
        .await
        .unwrap_or_else(|_| Err(ConnectError::TimedOut(endpoint.url().to_string())))
}

/// Connects to a port of the host of a backend.
pub async fn open(endpoint: &Endpoint, port: u16) -> Result<TcpStream, ConnectError> {
    let host = endpoint.url().host();
    let refused = |error| ConnectError::Refused(format!("{}:{port}", bracketed(host)), error);
    let stream = if let Some(address) = endpoint.address() {
        TcpStream::connect((address.ip(), port)).await.map_err(refused)?
    } else {
        let unknown = |error| ConnectError::Lookup(host.to_owned(), error);
        let addresses = lookup_host((host, port)).await.map_err(unknown)?;
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        let mut found = None;
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    found = Some(stream);
                    break;
                }
                Err(error) => last = error,
            }
        }
        found.ok_or_else(|| refused(last))?
    };
    stream.set_nodelay(true).map_err(refused)?;
    Ok(stream)
}

/// A host as it stands before a port.
pub(crate) fn bracketed(host: &str) -> Cow<'_, str> {
    if host.contains(':') { format!("[{host}]").into() } else { host.into() }
}
