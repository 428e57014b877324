//! Writes responses as a client over HTTP/1 gets them.

use http::{Method, StatusCode, Version};
use lb_http::{
    Field, Known, Reason,
    h1::{BodyLength, ResponseHead, encode},
    hop_by_hop::Filter,
};

use super::rescue::ALLOWED;

/// How the body of a response is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none, or it has the length that the head says, or the connection's end ends it.
    Plain,
    /// In chunks.
    Chunked,
}

/// What a client can be told, and what becomes of its connection.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// The request's method.
    pub method: &'a Method,
    /// The client's version.
    pub version: Version,
    /// Whether the connection ends after the response.
    pub closes: bool,
}

impl Terms<'_> {
    /// How a body of `length` is sent; one without a length ends the connections of clients that
    /// know no chunks.
    pub fn framing(&mut self, length: BodyLength) -> Framing {
        match length {
            BodyLength::Empty | BodyLength::Exact(_) => Framing::Plain,
            BodyLength::Chunked | BodyLength::UntilClose if self.version == Version::HTTP_11 => {
                Framing::Chunked
            }
            BodyLength::Chunked | BodyLength::UntilClose => {
                self.closes = true;
                Framing::Plain
            }
        }
    }

    fn write_connection(&self, out: &mut Vec<u8>) {
        if self.closes {
            out.extend_from_slice(b"connection: close\r\n");
        } else if self.version == Version::HTTP_10 {
            out.extend_from_slice(b"connection: keep-alive\r\n");
        }
    }
}

/// Writes the head of a backend's response, with a cookie of the proxy's where there is one.
pub fn write_head(
    out: &mut Vec<u8>,
    head: &ResponseHead,
    framing: Framing,
    cookie: Option<&[u8]>,
    terms: &Terms<'_>,
) {
    write_start(out, head);
    let has_no_length = head.status == StatusCode::NO_CONTENT || framing == Framing::Chunked;
    let filter = Filter::new(&head.fields, head.nominates());
    let mut has_date = false;
    head.fields.write(out, |field| match field.known {
        Known::ProxyAuthenticate => false,
        Known::ContentLength if has_no_length => false,
        known => {
            has_date |= known == Known::Date;
            filter.passes(field)
        }
    });
    if !has_date {
        write_date(out);
    }
    if let Some(cookie) = cookie {
        encode::field(out, b"set-cookie", cookie);
    }
    if framing == Framing::Chunked {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    terms.write_connection(out);
    out.extend_from_slice(b"\r\n");
}

/// Writes the head of an answer before the last one, which passes as it is.
pub fn write_interim(out: &mut Vec<u8>, head: &ResponseHead) {
    write_start(out, head);
    let filter = Filter::new(&head.fields, head.nominates());
    let passes = |field: &Field<'_>| field.known != Known::ContentLength && filter.passes(field);
    head.fields.write(out, passes);
    out.extend_from_slice(b"\r\n");
}

/// Writes the head that opens a tunnel.
pub fn write_switch(out: &mut Vec<u8>, head: &ResponseHead, cookie: Option<&[u8]>) {
    write_start(out, head);
    let filter = Filter::new(&head.fields, head.nominates());
    let passes = |field: &Field<'_>| field.known != Known::ContentLength && filter.passes(field);
    head.fields.write(out, passes);
    out.extend_from_slice(b"connection: upgrade\r\n");
    if let Some(protocol) = head.fields.value(Known::Upgrade) {
        encode::field(out, b"upgrade", protocol);
    }
    if let Some(cookie) = cookie {
        encode::field(out, b"set-cookie", cookie);
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes an answer of the proxy itself, whole.
pub fn write_refusal(
    out: &mut Vec<u8>,
    reason: Reason,
    retry_after: Option<u32>,
    terms: &Terms<'_>,
) {
    let status = reason.status();
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or("Error").as_bytes());
    out.extend_from_slice(b"\r\ncontent-type: application/problem+json\r\ncontent-length: ");
    let body = reason.body();
    encode::decimal(out, body.len() as u64);
    out.extend_from_slice(b"\r\n");
    if reason == Reason::MethodNotAllowed {
        encode::field(out, b"allow", ALLOWED.as_bytes());
    }
    if let Some(seconds) = retry_after {
        out.extend_from_slice(b"retry-after: ");
        encode::decimal(out, seconds.into());
        out.extend_from_slice(b"\r\n");
    }
    write_date(out);
    terms.write_connection(out);
    out.extend_from_slice(b"\r\n");
    if *terms.method != Method::HEAD {
        out.extend_from_slice(&body);
    }
}

fn write_start(out: &mut Vec<u8>, head: &ResponseHead) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(head.status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(head.reason());
    out.extend_from_slice(b"\r\n");
}

fn write_date(out: &mut Vec<u8>) {
    encode::with_date(|date| encode::field(out, b"date", date));
}

#[cfg(test)]
mod tests {
    use lb_http::h1::{Limits, Progress};

    use super::*;

    fn written(text: &str, version: Version) -> String {
        let mut head = ResponseHead::default();
        let limits = Limits { start_line: 100, fields: 1000, count: 10 };
        head.read(&mut Progress::default(), text.as_bytes(), &limits).unwrap();
        let mut terms = Terms { method: &Method::GET, version, closes: false };
        let framing = terms.framing(head.body(&Method::GET));
        let mut out = Vec::new();
        write_head(&mut out, &head, framing, None, &terms);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_body_without_a_length_is_sent_in_chunks_or_until_the_end() {
        let text = "HTTP/1.0 200 Fine\r\ndate: x\r\nConnection: close\r\n\r\n";
        let start = "HTTP/1.1 200 Fine\r\ndate: x\r\n";
        let chunked = format!("{start}transfer-encoding: chunked\r\n\r\n");
        assert_eq!(written(text, Version::HTTP_11), chunked);
        assert_eq!(written(text, Version::HTTP_10), format!("{start}connection: close\r\n\r\n"));
    }

    #[test]
    fn a_length_passes_and_a_date_is_added() {
        let text = "HTTP/1.1 404 No\r\nContent-Length: 7\r\nKeep-Alive: x\r\n\r\n";
        let head = written(text, Version::HTTP_10);
        assert!(head.starts_with("HTTP/1.1 404 No\r\nContent-Length: 7\r\ndate: "), "{head}");
        assert!(head.ends_with(" GMT\r\nconnection: keep-alive\r\n\r\n"), "{head}");
        let head =
            written("HTTP/1.1 204 No\r\nContent-Length: 7\r\ndate: x\r\n\r\n", Version::HTTP_11);
        assert_eq!(head, "HTTP/1.1 204 No\r\ndate: x\r\n\r\n");
    }

    #[test]
    fn a_refusal_is_whole() {
        let mut out = Vec::new();
        let method = Method::HEAD;
        let terms = Terms { method: &method, version: Version::HTTP_11, closes: true };
        write_refusal(&mut out, Reason::MethodNotAllowed, Some(7), &terms);
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"), "{text}");
        assert!(text.contains("\r\nallow: GET"), "{text}");
        assert!(text.contains("\r\nretry-after: 7\r\n"), "{text}");
        assert!(text.ends_with("\r\nconnection: close\r\n\r\n"), "{text}");
    }
}
