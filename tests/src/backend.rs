//! A backend that does what the test tells it to, well or badly.
//!
//! It speaks HTTP/1.1 on a bare socket: a server library would not let it misbehave.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

/// The path of health checks, which are not counted as requests.
pub const HEALTH: &str = "/healthz";

/// What a backend does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Behaviour {
    /// Answers 200 with what it got, as JSON. A request to upgrade gets its bytes back.
    #[default]
    Echo,
    /// Answers with this status and no body.
    Status(u16),
    /// Answers 200 as a gRPC server whose call ended with this code: in the head, or behind a
    /// body.
    Call {
        /// The code.
        code: u8,
        /// Whether a body comes before it.
        has_body: bool,
    },
    /// Answers as an echo does, but only after this time.
    Slow(Duration),
    /// Says nothing.
    Hang,
    /// Resets the connection.
    Reset,
    /// Closes the connection in order, without an answer.
    Close,
    /// Says something that is not HTTP.
    Garbage,
    /// Sends the first half of a body, and the second when [`Backend::release`] is called.
    Gated,
    /// Promises more of a body than it sends, then closes.
    Short,
}

#[derive(Debug)]
struct Shared {
    name: String,
    behaviour: Mutex<Behaviour>,
    healthy: AtomicBool,
    requests: AtomicU64,
    checks: AtomicU64,
    released: watch::Sender<bool>,
}

/// A running backend. It goes away when dropped, and then refuses connections.
#[derive(Debug)]
pub struct Backend {
    address: SocketAddr,
    shared: Arc<Shared>,
    tasks: Option<tokio::task::JoinHandle<()>>,
}

/// An address where nobody listens.
pub async fn refused_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    listener.local_addr().expect("its address")
}

