//! What comes from the client, frame by frame.
//!
//! Header blocks are decoded whatever becomes of their stream, because both tables must stay the
//! same. A frame is read when all of it is there; the largest is small enough for that.

use super::{
    super::{
        PREFACE,
        budget::Spent,
        closed::By,
        flow::Overflow,
        frame::{self, ACK, END_HEADERS, END_STREAM, ErrorCode, Head, Kind, LARGEST, PRIORITY},
        head::Fault,
        hpack::Corrupt,
    },
    Assembly, Connection, Event, Inbound, LEAVING, Outbound, Stream,
};
use crate::h1::BodyLength;

/// Pieces of a header block, at most (CVE-2024-27316 and its kin).
const PIECES: u32 = 32;

/// Bytes of a body that a frame should bring.
const WORTHWHILE: usize = 64;

impl From<Spent> for ErrorCode {
    fn from(Spent: Spent) -> Self {
        Self::EnhanceYourCalm
    }
}

impl From<Corrupt> for ErrorCode {
    fn from(Corrupt: Corrupt) -> Self {
        Self::Compression
    }
}

impl From<Overflow> for ErrorCode {
    fn from(Overflow: Overflow) -> Self {
        Self::FlowControl
    }
}

type Received = Result<Option<Event>, ErrorCode>;

impl Connection {
    /// Takes frames off the front of `input` until one means something to others. Returns how
    /// many bytes it took, which belong to the event still; without an event more must be read.
    ///
    /// # Errors
    ///
    /// The connection is over and cannot be used; `GOAWAY` waits to be sent.
    pub fn receive(&mut self, input: &[u8]) -> Result<(usize, Option<Event>), ErrorCode> {
        if self.has_failed {
            return Err(ErrorCode::Internal);
        }
        self.receive_frames(input).inspect_err(|code| {
            self.has_failed = true;
            frame::go_away(&mut self.out, self.highest, *code);
        })
    }

    fn receive_frames(&mut self, input: &[u8]) -> Result<(usize, Option<Event>), ErrorCode> {
        let mut at = 0;
        if self.preface < PREFACE.len() {
            let wanted = &PREFACE[self.preface..];
            at = wanted.len().min(input.len());
            if input[..at] != wanted[..at] {
                return Err(ErrorCode::Protocol);
            }
            self.preface += at;
        }
        while let Some(head) = Head::read(&input[at..]) {
            if head.length > LARGEST {
                return Err(ErrorCode::FrameSize);
            }
            let start = at + frame::HEAD;
            let Some(payload) = input.get(start..start + head.length) else {
                break;
            };
            at = start + head.length;
            let mut event = self.frame(head, payload)?;
            if let Some(Event::Data { at, .. }) = &mut event {
                *at += start;
            }
            if event.is_some() {
                return Ok((at, event));
            }
        }
        Ok((at, None))
    }

    fn frame(&mut self, head: Head, payload: &[u8]) -> Received {
        if !self.has_settings && (head.kind != Kind::Settings || head.has(ACK)) {
            return Err(ErrorCode::Protocol);
        }
        let goes_on = head.kind == Kind::Continuation;
        if self.assembly.as_ref().is_some_and(|begun| !goes_on || begun.stream != head.stream) {
            return Err(ErrorCode::Protocol);
        }
        let is_of_connection = head.stream == 0;
        match head.kind {
            Kind::Settings | Kind::Ping | Kind::GoAway if !is_of_connection => {
                Err(ErrorCode::Protocol)
            }
            Kind::Data | Kind::Headers | Kind::Priority | Kind::Reset | Kind::Continuation
                if is_of_connection =>
            {
                Err(ErrorCode::Protocol)
            }
            Kind::Data => self.body(head, payload),
            Kind::Headers => self.headers(head, payload),
            Kind::Continuation => self.continuation(head, payload),
            Kind::Reset => self.reset_by_client(head, payload),
            Kind::Settings => self.settings(head, payload),
            Kind::Ping => self.pinged(head, payload),
            Kind::WindowUpdate => self.window_update(head, payload),
            Kind::GoAway if payload.len() < 8 => Err(ErrorCode::FrameSize),
            Kind::GoAway => {
                self.is_left = true;
                Ok(None)
            }
            // Clients push nothing.
            Kind::PushPromise => Err(ErrorCode::Protocol),
            Kind::Priority => self.priority(head, payload),
            Kind::Unknown => {
                self.budget.frame()?;
                Ok(None)
            }
        }
    }

    /// Whether nobody has used the number of a stream, so that only `HEADERS` may.
    const fn is_unused(&self, stream: u32) -> bool {
        stream > self.highest || stream.is_multiple_of(2)
    }

