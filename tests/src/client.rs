//! An HTTP/1.1 client that sends exactly what it is told and reads exactly one response.

use std::{io, net::SocketAddr, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::backend::find;

/// How long an answer may take before the test has failed.
const LIMIT: Duration = Duration::from_secs(15);

/// One connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// One response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// The fields, names in lower case, in the order of arrival.
    pub headers: Vec<(String, String)>,
    /// The body, chunks put together.
    pub body: Vec<u8>,
}

impl Response {
    /// The first field of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.headers.iter();
        fields.find(|(each, _)| each == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; null when it is not.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The name of the backend that echoed the request.
    pub fn backend(&self) -> String {
        self.json()["backend"].as_str().unwrap_or_default().to_owned()
    }

    /// The status and the `code` of the problem in the body.
    pub fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        (self.status, self.json()["code"].as_str().unwrap_or_default().to_owned())
    }

    /// Whether the server said that this response is the last of its connection.
    pub fn is_last(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = within(TcpStream::connect(address)).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        within(self.stream.write_all(bytes.as_ref())).await
    }

    /// Sends a GET request and reads the response.
    pub async fn get(&mut self, host: &str, path: &str) -> io::Result<Response> {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n")).await?;
        self.response().await
    }

    /// Reads one response.
    pub async fn response(&mut self) -> io::Result<Response> {
        let head_end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
            self.more().await?;
        };
        let head: Vec<u8> = self.buffer.drain(..head_end).collect();
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("not a response: {head:?}")))?;
        let headers: Vec<_> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut response = Response { status, headers, body: Vec::new() };
        let has_none = matches!(status, 100..=199 | 204 | 304);
        response.body = match response.header("content-length") {
            _ if has_none => Vec::new(),
            Some(length) => {
                let length = length.parse().map_err(io::Error::other)?;
                self.exactly(length).await?
            }
            None if response.header("transfer-encoding").is_some() => self.chunks().await?,
            None => {
                self.rest().await?;
                std::mem::take(&mut self.buffer)
            }
        };
        Ok(response)
    }

    /// Reads exactly `count` bytes.
    pub async fn exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < count {
            self.more().await?;
        }
        Ok(self.buffer.drain(..count).collect())
    }

    async fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line_end = loop {
                if let Some(at) = find(&self.buffer, b"\r\n") {
                    break at;
                }
                self.more().await?;
            };
            let line = String::from_utf8_lossy(&self.buffer[..line_end]).into_owned();
            let size = usize::from_str_radix(&line, 16).map_err(io::Error::other)?;
            self.exactly(line_end + 2).await?;
            body.extend(self.exactly(size).await?);
            self.exactly(2).await?;
            if size == 0 {
                return Ok(body);
            }
        }
    }

    /// Whether the server closes the connection without another byte.
    pub async fn is_closed(&mut self) -> bool {
        self.buffer.is_empty()
            && match within(self.stream.read_buf(&mut self.buffer)).await {
                Ok(read) => read == 0,
                Err(error) => error.kind() != io::ErrorKind::TimedOut,
            }
    }

    async fn rest(&mut self) -> io::Result<()> {
        while within(self.stream.read_buf(&mut self.buffer)).await? > 0 {}
        Ok(())
    }

    async fn more(&mut self) -> io::Result<()> {
        match within(self.stream.read_buf(&mut self.buffer)).await? {
            0 => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("closed after {:?}", String::from_utf8_lossy(&self.buffer)),
            )),
            _ => Ok(()),
        }
    }
}

/// One GET request on a connection of its own.
pub async fn get(address: SocketAddr, host: &str, path: &str) -> Response {
    try_get(address, host, path).await.expect("a response")
}

/// As [`get`], for servers that may not be there.
pub async fn try_get(address: SocketAddr, host: &str, path: &str) -> io::Result<Response> {
    Connection::open(address).await?.get(host, path).await
}

async fn within<T>(what: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(LIMIT, what).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
