//! A connection: its streams, and what is said on them.
//!
//! Streams have a key, a small number that is given to another stream when they are over. What
//! is to be sent gathers in [`Connection::out`]; whoever drives the connection sends it and never
//! takes more from the client while too much waits there.

mod receive;

use http::StatusCode;

use super::{
    budget::Budget,
    closed::{By, Closed},
    flow::{Inbound, Outbound},
    frame::{self, END_HEADERS, END_STREAM, ErrorCode, Kind, LARGEST},
    head::{Fault, Limits, RequestHead},
    hpack::{Decoder, Encoder},
    settings::{self, MOST, WINDOW},
};
use crate::{
    fields::{Field, Known},
    h1::BodyLength,
};

/// What tells our pings apart.
const ALIVE: &[u8; 8] = b"alive?\0\0";
const LEAVING: &[u8; 8] = b"leaving\0";

/// What a connection allows.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Limits on heads.
    pub head: Limits,
    /// Streams at a time.
    pub streams: usize,
    /// Bytes of a stream's body that wait to be used.
    pub stream_window: u32,
    /// Bytes of all bodies that wait to be used.
    pub window: u32,
}

/// What a client did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Asked for something: [`Connection::head`] has it. It is to be answered, if need be with a
    /// refusal.
    Request {
        /// The stream.
        key: usize,
        /// How long the body is.
        length: BodyLength,
        /// What speaks against it.
        fault: Option<Fault>,
    },
    /// Asked for something that is no request; the stream was reset.
    Malformed,
    /// Sent some of a body.
    Data {
        /// The stream.
        key: usize,
        /// Where it begins in what was received.
        at: usize,
        /// How much it is.
        length: usize,
        /// Whether the body ends with it.
        is_last: bool,
    },
    /// Sent trailers, which [`Connection::head`] has, and ended the body.
    Trailers {
        /// The stream.
        key: usize,
    },
    /// Wants no answer any more. The stream is gone.
    Reset {
        /// The stream.
        key: usize,
    },
    /// Broke the rules on a stream, which was reset and is gone.
    Broken {
        /// The stream.
        key: usize,
    },
    /// Takes more than before.
    Room,
    /// Has heard that the connection will end, so that all it sends from here on it sent knowing.
    Heard,
}

#[derive(Debug)]
struct Stream {
    inbound: Inbound,
    outbound: Outbound,
    /// Bytes that `content-length` promises still.
    promised: Option<u64>,
    /// Whether the client has said all.
    is_ended: bool,
    /// Whether the head of the answer was sent.
    is_answered: bool,
}

/// A header block that comes in pieces.
#[derive(Debug)]
struct Assembly {
    stream: u32,
    flags: u8,
    frames: u32,
    block: Vec<u8>,
}

/// A client's connection.
#[derive(Debug)]
pub struct Connection {
    /// What is to be sent.
    pub out: Vec<u8>,
    /// The head of the last request, or the trailers.
    pub head: RequestHead,
    settings: Settings,
    peer: settings::Settings,
    decoder: Decoder,
    encoder: Encoder,
    /// The numbers of open streams by their keys; 0 is none.
    ids: Vec<u32>,
    streams: Vec<Stream>,
    active: usize,
    highest: u32,
    closed: Closed,
    inbound: Inbound,
    outbound: Outbound,
    assembly: Option<Box<Assembly>>,
    /// Bytes of the preface that came.
    preface: usize,
    has_settings: bool,
    /// New streams come too late.
    refuses: bool,
    /// The client will open no more.
    is_left: bool,
    has_failed: bool,
    budget: Budget,
    /// Where in `out` the last frame of data begins.
    last_data: usize,
    /// A field that is put together.
    line: Vec<u8>,
}

