//! A backend that does what a test tells it to, byte by byte.

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};

/// A request as it came in.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Vec<String> {
        let lines = self.head.lines().skip(1);
        lines
            .filter_map(|line| line.split_once(": "))
            .filter(|(each, _)| each.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.to_owned())
            .collect()
    }
}

pub(crate) type Then = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(crate) enum Reply {
    /// These bytes, then the next request.
    Bytes(Vec<u8>),
    /// These bytes, then the end of the connection.
    Close(Vec<u8>),
    /// Whatever the test does with the connection.
    Take(Box<dyn FnOnce(TcpStream) -> Then + Send>),
}

impl Reply {
    pub(crate) fn ok(body: &str) -> Self {
        Self::Bytes(
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes(),
        )
    }

    pub(crate) fn take<F: Future<Output = ()> + Send + 'static>(
        then: impl FnOnce(TcpStream) -> F + Send + 'static,
    ) -> Self {
        Self::Take(Box::new(move |stream| Box::pin(then(stream))))
    }

    /// Says nothing until the other side goes away.
    pub(crate) fn hang() -> Self {
        Self::take(|mut stream| async move {
            drop(stream.read_to_end(&mut Vec::new()).await);
        })
    }
}

pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
    task: AbortHandle,
}

impl Origin {
    pub(crate) async fn start(reply: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let reply = Arc::new(reply);
        let (seen_, connections_) = (Arc::clone(&seen), Arc::clone(&connections));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections_.fetch_add(1, SeqCst);
                tokio::spawn(talk(stream, Arc::clone(&seen_), Arc::clone(&reply)));
            }
        });
        Self { address, seen, connections, task: task.abort_handle() }
    }

    pub(crate) async fn saying(body: &'static str) -> Self {
        Self::start(move |_| Reply::ok(body)).await
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn last(&self) -> Seen {
        self.seen().pop().expect("a request")
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn talk(
    mut stream: TcpStream,
    seen: Arc<Mutex<Vec<Seen>>>,
    reply: Arc<impl Fn(&Seen) -> Reply>,
) {
    let mut read = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut read).await {
        seen.lock().unwrap().push(request.clone());
        match reply(&request) {
            Reply::Bytes(bytes) => stream.write_all(&bytes).await.unwrap_or_default(),
            Reply::Close(bytes) => {
                stream.write_all(&bytes).await.unwrap_or_default();
                return;
            }
            Reply::Take(then) => return then(stream).await,
        }
    }
}

async fn read_request(stream: &mut TcpStream, read: &mut Vec<u8>) -> Option<Seen> {
    let end = fill(stream, read, |read| find(read, b"\r\n\r\n")).await? + 4;
    let head = String::from_utf8(read.drain(..end).collect()).unwrap();
    let mut seen = Seen { head, body: String::new() };
    let length = seen.header("content-length").pop();
    let end = if let Some(length) = length {
        let length = length.parse().unwrap();
        fill(stream, read, |read| (read.len() >= length).then_some(length)).await?
    } else if !seen.header("transfer-encoding").is_empty() {
        let last = |read: &[u8]| {
            let last = if read.starts_with(b"0\r\n") {
                Some(0)
            } else {
                find(read, b"\r\n0\r\n").map(|at| at + 2)
            };
            last.and_then(|at| Some(at + 3 + end_of_trailers(&read[at + 3..])?))
        };
        fill(stream, read, last).await?
    } else {
        0
    };
    seen.body = String::from_utf8(read.drain(..end).collect()).unwrap();
    Some(seen)
}

fn end_of_trailers(rest: &[u8]) -> Option<usize> {
    if rest.starts_with(b"\r\n") { Some(2) } else { find(rest, b"\r\n\r\n").map(|at| at + 4) }
}

async fn fill(
    stream: &mut TcpStream,
    read: &mut Vec<u8>,
    done: impl Fn(&[u8]) -> Option<usize>,
) -> Option<usize> {
    loop {
        if let Some(end) = done(read) {
            return Some(end);
        }
        if stream.read_buf(read).await.ok()? == 0 {
            return None;
        }
    }
}

pub(crate) fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
