//! A client that sends any bytes, and takes any answer apart without being forgiving.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout_at},
};

use crate::backend::find;

/// One connection.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// Why there is no further answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The connection was closed between answers, in order or by a reset.
    Closed,
    /// Nothing came for the whole of the limit; these bytes had come.
    Silent(String),
    /// What came is not the head of an answer.
    Garbled(String),
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its fields, names in lower case.
    pub fields: Vec<(String, String)>,
    /// Its body in so far as it came.
    pub body: Vec<u8>,
    /// Whether that is all of it.
    pub is_whole: bool,
}

impl Answer {
    /// The first field of this name.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(each, _)| each == name).map(|(_, value)| value.as_str())
    }

    /// What the origin says it saw.
    pub fn seen(&self) -> Option<&str> {
        self.field("x-seen")
    }

    /// In short, for messages.
    pub fn brief(&self) -> String {
        let whole = if self.is_whole { "" } else { ", cut" };
        match self.seen() {
            Some(seen) => format!("{} to `{seen}`{whole}", self.status),
            None => format!("{}{whole}", self.status),
        }
    }
}

/// A request that is known by its marker wherever it turns up.
pub fn probe(marker: &str) -> Vec<u8> {
    format!("GET /probe HTTP/1.1\r\nHost: probe\r\nX-Marker: {marker}\r\n\r\n").into_bytes()
}

/// Whether this is what an origin answers to the probe with this marker.
pub fn is_answer_to_probe(answer: &Result<Answer, End>, marker: &str) -> bool {
    let seen = format!("GET /probe {marker}");
    answer.as_ref().is_ok_and(|answer| {
        answer.status == 200
            && answer.is_whole
            && answer.seen() == Some(&seen)
            && answer.body == format!("{seen}\n").into_bytes()
    })
}

impl Wire {
    /// Connects.
    pub async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection to the proxy");
        stream.set_nodelay(true).expect("a socket");
        Self { stream, buffer: Vec::new() }
    }

    /// Sends bytes; says whether the other side still takes any.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// Says that nothing more will come.
    pub async fn finish(&mut self) {
        drop(self.stream.shutdown().await);
    }

    /// Resets the connection.
    pub fn reset(self) {
        drop(self.stream.set_zero_linger());
    }

    /// Reads one answer, interim or final; `is_head` when it cannot have a body.
    pub async fn answer(&mut self, limit: Duration, is_head: bool) -> Result<Answer, End> {
        let deadline = Instant::now() + limit;
        let end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
            match self.more(deadline).await {
                Some(1..) => {}
                Some(0) if self.buffer.is_empty() => return Err(End::Closed),
                Some(0) => return Err(End::Garbled(self.rest())),
                None => return Err(End::Silent(self.rest())),
            }
        };
        let head: Vec<u8> = self.buffer.drain(..end).collect();
        let text = String::from_utf8_lossy(&head).into_owned();
        let (status, fields) = parse(&text).ok_or_else(|| End::Garbled(text.clone()))?;
        let all = |name: &str| -> Vec<&str> {
            let of_name = fields.iter().filter(|(each, _)| each == name);
            of_name.map(|(_, value)| value.as_str()).collect()
        };
        let has_seen_head = all("x-seen").first().is_some_and(|seen| seen.starts_with("HEAD "));
        let mut answer = Answer { status, fields: Vec::new(), body: Vec::new(), is_whole: true };
        let has_none = is_head || has_seen_head || matches!(status, 100..=199 | 204 | 304);
        match (&all("content-length")[..], &all("transfer-encoding")[..]) {
            _ if has_none => {}
            ([length], []) => {
                let length = length.parse().map_err(|_| End::Garbled(text.clone()))?;
                answer.is_whole = self.fill(length, deadline).await;
                let taken = self.buffer.len().min(length);
                answer.body = self.buffer.drain(..taken).collect();
            }
            ([], ["chunked"]) => {
                (answer.body, answer.is_whole) = self.chunks(deadline).await?;
            }
            ([], []) => {
                while matches!(self.more(deadline).await, Some(1..)) {}
                answer.body = std::mem::take(&mut self.buffer);
            }
            _ => return Err(End::Garbled(text)),
        }
        answer.fields = fields;
        Ok(answer)
    }

    async fn chunks(&mut self, deadline: Instant) -> Result<(Vec<u8>, bool), End> {
        let mut body = Vec::new();
        loop {
            let line = loop {
                if let Some(at) = find(&self.buffer, b"\r\n") {
                    break self.buffer.drain(..at + 2).collect::<Vec<_>>();
                }
                if !matches!(self.more(deadline).await, Some(1..)) {
                    return Ok((body, false));
                }
            };
            let line = String::from_utf8_lossy(&line).into_owned();
            let size = usize::from_str_radix(line.trim_end(), 16);
            let Ok(size) = size else { return Err(End::Garbled(line)) };
            if size == 0 {
                return Ok((body, self.trailers(deadline).await));
            }
            let is_whole = self.fill(size + 2, deadline).await;
            let taken = self.buffer.len().min(size);
            body.extend(self.buffer.drain(..taken));
            if !is_whole {
                return Ok((body, false));
            }
            if self.buffer.drain(..2).collect::<Vec<_>>() != b"\r\n" {
                return Err(End::Garbled("a chunk without its end".to_owned()));
            }
        }
    }

    /// Takes the fields behind the last chunk, and the empty line.
    async fn trailers(&mut self, deadline: Instant) -> bool {
        loop {
            match find(&self.buffer, b"\r\n") {
                Some(0) => {
                    self.buffer.drain(..2);
                    return true;
                }
                Some(at) => drop(self.buffer.drain(..at + 2)),
                None if matches!(self.more(deadline).await, Some(1..)) => {}
                None => return false,
            }
        }
    }

    async fn fill(&mut self, count: usize, deadline: Instant) -> bool {
        while self.buffer.len() < count {
            if !matches!(self.more(deadline).await, Some(1..)) {
                return false;
            }
        }
        true
    }

    /// Bytes read, none at the end; nothing when it takes too long.
    async fn more(&mut self, deadline: Instant) -> Option<usize> {
        // A reset ends it as well.
        let read = timeout_at(deadline, self.stream.read_buf(&mut self.buffer)).await;
        read.ok().map(|read| read.unwrap_or(0))
    }

    fn rest(&self) -> String {
        String::from_utf8_lossy(&self.buffer[..self.buffer.len().min(200)]).into_owned()
    }
}

fn parse(head: &str) -> Option<(u16, Vec<(String, String)>)> {
    let mut lines = head.strip_suffix("\r\n\r\n")?.split("\r\n");
    let line = lines.next()?;
    let line = line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 "))?;
    let status = line.get(..3)?.parse().ok()?;
    let fields = lines.map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    });
    Some((status, fields.collect::<Option<_>>()?))
}
