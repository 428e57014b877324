use http::StatusCode;
use proptest::prelude::*;

use super::*;
use crate::h2::{
    PREFACE,
    frame::{ACK, Head, PADDED, PRIORITY},
};

const SETTINGS: Settings = Settings {
    head: Limits { target: 100, list: 1000, count: 20 },
    streams: 3,
    stream_window: 1000,
    window: 70_000,
};

/// `GET https://a/`.
const GET: &[u8] = b"\x82\x87\x84\x41\x01a";

fn frame(kind: Kind, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::write_head(&mut out, payload.len(), kind, flags, stream);
    out.extend_from_slice(payload);
    out
}

fn request(stream: u32, flags: u8) -> Vec<u8> {
    frame(Kind::Headers, END_HEADERS | flags, stream, GET)
}

fn with_length(stream: u32, length: &str) -> Vec<u8> {
    let block = [GET, b"\x0f\x0d", &[length.len() as u8], length.as_bytes()].concat();
    frame(Kind::Headers, END_HEADERS, stream, &block)
}

fn take(server: &mut Connection, mut bytes: &[u8]) -> Result<Vec<Event>, ErrorCode> {
    let mut events = Vec::new();
    loop {
        let (taken, event) = server.receive(bytes)?;
        bytes = &bytes[taken..];
        match event {
            Some(event) => events.push(event),
            None => break,
        }
    }
    assert!(bytes.is_empty(), "{bytes:?} is left");
    Ok(events)
}

/// What was sent, frame by frame.
fn sent(server: &mut Connection) -> Vec<(Kind, u8, u32, Vec<u8>)> {
    let out = std::mem::take(&mut server.out);
    let (mut rest, mut frames) = (&out[..], Vec::new());
    while let Some(head) = Head::read(rest) {
        let (payload, behind) = rest[frame::HEAD..].split_at(head.length);
        assert!(head.length <= LARGEST);
        frames.push((head.kind, head.flags, head.stream, payload.to_vec()));
        rest = behind;
    }
    assert!(rest.is_empty());
    frames
}

/// A connection whose client has sent its settings.
fn server() -> Connection {
    let mut server = Connection::new(SETTINGS);
    let hello = [&PREFACE[..], &frame(Kind::Settings, 0, 0, &[])].concat();
    assert_eq!(take(&mut server, &hello), Ok(vec![Event::Room]));
    let frames = sent(&mut server);
    let kinds: Vec<_> = frames.iter().map(|(kind, flags, ..)| (*kind, *flags)).collect();
    assert_eq!(kinds, [(Kind::Settings, 0), (Kind::WindowUpdate, 0), (Kind::Settings, ACK)]);
    server
}

fn asked(key: usize, length: BodyLength) -> Event {
    Event::Request { key, length, fault: None }
}

#[test]
fn a_request_is_answered() {
    let mut server = server();
    let events = take(&mut server, &request(1, END_STREAM));
    assert_eq!(events, Ok(vec![asked(0, BodyLength::Empty)]));
    assert_eq!((server.head.authority(), server.head.target()), (Some("a"), "/"));
    let mut writer = server.answer(0, StatusCode::OK).unwrap();
    writer.field("server", b"x");
    writer.finish(false);
    assert_eq!(server.data(0, b"hello"), 5);
    server.end_data(0, true);
    let frames = sent(&mut server);
    assert_eq!(frames[0].0, Kind::Headers);
    assert_eq!(frames[1], (Kind::Data, END_STREAM, 1, b"hello".to_vec()));
    assert_eq!((server.active(), server.room(0)), (0, None));
    // The key is free.
    assert_eq!(take(&mut server, &request(3, 0)), Ok(vec![asked(0, BodyLength::Chunked)]));
}