impl Connection {
    /// A connection on which nothing was said. Our settings wait to be sent.
    pub fn new(settings: Settings) -> Self {
        let mut out = Vec::new();
        let list = u32::try_from(settings.head.list).unwrap_or(u32::MAX);
        settings::write(&mut out, settings.streams as u32, settings.stream_window, list);
        if settings.window > WINDOW {
            frame::window_update(&mut out, 0, settings.window - WINDOW);
        }
        Self {
            out,
            head: RequestHead::default(),
            settings,
            peer: settings::Settings::default(),
            decoder: Decoder::default(),
            encoder: Encoder::default(),
            ids: Vec::new(),
            streams: Vec::new(),
            active: 0,
            highest: 0,
            closed: Closed::default(),
            inbound: Inbound::new(settings.window.max(WINDOW)),
            outbound: Outbound::new(WINDOW),
            assembly: None,
            preface: 0,
            has_settings: false,
            refuses: false,
            is_left: false,
            has_failed: false,
            budget: Budget::new(),
            last_data: 0,
            line: Vec::new(),
        }
    }

    /// How many streams are open.
    pub const fn active(&self) -> usize {
        self.active
    }

    /// Whether no further stream comes: the client said so, or was told that it comes too late.
    pub const fn is_leaving(&self) -> bool {
        self.is_left || self.refuses
    }

    /// Whether a stream has this key.
    pub fn is_open(&self, key: usize) -> bool {
        self.ids.get(key).is_some_and(|id| *id != 0)
    }

    /// How many bytes of a body the client takes now, in one frame; nothing if it wants none any
    /// more.
    pub fn room(&self, key: usize) -> Option<usize> {
        let stream = self.streams.get(key).filter(|_| self.is_open(key))?;
        let windows = stream.outbound.room().min(self.outbound.room());
        Some(windows.min(LARGEST).min(self.peer.frame as usize))
    }

    /// Sends bytes of a body, as far as there is [room](Self::room) for them. Returns how many
    /// these were; none, if the client wants none any more.
    pub fn data(&mut self, key: usize, data: &[u8]) -> usize {
        let count = data.len().min(self.room(key).unwrap_or(0));
        if count > 0 {
            self.last_data = self.out.len();
            frame::write_head(&mut self.out, count, Kind::Data, 0, self.ids[key]);
            self.out.extend_from_slice(&data[..count]);
            self.streams[key].outbound.sent(count);
            self.outbound.sent(count);
        }
        count
    }

    /// Ends a body: with the frame that was just written, if `is_in_last`, which nothing may have
    /// come behind, or with an empty one.
    pub fn end_data(&mut self, key: usize, is_in_last: bool) {
        if !self.is_open(key) {
            return;
        }
        match self.out.get_mut(self.last_data + 4) {
            Some(flags) if is_in_last => *flags |= END_STREAM,
            _ => frame::write_head(&mut self.out, 0, Kind::Data, END_STREAM, self.ids[key]),
        }
        self.end(key);
    }