    /// Resets a stream that broke the rules.
    fn broken(&mut self, key: usize, code: ErrorCode) -> Received {
        self.budget.frame()?;
        self.reset(key, code);
        Ok(Some(Event::Broken { key }))
    }

    fn body(&mut self, head: Head, payload: &[u8]) -> Received {
        let data = frame::unpad(head.flags, payload).ok_or(ErrorCode::Protocol)?;
        let is_last = head.has(END_STREAM);
        self.inbound.receive(payload.len())?;
        if self.is_unused(head.stream) {
            return Err(ErrorCode::Protocol);
        }
        let Some(key) = self.key(head.stream) else {
            self.release_all(payload.len());
            if self.closed.by(head.stream) != Some(By::Us) {
                self.budget.frame()?;
                frame::reset(&mut self.out, head.stream, ErrorCode::StreamClosed);
            }
            return Ok(None);
        };
        let stream = &mut self.streams[key];
        if stream.is_ended {
            self.release_all(payload.len());
            return self.broken(key, ErrorCode::StreamClosed);
        }
        if stream.inbound.receive(payload.len()).is_err() {
            self.release_all(payload.len());
            return self.broken(key, ErrorCode::FlowControl);
        }
        if let Some(promised) = &mut stream.promised {
            match promised.checked_sub(data.len() as u64) {
                Some(left) if left == 0 || !is_last => *promised = left,
                _ => return self.broken(key, ErrorCode::Protocol),
            }
        }
        stream.is_ended = is_last;
        if data.len() >= WORTHWHILE {
            self.budget.data();
        } else if data.is_empty() && !is_last {
            self.budget.frame()?;
        }
        self.release(key, payload.len() - data.len());
        if data.is_empty() && !is_last {
            return Ok(None);
        }
        let at = usize::from(head.has(frame::PADDED));
        Ok(Some(Event::Data { key, at, length: data.len(), is_last }))
    }

    fn headers(&mut self, head: Head, payload: &[u8]) -> Received {
        let mut block = frame::unpad(head.flags, payload).ok_or(ErrorCode::Protocol)?;
        if head.stream.is_multiple_of(2) {
            return Err(ErrorCode::Protocol);
        }
        if head.has(PRIORITY) {
            let (priority, rest) = block.split_at_checked(5).ok_or(ErrorCode::FrameSize)?;
            block = rest;
            if frame::number(priority) == Some(head.stream) {
                return Err(ErrorCode::Protocol);
            }
        }
        if head.has(END_HEADERS) {
            return self.block(head.stream, head.flags, block);
        }
        let (stream, flags, block) = (head.stream, head.flags, block.to_vec());
        self.assembly = Some(Box::new(Assembly { stream, flags, frames: 0, block }));
        Ok(None)
    }

    fn continuation(&mut self, head: Head, payload: &[u8]) -> Received {
        let most = self.settings.head.list.saturating_add(LARGEST);
        let mut assembly = self.assembly.take().ok_or(ErrorCode::Protocol)?;
        assembly.frames += 1;
        assembly.block.extend_from_slice(payload);
        if assembly.frames > PIECES || assembly.block.len() > most {
            return Err(ErrorCode::EnhanceYourCalm);
        }
        if head.has(END_HEADERS) {
            return self.block(assembly.stream, assembly.flags, &assembly.block);
        }
        self.assembly = Some(assembly);
        Ok(None)
    }

    /// Takes a header block that is whole.
    fn block(&mut self, stream: u32, flags: u8, block: &[u8]) -> Received {
        let is_last = flags & END_STREAM != 0;
        let open = self.key(stream);
        let is_new = stream > self.highest;
        self.head.begin(self.settings.head, !is_new);
        self.decoder.decode(block, &mut self.head)?;
        if is_new {
            self.highest = stream;
            return self.request(stream, is_last);
        }
        let Some(key) = open else {
            return match self.closed.by(stream) {
                Some(By::Us) => Ok(None),
                Some(By::Client) => Err(ErrorCode::StreamClosed),
                // Numbers only grow (RFC 9113, 5.1.1).
                None => Err(ErrorCode::Protocol),
            };
        };
        let stream = &mut self.streams[key];
        if stream.is_ended {
            return self.broken(key, ErrorCode::StreamClosed);
        }
        let is_short = stream.promised.is_some_and(|left| left > 0);
        if !is_last || is_short || self.head.finish().is_err() {
            return self.broken(key, ErrorCode::Protocol);
        }
        stream.is_ended = true;
        Ok(Some(Event::Trailers { key }))
    }