#[test]
fn a_body_and_trailers_are_handed_on() {
    let mut server = server();
    let bytes = [
        request(1, 0),
        frame(Kind::Data, PADDED, 1, b"\x02hello\0\0"),
        frame(Kind::Headers, END_HEADERS | END_STREAM, 1, b"\x00\x01a\x01b"),
    ];
    let events = take(&mut server, &bytes.concat()).unwrap();
    let at = frame::HEAD + 1;
    let data = Event::Data { key: 0, at, length: 5, is_last: false };
    assert_eq!(events, [asked(0, BodyLength::Chunked), data, Event::Trailers { key: 0 }]);
    assert_eq!(server.head.fields.named("a").collect::<Vec<_>>(), [b"b"]);
}

#[test]
fn what_breaks_the_rules_of_the_connection_ends_it() {
    let (protocol, size) = (ErrorCode::Protocol, ErrorCode::FrameSize);
    let headers = |flags, payload: &[u8]| frame(Kind::Headers, flags, 1, payload);
    for (bytes, code) in [
        (frame(Kind::Data, 0, 0, b"a"), protocol),
        (frame(Kind::Data, 0, 1, b"a"), protocol),
        (frame(Kind::Data, PADDED, 1, b"\x05a"), protocol),
        (frame(Kind::Headers, END_HEADERS, 0, GET), protocol),
        (frame(Kind::Headers, END_HEADERS, 2, GET), protocol),
        (headers(END_HEADERS | PRIORITY, b"\0\0\0\x01\0\x82"), protocol),
        (headers(END_HEADERS | PRIORITY, b"\0\0"), size),
        (headers(END_HEADERS, b"\x80"), ErrorCode::Compression),
        ([headers(0, GET), frame(Kind::Ping, 0, 0, &[0; 8])].concat(), protocol),
        ([headers(0, GET), frame(Kind::Continuation, 4, 3, b"")].concat(), protocol),
        (frame(Kind::Continuation, END_HEADERS, 1, GET), protocol),
        ([request(5, END_STREAM), request(3, END_STREAM)].concat(), protocol),
        (frame(Kind::Priority, 0, 0, &[0; 5]), protocol),
        (frame(Kind::Priority, 0, 1, &[0; 4]), size),
        (frame(Kind::Priority, 0, 1, &[0, 0, 0, 1, 0]), protocol),
        (frame(Kind::Reset, 0, 0, &[0; 4]), protocol),
        (frame(Kind::Reset, 0, 1, &[0; 4]), protocol),
        (frame(Kind::Reset, 0, 1, &[0; 3]), size),
        (frame(Kind::Settings, 0, 1, &[]), protocol),
        (frame(Kind::Settings, ACK, 0, &[0; 6]), size),
        (frame(Kind::Settings, 0, 0, &[0; 5]), size),
        (frame(Kind::PushPromise, END_HEADERS, 1, GET), protocol),
        (frame(Kind::Ping, 0, 1, &[0; 8]), protocol),
        (frame(Kind::Ping, 0, 0, &[0; 7]), size),
        (frame(Kind::GoAway, 0, 1, &[0; 8]), protocol),
        (frame(Kind::GoAway, 0, 0, &[0; 7]), size),
        (frame(Kind::WindowUpdate, 0, 0, &[0; 4]), protocol),
        (frame(Kind::WindowUpdate, 0, 1, &[0, 0, 0, 1]), protocol),
        (frame(Kind::WindowUpdate, 0, 0, &[0; 5]), size),
        (frame(Kind::WindowUpdate, 0, 0, &[0x7f, 255, 255, 255]), ErrorCode::FlowControl),
        (vec![0, 0x40, 1, 0, 0, 0, 0, 0, 1], size),
    ] {
        let mut server = server();
        assert_eq!(take(&mut server, &bytes), Err(code), "{bytes:?}");
        let (kind, _, stream, payload) = sent(&mut server).pop().unwrap();
        assert_eq!((kind, stream, payload[7]), (Kind::GoAway, 0, code as u8), "{bytes:?}");
        assert!(server.receive(b"").is_err());
    }
}

