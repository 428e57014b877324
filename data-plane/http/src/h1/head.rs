//! Reads the heads of requests and responses (RFC 9112, 2 to 5).
//!
//! A head may arrive in pieces: [`Progress`] remembers the lines that were read, so that what
//! came before is not read again. When the last line is there the whole head is copied into the
//! [`Fields`] and the buffer is free. What a message says about its own length and its connection
//! is gathered on the way.

use http::{Method, StatusCode, Version};

use super::{
    body::BodyLength,
    syntax::{control, members, target_end, token_end, trim},
};
use crate::fields::{Fields, Known, Place};

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is not a head of HTTP/1.1, or one that can be read in two ways.
    #[error("malformed message")]
    Malformed,
    /// The first line is too long.
    #[error("the first line is too long")]
    StartLine,
    /// The fields are too large, or there are too many.
    #[error("the header fields are too large")]
    Fields,
}

/// Limits on a head; `usize::MAX` is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the first line.
    pub start_line: usize,
    /// Bytes of all fields together, ends of lines included.
    pub fields: usize,
    /// Number of fields.
    pub count: usize,
}

/// How far the reading has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The end is still to come.
    Partial,
    /// The head ends after this many bytes.
    Complete(usize),
}

/// The part of a head that was read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Progress {
    /// Where the next line begins.
    line: usize,
    /// Where the fields begin, once the first line was read.
    fields: Option<usize>,
}

/// What the fields say about the message itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Facts {
    length: Option<u64>,
    is_chunked: bool,
    hosts: u8,
    says_close: bool,
    says_keep_alive: bool,
    says_upgrade: bool,
    /// `Connection` names other fields.
    nominates: bool,
}

/// The head of a request.
#[derive(Debug, Clone)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// The fields.
    pub fields: Fields,
    target: (u32, u32),
    facts: Facts,
}

/// The head of a response.
#[derive(Debug, Clone)]
pub struct ResponseHead {
    /// The status.
    pub status: StatusCode,
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// The fields.
    pub fields: Fields,
    reason: (u32, u32),
    facts: Facts,
}

impl Default for RequestHead {
    fn default() -> Self {
        Self {
            method: Method::GET,
            version: Version::HTTP_11,
            fields: Fields::new(),
            target: (0, 0),
            facts: Facts::default(),
        }
    }
}

impl Default for ResponseHead {
    fn default() -> Self {
        Self {
            status: StatusCode::OK,
            version: Version::HTTP_11,
            fields: Fields::new(),
            reason: (0, 0),
            facts: Facts::default(),
        }
    }
}

impl RequestHead {
    /// Reads as much of `input` as there is; `input` begins where the head does, and with each
    /// call has the same bytes and perhaps more.
    ///
    /// # Errors
    ///
    /// A [`Fault`] as soon as it is certain.
    pub fn read(
        &mut self,
        progress: &mut Progress,
        input: &[u8],
        limits: &Limits,
    ) -> Result<Status, Fault> {
        if progress.fields.is_none() {
            self.fields.clear();
            self.facts = Facts::default();
            // A robust server skips empty lines before a request line (RFC 9112, 2.2).
            while input[progress.line..].starts_with(b"\r\n") {
                progress.line += 2;
                if progress.line > limits.start_line {
                    return Err(Fault::StartLine);
                }
            }
            if input[progress.line..] == *b"\r" {
                return Ok(Status::Partial);
            }
            match self.request_line(input, progress.line) {
                Ok(Some(end)) if end - progress.line <= limits.start_line => {
                    progress.line = end + 2;
                    progress.fields = Some(end + 2);
                }
                Ok(None) if unfinished(input) - progress.line <= limits.start_line => {
                    return Ok(Status::Partial);
                }
                Ok(_) => return Err(Fault::StartLine),
                Err(fault) => return Err(fault),
            }
        }
        let status = read_fields(&mut self.fields, &mut self.facts, progress, input, limits)?;
        if matches!(status, Status::Complete(_)) {
            self.check()?;
        }
        Ok(status)
    }

