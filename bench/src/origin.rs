//! The origin of comparisons: HTTP/1.1 on one thread, for next to no processor time.
//!
//! It shares a processor with the generators of load, so whatever it takes they do not have. It
//! knows two answers, 13 bytes and, at `/64k`, 64 KiB, and swallows what requests bring along.
//! It trusts its clients, the proxies, and is not for anything else.

mod request;

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use anyhow::{Context, Result};
use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
    fd::OwnedFd,
};
use socket2::{Domain, Socket, Type};

use self::request::{Reader, Request};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4_096;
/// How much is read in one go.
const BUFFER: usize = 64 << 10;
/// Events taken in one go.
const EVENTS: usize = 256;
/// What stands for the listener among the connections.
const LISTENER: u64 = u64::MAX;
/// What is told of a connection, once each time it changes.
const WATCHED: epoll::EventFlags = epoll::EventFlags::IN
    .union(epoll::EventFlags::OUT)
    .union(epoll::EventFlags::RDHUP)
    .union(epoll::EventFlags::ET);
/// What says that nothing more will come.
const ENDING: epoll::EventFlags =
    epoll::EventFlags::RDHUP.union(epoll::EventFlags::HUP).union(epoll::EventFlags::ERR);
/// How often it looks whether it should end.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// A running origin; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Origin {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Origin {
    /// Starts one on a port that the system picks.
    pub(crate) fn start() -> Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let listener = TcpListener::from(socket);
        let address = listener.local_addr()?;
        let ends = Arc::new(AtomicBool::new(false));
        let ending = Arc::clone(&ends);
        let mut server = Server::new(listener).context("the origin could not start")?;
        let thread = std::thread::Builder::new().name("origin".to_owned()).spawn(move || {
            if let Err(error) = server.run(&ending) {
                crate::report::say(&format!("the origin ended: {error}"));
            }
        })?;
        Ok(Self { address, ends, thread: Some(thread) })
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Server {
    epoll: OwnedFd,
    listener: TcpListener,
    /// By their token; a place is used again once its connection is gone.
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    buffer: Vec<u8>,
    small: Vec<u8>,
    large: Vec<u8>,
}

struct Connection {
    stream: TcpStream,
    reader: Reader,
    /// An answer that the socket has not taken whole, and from where on.
    unsent: Option<(Request, usize)>,
}

impl Server {
    fn new(listener: TcpListener) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let token = epoll::EventData::new_u64(LISTENER);
        epoll::add(&epoll, &listener, token, epoll::EventFlags::IN)?;
        Ok(Self {
            epoll,
            listener,
            connections: Vec::new(),
            free: Vec::new(),
            buffer: vec![0; BUFFER],
            small: answer(b"Hello, world\n"),
            large: answer(&vec![b'x'; 64 << 10]),
        })
    }

    /// Serves until it should end.
    fn run(&mut self, ending: &AtomicBool) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS);
        while !ending.load(Ordering::Relaxed) {
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&LOOK)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in events.drain(..) {
                self.handle(event)?;
            }
        }
        Ok(())
    }

    fn handle(&mut self, event: epoll::Event) -> io::Result<()> {
        let (token, flags) = (event.data.u64(), event.flags);
        if token == LISTENER {
            self.accept()?;
        } else if let Some(Some(connection)) = self.connections.get_mut(token as usize) {
            let answers = (&self.small[..], &self.large[..]);
            let is_ending = flags.intersects(ENDING);
            if connection.serve(&mut self.buffer, answers, is_ending).is_err() {
                self.connections[token as usize] = None;
                self.free.push(token as usize);
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // A client that has gone again is not the origin's fault.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let place = self.free.pop().unwrap_or(self.connections.len());
            let token = epoll::EventData::new_u64(place as u64);
            epoll::add(&self.epoll, &stream, token, WATCHED)?;
            let connection = Connection { stream, reader: Reader::default(), unsent: None };
            match self.connections.get_mut(place) {
                Some(free) => *free = Some(connection),
                None => self.connections.push(Some(connection)),
            }
        }
    }
}

impl Connection {
    /// Reads what is there and answers what is whole. An error is the end of the connection.
    fn serve(
        &mut self,
        buffer: &mut [u8],
        answers: (&[u8], &[u8]),
        is_ending: bool,
    ) -> io::Result<()> {
        // A read that fills no buffer took all there was; what comes later is another event.
        let mut is_drained = false;
        loop {
            if let Some((request, from)) = self.unsent.take() {
                self.send(request, from, answers)?;
            }
            while self.unsent.is_none()
                && let Some(request) = self.reader.next()?
            {
                self.send(request, 0, answers)?;
            }
            if self.unsent.is_some() || is_drained {
                return Ok(());
            }
            match self.stream.read(buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    self.reader.push(&buffer[..read]);
                    is_drained = read < buffer.len() && !is_ending;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn send(&mut self, request: Request, from: usize, answers: (&[u8], &[u8])) -> io::Result<()> {
        let answer = if request.wants_large { answers.1 } else { answers.0 };
        let mut sent = from;
        while sent < answer.len() {
            match self.stream.write(&answer[sent..]) {
                Ok(written) => sent += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.unsent = Some((request, sent));
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        if request.is_last { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}

/// A whole answer with the fields that an application would send.
fn answer(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nserver: lb-bench\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
         content-type: text/plain\r\ncache-control: no-store\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_in_a_row_are_answered_in_order() {
        let origin = Origin::start().unwrap();
        let mut stream = TcpStream::connect(origin.address).unwrap();
        let requests = b"POST /s HTTP/1.1\r\nhost: o\r\ncontent-length: 3\r\n\r\nabc\
                         GET /64k HTTP/1.1\r\nhost: o\r\n\r\n\
                         GET /s HTTP/1.1\r\nhost: o\r\nconnection: close\r\n\r\n";
        stream.write_all(requests).unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        let (small, large) = (answer(b"Hello, world\n"), answer(&vec![b'x'; 64 << 10]));
        assert_eq!(all.len(), 2 * small.len() + large.len());
        assert!(all.starts_with(&small) && all.ends_with(&small));
    }
}