#[test]
fn what_breaks_the_rules_of_a_stream_ends_that() {
    let (protocol, closed) = (ErrorCode::Protocol, ErrorCode::StreamClosed);
    let bad = frame(Kind::Headers, END_HEADERS | END_STREAM, 1, b"\x82\x87");
    let data = |flags, length: usize| frame(Kind::Data, flags, 1, &vec![0; length]);
    let trailers = |flags| frame(Kind::Headers, END_HEADERS | flags, 1, b"\x00\x01a\x01b");
    let update = |by: u32| frame(Kind::WindowUpdate, 0, 1, &by.to_be_bytes());
    for (bytes, code) in [
        (bad, protocol),
        ([with_length(1, "3"), data(0, 4)].concat(), protocol),
        ([with_length(1, "3"), data(END_STREAM, 2)].concat(), protocol),
        ([with_length(1, "3"), data(0, 2), trailers(END_STREAM)].concat(), protocol),
        ([request(1, 0), trailers(0)].concat(), protocol),
        ([request(1, 0), data(0, 1001)].concat(), ErrorCode::FlowControl),
        ([request(1, 0), update(0)].concat(), protocol),
        ([request(1, 0), update(0x7fff_ffff)].concat(), ErrorCode::FlowControl),
        ([request(1, END_STREAM), data(0, 1)].concat(), closed),
        ([request(1, END_STREAM), trailers(END_STREAM)].concat(), closed),
        ([request(1, 0), frame(Kind::Priority, 0, 1, &[0; 4])].concat(), ErrorCode::FrameSize),
    ] {
        let mut server = server();
        let events = take(&mut server, &bytes).unwrap();
        let last = events.last().unwrap();
        assert!(matches!(last, Event::Broken { key: 0 } | Event::Malformed), "{events:?}");
        let reset = (Kind::Reset, 0, 1, (code as u32).to_be_bytes().to_vec());
        assert_eq!(sent(&mut server).pop(), Some(reset), "{bytes:?}");
        assert_eq!(server.active(), 0);
        // Whatever was on its way already does no harm, and others go on.
        assert_eq!(take(&mut server, &data(END_STREAM, 7)), Ok(vec![]));
        assert_eq!(take(&mut server, &request(3, 0)).unwrap().len(), 1);
        assert_eq!(server.inbound.held(), 0);
    }
}

#[test]
fn what_matters_to_nobody_is_passed_over() {
    let mut server = server();
    let bytes = [
        frame(Kind::Unknown, 0xff, 7, b"whatever"),
        frame(Kind::Priority, 0, 9, &[0; 5]),
        frame(Kind::Ping, ACK, 0, &[0; 8]),
        frame(Kind::Settings, ACK, 0, &[]),
    ];
    assert_eq!(take(&mut server, &bytes.concat()), Ok(vec![]));
    assert_eq!(sent(&mut server), []);
    take(&mut server, &frame(Kind::Ping, 0, 0, b"12345678")).unwrap();
    assert_eq!(sent(&mut server), [(Kind::Ping, ACK, 0, b"12345678".to_vec())]);
}

#[test]
fn a_client_begins_with_its_preface_and_settings() {
    let mut server = Connection::new(SETTINGS);
    assert_eq!(server.receive(b"PRI * HTTP/2.0\r\n"), Ok((16, None)));
    assert_eq!(server.receive(b"\r\nSN"), Err(ErrorCode::Protocol));
    let mut server = Connection::new(SETTINGS);
    let ping = [&PREFACE[..], &frame(Kind::Ping, 0, 0, &[0; 8])].concat();
    assert_eq!(take(&mut server, &ping), Err(ErrorCode::Protocol));
}

#[test]
fn more_streams_than_allowed_are_refused() {
    let mut server = server();
    for stream in [1, 3, 5] {
        assert_eq!(take(&mut server, &request(stream, END_STREAM)).unwrap().len(), 1);
    }
    assert_eq!(take(&mut server, &request(7, END_STREAM)), Ok(vec![]));
    let refused = ErrorCode::RefusedStream as u8;
    assert_eq!(sent(&mut server), [(Kind::Reset, 0, 7, vec![0, 0, 0, refused])]);
    server.reset(1, ErrorCode::Internal);
    let again = take(&mut server, &request(9, END_STREAM));
    assert_eq!(again, Ok(vec![asked(1, BodyLength::Empty)]));
}