    /// Reads the line at `start` and returns where it ends.
    fn request_line(&mut self, input: &[u8], start: usize) -> Result<Option<usize>, Fault> {
        let method = token_end(input, start);
        let Some(space) = input.get(method) else {
            return Ok(None);
        };
        if *space != b' ' || method == start {
            return Err(Fault::Malformed);
        }
        let target = target_end(input, method + 1);
        let Some(space) = input.get(target) else {
            return Ok(None);
        };
        if *space != b' ' || target == method + 1 {
            return Err(Fault::Malformed);
        }
        let Some(version) = version(&input[target + 1..])? else {
            return Ok(None);
        };
        let end = target + 1 + VERSION;
        if !is_line_end(input, end)? {
            return Ok(None);
        }
        self.method = Method::from_bytes(&input[start..method]).map_err(|_| Fault::Malformed)?;
        self.version = version;
        self.target = (method as u32 + 1, target as u32);
        Ok(Some(end))
    }

    /// Refuses lengths that can be read in two ways (RFC 9112, 6.1 and 6.3).
    fn check(&self) -> Result<(), Fault> {
        let facts = &self.facts;
        let is_ambiguous =
            facts.is_chunked && (facts.length.is_some() || self.version != Version::HTTP_11);
        if is_ambiguous { Err(Fault::Malformed) } else { Ok(()) }
    }

    /// The request target as it was written.
    pub fn target(&self) -> &str {
        // Only graphic ASCII gets here.
        str::from_utf8(self.fields.slice(self.target)).unwrap_or_default()
    }

    /// Where the body ends.
    pub const fn body(&self) -> BodyLength {
        match self.facts {
            Facts { is_chunked: true, .. } => BodyLength::Chunked,
            Facts { length: Some(length @ 1..), .. } => BodyLength::Exact(length),
            _ => BodyLength::Empty,
        }
    }

    /// Whether the message says how long its body is, be it empty.
    pub const fn has_length(&self) -> bool {
        self.facts.is_chunked || self.facts.length.is_some()
    }

    /// How many `Host` fields there are.
    pub const fn hosts(&self) -> u8 {
        self.facts.hosts
    }

    /// Whether the connection may serve another request (RFC 9112, 9.3).
    pub fn keeps_alive(&self) -> bool {
        keeps_alive(&self.facts, self.version)
    }

    /// The protocol to switch to, if the client asks for one and in both fields. Of several a
    /// backend would choose one, which nobody between could follow.
    pub fn upgrade(&self) -> Option<&[u8]> {
        let may_switch = self.facts.says_upgrade && self.version == Version::HTTP_11;
        one_protocol(&self.fields).filter(|_| may_switch)
    }

    /// Whether `Connection` names fields besides the usual.
    pub const fn nominates(&self) -> bool {
        self.facts.nominates
    }

    /// Whether the client waits before it sends the body (RFC 9110, 10.1.1).
    pub fn expects_continue(&self) -> bool {
        self.version == Version::HTTP_11
            && self
                .fields
                .value(Known::Expect)
                .is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"))
    }
}

impl ResponseHead {
    /// As [`RequestHead::read`].
    ///
    /// # Errors
    ///
    /// A [`Fault`] as soon as it is certain.
    pub fn read(
        &mut self,
        progress: &mut Progress,
        input: &[u8],
        limits: &Limits,
    ) -> Result<Status, Fault> {
        if progress.fields.is_none() {
            self.fields.clear();
            self.facts = Facts::default();
            match self.status_line(input) {
                Ok(Some(end)) if end <= limits.start_line => {
                    progress.line = end + 2;
                    progress.fields = Some(end + 2);
                }
                Ok(None) if unfinished(input) <= limits.start_line => return Ok(Status::Partial),
                Ok(_) => return Err(Fault::StartLine),
                Err(fault) => return Err(fault),
            }
        }
        let status = read_fields(&mut self.fields, &mut self.facts, progress, input, limits)?;
        let is_ambiguous = self.facts.is_chunked
            && (self.facts.length.is_some() || self.version != Version::HTTP_11);
        match status {
            Status::Complete(_) if is_ambiguous => Err(Fault::Malformed),
            status => Ok(status),
        }
    }