impl Backend {
    /// Starts one that echoes.
    pub async fn start(name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            behaviour: Mutex::default(),
            healthy: AtomicBool::new(true),
            requests: AtomicU64::new(0),
            checks: AtomicU64::new(0),
            released: watch::Sender::new(false),
        });
        let tasks = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { address, shared, tasks: Some(tasks) }
    }

    /// Starts one that does something else than to echo.
    pub async fn doing(name: &str, behaviour: Behaviour) -> Self {
        let backend = Self::start(name).await;
        backend.behave(behaviour);
        backend
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it does from now on.
    pub fn behave(&self, behaviour: Behaviour) {
        *self.shared.behaviour.lock().unwrap_or_else(PoisonError::into_inner) = behaviour;
    }

    /// What it answers to health checks from now on.
    pub fn set_healthy(&self, healthy: bool) {
        self.shared.healthy.store(healthy, SeqCst);
    }

    /// Lets gated responses go on.
    pub fn release(&self) {
        self.shared.released.send_replace(true);
    }

    /// How many requests it got, health checks aside.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(SeqCst)
    }

    /// How many health checks it got.
    pub fn checks(&self) -> u64 {
        self.shared.checks.load(SeqCst)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        if let Some(tasks) = self.tasks.take() {
            tasks.abort();
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Aborting this task drops the set, which ends the connections.
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            // Whatever breaks here, the test sees it at the other end.
            let _ = talk(stream, &shared).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn talk(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    while let Some(request) = Request::read(&mut stream, &mut buffer).await? {
        if request.path == HEALTH {
            shared.checks.fetch_add(1, SeqCst);
            let status = if shared.healthy.load(SeqCst) { 200 } else { 503 };
            stream.write_all(&response(status, "")).await?;
            continue;
        }
        shared.requests.fetch_add(1, SeqCst);
        let behaviour = *shared.behaviour.lock().unwrap_or_else(PoisonError::into_inner);
        match behaviour {
            Behaviour::Echo if request.headers.contains_key("upgrade") => {
                let head = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
                            upgrade: echo\r\n\r\n";
                stream.write_all(head.as_bytes()).await?;
                stream.write_all(&buffer).await?;
                let (mut reader, mut writer) = stream.split();
                tokio::io::copy(&mut reader, &mut writer).await?;
                return Ok(());
            }
            Behaviour::Echo | Behaviour::Slow(_) => {
                if let Behaviour::Slow(time) = behaviour {
                    tokio::time::sleep(time).await;
                }
                let body = request.describe(&shared.name);
                stream.write_all(&response(200, &body)).await?;
            }
            Behaviour::Status(status) => stream.write_all(&response(status, "")).await?,
            Behaviour::Call { code, has_body } => {
                stream.write_all(&call(code, has_body)).await?;
            }
            Behaviour::Hang => {
                stream.read_to_end(&mut Vec::new()).await?;
                return Ok(());
            }
            Behaviour::Reset => {
                stream.set_zero_linger()?;
                return Ok(());
            }
            Behaviour::Close => return Ok(()),
            Behaviour::Garbage => {
                return stream.write_all(b"\x16\x03\x01 this is not HTTP\r\n\r\n").await;
            }
            Behaviour::Gated => {
                let head = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfirst";
                stream.write_all(head.as_bytes()).await?;
                let mut released = shared.released.subscribe();
                let _ = released.wait_for(|released| *released).await;
                stream.write_all(b" half").await?;
            }
            Behaviour::Short => {
                return stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this")
                    .await;
            }
        }
    }
    Ok(())
}

fn response(status: u16, body: &str) -> Vec<u8> {
    let kind = if body.is_empty() { "text/plain" } else { "application/json" };
    format!(
        "HTTP/1.1 {status} Status\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The answer of a gRPC server, over HTTP/1.1.
fn call(code: u8, has_body: bool) -> Vec<u8> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\n";
    if has_body {
        let rest = "transfer-encoding: chunked\r\n\r\n5\r\n\0\0\0\0\0\r\n0\r\n";
        format!("{head}{rest}grpc-status: {code}\r\n\r\n").into_bytes()
    } else {
        format!("{head}content-length: 0\r\ngrpc-status: {code}\r\n\r\n").into_bytes()
    }
}

#[derive(Debug)]
struct Request {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Request {
    /// Reads one request; none at the end of the stream. `buffer` keeps what came after it.
    async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<Self>> {
        let head_end = loop {
            if let Some(at) = find(buffer, b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(buffer).await? == 0 {
                return Ok(None);
            }
        };
        let head = String::from_utf8_lossy(&buffer[..head_end]).into_owned();
        buffer.drain(..head_end);
        let mut lines = head.lines();
        let mut words = lines.next().unwrap_or_default().split(' ');
        let method = words.next().unwrap_or_default().to_owned();
        let path = words.next().unwrap_or_default().to_owned();
        let headers: BTreeMap<_, _> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let body_end = loop {
            let end = match headers.get("content-length") {
                Some(length) => {
                    let length = length.parse().unwrap_or(0);
                    (buffer.len() >= length).then_some(length)
                }
                None if headers.contains_key("transfer-encoding") => {
                    find(buffer, b"0\r\n\r\n").map(|at| at + 5)
                }
                None => Some(0),
            };
            if let Some(end) = end {
                break end;
            }
            if stream.read_buf(buffer).await? == 0 {
                return Ok(None);
            }
        };
        let body = buffer.drain(..body_end).collect::<Vec<_>>();
        let body = String::from_utf8_lossy(&body).into_owned();
        Ok(Some(Self { method, path, headers, body }))
    }

    fn describe(&self, name: &str) -> String {
        let Self { method, path, headers, body } = self;
        json!({ "backend": name, "method": method, "path": path, "headers": headers, "body": body })
            .to_string()
    }
}

/// Where `part` begins in `whole`.
pub(crate) fn find(whole: &[u8], part: &[u8]) -> Option<usize> {
    whole.windows(part.len()).position(|window| window == part)
}
