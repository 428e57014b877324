//! Writes a client's request as the backend gets it.
//!
//! Straight from the fields into one run of bytes: what must not pass is skipped, not removed.

use std::borrow::Cow;

use http::Version;
use lb_http::{
    Field, Fields, Forwarded, Known,
    h1::{BodyLength, encode},
    hop_by_hop::{Filter, accepts_trailers},
};

use super::{choose::Seen, client::Client, exchange::Exchange, handler::Asked};

/// What the head of a request to a backend is made of.
#[derive(Debug, Clone, Copy)]
pub struct Outline<'a> {
    /// The client's request.
    pub asked: &'a Asked<'a>,
    /// The path to ask for.
    pub path: &'a str,
    /// Who is asked for, as the client said it.
    pub host: Option<&'a [u8]>,
    /// Who is asked for, as the backend is told.
    pub authority: Option<&'a [u8]>,
    /// Who asked.
    pub forwarded: &'a Forwarded,
    /// Whether `Connection` names fields besides the usual.
    pub nominates: bool,
    /// Whether the client gave a length, be it 0.
    pub has_length: bool,
    /// The protocol to switch to.
    pub upgrade: Option<&'a [u8]>,
    /// Whether the client waits before it sends the body.
    pub expects_continue: bool,
}

/// What of a request's head is the same for every backend.
#[derive(Debug)]
pub struct Draft<'a> {
    /// The client's request.
    pub asked: Asked<'a>,
    /// The path to ask for.
    pub path: Cow<'a, str>,
    /// Who is asked for, as the client said it.
    pub host: Option<&'a [u8]>,
    /// Whether `Connection` names fields besides the usual.
    pub nominates: bool,
    /// Whether the client gave a length, be it 0.
    pub has_length: bool,
    /// The protocol to switch to.
    pub upgrade: Option<&'a [u8]>,
    /// Whether the client waits before it sends the body.
    pub expects_continue: bool,
}

impl Draft<'_> {
    /// The head as the backend of an exchange gets it.
    pub fn outline<'o>(&'o self, exchange: &'o Exchange) -> Outline<'o> {
        let authority = if exchange.route().pass_host_header {
            self.host
        } else {
            Some(exchange.endpoint().endpoint().authority().as_bytes())
        };
        Outline {
            asked: &self.asked,
            path: &self.path,
            host: self.host,
            authority,
            forwarded: &exchange.entry().forwarded,
            nominates: self.nominates,
            has_length: self.has_length,
            upgrade: self.upgrade,
            expects_continue: self.expects_continue,
        }
    }

    /// The request as balancers look at it.
    pub fn seen(&self, client: &Client) -> Seen<'_> {
        Seen {
            fields: self.asked.fields,
            path: &self.path,
            client: client.address(),
            is_secure: client.is_secure(),
        }
    }
}

/// Writes a request head up to and including its empty line.
pub fn write_head(out: &mut Vec<u8>, outline: &Outline<'_>) {
    write(out, outline, |_| true, &[]);
}

