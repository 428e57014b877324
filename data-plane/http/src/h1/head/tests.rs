//! Heads that are read, and heads that are refused.

use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { start_line: 64, fields: 200, count: 5 };

fn request(bytes: &[u8]) -> Result<(RequestHead, Status), Fault> {
    let mut head = RequestHead::default();
    let status = head.read(&mut Progress::default(), bytes, &LIMITS)?;
    Ok((head, status))
}

fn response(bytes: &[u8]) -> Result<(ResponseHead, Status), Fault> {
    let mut head = ResponseHead::default();
    let status = head.read(&mut Progress::default(), bytes, &LIMITS)?;
    Ok((head, status))
}

#[test]
fn a_request_is_read_with_all_it_says() {
    let bytes = b"\r\nPOST /a?b HTTP/1.1\r\nHost: x\r\ncontent-LENGTH:\t5 \r\nEmpty:\r\n\r\nhello";
    let (head, status) = request(bytes).unwrap();
    assert_eq!(status, Status::Complete(bytes.len() - 5));
    assert_eq!((head.method.as_str(), head.target()), ("POST", "/a?b"));
    assert_eq!(head.body(), BodyLength::Exact(5));
    assert!(head.keeps_alive());
    let fields: Vec<_> = head.fields.iter().map(|field| (field.name, field.value)).collect();
    let expected: [(&[u8], &[u8]); 3] =
        [(b"Host", b"x"), (b"content-LENGTH", b"5"), (b"Empty", b"")];
    assert_eq!(fields, expected);
}

#[test]
fn connections_are_kept_by_version_and_by_word() {
    for (lines, kept) in [
        ("HTTP/1.1\r\n", true),
        ("HTTP/1.1\r\nConnection: close\r\n", false),
        ("HTTP/1.1\r\nConnection: x, Close\r\n", false),
        ("HTTP/1.0\r\n", false),
        ("HTTP/1.0\r\nConnection: Keep-Alive\r\n", true),
        ("HTTP/1.0\r\nConnection: keep-alive\r\nConnection: close\r\n", false),
    ] {
        let (head, _) = request(format!("GET / {lines}\r\n").as_bytes()).unwrap();
        assert_eq!(head.keeps_alive(), kept, "{lines}");
    }
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    for text in [
        "GET / HTTP/1.1\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\n\n",
        "GET / HTTP/1.1\rHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\ry: 1\r\n\r\n",
        "GET / HTTP/1.1\r\n Host: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\n y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        "GET / HTTP/1.1\r\n: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: \0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: \x7f\r\n\r\n",
        "GET  / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1 \r\n\r\n",
        "GET /\t HTTP/1.1\r\n\r\n",
        "GET /# HTTP/1.1\r\n\r\n",
        "GET /é HTTP/1.1\r\n\r\n",
        " GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.2\r\n\r\n",
        "GET / HTTP/2.0\r\n\r\n",
        "GET / http/1.1\r\n\r\n",
        "GET /\r\n\r\n",
        "\nGET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: +1\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length:\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: 18446744073709551616\r\n\r\n",
        "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
        "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
        "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        assert_eq!(request(text.as_bytes()).err(), Some(Fault::Malformed), "{text:?}");
    }
}

#[test]
fn limits_hold_before_a_line_is_whole() {
    let long = "x".repeat(300);
    for (text, fault) in [
        (format!("GET /{long}"), Fault::StartLine),
        (format!("GET /{} HTTP/1.1\r\n", &long[..51]), Fault::StartLine),
        ("\r\n".repeat(40), Fault::StartLine),
        (format!("GET / HTTP/1.1\r\nA: {long}"), Fault::Fields),
        (format!("GET / HTTP/1.1\r\nA: {}\r\nB: {}\r\n", &long[..99], &long[..99]), Fault::Fields),
        (format!("GET / HTTP/1.1\r\n{}", "A: 1\r\n".repeat(6)), Fault::Fields),
    ] {
        assert_eq!(request(text.as_bytes()).err(), Some(fault), "{text:?}");
    }
    let (_, status) = request(format!("GET /{} HTTP/1.1\r\n", &long[..50]).as_bytes()).unwrap();
    assert_eq!(status, Status::Partial);
}

#[test]
fn a_line_as_long_as_it_may_be_can_be_cut_in_its_end() {
    let line = format!("GET /{} HTTP/1.1\r", &"x".repeat(50)[..50]);
    assert_eq!(line.len(), LIMITS.start_line + 1);
    assert_eq!(request(line.as_bytes()).unwrap().1, Status::Partial);
    let fields = format!("GET / HTTP/1.1\r\nA: {}\r", &"x".repeat(197)[..197]);
    assert_eq!(request(fields.as_bytes()).unwrap().1, Status::Partial);
    let fields = format!("{fields}\n\r\n");
    assert!(matches!(request(fields.as_bytes()).unwrap().1, Status::Complete(_)));
}

