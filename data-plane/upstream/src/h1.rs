//! One HTTP/1.1 connection to a backend, and the exchange on it.
//!
//! A [`Connection`] is driven by whoever waits for it: it has no task of its own and no channel.
//! It writes a head that was put together elsewhere, carries the request body beside it, reads
//! the response head, and gives the response body where it lies in the buffer. After a response
//! that was read to its end it can be used again, if nobody said otherwise and not a byte more
//! than the response came.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::Method;
use lb_http::{
    Buffer, Fields, Incoming, Part, ReadError, Reason, Source,
    h1::{BodyLength, Limits, Progress, ResponseHead, Status, encode},
};
use tokio::{io::AsyncWrite, net::TcpStream, time::Instant};

/// What is taken of a response head.
const HEAD: Limits = Limits { start_line: 16 << 10, fields: 256 << 10, count: 1024 };

/// The most bytes of a head and of what came with it.
const MAX_HEAD: usize = (HEAD.start_line + HEAD.fields) * 2;

/// Answers before the last one that are taken: more are a backend gone wild.
const MAX_INTERIM: u8 = 32;

/// Bodies up to this size are written together with what goes before them.
const COPIED: usize = 4 << 10;

/// How much may wait to be written before more of a body is asked for.
const QUEUE: usize = 16 << 10;

/// Room that an idle connection keeps.
const KEPT: usize = 16 << 10;

/// Why an exchange failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The connection broke.
    #[error("the backend closed the connection")]
    Reset(#[source] io::Error),
    /// What came is not HTTP/1.1.
    #[error("the backend sent an invalid response: {0}")]
    Invalid(&'static str),
    /// The request body failed, which is not the backend's fault.
    #[error("the request body broke off")]
    Upload(Reason),
}

/// What [`Connection::poll_head`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// An answer before the last one; [`Connection::response`] has it until the next call.
    Interim,
    /// The last one.
    Final,
}

/// How far the request body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Upload {
    /// So many bytes to come.
    Exact(u64),
    /// In chunks.
    Chunked,
    /// All of it is written, or waits to be.
    Over,
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    opened: Instant,
    /// What waits to be written.
    out: Vec<u8>,
    written: usize,
    upload: Upload,
    /// A body byte was taken from the source.
    took_body: bool,
    /// A byte was written.
    has_written: bool,
    /// The backend did not take what was to be written.
    is_blocked: bool,
    /// Writing failed: there may still be an answer to read, and nothing after it.
    is_broken: bool,
    incoming: Incoming,
    progress: Progress,
    response: ResponseHead,
    interims: u8,
    is_answered: bool,
    keeps_alive: bool,
}

