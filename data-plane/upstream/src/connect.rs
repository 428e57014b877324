//! Opens connections to backends.
//!
//! Names are looked up for each connection: the operating system's resolver caches, follows
//! `/etc/hosts`, and its answer is never older than the pool makes it. Each address is tried in
//! turn. The caller's time limit covers the look-up and all attempts.

use std::{io, time::Duration};

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
    let Some(limit) = limit else {
        return open(endpoint).await;
    };
    timeout(limit, open(endpoint))
        .await
        .unwrap_or_else(|_| Err(ConnectError::TimedOut(endpoint.url().to_string())))
}

async fn open(endpoint: &Endpoint) -> Result<TcpStream, ConnectError> {
    let refused = |error| ConnectError::Refused(endpoint.url().to_string(), error);
    let stream = if let Some(address) = endpoint.address() {
        TcpStream::connect(address).await.map_err(refused)?
    } else {
        let url = endpoint.url();
        let unknown = |error| ConnectError::Lookup(url.host().to_owned(), error);
        let addresses = lookup_host((url.host(), url.port())).await.map_err(unknown)?;
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
