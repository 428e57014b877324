//! The head of a request, and whether it is one (RFC 9113, 8.2 and 8.3).

use http::Method;

use super::hpack::{Class, Line, Sink};
use crate::{
    fields::{Fields, Known},
    h1::{BodyLength, syntax::target_end},
};

/// Limits on a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the target, which HTTP/1.1 has in its first line.
    pub target: usize,
    /// Size of all fields together (RFC 9113, 6.5.2).
    pub list: usize,
    /// Number of fields.
    pub count: usize,
}

/// What is wrong with a head that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is no request; the stream is reset.
    Malformed,
    /// What it asks for is no path.
    Target,
    /// Its target is too long.
    TargetTooLong,
    /// Its fields are more or larger than allowed.
    TooLarge,
}

/// A place in the text of pseudo-header fields.
type Span = (u32, u32);

/// The head of a request.
#[derive(Debug, Clone, Default)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The fields.
    pub fields: Fields,
    /// The values of pseudo-header fields, one behind the other.
    text: Vec<u8>,
    authority: Option<Span>,
    path: Option<Span>,
    has_method: bool,
    has_scheme: bool,
    length: Option<u64>,
    size: usize,
    fault: Option<Fault>,
    limits: Option<Limits>,
    is_trailer: bool,
}

impl RequestHead {
    /// Forgets what was read before. A head of trailers has fields only.
    pub(super) fn begin(&mut self, limits: Limits, is_trailer: bool) {
        self.fields.clear();
        self.text.clear();
        self.method = Method::GET;
        (self.authority, self.path) = (None, None);
        (self.has_method, self.has_scheme) = (false, false);
        (self.length, self.size, self.fault) = (None, 0, None);
        self.limits = Some(limits);
        self.is_trailer = is_trailer;
    }

    /// Whether what was read can be answered as a request.
    pub(super) fn finish(&mut self) -> Result<(), Fault> {
        if self.is_trailer {
            return self.fault.map_or(Ok(()), Err);
        }
        // Over the limits not everything was kept, so that something may seem to be missing.
        if self.fault.is_none() {
            let (has_path, has_authority) = (self.path.is_some(), self.authority.is_some());
            let is_whole = if self.method == Method::CONNECT {
                has_authority && !has_path && !self.has_scheme
            } else {
                self.has_method && self.has_scheme && has_path
            };
            if !is_whole {
                self.fault = Some(Fault::Malformed);
            }
        }
        self.fault.map_or(Ok(()), Err)
    }

    /// Host and port that are asked for.
    pub fn authority(&self) -> Option<&str> {
        self.authority.map(|span| self.slice(span))
    }

    /// The path and the query; `*` and, for `CONNECT`, nothing are possible.
    pub fn target(&self) -> &str {
        self.path.map_or("", |span| self.slice(span))
    }

    /// What `content-length` says.
    pub const fn content_length(&self) -> Option<u64> {
        self.length
    }

    /// How long the body is, if it does not end with the head.
    pub fn body(&self) -> BodyLength {
        match self.length {
            Some(0) => BodyLength::Empty,
            Some(length) => BodyLength::Exact(length),
            None => BodyLength::Chunked,
        }
    }

    /// Whether the client waits before it sends the body (RFC 9110, 10.1.1).
    pub fn expects_continue(&self) -> bool {
        let value = self.fields.value(Known::Expect);
        value.is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"))
    }

    /// Bytes of memory held.
    pub const fn capacity(&self) -> usize {
        self.fields.capacity() + self.text.capacity()
    }

    fn slice(&self, (start, end): Span) -> &str {
        let text = self.text.get(start as usize..end as usize).unwrap_or_default();
        // Only ASCII gets here.
        str::from_utf8(text).unwrap_or_default()
    }

    fn keep(&mut self, text: &[u8]) -> Span {
        let start = self.text.len() as u32;
        self.text.extend_from_slice(text);
        (start, self.text.len() as u32)
    }

    fn blame(&mut self, fault: Fault) {
        // What is no request at all goes before what is too large.
        if self.fault.is_none() || fault == Fault::Malformed {
            self.fault = Some(fault);
        }
    }

    fn pseudo(&mut self, class: Class, value: &[u8], limits: &Limits) -> Result<(), Fault> {
        if self.is_trailer || !self.fields.is_empty() {
            return Err(Fault::Malformed);
        }
        match class {
            Class::Method if !self.has_method => {
                self.has_method = true;
                self.method = match value {
                    b"GET" => Method::GET,
                    _ => Method::from_bytes(value).map_err(|_| Fault::Malformed)?,
                };
            }
            Class::Scheme if !self.has_scheme => {
                self.has_scheme = true;
                let rest = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
                let is_scheme = value.first().is_some_and(u8::is_ascii_alphabetic);
                if !is_scheme || !value.iter().all(rest) {
                    return Err(Fault::Malformed);
                }
            }
            Class::Authority if self.authority.is_none() => {
                if target_end(value, 0) < value.len() {
                    return Err(Fault::Malformed);
                }
                self.authority = Some(self.keep(value));
            }
            Class::Path if self.path.is_none() => {
                self.path = Some((0, 0));
                if value.is_empty() {
                    return Err(Fault::Malformed);
                }
                if value.len() > limits.target {
                    return Err(Fault::TargetTooLong);
                }
                // That an asterisk goes with one method only is found out at the end.
                let is_path = value[0] == b'/' || value == b"*";
                if !is_path || target_end(value, 0) < value.len() {
                    return Err(Fault::Target);
                }
                self.path = Some(self.keep(value));
            }
            _ => return Err(Fault::Malformed),
        }
        Ok(())
    }

    fn regular(&mut self, known: Known, line: Line<'_>, limits: &Limits) -> Result<(), Fault> {
        match known {
            Known::ContentLength => {
                // Said twice is once too often, even if both agree.
                if self.length.is_some() {
                    return Err(Fault::Malformed);
                }
                self.length = Some(number(line.value()).ok_or(Fault::Malformed)?);
            }
            Known::Te if !line.value().eq_ignore_ascii_case(b"trailers") => {
                return Err(Fault::Malformed);
            }
            _ => {}
        }
        if self.fields.len() >= limits.count {
            return Err(Fault::TooLarge);
        }
        self.fields.push_line(known, line.bytes(), line.name().len());
        Ok(())
    }
}

impl Sink for RequestHead {
    fn field(&mut self, class: Class, line: Line<'_>) {
        let Some(limits) = self.limits else {
            return;
        };
        self.size += line.size();
        let taken = match class {
            Class::Malformed => Err(Fault::Malformed),
            // It is read on for the sake of the table alone.
            _ if self.size > limits.list => Err(Fault::TooLarge),
            Class::Field(known) => self.regular(known, line, &limits),
            pseudo => self.pseudo(pseudo, line.value(), &limits),
        };
        if let Err(fault) = taken {
            self.blame(fault);
        }
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
