//! What must hold for any bytes at all; fuzzers feed it, and a test replays what they found.
//!
//! Each function takes arbitrary bytes and panics where a promise is broken: that a message is
//! read alike however it arrives, that an independent parser agrees about everything that is
//! accepted, and that what is written again is the same message.

use super::{
    BodyDecoder, BodyLength, Fault, Limits, Progress, RequestHead, ResponseHead, Status, Step,
    encode,
};
use crate::Fields;

const LIMITS: Limits = Limits { start_line: 256, fields: 2048, count: 32 };

/// The first byte says in which pieces the others arrive.
fn split(data: &[u8]) -> (usize, &[u8]) {
    data.split_first().map_or((1, data), |(first, rest)| (usize::from(*first % 32) + 1, rest))
}

/// Reads in pieces of `cut` bytes until there is an outcome.
fn in_pieces(
    bytes: &[u8],
    cut: usize,
    mut read: impl FnMut(&[u8]) -> Result<Status, Fault>,
) -> Result<Status, Fault> {
    let mut end = 0;
    loop {
        end = (end + cut).min(bytes.len());
        let outcome = read(&bytes[..end]);
        if end == bytes.len() || outcome != Ok(Status::Partial) {
            return outcome;
        }
    }
}

/// Of a line that is both too long and malformed either may be said, by what comes first.
fn same(one: Result<Status, Fault>, two: Result<Status, Fault>, cut: usize) {
    assert_eq!(one.ok(), two.ok(), "in pieces of {cut}");
}

fn pairs(fields: &Fields) -> Vec<(Vec<u8>, Vec<u8>)> {
    fields.iter().map(|field| (field.name.to_vec(), field.value.to_vec())).collect()
}

fn theirs(headers: &[httparse::Header<'_>]) -> Vec<(Vec<u8>, Vec<u8>)> {
    headers.iter().map(|field| (field.name.as_bytes().to_vec(), field.value.to_vec())).collect()
}

/// A request head.
pub fn request_head(data: &[u8]) {
    let (cut, bytes) = split(data);
    let mut whole = RequestHead::default();
    let outcome = whole.read(&mut Progress::default(), bytes, &LIMITS);
    let (mut head, mut progress) = (RequestHead::default(), Progress::default());
    let other = in_pieces(bytes, cut, |bytes| head.read(&mut progress, bytes, &LIMITS));
    same(outcome, other, cut);
    let Ok(Status::Complete(length)) = outcome else {
        return;
    };
    assert_eq!(pairs(&whole.fields), pairs(&head.fields));
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Request::new(&mut headers);
    assert_eq!(parsed.parse(bytes), Ok(httparse::Status::Complete(length)));
    assert_eq!(parsed.method, Some(head.method.as_str()));
    assert_eq!(parsed.path, Some(head.target()));
    assert_eq!(theirs(parsed.headers), pairs(&head.fields));

    let mut again =
        format!("{} {} {:?}\r\n", head.method, head.target(), head.version).into_bytes();
    head.fields.write(&mut again, |_| true);
    again.extend_from_slice(b"\r\n");
    let mut second = RequestHead::default();
    let read = second.read(&mut Progress::default(), &again, &LIMITS);
    assert_eq!(read, Ok(Status::Complete(again.len())));
    assert_eq!(pairs(&second.fields), pairs(&head.fields));
    assert_eq!((second.body(), second.keeps_alive()), (head.body(), head.keeps_alive()));
}

/// A response head.
pub fn response_head(data: &[u8]) {
    let (cut, bytes) = split(data);
    let mut whole = ResponseHead::default();
    let outcome = whole.read(&mut Progress::default(), bytes, &LIMITS);
    let (mut head, mut progress) = (ResponseHead::default(), Progress::default());
    let other = in_pieces(bytes, cut, |bytes| head.read(&mut progress, bytes, &LIMITS));
    same(outcome, other, cut);
    let Ok(Status::Complete(length)) = outcome else {
        return;
    };
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Response::new(&mut headers);
    assert_eq!(parsed.parse(bytes), Ok(httparse::Status::Complete(length)));
    assert_eq!(parsed.code, Some(head.status.as_u16()));
    assert_eq!(theirs(parsed.headers), pairs(&head.fields));
    assert_eq!(pairs(&whole.fields), pairs(&head.fields));
}

/// The data of a chunked body that arrives in pieces, and how many bytes it took.
fn unchunk(mut bytes: &[u8], cut: usize) -> Result<Option<(Vec<u8>, usize)>, Fault> {
    let all = bytes.len();
    let mut decoder = BodyDecoder::new(BodyLength::Chunked);
    let mut data = Vec::new();
    let mut there = 0;
    loop {
        there = (there + cut).min(bytes.len());
        loop {
            match decoder.next(&bytes[..there])? {
                Step::Data(skip, count) => {
                    data.extend_from_slice(&bytes[skip..skip + count]);
                    decoder.took(count);
                    bytes = &bytes[skip + count..];
                    there -= skip + count;
                }
                Step::More(skip) => {
                    bytes = &bytes[skip..];
                    there -= skip;
                    break;
                }
                Step::End(skip) => return Ok(Some((data, all - bytes.len() + skip))),
            }
        }
        if there == bytes.len() {
            return Ok(None);
        }
    }
}

/// A chunked body.
pub fn chunked_body(data: &[u8]) {
    let (cut, bytes) = split(data);
    let whole = unchunk(bytes, bytes.len().max(1));
    assert_eq!(whole, unchunk(bytes, cut), "in pieces of {cut}");
    if let Ok(Some((data, length))) = whole {
        if let Ok(httparse::Status::Complete((at, size))) = httparse::parse_chunk_size(bytes) {
            let first = size.min(data.len() as u64) as usize;
            assert!(size <= data.len() as u64, "a chunk of {size} bytes in {}", data.len());
            assert_eq!(bytes.get(at..at + first), data.get(..first));
        }
        let mut again = Vec::new();
        encode::chunk(&mut again, &data);
        encode::last_chunk(&mut again, None);
        assert_eq!(unchunk(&again, cut), Ok(Some((data, again.len()))));
        assert!(length <= bytes.len());
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    /// Replays what fuzzers found worth keeping.
    fn replay(name: &str, target: fn(&[u8])) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
        let mut count = 0;
        for entry in fs::read_dir(&root).unwrap() {
            target(&fs::read(entry.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count > 20, "{count} files in {}", root.display());
    }

    #[test]
    fn request_heads_of_the_corpus_keep_every_promise() {
        replay("request_head", super::request_head);
    }

    #[test]
    fn response_heads_of_the_corpus_keep_every_promise() {
        replay("response_head", super::response_head);
    }

    #[test]
    fn chunked_bodies_of_the_corpus_keep_every_promise() {
        replay("chunked_body", super::chunked_body);
    }
}
