//! What must hold for any bytes at all; fuzzers feed it, and a test replays what they found.
//!
//! A server that answers everything at once reads the same bytes whole and in pieces. It must
//! never panic, do the same both times, say nothing but whole frames that a client may get, and
//! keep its tables and streams within their limits.

use http::StatusCode;

use super::{
    Connection, ErrorCode, Event, Limits, PREFACE, Settings,
    frame::{self, Head, Kind, LARGEST},
};
use crate::h1::BodyLength;

const SETTINGS: Settings = Settings {
    head: Limits { target: 64, list: 1024, count: 16 },
    streams: 4,
    stream_window: 4096,
    window: 70_000,
};

/// What a server saw and said.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    events: Vec<String>,
    out: Vec<u8>,
    error: Option<ErrorCode>,
}

/// Any bytes of a client. The first says in which pieces they arrive, the second whether the
/// preface and settings go before the others.
pub fn frames(data: &[u8]) {
    let (cut, data) = data.split_first().map_or((1, data), |(cut, data)| (*cut, data));
    let (hello, data) = data.split_first().map_or((0, data), |(hello, data)| (*hello, data));
    let mut bytes = Vec::new();
    if hello % 4 != 0 {
        bytes.extend_from_slice(PREFACE);
        frame::write_head(&mut bytes, 0, Kind::Settings, 0, 0);
    }
    bytes.extend_from_slice(data);
    let whole = serve(&bytes, bytes.len().max(1));
    assert_eq!(whole, serve(&bytes, usize::from(cut % 64) + 1), "in pieces of {}", cut % 64 + 1);
    assert_said(&whole);
}

fn serve(bytes: &[u8], cut: usize) -> Seen {
    let mut server = Connection::new(SETTINGS);
    let mut seen = Seen::default();
    let (mut start, mut end) = (0, 0);
    while end < bytes.len() {
        end = (end + cut).min(bytes.len());
        loop {
            let input = &bytes[start..end];
            let (taken, event) = match server.receive(input) {
                Ok(received) => received,
                Err(code) => {
                    seen.error = Some(code);
                    seen.out.append(&mut server.out);
                    assert!(server.receive(input).is_err());
                    return seen;
                }
            };
            assert!(taken <= input.len() && server.active() <= SETTINGS.streams);
            let Some(event) = event else {
                start += taken;
                break;
            };
            seen.events.push(answer(&mut server, event, input));
            start += taken;
            seen.out.append(&mut server.out);
        }
        seen.out.append(&mut server.out);
        // No frame is larger than what is waited for.
        assert!(end - start < frame::HEAD + LARGEST);
    }
    seen
}

/// Does with an event what a proxy would, and says what it was.
fn answer(server: &mut Connection, event: Event, input: &[u8]) -> String {
    match event {
        Event::Request { key, length, fault } => {
            assert!(server.is_open(key));
            let head = &server.head;
            let mut said =
                format!("{key} {} {:?} {length:?} {fault:?}", head.method, head.authority());
            assert!(fault.is_some() || head.fields.len() <= SETTINGS.head.count);
            for (field, line) in head.fields.lines() {
                let parts = [field.name, b": ", field.value, b"\r\n"].concat();
                assert_eq!(parts, line);
                assert!(!field.name.iter().any(u8::is_ascii_uppercase));
                assert!(!field.value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
                said += &line.escape_ascii().to_string();
            }
            if fault.is_none() {
                let target = head.target();
                assert!(target.len() <= SETTINGS.head.target);
                let is_target = target.is_empty() || target == "*" || target.starts_with('/');
                assert!(is_target && target.bytes().all(|byte| byte.is_ascii_graphic()));
            }
            if length == BodyLength::Empty {
                say(server, key);
            }
            said
        }
        Event::Data { key, at, length, is_last } => {
            let data = &input[at..at + length];
            server.release(key, length);
            if is_last {
                say(server, key);
            }
            format!("{key} {} {is_last}", data.escape_ascii())
        }
        Event::Trailers { key } => {
            let said = format!("{key} {} trailers", server.head.fields.len());
            say(server, key);
            said
        }
        Event::Reset { key } | Event::Broken { key } => {
            assert!(!server.is_open(key) && server.room(key).is_none());
            format!("{event:?}")
        }
        Event::Heard => {
            server.refuse_streams();
            "heard".to_owned()
        }
        Event::Malformed | Event::Room => format!("{event:?}"),
    }
}

fn say(server: &mut Connection, key: usize) {
    if let Some(mut writer) = server.answer(key, StatusCode::OK) {
        writer.field("server", b"oracle");
        writer.finish(false);
    }
    let is_sent = server.data(key, b"hello") == 5;
    server.end_data(key, is_sent);
}

/// All that was said is whole frames that a client knows.
fn assert_said(seen: &Seen) {
    let mut rest = &seen.out[..];
    let mut last = None;
    while let Some(head) = Head::read(rest) {
        assert!(head.length <= LARGEST && head.kind != Kind::Unknown);
        let of_stream = matches!(head.kind, Kind::Data | Kind::Headers | Kind::Reset);
        assert!(!of_stream || head.stream % 2 == 1);
        rest = &rest[frame::HEAD + head.length..];
        last = Some(head.kind);
    }
    assert!(rest.is_empty());
    assert_eq!(seen.error.is_some(), last == Some(Kind::GoAway) && seen.error.is_some());
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    #[test]
    fn frames_of_the_corpus_keep_every_promise() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/h2_frames");
        let mut count = 0;
        for entry in fs::read_dir(&root).unwrap() {
            super::frames(&fs::read(entry.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count > 20, "{count} files in {}", root.display());
    }
}
