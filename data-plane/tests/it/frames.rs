//! A client over HTTP/2 that says exactly what a test wants said.

use std::net::SocketAddr;

use lb_http::h2::{
    PREFACE,
    hpack::{Class, Decoder, Line, Sink},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::proxy::PATIENCE;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RESET: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GO_AWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;

/// The flags that are used here.
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
    /// Of a head.
    pub(crate) fields: Vec<(String, String)>,
}

impl Frame {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(each, _)| each == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn status(&self) -> &str {
        assert_eq!(self.kind, HEADERS, "{self:?}");
        self.field(":status").unwrap()
    }

    pub(crate) fn ends(&self) -> bool {
        self.flags & END_STREAM != 0
    }

    /// The code of a reset, or of the end of the connection.
    pub(crate) fn code(&self) -> u8 {
        assert!([RESET, GO_AWAY].contains(&self.kind), "{self:?}");
        self.payload[if self.kind == RESET { 3 } else { 7 }]
    }
}

pub(crate) struct Frames {
    stream: TcpStream,
    decoder: Decoder,
}

#[derive(Default)]
struct All(Vec<(String, String)>);

impl Sink for All {
    fn field(&mut self, _: Class, line: Line<'_>) {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        self.0.push((text(line.name()), text(line.value())));
    }
}

impl Frames {
    /// Connects and begins, with these settings.
    pub(crate) async fn connect(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let mut frames = Self { stream, decoder: Decoder::default() };
        frames.stream.write_all(PREFACE).await.unwrap();
        let payload = settings
            .iter()
            .flat_map(|(name, value)| name.to_be_bytes().into_iter().chain(value.to_be_bytes()));
        frames.send(SETTINGS, 0, 0, payload.collect::<Vec<_>>()).await;
        frames
    }

    pub(crate) async fn send(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: impl AsRef<[u8]>,
    ) {
        let payload = payload.as_ref();
        let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        self.stream.write_all(&bytes).await.unwrap();
    }

    /// Asks for something; `more` are fields besides the usual.
    pub(crate) async fn ask(
        &mut self,
        stream: u32,
        (method, path): (&str, &str),
        more: &[(&str, &str)],
        flags: u8,
    ) {
        let usual =
            [(":method", method), (":scheme", "http"), (":path", path), (":authority", "a")];
        let block = block(usual.iter().chain(more));
        self.send(HEADERS, END_HEADERS | flags, stream, block).await;
    }

    pub(crate) async fn trailers(&mut self, stream: u32, fields: &[(&str, &str)]) {
        self.send(HEADERS, END_HEADERS | END_STREAM, stream, block(fields.iter())).await;
    }

    /// The next frame that is not about settings or windows; nothing at the end.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            let frame = timeout(PATIENCE, self.any()).await.expect("a frame in time")?;
            if ![SETTINGS, WINDOW_UPDATE].contains(&frame.kind) {
                return Some(frame);
            }
        }
    }

    /// The next frame of a stream.
    pub(crate) async fn of(&mut self, stream: u32) -> Frame {
        loop {
            let frame = self.next().await.expect("a frame of the stream");
            if frame.stream == stream {
                return frame;
            }
        }
    }

    /// The body of an answer whose head was taken.
    pub(crate) async fn body(&mut self, stream: u32) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let frame = self.of(stream).await;
            assert_eq!(frame.kind, DATA, "{frame:?}");
            body.extend_from_slice(&frame.payload);
            if frame.ends() {
                return body;
            }
        }
    }

    /// Takes more of all bodies and of this one.
    pub(crate) async fn open(&mut self, stream: u32, by: u32) {
        self.send(WINDOW_UPDATE, 0, 0, by.to_be_bytes()).await;
        self.send(WINDOW_UPDATE, 0, stream, by.to_be_bytes()).await;
    }

    /// The next frame, be it about windows.
    pub(crate) async fn window_or_next(&mut self) -> Frame {
        timeout(PATIENCE, self.any()).await.expect("a frame in time").expect("a frame")
    }

    async fn any(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        assert!(length <= 16 << 10);
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).await.ok()?;
        let mut all = All::default();
        if head[3] == HEADERS {
            self.decoder.decode(&payload, &mut all).unwrap();
        }
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some(Frame { kind: head[3], flags: head[4], stream, payload, fields: all.0 })
    }
}

/// Fields as they are: literals that are not remembered.
fn block<'a>(fields: impl Iterator<Item = &'a (&'a str, &'a str)>) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            if text.len() < 127 {
                block.push(text.len() as u8);
            } else {
                let rest = text.len() - 127;
                let low = [rest as u8 | 0x80, (rest >> 7) as u8 | 0x80, (rest >> 14) as u8];
                block.push(127);
                block.extend(low);
            }
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}
