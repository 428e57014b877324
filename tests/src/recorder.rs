//! A backend that notes every byte, takes nothing but perfect requests, and answers as told.
//!
//! Without a script it answers as every [`crate::sighting::Origin`] does. With one, it does what
//! the script says to every request whose marker is `-`, well or badly.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::timeout,
};

use crate::{
    backend::find,
    corpus::Step,
    sighting::{Extent, Sighting},
    strict_request::{Body, Head},
};

/// How long a script waits for the client.
const LIMIT: Duration = Duration::from_secs(10);
/// The most that a head may take.
const MOST_HEAD: usize = 1 << 20;

/// What to do with a request.
#[derive(Debug, Clone)]
pub struct Script {
    /// In this order.
    pub steps: Vec<Step>,
    /// With the head of the request, not with its end.
    pub is_early: bool,
    /// Byte by byte.
    pub is_slow: bool,
}

#[derive(Debug)]
struct Shared {
    notes: Mutex<Notes>,
    script: Mutex<Option<Script>>,
    answered: watch::Sender<u64>,
}

/// What was seen, in order.
#[derive(Debug, Default)]
struct Notes {
    sightings: Vec<Sighting>,
    /// The connection of each sighting.
    connections: Vec<usize>,
    /// All bytes of each connection.
    bytes: Vec<Vec<u8>>,
    ended: Vec<bool>,
}

/// A running recorder. It goes away when dropped.
#[derive(Debug)]
pub struct Recorder {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

/// One connection.
struct Visit {
    stream: TcpStream,
    buffer: Vec<u8>,
    number: usize,
    shared: Arc<Shared>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Recorder {
    /// Starts one without a script.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared {
            notes: Mutex::default(),
            script: Mutex::default(),
            answered: watch::Sender::new(0),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { address, shared, task }
    }

    /// Where it is.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything it has seen so far.
    pub fn sightings(&self) -> Vec<Sighting> {
        lock(&self.shared.notes).sightings.clone()
    }

    /// What to do from now on with requests that have no marker.
    pub fn follow(&self, script: Option<Script>) {
        self.shared.answered.send_replace(0);
        *lock(&self.shared.script) = script;
    }

    /// Lets a script go on that waits until the client has its answer.
    pub fn tell_answered(&self) {
        self.shared.answered.send_modify(|count| *count += 1);
    }

    /// The connections that the sightings from `first` on came over.
    pub fn connections(&self, first: usize) -> Vec<usize> {
        lock(&self.shared.notes).connections[first..].to_vec()
    }

    /// Whether the other side has ended a connection.
    pub fn has_ended(&self, connection: usize) -> bool {
        lock(&self.shared.notes).ended[connection]
    }

    /// All that came over a connection.
    pub fn bytes(&self, connection: usize) -> Vec<u8> {
        lock(&self.shared.notes).bytes[connection].clone()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Aborting this task drops the set, which ends the connections.
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let number = {
            let mut notes = lock(&shared.notes);
            notes.bytes.push(Vec::new());
            notes.ended.push(false);
            notes.bytes.len() - 1
        };
        let visit = Visit { stream, buffer: Vec::new(), number, shared: Arc::clone(&shared) };
        connections.spawn(visit.run());
        while connections.try_join_next().is_some() {}
    }
}

impl Visit {
    async fn run(mut self) {
        drop(self.stream.set_nodelay(true));
        // Whatever breaks here, the test sees it at the other end.
        drop(self.talk().await);
        lock(&self.shared.notes).ended[self.number] = true;
    }

    async fn talk(&mut self) -> io::Result<()> {
        loop {
            let Some(end) = self.head_end().await? else { return Ok(()) };
            let bytes: Vec<u8> = self.buffer.drain(..end).collect();
            let head = match Head::parse(&bytes) {
                Ok(head) => head,
                Err(why) => {
                    self.note(None, &bytes, Extent::Malformed(why));
                    return Ok(());
                }
            };
            let marker = head.field("x-marker").unwrap_or("-").to_owned();
            let script = lock(&self.shared.script).clone().filter(|_| marker == "-");
            let is_early = script.as_ref().is_some_and(|script| script.is_early);
            if let (true, Some(script)) = (is_early, &script)
                && !self.play(script).await?
            {
                self.note(Some(&head), b"", Extent::Cut);
                return Ok(());
            }
            let Some(body) = self.body(&head).await? else { return Ok(()) };
            let sighting = self.note(Some(&head), &body, Extent::Whole);
            match script {
                Some(_) if is_early => {}
                Some(script) => {
                    if !self.play(&script).await? {
                        return Ok(());
                    }
                }
                None => self.stream.write_all(&answer(&sighting)).await?,
            }
        }
    }