#[test]
fn an_answer_before_the_end_of_the_request_stops_it() {
    let mut server = server();
    take(&mut server, &[request(1, 0), frame(Kind::Data, 0, 1, b"abc")].concat()).unwrap();
    server.answer(0, StatusCode::OK).unwrap().finish(true);
    let frames = sent(&mut server);
    assert_eq!(frames[0].1, END_STREAM | END_HEADERS);
    assert_eq!(frames[1], (Kind::Reset, 0, 1, vec![0; 4]));
    let late = [frame(Kind::Data, 0, 1, b"abc"), frame(Kind::Headers, 5, 1, b"\x00\x01a\x01b")];
    assert_eq!(take(&mut server, &late.concat()), Ok(vec![]));
    assert_eq!((sent(&mut server), server.inbound.held()), (vec![], 0));
    // After an end of the client's own nothing may come.
    take(&mut server, &request(3, END_STREAM)).unwrap();
    server.answer(0, StatusCode::OK).unwrap().finish(true);
    let late = take(&mut server, &frame(Kind::Headers, 5, 3, b"\x00\x01a\x01b"));
    assert_eq!(late, Err(ErrorCode::StreamClosed));
}

#[test]
fn what_serves_nobody_has_an_end() {
    let calm = Err(ErrorCode::EnhanceYourCalm);
    for one in [
        frame(Kind::Ping, 0, 0, &[0; 8]),
        frame(Kind::Settings, 0, 0, &[]),
        frame(Kind::Priority, 0, 1, &[0; 5]),
        frame(Kind::Unknown, 0, 1, b""),
        frame(Kind::WindowUpdate, 0, 0, &[0, 0, 0, 1]),
        frame(Kind::Data, 0, 1, b""),
        frame(Kind::Data, PADDED, 1, &[0]),
    ] {
        let mut server = server();
        take(&mut server, &request(1, 0)).unwrap();
        assert_eq!(take(&mut server, &one.repeat(2000)), calm, "{one:?}");
        let mut server = super::tests::server();
        take(&mut server, &request(1, 0)).unwrap();
        for _ in 0..10 {
            take(&mut server, &one.repeat(500)).unwrap();
            server.refill();
        }
    }
    // Requests that are cancelled at once (CVE-2023-44487).
    let cancel = |at: u32| {
        let stream = 2 * at + 1;
        [request(stream, END_STREAM), frame(Kind::Reset, 0, stream, &[0; 4])].concat()
    };
    let mut cancelling = server();
    let all: Vec<u8> = (0..200).flat_map(cancel).collect();
    assert_eq!(take(&mut cancelling, &all), calm);
    // Such as were answered may be.
    let mut cancelling = server();
    for at in 0..200 {
        let (stream, code) = (2 * at + 1, [0; 4]);
        take(&mut cancelling, &request(stream, END_STREAM)).unwrap();
        cancelling.answer(0, StatusCode::OK).unwrap().finish(false);
        take(&mut cancelling, &frame(Kind::Reset, 0, stream, &code)).unwrap();
    }
    // Heads in small pieces, and heads without an end.
    let mut pieces = frame(Kind::Headers, 0, 1, GET);
    pieces.extend(frame(Kind::Continuation, 0, 1, b"").repeat(40));
    assert_eq!(take(&mut server(), &pieces), calm);
    let mut endless = frame(Kind::Headers, 0, 1, GET);
    endless.extend(frame(Kind::Continuation, 0, 1, &[0x82; LARGEST]).repeat(2));
    assert_eq!(take(&mut server(), &endless), calm);
}

