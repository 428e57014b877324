//! A client of our own for what generators of load do not measure well: time-true latency, and
//! many connections that do nothing.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    num::NonZeroU64,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};

use crate::{
    document::HOST,
    http::plain_tls13,
    lanes::{Entry, USER_AGENT},
    report::Distribution,
};

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(10);
/// Connections over which a rate is sent.
const CONNECTIONS: u32 = 32;

/// A connection that waits for each answer.
pub(super) struct Client {
    stream: Stream,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// Where and how clients connect.
#[derive(Clone)]
pub(super) struct Way {
    address: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
}

impl Way {
    /// In the clear, or with TLS.
    pub(super) fn to(entry: Entry, with_tls: bool) -> Result<Self> {
        Ok(if with_tls {
            Self { address: entry.tls, tls: Some(Arc::new(plain_tls13(&[b"http/1.1"])?)) }
        } else {
            Self { address: entry.plain, tls: None }
        })
    }

    /// Connects and sends a first request.
    pub(super) fn open(&self) -> Result<Client> {
        let stream = TcpStream::connect_timeout(&self.address, LIMIT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        let stream = match &self.tls {
            None => Stream::Plain(stream),
            Some(tls) => {
                let name = ServerName::try_from(HOST)?;
                let connection = ClientConnection::new(Arc::clone(tls), name)?;
                Stream::Tls(Box::new(StreamOwned::new(connection, stream)))
            }
        };
        let mut client = Client { stream };
        client.request()?;
        Ok(client)
    }

    /// Opens many.
    pub(super) fn open_many(&self, count: usize) -> Result<Vec<Client>> {
        (0..count)
            .map(|index| self.open().with_context(|| format!("connection {index} of {count}")))
            .collect()
    }
}

impl Client {
    /// Sends a request and reads its answer. Any but a 200 is an error.
    fn request(&mut self) -> Result<()> {
        let head = format!(
            "GET /s HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: {USER_AGENT}\r\nAccept: */*\r\n\r\n"
        );
        self.stream.write_all(head.as_bytes())?;
        let (mut answer, mut filled) = ([0; 4096], 0);
        loop {
            let read = self.stream.read(&mut answer[filled..])?;
            ensure!(read > 0, "the connection ended before the answer");
            filled += read;
            match missing(&answer[..filled])? {
                Some(0) => return Ok(()),
                _ => ensure!(filled < answer.len(), "an answer that is too long"),
            }
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(buffer),
            Self::Tls(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// How many bytes of an answer are missing; nothing while its head is not whole.
fn missing(answer: &[u8]) -> Result<Option<usize>> {
    let Some(head) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&answer[..head]).context("a head that is no text")?;
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    ensure!(first.split(' ').nth(1) == Some("200"), "the answer is `{first}`");
    let length = lines.filter_map(|line| line.split_once(':')).find_map(|(name, value)| {
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let Some(length) = length else { bail!("an answer without a Content-Length") };
    Ok(Some((head + 4 + length).saturating_sub(answer.len())))
}

/// Sends `rate` requests a second for `lasting`, and gives how long each took from the moment it
/// was due. A connection has one request at a time; one that is late makes the next ones late,
/// and that counts.
pub(super) fn at_a_rate(way: &Way, rate: u32, lasting: Duration) -> Result<Distribution> {
    let each = (f64::from(rate) / f64::from(CONNECTIONS) * lasting.as_secs_f64()) as u32;
    let clients = way.open_many(CONNECTIONS as usize)?;
    let start = Instant::now() + Duration::from_millis(20);
    let threads: Vec<_> = (0..CONNECTIONS)
        .zip(clients)
        .map(|(index, mut client)| {
            std::thread::spawn(move || {
                // Wakes when it should, not some 50 µs later. Without, all are as late.
                let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
                let mut times = Vec::with_capacity(each as usize);
                for turn in 0..each {
                    let number = turn * CONNECTIONS + index;
                    let due = start + Duration::from_secs_f64(f64::from(number) / f64::from(rate));
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    client.request()?;
                    times.push(due.elapsed());
                }
                anyhow::Ok(times)
            })
        })
        .collect();
    let mut all = Vec::new();
    for thread in threads {
        let Ok(times) = thread.join() else { bail!("a client ended early") };
        all.extend(times?);
    }
    Ok(all.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_when_its_body_is() {
        let whole = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc";
        assert_eq!(missing(whole).unwrap(), Some(0));
        assert_eq!(missing(&whole[..whole.len() - 2]).unwrap(), Some(2));
        assert_eq!(missing(&whole[..20]).unwrap(), None);
    }

    #[test]
    fn other_answers_are_errors() {
        assert!(missing(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n").is_err());
        assert!(missing(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }

    #[test]
    fn a_rate_is_kept() {
        let origin = crate::origin::Origin::start().unwrap();
        let entry = Entry { plain: origin.address, tls: origin.address };
        let way = Way::to(entry, false).unwrap();
        let start = Instant::now();
        let times = at_a_rate(&way, 640, Duration::from_millis(200)).unwrap();
        assert!(start.elapsed() >= Duration::from_millis(180));
        assert!(times.quantile(1.0) > Duration::ZERO);
    }
}