/// Writes the head of a copy: of the client's fields only those that `stays` lets, and `lines`
/// beside them.
pub fn write_copy(
    out: &mut Vec<u8>,
    outline: &Outline<'_>,
    stays: impl Fn(&Field<'_>) -> bool,
    lines: &[u8],
) {
    write(out, outline, stays, lines);
}

fn write(
    out: &mut Vec<u8>,
    outline: &Outline<'_>,
    stays: impl Fn(&Field<'_>) -> bool,
    lines: &[u8],
) {
    let asked = outline.asked;
    let fields = asked.fields;
    out.extend_from_slice(asked.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(outline.path.as_bytes());
    if let Some(query) = asked.target.query {
        out.push(b'?');
        out.extend_from_slice(query.as_bytes());
    }
    out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    out.extend_from_slice(outline.authority.unwrap_or_default());
    out.extend_from_slice(b"\r\n");
    let filter = Filter::new(fields, outline.nominates);
    let joins_cookies = asked.version == Version::HTTP_2;
    fields.write(out, |field| match field.known {
        Known::Host | Known::ContentLength | Known::Expect | Known::ProxyAuthorization => false,
        Known::Cookie if joins_cookies => false,
        _ => filter.passes(field) && outline.forwarded.passes(field) && stays(field),
    });
    if joins_cookies && fields.iter().any(|field| field.known == Known::Cookie && stays(&field)) {
        write_cookies(out, fields);
    }
    out.extend_from_slice(lines);
    outline.forwarded.write(out, fields, outline.host);
    match asked.length {
        BodyLength::Exact(length) => write_length(out, length),
        BodyLength::Empty if outline.has_length => write_length(out, 0),
        BodyLength::Empty => {}
        BodyLength::Chunked | BodyLength::UntilClose => {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
        }
    }
    if fields.has(Known::Te) && accepts_trailers(fields) {
        out.extend_from_slice(b"te: trailers\r\n");
    }
    if outline.expects_continue {
        out.extend_from_slice(b"expect: 100-continue\r\n");
    }
    if let Some(protocol) = outline.upgrade {
        out.extend_from_slice(b"connection: upgrade\r\n");
        encode::field(out, b"upgrade", protocol);
    }
    out.extend_from_slice(b"\r\n");
}

fn write_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"content-length: ");
    encode::decimal(out, length);
    out.extend_from_slice(b"\r\n");
}

/// Joins cookies, of which there is one at least: HTTP/2 clients may split cookies into fields that HTTP/1 has only one of (RFC 9113, 8.2.3).
fn write_cookies(out: &mut Vec<u8>, fields: &Fields) {
    for (index, value) in fields.values(Known::Cookie).enumerate() {
        out.extend_from_slice(if index == 0 { b"cookie: " } else { b"; " });
        out.extend_from_slice(value);
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use http::Method;
    use lb_http::forwarded::Proto;

    use super::*;
    use crate::proxy::target::Target;

    fn written(version: Version, length: BodyLength, lines: &[(&str, &str)]) -> String {
        let mut fields = Fields::new();
        for (name, value) in lines {
            fields.push(name.as_bytes(), value.as_bytes());
        }
        let forwarded = Forwarded::new("192.0.2.7".parse().unwrap(), 80, Proto::Http, &[]);
        let target = Target { authority: None, path: "/a/../b", query: Some("c") };
        let asked = Asked { method: &Method::PUT, version, target, fields: &fields, length };
        let mut out = Vec::new();
        write_head(
            &mut out,
            &Outline {
                asked: &asked,
                path: "/b",
                host: Some(b"shop"),
                authority: Some(b"backend:1"),
                forwarded: &forwarded,
                nominates: true,
                has_length: true,
                upgrade: None,
                expects_continue: false,
            },
        );
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_is_meant_for_the_proxy_stays_there() {
        let head = written(
            Version::HTTP_11,
            BodyLength::Exact(12),
            &[
                ("Host", "shop"),
                ("Connection", "x-one"),
                ("X-One", "1"),
                ("Content-Length", "12"),
                ("X-Forwarded-For", "6.6.6.6"),
                ("TE", "trailers"),
                ("Proxy-Authorization", "secret"),
                ("Accept", "*/*"),
            ],
        );
        assert_eq!(
            head,
            "PUT /b?c HTTP/1.1\r\nhost: backend:1\r\nAccept: */*\r\n\
             x-forwarded-for: 192.0.2.7\r\nx-forwarded-proto: http\r\nx-forwarded-port: 80\r\n\
             x-real-ip: 192.0.2.7\r\nx-forwarded-host: shop\r\ncontent-length: 12\r\n\
             te: trailers\r\n\r\n"
        );
    }

    #[test]
    fn cookies_of_http_2_become_one() {
        let lines = [("cookie", "a=1"), ("accept", "x"), ("cookie", "b=2")];
        let head = written(Version::HTTP_2, BodyLength::Chunked, &lines);
        assert!(head.contains("\r\ncookie: a=1; b=2\r\n"), "{head}");
        assert!(head.contains("\r\ntransfer-encoding: chunked\r\n"), "{head}");
        let head = written(Version::HTTP_11, BodyLength::Empty, &lines);
        assert!(head.contains("\r\ncookie: a=1\r\naccept: x\r\ncookie: b=2\r\n"), "{head}");
        assert!(head.contains("\r\ncontent-length: 0\r\n"), "{head}");
    }
}