    fn request(&mut self, id: u32, is_last: bool) -> Received {
        if self.refuses {
            // The client was told that it comes too late.
            self.closed.note(id, By::Us);
            return Ok(None);
        }
        if self.active >= self.settings.streams {
            self.budget.frame()?;
            frame::reset(&mut self.out, id, ErrorCode::RefusedStream);
            self.closed.note(id, By::Us);
            return Ok(None);
        }
        let fault = self.head.finish().err();
        let promised = self.head.content_length();
        if fault == Some(Fault::Malformed) || is_last && promised.is_some_and(|left| left > 0) {
            self.budget.frame()?;
            frame::reset(&mut self.out, id, ErrorCode::Protocol);
            self.closed.note(id, By::Us);
            return Ok(Some(Event::Malformed));
        }
        self.budget.request();
        let stream = Stream {
            inbound: Inbound::new(self.settings.stream_window),
            outbound: Outbound::new(self.peer.window),
            promised,
            is_ended: is_last,
            is_answered: false,
        };
        let key = if let Some(free) = self.key(0) {
            self.ids[free] = id;
            self.streams[free] = stream;
            free
        } else {
            self.ids.push(id);
            self.streams.push(stream);
            self.ids.len() - 1
        };
        self.active += 1;
        let length = if is_last { BodyLength::Empty } else { self.head.body() };
        Ok(Some(Event::Request { key, length, fault }))
    }

    fn priority(&mut self, head: Head, payload: &[u8]) -> Received {
        if payload.len() != 5 {
            return match self.key(head.stream) {
                Some(key) => self.broken(key, ErrorCode::FrameSize),
                None => Err(ErrorCode::FrameSize),
            };
        }
        if frame::number(payload) == Some(head.stream) {
            return Err(ErrorCode::Protocol);
        }
        self.budget.frame()?;
        Ok(None)
    }

    fn reset_by_client(&mut self, head: Head, payload: &[u8]) -> Received {
        if payload.len() != 4 {
            return Err(ErrorCode::FrameSize);
        }
        if self.is_unused(head.stream) {
            return Err(ErrorCode::Protocol);
        }
        let Some(key) = self.key(head.stream) else {
            self.budget.frame()?;
            return Ok(None);
        };
        if self.streams[key].is_answered {
            self.budget.frame()?;
        } else {
            self.budget.cancel()?;
        }
        self.close(key, By::Client);
        Ok(Some(Event::Reset { key }))
    }

    fn settings(&mut self, head: Head, payload: &[u8]) -> Received {
        if head.has(ACK) {
            return if payload.is_empty() { Ok(None) } else { Err(ErrorCode::FrameSize) };
        }
        self.budget.frame()?;
        let before = i64::from(self.peer.window);
        self.peer.update(payload)?;
        let by = i64::from(self.peer.window) - before;
        for (id, stream) in self.ids.iter().zip(&mut self.streams) {
            if *id != 0 {
                stream.outbound.change(by)?;
            }
        }
        self.encoder.set_limit(self.peer.table as usize);
        self.has_settings = true;
        frame::write_head(&mut self.out, 0, Kind::Settings, ACK, 0);
        Ok(Some(Event::Room))
    }

    fn pinged(&mut self, head: Head, payload: &[u8]) -> Received {
        if payload.len() != 8 {
            return Err(ErrorCode::FrameSize);
        }
        if head.has(ACK) {
            return Ok((payload == LEAVING).then_some(Event::Heard));
        }
        self.budget.frame()?;
        frame::ping(&mut self.out, ACK, payload);
        Ok(None)
    }

    fn window_update(&mut self, head: Head, payload: &[u8]) -> Received {
        if payload.len() != 4 {
            return Err(ErrorCode::FrameSize);
        }
        let by = frame::number(payload).unwrap_or(0);
        if (by as usize) < WORTHWHILE {
            self.budget.frame()?;
        }
        if head.stream == 0 {
            if by == 0 {
                return Err(ErrorCode::Protocol);
            }
            self.outbound.change(i64::from(by))?;
            return Ok(Some(Event::Room));
        }
        if self.is_unused(head.stream) {
            return Err(ErrorCode::Protocol);
        }
        let Some(key) = self.key(head.stream) else {
            self.budget.frame()?;
            return Ok(None);
        };
        if by == 0 {
            return self.broken(key, ErrorCode::Protocol);
        }
        match self.streams[key].outbound.change(i64::from(by)) {
            Ok(()) => Ok(Some(Event::Room)),
            Err(Overflow) => self.broken(key, ErrorCode::FlowControl),
        }
    }
}
