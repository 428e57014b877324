//! Reads nodes into typed, spanned values and gathers every fault on the way.

use std::fmt::Write;

use ipnet::IpNet;

use super::{Document, Named, Protocol};
use crate::{
    bundle::Bundle,
    config::Strategy,
    diagnostic::{Diagnostic, Diagnostics, Severity, code},
    rule::Rule,
    value::{
        BackendName, BackendUrl, ByteSize, CertificateName, Duration, EntryPointName, InvalidValue,
        Label, ListenAddress, RouteName, Secret, ServiceName, Weight,
    },
    yaml::{Entry, Node, Position, Value},
};

/// Which document, and where in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct At {
    /// The index of the document in its bundle.
    pub source: u32,
    /// The place in it.
    pub position: Position,
}

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub at: At,
}

/// Reads one tree.
pub struct Reader<'a> {
    bundle: &'a Bundle,
    path: Vec<String>,
    found: Diagnostics,
}

/// What can be read from a node. A fault is reported to the reader and gives nothing.
pub(super) trait Read: Sized {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self>;
}

/// What can be read from the text of a scalar.
pub(super) trait Leaf: Sized {
    fn leaf(text: &str) -> Result<Self, InvalidValue>;
}

impl<'a> Reader<'a> {
    pub(super) fn new(bundle: &'a Bundle) -> Self {
        Self { bundle, path: Vec::new(), found: Diagnostics::default() }
    }

    pub(super) fn into_found(self) -> Diagnostics {
        self.found
    }

    #[expect(clippy::unused_self, reason = "whoever reads asks the reader where")]
    pub(super) fn at(&self, node: &Node) -> At {
        At { source: node.span.source, position: node.span }
    }

    /// Reads a whole document. An empty one is an empty map.
    pub(super) fn document(&mut self, node: &Node) -> Option<Document> {
        match node.value {
            Value::Null => Some(Document::default()),
            _ => <Document as Read>::read(node, self),
        }
    }

    /// The entries of a map. Nothing is an empty map: `tls:` turns TLS on.
    pub(super) fn map<'n>(&mut self, node: &'n Node) -> Option<&'n [Entry]> {
        match &node.value {
            Value::Map(entries) => Some(entries),
            Value::Null => Some(&[]),
            other => {
                self.shape(node, "a map", other.shape(), "write `key: value` lines under it");
                None
            }
        }
    }

    /// Reads the value of a key. A key with nothing behind it counts as not written, unless a
    /// map stands there.
    pub(super) fn field<T: Read>(&mut self, entry: &Entry) -> Option<T> {
        self.path.push(entry.key.clone());
        let value = T::read(&entry.node, self);
        self.path.pop();
        value
    }

    pub(super) fn unknown_key(&mut self, entry: &Entry, keys: &[&str], later: &[&str]) {
        self.path.push(entry.key.clone());
        let key = entry.key.as_str();
        if later.contains(&key) {
            self.report(
                code::NOT_YET,
                entry.key_span,
                format!("this version does not run `{key}` yet"),
                Some("remove it for now; nothing is ever ignored silently".to_owned()),
            );
        } else {
            let near = nearest(key, keys.iter().chain(later).copied());
            let help = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known keys here: {}", keys.join(", ")),
            };
            self.report(
                code::UNKNOWN_KEY,
                entry.key_span,
                format!("`{key}` is not a key of the language here"),
                Some(help),
            );
        }
        self.path.pop();
    }

    fn shape(&mut self, node: &Node, wanted: &str, found: &str, help: &str) {
        if node.value == Value::Faulty {
            return;
        }
        self.report(
            code::WRONG_SHAPE,
            node.span,
            format!("{wanted} is wanted here, this is {found}"),
            Some(help.to_owned()),
        );
    }

    pub(super) fn report(
        &mut self,
        code: &str,
        span: Position,
        message: String,
        help: Option<String>,
    ) {
        self.found.push(Diagnostic {
            code: code.to_owned(),
            severity: Severity::Error,
            place: Some(span.in_file(self.bundle.source_name(span.source))),
            path: self.path.join("."),
            message,
            help,
        });
    }

    /// Joins two maps by name; a name in both is a fault.
    pub(super) fn join<N: AsRef<str> + PartialEq, T>(
        &mut self,
        key: &str,
        whole: &mut Option<Named<N, T>>,
        part: Option<Named<N, T>>,
    ) {
        let Some(part) = part else { return };
        let whole = whole.get_or_insert_with(Vec::new);
        let known = whole.len();
        for (name, value) in part {
            let first = whole[..known].iter().find(|(other, _)| other.value == name.value);
            if let Some((first, _)) = first {
                let at = first.at;
                self.twice(&format!("{key}.{}", name.value.as_ref()), at, name.at);
            } else {
                whole.push((name, value));
            }
        }
    }

    /// Reports that `path` stands in two documents.
    pub(super) fn twice(&mut self, path: &str, first: At, second: At) {
        let file = self.bundle.source_name(first.source);
        self.path = path.split('.').map(str::to_owned).collect();
        self.report(
            code::DUPLICATE_NAME,
            second.position,
            format!("it already stands in {}", first.position.in_file(file)),
            Some("keep one of the two, or rename it".to_owned()),
        );
        self.path.clear();
    }
}

/// The known word that a mistyped one was probably meant to be.
pub(crate) fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    known
        .map(|key| (strsim::damerau_levenshtein(word, key), key))
        .filter(|(distance, key)| *distance <= 1 + key.len() / 4 && *distance < key.len())
        .min()
        .map(|(_, key)| key)
}