#[test]
fn a_head_in_pieces_is_one() {
    let mut server = server();
    let mut bytes = frame(Kind::Headers, END_STREAM, 1, &GET[..2]);
    bytes.extend(frame(Kind::Continuation, 0, 1, &GET[2..4]));
    bytes.extend(frame(Kind::Continuation, END_HEADERS, 1, &GET[4..]));
    assert_eq!(take(&mut server, &bytes), Ok(vec![asked(0, BodyLength::Empty)]));
    // So is one that is sent.
    let mut writer = server.answer(0, StatusCode::OK).unwrap();
    for _ in 0..3 {
        writer.field("set-cookie", &[b'x'; 15_000]);
    }
    writer.finish(true);
    let frames = sent(&mut server);
    let kinds: Vec<_> = frames.iter().map(|(kind, flags, ..)| (*kind, *flags)).collect();
    assert_eq!(kinds[0], (Kind::Headers, END_STREAM));
    assert_eq!(kinds[1..], [(Kind::Continuation, 0), (Kind::Continuation, END_HEADERS)]);
    assert!(frames.iter().map(|(.., payload)| payload.len()).sum::<usize>() > 45_000);
}

#[test]
fn the_end_is_announced_before_streams_come_too_late() {
    let mut server = server();
    take(&mut server, &request(1, 0)).unwrap();
    server.announce_end();
    let frames = sent(&mut server);
    assert_eq!(frames[0], (Kind::GoAway, 0, 0, vec![0x7f, 255, 255, 255, 0, 0, 0, 0]));
    assert_eq!(take(&mut server, &request(3, 0)).unwrap().len(), 1);
    let heard = frame(Kind::Ping, ACK, 0, &frames[1].3);
    assert_eq!(take(&mut server, &heard), Ok(vec![Event::Heard]));
    assert!(!server.is_leaving());
    server.refuse_streams();
    server.refuse_streams();
    assert_eq!(sent(&mut server), [(Kind::GoAway, 0, 0, vec![0, 0, 0, 3, 0, 0, 0, 0])]);
    let late = [request(5, 0), frame(Kind::Data, 0, 5, b"abc")].concat();
    assert_eq!((take(&mut server, &late), sent(&mut server)), (Ok(vec![]), vec![]));
    assert!(server.is_leaving() && server.active() == 2);

    let mut server = super::tests::server();
    assert_eq!(take(&mut server, &frame(Kind::GoAway, 0, 0, &[0; 8])), Ok(vec![]));
    assert!(server.is_leaving());
}

#[test]
fn a_setting_moves_the_windows_of_open_streams() {
    let mut server = server();
    take(&mut server, &request(1, END_STREAM)).unwrap();
    server.answer(0, StatusCode::OK).unwrap().finish(false);
    assert_eq!(server.data(0, &[0; 100]), 100);
    let window = |size: u32| [&[0, 4][..], &size.to_be_bytes()].concat();
    let set = |size| frame(Kind::Settings, 0, 0, &window(size));
    take(&mut server, &set(50)).unwrap();
    assert_eq!((server.room(0), server.data(0, b"abc")), (Some(0), 0));
    take(&mut server, &set(103)).unwrap();
    assert_eq!(server.data(0, b"abcdef"), 3);
    let most = frame(Kind::WindowUpdate, 0, 1, &0x7fff_ffff_u32.to_be_bytes());
    assert_eq!(take(&mut server, &most), Ok(vec![Event::Room]));
    assert_eq!(take(&mut server, &set(104)), Err(ErrorCode::FlowControl));
    // Those of streams that are over do not matter.
    let mut server = super::tests::server();
    take(&mut server, &[request(1, END_STREAM), set(0), most].concat()).unwrap();
    server.reset(0, ErrorCode::Cancel);
    assert_eq!(take(&mut server, &set(100)), Ok(vec![Event::Room]));
}