    fn status_line(&mut self, input: &[u8]) -> Result<Option<usize>, Fault> {
        let Some(version) = version(input)? else {
            return Ok(None);
        };
        let Some(code) = input.get(VERSION..VERSION + 4) else {
            return Ok(None);
        };
        let (b' ', code) = (code[0], &code[1..]) else {
            return Err(Fault::Malformed);
        };
        let status = StatusCode::from_bytes(code).map_err(|_| Fault::Malformed)?;
        let mut start = VERSION + 4;
        match input.get(start) {
            None => return Ok(None),
            Some(b' ') => start += 1,
            // Nothing stands where the reason may; the space before it is often left out too.
            Some(b'\r') => {}
            Some(_) => return Err(Fault::Malformed),
        }
        let end = control(input, start);
        if !is_line_end(input, end)? {
            return Ok(None);
        }
        self.status = status;
        self.version = version;
        self.reason = (start as u32, end as u32);
        Ok(Some(end))
    }

    /// The reason phrase as it was written.
    pub fn reason(&self) -> &[u8] {
        self.fields.slice(self.reason)
    }

    /// Where the body ends in an answer to `method` (RFC 9112, 6.3).
    pub fn body(&self, method: &Method) -> BodyLength {
        let status = self.status.as_u16();
        if *method == Method::HEAD || status < 200 || status == 204 || status == 304 {
            return BodyLength::Empty;
        }
        match self.facts {
            Facts { is_chunked: true, .. } => BodyLength::Chunked,
            Facts { length: Some(0), .. } => BodyLength::Empty,
            Facts { length: Some(length), .. } => BodyLength::Exact(length),
            Facts { .. } => BodyLength::UntilClose,
        }
    }

    /// What `Content-Length` says.
    pub const fn content_length(&self) -> Option<u64> {
        self.facts.length
    }

    /// Whether the connection may serve another request (RFC 9112, 9.3).
    pub fn keeps_alive(&self) -> bool {
        keeps_alive(&self.facts, self.version)
    }

    /// The protocol switched to, if the backend says so in both fields.
    pub fn upgrade(&self) -> Option<&[u8]> {
        one_protocol(&self.fields).filter(|_| self.facts.says_upgrade)
    }

    /// Whether `Connection` names fields besides the usual.
    pub const fn nominates(&self) -> bool {
        self.facts.nominates
    }
}

fn one_protocol(fields: &Fields) -> Option<&[u8]> {
    let mut values = fields.values(Known::Upgrade);
    let value = values.next()?;
    let is_one = values.next().is_none() && !value.is_empty() && !value.contains(&b',');
    is_one.then_some(value)
}

fn keeps_alive(facts: &Facts, version: Version) -> bool {
    !facts.says_close && (version == Version::HTTP_11 || facts.says_keep_alive)
}

/// Length of `HTTP/1.1`.
const VERSION: usize = 8;

/// Reads a version; nothing if it is not whole yet.
fn version(input: &[u8]) -> Result<Option<Version>, Fault> {
    const ONE: &[u8] = b"HTTP/1.";
    let known = input.len().min(ONE.len());
    if input[..known] != ONE[..known] {
        return Err(Fault::Malformed);
    }
    match input.get(ONE.len()) {
        None => Ok(None),
        Some(b'0') => Ok(Some(Version::HTTP_10)),
        Some(b'1') => Ok(Some(Version::HTTP_11)),
        Some(_) => Err(Fault::Malformed),
    }
}

/// Where a line that is not whole has come to: a carriage return at the end belongs to its end.
fn unfinished(input: &[u8]) -> usize {
    input.len() - usize::from(input.ends_with(b"\r"))
}

