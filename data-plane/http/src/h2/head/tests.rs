use super::*;
use crate::h2::hpack::{Decoder, Encoder};

const LIMITS: Limits = Limits { target: 30, list: 400, count: 8 };

/// Reads a head from `name: value` lines.
fn read(lines: &[&str], is_trailer: bool) -> (RequestHead, Result<(), Fault>) {
    let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
    let mut block = Vec::new();
    encoder.begin(&mut block);
    for line in lines {
        let (name, value) = line.rsplit_once(": ").unwrap();
        let (name, value) = (name.as_bytes(), value.as_bytes());
        let field = crate::Field { known: Known::Other, name, value };
        encoder.field(&mut block, &field, format!("{line}\r\n").as_bytes());
    }
    let mut head = RequestHead::default();
    head.begin(LIMITS, is_trailer);
    decoder.decode(&block, &mut head).unwrap();
    let read = head.finish();
    (head, read)
}

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&[":method: GET", ":scheme: https", ":path: /a?b", ":authority: shop:1"], more].concat()
}

#[test]
fn a_request_is_read() {
    let (head, read) = read(&with(&["host: shop:1", "content-length: 7", "te: trailers"]), false);
    assert_eq!(read, Ok(()));
    assert_eq!(head.method, Method::GET);
    assert_eq!((head.authority(), head.target()), (Some("shop:1"), "/a?b"));
    assert_eq!(head.body(), BodyLength::Exact(7));
    let mut lines = Vec::new();
    head.fields.write(&mut lines, |_| true);
    assert_eq!(lines, b"host: shop:1\r\ncontent-length: 7\r\nte: trailers\r\n");
    assert!(head.fields.has(Known::Te) && !head.expects_continue());
}

#[test]
fn what_is_no_request_is_malformed() {
    let scheme = ":scheme: https";
    for lines in [
        &with(&[":path: /"])[..],
        &with(&["a: b", ":x: y"]),
        &with(&[":status: 200"]),
        &with(&["connection: close"]),
        &with(&["te: gzip"]),
        &with(&["content-length: 1", "content-length: 1"]),
        &with(&["content-length: +1"]),
        &with(&["content-length: 18446744073709551616"]),
        &[":method: GET", scheme],
        &[":method: GET", ":path: /"],
        &[scheme, ":path: /"],
        &["a: b", ":method: GET", scheme, ":path: /"],
        &[":method: GET", scheme, ":path: "],
        &[":method: G T", scheme, ":path: /"],
        &[":method: GET", ":scheme: ht/tp", ":path: /"],
        &[":method: GET", scheme, ":path: /", ":authority: a b"],
        &[":method: CONNECT", scheme, ":path: /", ":authority: a:1"],
        &[":method: CONNECT"],
    ] {
        assert_eq!(read(lines, false).1, Err(Fault::Malformed), "{lines:?}");
    }
}

#[test]
fn what_can_be_answered_is_said() {
    let path = |path: &'static str| read(&[":method: GET", ":scheme: http", path], false).1;
    assert_eq!(path(":path: a"), Err(Fault::Target));
    assert_eq!(path(":path: /a#b"), Err(Fault::Target));
    assert_eq!(path(":path: /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), Err(Fault::TargetTooLong));
    assert_eq!(path(":path: *"), Ok(()));
    let many = with(&["a: b"; 9]);
    assert_eq!(read(&many, false).1, Err(Fault::TooLarge));
    let long = format!("a: {}", "b".repeat(300));
    assert_eq!(read(&with(&[&long]), false).1, Err(Fault::TooLarge));
    // What is no request at all is not said to be too large.
    assert_eq!(read(&with(&[&long, "Upgrade: x"]), false).1, Err(Fault::Malformed));
    let long = format!(":authority: {}", "b".repeat(400));
    assert_eq!(read(&[&long, ":method: GET"], false).1, Err(Fault::TooLarge));
    assert_eq!(read(&[":method: CONNECT", ":authority: a:1"], false).1, Ok(()));
}

#[test]
fn trailers_are_fields_alone() {
    let (head, result) = read(&["x-sum: 7"], true);
    assert_eq!((result, head.fields.len()), (Ok(()), 1));
    assert_eq!(read(&[":path: /"], true).1, Err(Fault::Malformed));
}