impl<T: Leaf> Read for Spanned<T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let text = match &node.value {
            Value::Scalar { text, .. } => text,
            other => {
                let found = other.shape();
                reader.shape(node, "a single value", found, "write the value after the colon");
                return None;
            }
        };
        match T::leaf(text) {
            Ok(value) => Some(Self { value, at: reader.at(node) }),
            Err(InvalidValue { message, help, not_yet }) => {
                let code = if not_yet { code::NOT_YET } else { code::INVALID_VALUE };
                reader.report(code, node.span, message, help);
                None
            }
        }
    }
}

impl Read for Spanned<Rule> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let at = reader.at(node);
        let text = Spanned::<String>::read(node, reader)?.value;
        match Rule::parse(&text) {
            Ok(value) => Some(Self { value, at }),
            Err(faults) => {
                for fault in faults {
                    let span = within(node.span, &text, fault.span.clone());
                    reader.report(code::INVALID_RULE, span, fault.message, fault.help);
                }
                None
            }
        }
    }
}

/// The place of a part of a scalar's text. Exact when the scalar is plain on one line, which
/// rules are; else the whole scalar.
fn within(span: Position, text: &str, part: std::ops::Range<usize>) -> Position {
    let extra = (span.len as usize).saturating_sub(text.len());
    let start = part.start.min(text.len());
    // An expanded scalar may be longer than what was written.
    if extra > 2 || text.len() > span.len as usize || !text.is_char_boundary(start) {
        return span;
    }
    // A quoted scalar has one quote before its text.
    let quote = extra / 2;
    Position {
        source: span.source,
        line: span.line,
        column: span.column + (quote + text[..start].chars().count()) as u32,
        offset: span.offset + (quote + start) as u32,
        len: part.end.saturating_sub(part.start) as u32,
    }
}

impl<T: Read> Read for Vec<T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Value::List(items) = &node.value else {
            let found = node.value.shape();
            reader.shape(node, "a list", found, "write [first, second]");
            return None;
        };
        let mut list = Self::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let last = reader.path.last_mut().map(|last| {
                let plain = last.len();
                let _ = write!(last, "[{index}]");
                plain
            });
            list.extend(T::read(item, reader));
            if let (Some(plain), Some(last)) = (last, reader.path.last_mut()) {
                last.truncate(plain);
            }
        }
        Some(list)
    }
}

impl<N: Leaf, T: Read> Read for Named<N, T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let entries = reader.map(node)?;
        let mut named = Self::with_capacity(entries.len());
        for entry in entries {
            reader.path.push(entry.key.clone());
            let name = match N::leaf(&entry.key) {
                Ok(value) => {
                    let at = At { source: entry.key_span.source, position: entry.key_span };
                    Some(Spanned { value, at })
                }
                Err(InvalidValue { message, help, .. }) => {
                    reader.report(code::INVALID_VALUE, entry.key_span, message, help);
                    None
                }
            };
            let value = T::read(&entry.node, reader);
            reader.path.pop();
            named.extend(name.zip(value));
        }
        Some(named)
    }
}

macro_rules! leaves {
    ($($kind:ty),*) => {$(
        impl Leaf for $kind {
            fn leaf(text: &str) -> Result<Self, InvalidValue> {
                <$kind>::parse(text)
            }
        }
    )*};
}
leaves!(
    BackendName,
    BackendUrl,
    ByteSize,
    CertificateName,
    Duration,
    EntryPointName,
    Label,
    ListenAddress,
    RouteName,
    ServiceName,
    Weight
);

macro_rules! whole_numbers {
    ($($kind:ty),*) => {$(
        impl Leaf for $kind {
            fn leaf(text: &str) -> Result<Self, InvalidValue> {
                text.parse().map_err(|_| InvalidValue::new(
                    format!("`{text}` is not a whole number"),
                    format!("write a number from {} to {}", <$kind>::MIN, <$kind>::MAX),
                ))
            }
        }
    )*};
}
whole_numbers!(u16, u32, u64, i64);

impl Leaf for String {
    fn leaf(text: &str) -> Result<Self, InvalidValue> {
        Ok(text.to_owned())
    }
}

impl Leaf for Secret<String> {
    fn leaf(text: &str) -> Result<Self, InvalidValue> {
        Ok(Self::new(text.to_owned()))
    }
}

impl Leaf for bool {
    fn leaf(text: &str) -> Result<Self, InvalidValue> {
        match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(InvalidValue::new(
                format!("`{text}` is neither true nor false"),
                "write true or false",
            )),
        }
    }
}

impl Leaf for IpNet {
    fn leaf(text: &str) -> Result<Self, InvalidValue> {
        let address = text.parse::<std::net::IpAddr>().map(Self::from);
        text.parse().or(address).map_err(|_| {
            InvalidValue::new(
                format!("`{text}` is neither an address nor a range"),
                "write an IP address or a range such as 10.0.0.0/8",
            )
        })
    }
}

impl Leaf for Protocol {
    fn leaf(text: &str) -> Result<Self, InvalidValue> {
        match text {
            "http" => Ok(Self::Http),
            "tcp" | "udp" => Err(InvalidValue::not_yet(
                format!("this version does not run `{text}` entry points yet"),
                "use http for now",
            )),
            _ => Err(InvalidValue::new(format!("`{text}` is not a protocol"), "write http")),
        }
    }
}

impl Leaf for Strategy {
    fn leaf(text: &str) -> Result<Self, InvalidValue> {
        match text {
            "round_robin" => Ok(Self::RoundRobin),
            "p2c" => Ok(Self::P2c),
            "least_requests" | "hash" => Err(InvalidValue::not_yet(
                format!("this version does not run the strategy `{text}` yet"),
                "use round_robin or p2c for now",
            )),
            _ => Err(InvalidValue::new(
                format!("`{text}` is not a strategy"),
                "write round_robin or p2c",
            )),
        }
    }
}