    /// Begins the head of an answer, be it not the last one; nothing if the client wants none any
    /// more.
    pub fn answer(&mut self, key: usize, status: StatusCode) -> Option<HeadWriter<'_>> {
        let stream = self.streams.get_mut(key).filter(|_| self.ids[key] != 0)?;
        stream.is_answered |= !status.is_informational();
        let writer = HeadWriter::new(self, key);
        writer.connection.encoder.status(&mut writer.connection.out, status);
        Some(writer)
    }

    /// Begins trailers, which end a body.
    pub fn trailers(&mut self, key: usize) -> Option<HeadWriter<'_>> {
        self.is_open(key).then(|| HeadWriter::new(self, key))
    }

    /// Says that a stream is over, for whatever reason.
    pub fn reset(&mut self, key: usize, code: ErrorCode) {
        if self.is_open(key) {
            frame::reset(&mut self.out, self.ids[key], code);
            self.close(key, By::Us);
        }
    }

    /// Notes that bytes of a request body were used.
    pub fn release(&mut self, key: usize, count: usize) {
        if !self.is_open(key) {
            // They were counted when it closed.
            return;
        }
        let stream = &mut self.streams[key];
        if let Some(by) = stream.inbound.release(count)
            && !stream.is_ended
        {
            frame::window_update(&mut self.out, self.ids[key], by);
        }
        self.release_all(count);
    }

    fn release_all(&mut self, count: usize) {
        if let Some(by) = self.inbound.release(count) {
            frame::window_update(&mut self.out, 0, by);
        }
    }

    /// Asks the client whether it is there.
    pub fn ping(&mut self) {
        frame::ping(&mut self.out, 0, ALIVE);
    }

    /// Says that the connection will end, without refusing what is on its way;
    /// [`Event::Heard`] follows (RFC 9113, 6.8).
    pub fn announce_end(&mut self) {
        frame::go_away(&mut self.out, MOST, ErrorCode::NoError);
        frame::ping(&mut self.out, 0, LEAVING);
    }

    /// Says that the connection ends with the streams there are.
    pub fn refuse_streams(&mut self) {
        if !self.refuses {
            self.refuses = true;
            frame::go_away(&mut self.out, self.highest, ErrorCode::NoError);
        }
    }

    /// Some seconds have passed.
    pub fn refill(&mut self) {
        self.budget.refill();
        if self.active == 0 {
            self.closed.shrink();
            self.ids = Vec::new();
            self.streams = Vec::new();
            self.head = RequestHead::default();
        }
    }

    /// The answer was sent to its end.
    fn end(&mut self, key: usize) {
        self.budget.answer();
        if self.streams[key].is_ended {
            self.close(key, By::Client);
        } else {
            // Nobody reads the rest of the request (RFC 9113, 8.1).
            self.reset(key, ErrorCode::NoError);
        }
    }

    /// Gives a key back.
    fn close(&mut self, key: usize, by: By) {
        let id = std::mem::take(&mut self.ids[key]);
        self.closed.note(id, by);
        self.active -= 1;
        let held = self.streams[key].inbound.held();
        self.release_all(held as usize);
    }

    fn key(&self, id: u32) -> Option<usize> {
        self.ids.iter().position(|open| *open == id)
    }
}

/// Writes a head into [`Connection::out`].
#[derive(Debug)]
pub struct HeadWriter<'a> {
    connection: &'a mut Connection,
    key: usize,
    /// Where its frame begins.
    start: usize,
}

impl<'a> HeadWriter<'a> {
    fn new(connection: &'a mut Connection, key: usize) -> Self {
        let start = connection.out.len();
        let id = connection.ids[key];
        frame::write_head(&mut connection.out, 0, Kind::Headers, END_HEADERS, id);
        connection.encoder.begin(&mut connection.out);
        Self { connection, key, start }
    }

    /// Writes a field by its line as HTTP/1.1 has it.
    pub fn line(&mut self, field: &Field<'_>, line: &[u8]) {
        self.connection.encoder.field(&mut self.connection.out, field, line);
    }

    /// Writes a field.
    pub fn field(&mut self, name: &'static str, value: &[u8]) {
        let name = name.as_bytes();
        let mut line = std::mem::take(&mut self.connection.line);
        line.clear();
        crate::h1::encode::field(&mut line, name, value);
        self.line(&Field { known: Known::of(name), name, value }, &line);
        self.connection.line = line;
    }

    /// Ends the head, and with it the answer if `is_last`.
    pub fn finish(self, is_last: bool) {
        let Self { connection, key, start } = self;
        let out = &mut connection.out;
        let length = out.len() - start - frame::HEAD;
        if is_last {
            out[start + 4] |= END_STREAM;
        }
        if length <= LARGEST {
            frame::set_length(out, start, length);
        } else {
            split(out, start, connection.ids[key]);
        }
        if is_last {
            connection.end(key);
        }
    }
}

/// Makes frames of a block that is too long for one (RFC 9113, 4.3).
fn split(out: &mut Vec<u8>, start: usize, stream: u32) {
    let rest = out.split_off(start + frame::HEAD + LARGEST);
    frame::set_length(out, start, LARGEST);
    out[start + 4] &= !END_HEADERS;
    let mut pieces = rest.chunks(LARGEST).peekable();
    while let Some(piece) = pieces.next() {
        let flags = if pieces.peek().is_none() { END_HEADERS } else { 0 };
        frame::write_head(out, piece.len(), Kind::Continuation, flags, stream);
        out.extend_from_slice(piece);
    }
}

#[cfg(test)]
mod tests;