#[test]
fn windows_are_opened_as_bodies_are_used() {
    let mut server = server();
    take(&mut server, &request(1, 0)).unwrap();
    take(&mut server, &frame(Kind::Data, 0, 1, &[0; 600])).unwrap();
    assert_eq!(sent(&mut server), []);
    server.release(0, 499);
    assert_eq!(sent(&mut server), []);
    server.release(0, 101);
    assert_eq!(sent(&mut server), [(Kind::WindowUpdate, 0, 1, 600_u32.to_be_bytes().to_vec())]);
    // What a stream leaves behind is given back to all.
    take(&mut server, &frame(Kind::Data, 0, 1, &[0; 600])).unwrap();
    take(&mut server, &frame(Kind::Reset, 0, 1, &[0; 4])).unwrap();
    assert_eq!(server.inbound.held(), 0);
}

#[derive(Debug, Clone)]
enum Move {
    Send(usize, usize),
    Open(u32, u32),
    Set(u32),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        4 => (0_usize..3, 0_usize..40_000).prop_map(|(key, count)| Move::Send(key, count)),
        2 => (0_u32..4, 1_u32..50_000).prop_map(|(stream, by)| Move::Open(stream, by)),
        1 => (0_u32..100_000).prop_map(Move::Set),
    ];
    prop::collection::vec(one, 1..60)
}

proptest! {
    #[test]
    fn no_more_is_sent_than_the_client_takes(moves in moves()) {
        let mut server = server();
        for stream in [1, 3, 5] {
            take(&mut server, &request(stream, END_STREAM)).unwrap();
        }
        let (mut all, mut each, mut initial) = (65_535_i64, [65_535_i64; 3], 65_535_i64);
        for step in moves {
            match step {
                Move::Send(key, count) => {
                    let sent = server.data(key, &vec![0; count]).cast_signed() as i64;
                    all -= sent;
                    each[key] -= sent;
                    prop_assert!(sent == 0 || all >= 0 && each[key] >= 0);
                    // And no less than it could be.
                    let could = all.min(each[key]) <= 0 || sent as usize == count.min(LARGEST);
                    prop_assert!(could, "{sent} of {count}, {all} {each:?}");
                }
                Move::Open(stream, by) => {
                    let id = if stream == 0 { 0 } else { 2 * stream - 1 };
                    let update = frame(Kind::WindowUpdate, 0, id, &by.to_be_bytes());
                    take(&mut server, &update).unwrap();
                    match stream {
                        0 => all += i64::from(by),
                        stream => each[stream as usize - 1] += i64::from(by),
                    }
                }
                Move::Set(size) => {
                    let payload = [&[0, 4][..], &size.to_be_bytes()].concat();
                    take(&mut server, &frame(Kind::Settings, 0, 0, &payload)).unwrap();
                    for window in &mut each {
                        *window += i64::from(size) - initial;
                    }
                    initial = i64::from(size);
                }
            }
        }
    }

    #[test]
    fn any_bytes_are_read_alike_in_any_pieces(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        frames in prop::collection::vec(some_frame(), 0..12),
    ) {
        crate::h2::oracle::frames(&[&bytes[..], &frames.concat()].concat());
        crate::h2::oracle::frames(&[&[5, 1][..], &frames.concat(), &bytes].concat());
    }
}

fn some_frame() -> impl Strategy<Value = Vec<u8>> {
    let kinds = [
        Kind::Data,
        Kind::Headers,
        Kind::Reset,
        Kind::Settings,
        Kind::Ping,
        Kind::WindowUpdate,
        Kind::Continuation,
        Kind::GoAway,
    ];
    let random = (0_usize..8, any::<u8>(), 0_u32..8, prop::collection::vec(any::<u8>(), 0..12));
    let random = random.prop_map(move |(kind, flags, stream, payload)| {
        frame(kinds[kind], flags, stream, &payload)
    });
    let good = (0_u32..6, any::<bool>())
        .prop_map(|(stream, ends)| request(2 * stream + 1, if ends { END_STREAM } else { 0 }));
    prop_oneof![random, good]
}