impl Connection {
    /// A connection that was just opened.
    pub fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            opened: Instant::now(),
            out: Vec::new(),
            written: 0,
            upload: Upload::Over,
            took_body: false,
            has_written: false,
            is_blocked: false,
            is_broken: false,
            incoming: Incoming::default(),
            progress: Progress::default(),
            response: ResponseHead::default(),
            interims: 0,
            is_answered: false,
            keeps_alive: true,
        }
    }

    /// How old it is at `now`.
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.opened)
    }

    /// Begins an exchange with this request head and a body of `length`.
    pub fn begin(&mut self, head: &[u8], length: BodyLength) {
        self.out.clear();
        self.out.extend_from_slice(head);
        self.written = 0;
        self.upload = match length {
            BodyLength::Empty => Upload::Over,
            BodyLength::Exact(length) => Upload::Exact(length),
            BodyLength::Chunked | BodyLength::UntilClose => Upload::Chunked,
        };
        (self.took_body, self.has_written, self.is_broken) = (false, false, false);
        self.progress = Progress::default();
        self.interims = 0;
        self.is_answered = false;
    }

    /// Whether an idle connection looks as it should: open, and nothing came unasked.
    pub fn is_quiet(&self) -> bool {
        let probe = self.stream.try_read(&mut [0]);
        matches!(probe, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Whether the backend cannot have seen anything of the request, or nothing that sending it
    /// again could do twice.
    pub fn may_resend(&self, is_idempotent: bool) -> bool {
        !self.took_body
            && self.interims == 0
            && self.incoming.buffer.is_empty()
            && (is_idempotent || !self.has_written)
    }

    /// Whether the request was written to its end.
    pub fn is_sent(&self) -> bool {
        self.upload == Upload::Over && self.written == self.out.len() && !self.is_broken
    }

    /// Whether the backend does not take what waits to be written.
    pub const fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    /// Writes the request and as much of its body as there is; is ready when all is written.
    /// Says in `moved` whether anything was.
    ///
    /// # Errors
    ///
    /// [`CallError::Upload`]. A backend that takes no more may have answered already, so that is
    /// not one.
    pub fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut impl Source,
        moved: &mut bool,
    ) -> Poll<Result<(), CallError>> {
        self.is_blocked = false;
        loop {
            let mut has_data = false;
            if self.upload != Upload::Over && self.out.len() - self.written < QUEUE {
                match source.poll_part(cx).map_err(CallError::Upload)? {
                    Poll::Ready(Part::Data) => {
                        if self.queue(source)? {
                            continue;
                        }
                        has_data = true;
                    }
                    Poll::Ready(Part::End) => {
                        match self.upload {
                            // Less than was announced.
                            Upload::Exact(1..) => {
                                return Poll::Ready(Err(CallError::Upload(Reason::BadRequest)));
                            }
                            Upload::Chunked => {
                                encode::last_chunk(&mut self.out, source.trailers());
                            }
                            Upload::Exact(0) | Upload::Over => {}
                        }
                        self.upload = Upload::Over;
                    }
                    Poll::Pending => {}
                }
            }
            let data = if has_data { source.data() } else { &[] };
            let waiting = self.out.len() - self.written;
            if waiting == 0 && data.is_empty() {
                return if self.upload == Upload::Over {
                    Poll::Ready(Ok(()))
                } else {
                    Poll::Pending
                };
            }
            match write(&mut self.stream, cx, &self.out[self.written..], data) {
                Poll::Pending => {
                    self.is_blocked = true;
                    return Poll::Pending;
                }
                Poll::Ready(Ok(count)) => {
                    *moved = true;
                    self.has_written = true;
                    let of_queue = count.min(waiting);
                    self.written += of_queue;
                    if self.written == self.out.len() {
                        self.out.clear();
                        self.written = 0;
                    }
                    if count > of_queue {
                        self.took(source, count - of_queue);
                    }
                }
                Poll::Ready(Err(_)) => {
                    self.is_broken = true;
                    self.upload = Upload::Over;
                    self.out.clear();
                    self.written = 0;
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }

    /// Takes the data of `source` into the queue, unless it is better written from where it is.
    fn queue(&mut self, source: &mut impl Source) -> Result<bool, CallError> {
        let data = source.data();
        let count = data.len();
        match self.upload {
            Upload::Exact(left) => {
                // More than was announced.
                if count as u64 > left {
                    return Err(CallError::Upload(Reason::BadRequest));
                }
                if count > COPIED {
                    return Ok(false);
                }
                self.out.extend_from_slice(data);
            }
            Upload::Chunked | Upload::Over => encode::chunk(&mut self.out, data),
        }
        self.took(source, count);
        Ok(true)
    }

    fn took(&mut self, source: &mut impl Source, count: usize) {
        self.took_body = true;
        source.consume(count);
        if let Upload::Exact(left) = &mut self.upload {
            *left = left.saturating_sub(count as u64);
            if *left == 0 {
                self.upload = Upload::Over;
            }
        }
    }

    /// Reads a response head to a request with `method`.
    ///
    /// # Errors
    ///
    /// [`CallError::Reset`] and [`CallError::Invalid`].
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        method: &Method,
    ) -> Poll<Result<Head, CallError>> {
        let buffer = &mut self.incoming.buffer;
        loop {
            if !buffer.is_empty() {
                let read = self.response.read(&mut self.progress, buffer.filled(), &HEAD);
                match read {
                    Ok(Status::Complete(length)) => {
                        buffer.consume(length);
                        self.progress = Progress::default();
                        return Poll::Ready(self.take_head(method));
                    }
                    Ok(Status::Partial) => {}
                    Err(_) => return invalid("its head is malformed or too large"),
                }
            }
            let read = ready!(buffer.poll_fill(cx, &mut self.stream, MAX_HEAD));
            match read {
                Ok(0) if buffer.is_empty() => {
                    return Poll::Ready(Err(CallError::Reset(io::ErrorKind::UnexpectedEof.into())));
                }
                Ok(0) => return invalid("its head is incomplete"),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::OutOfMemory => {
                    return invalid("its head is too large");
                }
                Err(error) => return Poll::Ready(Err(CallError::Reset(error))),
            }
        }
    }

    fn take_head(&mut self, method: &Method) -> Result<Head, CallError> {
        let status = self.response.status.as_u16();
        if status < 200 && status != 101 {
            self.interims += 1;
            if self.interims > MAX_INTERIM {
                return Err(CallError::Invalid("too many answers before the last one"));
            }
            return Ok(Head::Interim);
        }
        let length = self.response.body(method);
        self.is_answered = true;
        self.keeps_alive =
            self.response.keeps_alive() && status != 101 && length != BodyLength::UntilClose;
        self.incoming.expect(length);
        Ok(Head::Final)
    }

    /// The response head.
    pub const fn response(&self) -> &ResponseHead {
        &self.response
    }

    /// Reads the response body on.
    ///
    /// # Errors
    ///
    /// [`Reason::UpstreamReset`] or [`Reason::UpstreamInvalid`].
    pub fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Part, Reason>> {
        self.incoming.poll_part(cx, &mut self.stream).map_err(reason_of)
    }

    /// The part that is there without reading.
    ///
    /// # Errors
    ///
    /// As [`Connection::poll_part`].
    pub fn part(&mut self) -> Result<Option<Part>, Reason> {
        self.incoming.part().map_err(reason_of)
    }

    /// The bytes of the part.
    pub fn data(&self) -> &[u8] {
        self.incoming.data()
    }

    /// Drops the first `count` of them.
    pub fn consume(&mut self, count: usize) {
        self.incoming.consume(count);
    }

    /// The trailers behind the response.
    pub fn trailers(&self) -> Option<&Fields> {
        self.incoming.trailers()
    }

    /// Whether the whole response was used.
    pub fn is_over(&self) -> bool {
        self.incoming.is_done()
    }

    /// Whether another request may be sent.
    pub fn is_reusable(&self) -> bool {
        self.is_answered
            && self.keeps_alive
            && self.is_sent()
            && self.incoming.is_done()
            && self.incoming.buffer.is_empty()
    }

    /// Gives up room that was needed once.
    pub fn shrink(&mut self) {
        if self.out.capacity() > KEPT {
            self.out = Vec::new();
        }
        if self.response.fields.capacity() > KEPT {
            self.response.fields = Fields::new();
        }
    }

    /// The stream and what was read from it, after a switch of protocols.
    pub fn into_parts(self) -> (TcpStream, Buffer) {
        (self.stream, self.incoming.buffer)
    }
}

const fn invalid(what: &'static str) -> Poll<Result<Head, CallError>> {
    Poll::Ready(Err(CallError::Invalid(what)))
}

#[allow(clippy::needless_pass_by_value, reason = "used as a function to map errors with")]
fn reason_of(error: ReadError) -> Reason {
    match error {
        ReadError::Io(_) | ReadError::Incomplete => Reason::UpstreamReset,
        ReadError::Malformed(_) => Reason::UpstreamInvalid,
    }
}

/// Writes from the first of two slices, and from both at once where that is possible.
fn write(
    stream: &mut TcpStream,
    cx: &mut Context<'_>,
    first: &[u8],
    second: &[u8],
) -> Poll<io::Result<usize>> {
    let stream = Pin::new(stream);
    let written = if second.is_empty() {
        stream.poll_write(cx, first)
    } else if first.is_empty() {
        stream.poll_write(cx, second)
    } else {
        stream.poll_write_vectored(cx, &[io::IoSlice::new(first), io::IoSlice::new(second)])
    };
    written.map(|result| match result {
        Ok(0) => Err(io::ErrorKind::WriteZero.into()),
        result => result,
    })
}

#[cfg(test)]
mod tests;