#[test]
fn a_response_says_where_its_body_ends() {
    let body = |text: &str, method| response(text.as_bytes()).unwrap().0.body(&method);
    let get = || Method::GET;
    assert_eq!(body("HTTP/1.1 200 OK\r\n\r\n", get()), BodyLength::UntilClose);
    assert_eq!(body("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", get()), BodyLength::Empty);
    let chunked = "HTTP/1.1 200 \r\nTransfer-Encoding: Chunked\r\n\r\n";
    assert_eq!(body(chunked, get()), BodyLength::Chunked);
    assert_eq!(body(chunked, Method::HEAD), BodyLength::Empty);
    let length = "\r\nContent-Length: 7\r\n\r\n";
    assert_eq!(body(&format!("HTTP/1.0 200 Fine{length}"), get()), BodyLength::Exact(7));
    for status in [100, 204, 304] {
        assert_eq!(body(&format!("HTTP/1.1 {status} -{length}"), get()), BodyLength::Empty);
    }
    let (head, _) = response(b"HTTP/1.1 404 Not \xe9 Found\r\n\r\n").unwrap();
    assert_eq!(head.reason(), b"Not \xe9 Found");
    for text in [
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/1.1 200\tOK\r\n\r\n",
        "\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
    ] {
        assert_eq!(response(text.as_bytes()).err(), Some(Fault::Malformed), "{text:?}");
    }
}

/// Requests that are mostly valid.
fn traffic() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        Just("GET / HTTP/1.1\r\n"),
        Just("OPTIONS * HTTP/1.0\r\n"),
        Just("PUT http://a:1/b?c HTTP/1.1\r\n"),
        Just("\r\nGET /x HTTP/1.1\r\n"),
        Just("GET /\r\n"),
    ];
    let field = prop_oneof![
        Just("Host: a\r\n"),
        Just("X:y\r\n"),
        Just("Content-Length: 12\r\n"),
        Just("Connection: close, x\r\n"),
        Just("Transfer-Encoding: chunked\r\n"),
        Just("V: \t a b\t \r\n"),
        Just("Odd : x\r\n"),
        Just("\u{e9}: x\r\n"),
    ];
    (line, prop::collection::vec(field, 0..5), any::<(bool, u8, prop::sample::Index)>()).prop_map(
        |(line, fields, (is_bent, byte, place))| {
            let mut bytes = [line, &fields.concat(), "\r\n"].concat().into_bytes();
            if is_bent {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            bytes
        },
    )
}

proptest! {
    /// However a head arrives, the outcome is that of reading it at once.
    #[test]
    fn pieces_are_read_as_the_whole(bytes in traffic(), cuts in prop::collection::vec(1usize..9, 1..9)) {
        let whole = request(&bytes);
        let mut head = RequestHead::default();
        let mut progress = Progress::default();
        let mut end = 0;
        let mut outcome = Ok(Status::Partial);
        for cut in cuts.iter().cycle() {
            end = (end + cut).min(bytes.len());
            outcome = head.read(&mut progress, &bytes[..end], &LIMITS);
            if outcome != Ok(Status::Partial) || end == bytes.len() {
                break;
            }
        }
        match (whole, outcome) {
            (Ok((other, status)), Ok(found)) => {
                prop_assert_eq!(status, found);
                if matches!(found, Status::Complete(_)) {
                    prop_assert_eq!(other.target(), head.target());
                    prop_assert_eq!(other.facts, head.facts);
                    prop_assert!(other.fields.iter().eq(head.fields.iter()));
                }
            }
            (whole, pieces) => prop_assert_eq!(whole.err(), pieces.err()),
        }
    }

    /// What is accepted is read by an independent parser in the same way.
    #[test]
    fn what_is_accepted_is_read_alike_by_others(bytes in traffic()) {
        if let Ok((head, Status::Complete(length))) = request(&bytes) {
            let mut fields = [httparse::EMPTY_HEADER; 16];
            let mut other = httparse::Request::new(&mut fields);
            prop_assert_eq!(other.parse(&bytes), Ok(httparse::Status::Complete(length)));
            prop_assert_eq!(other.method, Some(head.method.as_str()));
            prop_assert_eq!(other.path, Some(head.target()));
            let ours: Vec<_> = head.fields.iter().map(|field| (field.name, field.value)).collect();
            let theirs: Vec<_> =
                other.headers.iter().map(|field| (field.name.as_bytes(), field.value)).collect();
            prop_assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn no_bytes_are_too_much(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = request(&bytes);
        let _ = response(&bytes);
    }
}
