//! Reads requests as strictly as RFC 9112 can be read.
//!
//! What lb sends to a backend must leave nothing to interpret: a request that only a lenient
//! server would understand is a fault here. This is a second opinion, so it shares no code with
//! what it judges.

use crate::backend::find;

/// The head of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The method.
    pub method: String,
    /// The target.
    pub target: String,
    /// The fields in order, names in lower case.
    pub fields: Vec<(String, String)>,
    /// How the body is framed.
    pub framing: Framing,
}

/// Where the body of a request ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// After this many bytes.
    Length(usize),
    /// After the last chunk.
    Chunked,
}

/// A body in so far as it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// All of it, and how many bytes of the buffer it took.
    Whole(Vec<u8>, usize),
    /// More is to come; this is known so far.
    Partial(Vec<u8>),
}

/// Names that may not stand behind a body.
const NEVER_TRAILERS: [&str; 6] =
    ["content-length", "transfer-encoding", "host", "connection", "trailer", "authorization"];

impl Head {
    /// Reads a head, which ends with an empty line.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let lines = bytes.strip_suffix(b"\r\n\r\n").ok_or("a head without an end")?;
        let mut lines = split(lines)?.into_iter();
        let line = lines.next().unwrap_or_default();
        let words: Vec<_> = line.split(|byte| *byte == b' ').collect();
        let [method, target, b"HTTP/1.1"] = words[..] else {
            return Err(format!("not a request line: {:?}", text(line)));
        };
        if !is_token(method) || target.is_empty() || target.iter().any(u8::is_ascii_control) {
            return Err(format!("not a request line: {:?}", text(line)));
        }
        let fields = lines.map(field).collect::<Result<Vec<_>, _>>()?;
        let framing = framing(&fields)?;
        let all = |name: &str| fields.iter().filter(|(each, _)| each == name).count();
        if all("host") != 1 {
            return Err(format!("{} Host fields", all("host")));
        }
        Ok(Self { method: text(method), target: text(target), fields, framing })
    }

    /// The value of the first field of this name.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(each, _)| each == name).map(|(_, value)| value.as_str())
    }
}

fn framing(fields: &[(String, String)]) -> Result<Framing, String> {
    let all = |name: &str| -> Vec<&str> {
        fields.iter().filter(|(each, _)| each == name).map(|(_, value)| value.as_str()).collect()
    };
    match (&all("content-length")[..], &all("transfer-encoding")[..]) {
        ([], []) => Ok(Framing::Length(0)),
        ([length], []) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
            length.parse().map(Framing::Length).map_err(|_| format!("Content-Length: {length}"))
        }
        ([], ["chunked"]) => Ok(Framing::Chunked),
        (lengths, codings) => {
            Err(format!("Content-Length {lengths:?} and Transfer-Encoding {codings:?}"))
        }
    }
}

impl Framing {
    /// Reads a body from the beginning of `bytes`.
    pub fn body(self, bytes: &[u8]) -> Result<Body, String> {
        match self {
            Self::Length(length) if bytes.len() >= length => {
                Ok(Body::Whole(bytes[..length].to_vec(), length))
            }
            Self::Length(_) => Ok(Body::Partial(bytes.to_vec())),
            Self::Chunked => chunks(bytes),
        }
    }
}

fn chunks(bytes: &[u8]) -> Result<Body, String> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some(end) = find(&bytes[at..], b"\n") else { return Ok(Body::Partial(body)) };
        let line = &bytes[at..at + end];
        let size = line.strip_suffix(b"\r").filter(|size| !size.is_empty());
        let size = size.filter(|size| size.iter().all(u8::is_ascii_hexdigit));
        let size = size.and_then(|size| usize::from_str_radix(&text(size), 16).ok());
        let size = size.ok_or_else(|| format!("not the size of a chunk: {:?}", text(line)))?;
        at += end + 1;
        if size == 0 {
            break;
        }
        let Some(chunk) = bytes.get(at..at + size + 2) else {
            let rest = &bytes[at..];
            body.extend_from_slice(&rest[..rest.len().min(size)]);
            return Ok(Body::Partial(body));
        };
        let data = chunk.strip_suffix(b"\r\n").ok_or("a chunk that does not end where it says")?;
        body.extend_from_slice(data);
        at += size + 2;
    }
    let rest = &bytes[at..];
    if rest.starts_with(b"\r\n") {
        return Ok(Body::Whole(body, at + 2));
    }
    let Some(end) = find(rest, b"\r\n\r\n") else { return Ok(Body::Partial(body)) };
    for line in split(&rest[..end])? {
        let (name, _) = field(line)?;
        if NEVER_TRAILERS.contains(&name.as_str()) {
            return Err(format!("`{name}` in a trailer"));
        }
    }
    Ok(Body::Whole(body, at + end + 4))
}

fn field(line: &[u8]) -> Result<(String, String), String> {
    let colon = find(line, b":").ok_or_else(|| format!("no colon in {:?}", text(line)))?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if !is_token(name) {
        return Err(format!("not a name of a field: {:?}", text(name)));
    }
    if value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
        return Err(format!("a control character in {:?}", text(line)));
    }
    Ok((text(name).to_ascii_lowercase(), text(value.trim_ascii())))
}

/// Lines that end with CR and LF, and hold neither.
fn split(bytes: &[u8]) -> Result<Vec<&[u8]>, String> {
    let mut lines = Vec::new();
    let mut rest = bytes;
    while let Some(end) = find(rest, b"\r\n") {
        lines.push(&rest[..end]);
        rest = &rest[end + 2..];
    }
    lines.push(rest);
    match lines.iter().find(|line| line.iter().any(|byte| matches!(byte, b'\r' | b'\n'))) {
        Some(line) => Err(format!("half of a line end in {:?}", text(line))),
        None => Ok(lines),
    }
}

fn is_token(bytes: &[u8]) -> bool {
    let is_mark = |byte: &u8| b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || is_mark(byte))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