    /// Where the next head ends; nothing at the end of the stream.
    async fn head_end(&mut self) -> io::Result<Option<usize>> {
        loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                return Ok(Some(at + 4));
            }
            let rest = self.buffer.clone();
            if rest.len() > MOST_HEAD {
                self.note(None, &rest, Extent::Malformed("a head without an end".to_owned()));
                return Ok(None);
            }
            if self.more().await? == 0 {
                if !rest.is_empty() {
                    self.note(None, &rest, Extent::Malformed("not even a head".to_owned()));
                }
                return Ok(None);
            }
        }
    }

    /// The body, once it is whole; nothing if it never is.
    async fn body(&mut self, head: &Head) -> io::Result<Option<Vec<u8>>> {
        loop {
            let so_far = match head.framing.body(&self.buffer) {
                Ok(Body::Whole(body, taken)) => {
                    self.buffer.drain(..taken);
                    return Ok(Some(body));
                }
                Ok(Body::Partial(so_far)) => so_far,
                Err(why) => {
                    self.note(Some(head), b"", Extent::Malformed(why));
                    return Ok(None);
                }
            };
            if !matches!(self.more().await, Ok(1..)) {
                self.note(Some(head), &so_far, Extent::Cut);
                return Ok(None);
            }
        }
    }

    /// Follows a script; says whether the connection goes on.
    async fn play(&mut self, script: &Script) -> io::Result<bool> {
        for step in &script.steps {
            match step {
                Step::Send(bytes) if script.is_slow => {
                    for byte in bytes.chunks(1) {
                        self.stream.write_all(byte).await?;
                        tokio::task::yield_now().await;
                    }
                }
                Step::Send(bytes) => self.stream.write_all(bytes).await?,
                Step::Close => {
                    self.stream.shutdown().await?;
                    // The rest of a request may be on its way; a reset would overtake the answer.
                    while self.more().await? > 0 {}
                    return Ok(false);
                }
                Step::Reset => {
                    self.stream.set_zero_linger()?;
                    return Ok(false);
                }
                Step::AwaitInterim | Step::AwaitAnswer => {
                    let mut answered = self.shared.answered.subscribe();
                    let wait = timeout(LIMIT, answered.wait_for(|count| *count > 0));
                    drop(wait.await);
                }
            }
        }
        Ok(true)
    }

    async fn more(&mut self) -> io::Result<usize> {
        let before = self.buffer.len();
        let read = self.stream.read_buf(&mut self.buffer).await?;
        let mut notes = lock(&self.shared.notes);
        notes.bytes[self.number].extend_from_slice(&self.buffer[before..]);
        Ok(read)
    }

    fn note(&self, head: Option<&Head>, body: &[u8], extent: Extent) -> Sighting {
        let text = |part: fn(&Head) -> &String| head.map(part).cloned().unwrap_or_default();
        let marker = head.and_then(|head| head.field("x-marker")).unwrap_or("-").to_owned();
        let sighting = Sighting {
            method: text(|head| &head.method),
            target: text(|head| &head.target),
            marker,
            fields: head.map(|head| head.fields.clone()),
            body: String::from_utf8_lossy(body).into_owned(),
            extent,
        };
        let mut notes = lock(&self.shared.notes);
        notes.sightings.push(sighting.clone());
        notes.connections.push(self.number);
        sighting
    }
}

/// What an origin says to a request.
fn answer(sighting: &Sighting) -> Vec<u8> {
    let seen = sighting.seen();
    let status = sighting.target.strip_prefix("/status/").unwrap_or("200");
    let (length, body) = match (status, sighting.method.as_str()) {
        ("204" | "304", _) => (String::new(), String::new()),
        (_, "HEAD") => (format!("content-length: {}\r\n", seen.len() + 1), String::new()),
        _ => (format!("content-length: {}\r\n", seen.len() + 1), format!("{seen}\n")),
    };
    format!("HTTP/1.1 {status} Status\r\nx-seen: {seen}\r\n{length}\r\n{body}").into_bytes()
}