/// Whether a line ends at `at`, or is not whole yet.
fn is_line_end(input: &[u8], at: usize) -> Result<bool, Fault> {
    match (input.get(at), input.get(at + 1)) {
        (None | Some(b'\r'), None) => Ok(false),
        (Some(b'\r'), Some(b'\n')) => Ok(true),
        _ => Err(Fault::Malformed),
    }
}

/// Reads the lines after the first, up to the empty one.
fn read_fields(
    fields: &mut Fields,
    facts: &mut Facts,
    progress: &mut Progress,
    input: &[u8],
    limits: &Limits,
) -> Result<Status, Fault> {
    let begin = progress.fields.unwrap_or_default();
    loop {
        let start = progress.line;
        match input.get(start) {
            Some(b'\r') => {
                if !is_line_end(input, start)? {
                    return Ok(Status::Partial);
                }
                fields.adopt(&input[..start]);
                return Ok(Status::Complete(start + 2));
            }
            Some(_) => {}
            None => return Ok(Status::Partial),
        }
        let line = field_line(input, start)?;
        let end = line.map_or_else(|| unfinished(input), |(_, end)| end);
        if end - begin > limits.fields || fields.len() >= limits.count {
            return Err(Fault::Fields);
        }
        let Some((place, end)) = line else {
            return Ok(Status::Partial);
        };
        facts.learn(&place, input)?;
        fields.note(place);
        progress.line = end + 2;
    }
}

/// Reads the line at `start`; nothing if it is not whole yet. Returns also where it ends.
fn field_line(input: &[u8], start: usize) -> Result<Option<(Place, usize)>, Fault> {
    let colon = token_end(input, start);
    match input.get(colon) {
        None => return Ok(None),
        Some(b':') if colon > start => {}
        // A folded line begins with white space; a name is never followed by it (RFC 9112, 5).
        Some(_) => return Err(Fault::Malformed),
    }
    let end = control(input, colon + 1);
    if !is_line_end(input, end)? {
        return Ok(None);
    }
    let (from, to) = trim(input, colon + 1, end);
    let place = Place {
        known: Known::of(&input[start..colon]),
        name: (start as u32, colon as u32),
        value: (from as u32, to as u32),
        end: end as u32 + 2,
    };
    Ok(Some((place, end)))
}

/// Reads whole field lines, such as those of a trailer section.
pub(super) fn read_lines(lines: &[u8]) -> Result<Fields, Fault> {
    let mut fields = Fields::new();
    let mut at = 0;
    while at < lines.len() {
        let (place, end) = field_line(lines, at)?.ok_or(Fault::Malformed)?;
        fields.note(place);
        at = end + 2;
    }
    fields.adopt(lines);
    Ok(fields)
}

impl Facts {
    fn learn(&mut self, place: &Place, input: &[u8]) -> Result<(), Fault> {
        let value = || &input[place.value.0 as usize..place.value.1 as usize];
        match place.known {
            Known::Host => self.hosts = self.hosts.saturating_add(1),
            Known::ContentLength => {
                // Said twice is once too often, even if both agree.
                if self.length.is_some() {
                    return Err(Fault::Malformed);
                }
                self.length = Some(number(value()).ok_or(Fault::Malformed)?);
            }
            Known::TransferEncoding => {
                // Whatever else it could be, somebody reads it differently.
                if self.is_chunked || !value().eq_ignore_ascii_case(b"chunked") {
                    return Err(Fault::Malformed);
                }
                self.is_chunked = true;
            }
            Known::Connection => {
                for member in members(value()) {
                    if member.eq_ignore_ascii_case(b"close") {
                        self.says_close = true;
                    } else if member.eq_ignore_ascii_case(b"keep-alive") {
                        self.says_keep_alive = true;
                    } else if member.eq_ignore_ascii_case(b"upgrade") {
                        self.says_upgrade = true;
                    } else {
                        self.nominates = true;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// A decimal number of digits alone.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

#[cfg(test)]
mod tests;
