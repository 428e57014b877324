//! YAML text to a tree of nodes that know their place.
//!
//! A tree, not a typed deserializer, because a typed one stops at the first fault and we report
//! them all. Built from the parser's events, so that every key and value keeps its line, column
//! and bytes, and a scalar keeps its text: `1e3` as a host name stays `1e3`.
//!
//! The language is small on purpose: anchors, aliases, merge keys, custom tags and several
//! documents in one file are refused by name. What is read is bounded in size, depth and nodes.

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, Span};

use crate::diagnostic::{Diagnostic, Diagnostics, Place, Severity, code};

/// The largest document read, in bytes.
pub const MAX_BYTES: usize = 16 << 20;
/// The deepest nesting read.
pub const MAX_DEPTH: usize = 32;
/// The most nodes read.
pub const MAX_NODES: usize = 1_000_000;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What it is.
    pub value: Value,
    /// Where it stands.
    pub span: Position,
}

/// The three shapes of YAML.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing: an empty value, `~` or `null`.
    Null,
    /// A text; `quoted` when it stood in quotes or a block.
    Scalar {
        /// The text without its quotes.
        text: String,
        /// Whether quotes or a block marked it as text.
        quoted: bool,
    },
    /// A list.
    List(Vec<Node>),
    /// A map in written order. No key stands twice.
    Map(Vec<Entry>),
    /// Something that a finding speaks of already; nothing more is said about it.
    Faulty,
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub key_span: Position,
    /// The value.
    pub node: Node,
}

/// A place without the name of its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Position {
    /// Which source of the bundle; see [`crate::Bundle::source_name`].
    pub source: u32,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1, in characters.
    pub column: u32,
    /// The first byte.
    pub offset: u32,
    /// How many bytes.
    pub len: u32,
}

impl Position {
    /// The place in the source called `file`.
    pub fn in_file(self, file: &str) -> Place {
        let Self { line, column, offset, len, .. } = self;
        Place { file: file.to_owned(), line, column, offset, len }
    }
}

impl Value {
    /// What it is, for messages.
    pub const fn shape(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Scalar { .. } => "a single value",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
            Self::Faulty => "a fault",
        }
    }
}

/// Reads the document that is the bundle's source `source`. The tree is what could be read; the
/// findings say what could not.
pub fn read(file: &str, source: u32, text: &str) -> (Option<Node>, Diagnostics) {
    let mut reader = Reader { file, source, text, found: Diagnostics::default(), nodes: 0 };
    if text.len() > MAX_BYTES {
        reader.report(
            Position { source, line: 1, column: 1, offset: 0, len: 0 },
            code::TOO_LARGE,
            format!("the document has {} bytes; at most {MAX_BYTES} are read", text.len()),
            "split it into several files",
        );
        return (None, reader.found);
    }
    let node = reader.document();
    (node, reader.found)
}

/// The finding for a text that was not UTF-8 from byte `at` on.
pub(crate) fn not_utf8(file: &str, text: &str, at: usize) -> Diagnostic {
    // Up to there the text is as it was, so lines and columns are right.
    let before = text.get(..at).unwrap_or_default();
    let span = Position {
        source: 0,
        line: before.matches('\n').count() as u32 + 1,
        column: before.rsplit('\n').next().unwrap_or_default().chars().count() as u32 + 1,
        offset: at as u32,
        len: char::REPLACEMENT_CHARACTER.len_utf8() as u32,
    };
    Diagnostic {
        code: code::SYNTAX.to_owned(),
        severity: Severity::Error,
        place: Some(span.in_file(file)),
        path: String::new(),
        message: "the document is not UTF-8 here".to_owned(),
        help: Some("save it as UTF-8".to_owned()),
    }
}

struct Reader<'a> {
    file: &'a str,
    source: u32,
    text: &'a str,
    found: Diagnostics,
    nodes: usize,
}

/// A collection that is still open.
enum Open {
    List(Vec<Node>, Position),
    Map { entries: Vec<Entry>, key: Option<(String, Position)>, span: Position },
}

impl Reader<'_> {
    fn document(&mut self) -> Option<Node> {
        let mut open: Vec<Open> = Vec::new();
        let mut root: Option<Node> = None;
        let mut documents = 0;
        for event in Parser::new_from_str(self.text) {
            let (event, span) = match event {
                Ok(event) => event,
                Err(error) => {
                    let mark = error.marker();
                    let span = Position {
                        source: self.source,
                        line: mark.line() as u32,
                        column: mark.col() as u32 + 1,
                        offset: mark.byte_offset().unwrap_or(0).min(self.text.len()) as u32,
                        len: 0,
                    };
                    // The parser looks ahead, and has a limit of its own.
                    if matches!(error.kind(), ErrorKind::RecursionLimitExceeded) {
                        self.bounded(MAX_DEPTH + 1, span);
                        return None;
                    }
                    let message = format!("this is not YAML: {}", error.info());
                    self.report(span, code::SYNTAX, message, "look at the line and the one above");
                    return None;
                }
            };
            let span = position(self.source, self.text, &span);
            let done = match event {
                Event::DocumentStart(..) => {
                    documents += 1;
                    if documents > 1 {
                        self.report(
                            span,
                            code::UNSUPPORTED_YAML,
                            "a file holds one document".to_owned(),
                            "put the second document into a file of its own",
                        );
                        return root;
                    }
                    continue;
                }
                Event::Scalar(text, style, anchor, tag) => {
                    self.plain(span, anchor != 0, tag.is_some());
                    scalar(&text, style, span)
                }
                Event::SequenceStart(_, anchor, tag) => {
                    self.plain(span, anchor != 0, tag.is_some());
                    open.push(Open::List(Vec::new(), span));
                    if !self.bounded(open.len(), span) {
                        return None;
                    }
                    continue;
                }
                Event::MappingStart(_, anchor, tag) => {
                    self.plain(span, anchor != 0, tag.is_some());
                    open.push(Open::Map { entries: Vec::new(), key: None, span });
                    if !self.bounded(open.len(), span) {
                        return None;
                    }
                    continue;
                }
                Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                    Some(Open::List(items, span)) => Node { value: Value::List(items), span },
                    Some(Open::Map { entries, span, .. }) => {
                        Node { value: Value::Map(self.unique(entries)), span }
                    }
                    None => continue,
                },
                Event::Alias(_) => {
                    self.plain(span, true, false);
                    Node { value: Value::Faulty, span }
                }
                _ => continue,
            };
            self.nodes += 1;
            if !self.bounded(open.len(), span) {
                return None;
            }
            match open.last_mut() {
                None => root = Some(done),
                Some(Open::List(items, _)) => items.push(done),
                Some(Open::Map { entries, key, .. }) => {
                    if let Some((key, key_span)) = key.take() {
                        entries.push(Entry { key, key_span, node: done });
                    } else if let Value::Scalar { text, .. } = done.value {
                        *key = Some((text, done.span));
                    } else {
                        *key = Some((String::new(), done.span));
                        self.report(
                            done.span,
                            code::WRONG_SHAPE,
                            "a key is a single word".to_owned(),
                            "write `name: value`",
                        );
                    }
                }
            }
        }
        root
    }

    /// Whether the document is still within its bounds.
    fn bounded(&mut self, depth: usize, span: Position) -> bool {
        let what = if depth > MAX_DEPTH {
            format!("it nests deeper than {MAX_DEPTH} levels")
        } else if self.nodes > MAX_NODES {
            format!("it has more than {MAX_NODES} values")
        } else {
            return true;
        };
        self.report(span, code::TOO_LARGE, what, "no configuration needs this; look for a mistake");
        false
    }

    /// Refuses what the language does not use.
    fn plain(&mut self, span: Position, anchored: bool, tagged: bool) {
        for (used, what) in [(anchored, "anchors and aliases"), (tagged, "tags")] {
            if used {
                self.report(
                    span,
                    code::UNSUPPORTED_YAML,
                    format!("{what} are not part of the language"),
                    "write the value out",
                );
            }
        }
    }

    /// Keeps the first of each key and reports the others.
    fn unique(&mut self, entries: Vec<Entry>) -> Vec<Entry> {
        let mut seen = std::collections::HashMap::with_capacity(entries.len());
        let mut twice = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            if let Some(first) = seen.insert(entry.key.clone(), entry.key_span.line) {
                seen.insert(entry.key.clone(), first);
                twice.push(index);
                self.report(
                    entry.key_span,
                    code::DUPLICATE_KEY,
                    format!("`{}` already stands on line {first}", entry.key),
                    "remove one of the two, or rename it",
                );
            }
        }
        if twice.is_empty() {
            return entries;
        }
        let mut index = 0;
        let mut entries = entries;
        entries.retain(|_| {
            index += 1;
            twice.binary_search(&(index - 1)).is_err()
        });
        entries
    }

    fn report(&mut self, span: Position, code: &str, message: String, help: &str) {
        self.found.push(Diagnostic {
            code: code.to_owned(),
            severity: Severity::Error,
            place: Some(span.in_file(self.file)),
            path: String::new(),
            message,
            help: Some(help.to_owned()),
        });
    }
}

fn scalar(text: &str, style: ScalarStyle, span: Position) -> Node {
    let quoted = !matches!(style, ScalarStyle::Plain);
    let value = match text {
        "" | "~" | "null" | "Null" | "NULL" if !quoted => Value::Null,
        _ => Value::Scalar { text: text.to_owned(), quoted },
    };
    Node { value, span }
}

fn position(source: u32, text: &str, span: &Span) -> Position {
    let start = span.start.byte_offset().unwrap_or(0).min(text.len());
    let end = span.end.byte_offset().unwrap_or(start).clamp(start, text.len());
    Position {
        source,
        line: span.start.line() as u32,
        column: span.start.col() as u32 + 1,
        offset: start as u32,
        len: (end - start) as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(text: &str) -> Vec<(String, u32)> {
        let (_, found) = read("lb.yaml", 0, text);
        found.iter().map(|d| (d.code.clone(), d.place.as_ref().unwrap().line)).collect()
    }

    #[test]
    fn keys_and_values_know_their_place() {
        let (node, found) = read("lb.yaml", 0, "backends:\n  wéb: { url: \"http://a\" }\n");
        assert!(found.is_empty(), "{found}");
        let Value::Map(top) = node.unwrap().value else { panic!() };
        let Value::Map(backends) = &top[0].node.value else { panic!() };
        let Value::Map(web) = &backends[0].node.value else { panic!() };
        let span = web[0].node.span;
        assert_eq!((span.line, span.column), (2, 15));
        assert_eq!(span.len, 10);
    }

    #[test]
    fn scalars_keep_their_text() {
        let (node, _) = read("f", 0, "a: 1e3\nb: 'null'\nc: null\nd:\n");
        let Value::Map(top) = node.unwrap().value else { panic!() };
        let texts: Vec<_> = top.iter().map(|entry| entry.node.value.clone()).collect();
        assert_eq!(texts[0], Value::Scalar { text: "1e3".into(), quoted: false });
        assert_eq!(texts[1], Value::Scalar { text: "null".into(), quoted: true });
        assert_eq!(texts[2..], [Value::Null, Value::Null]);
    }

    #[test]
    fn what_the_language_does_not_use_is_refused_where_it_stands() {
        assert_eq!(codes("a: &x 1\nb: *x\n"), [("LB0004".into(), 1), ("LB0004".into(), 2)]);
        assert_eq!(codes("a: !!str 1\n"), [("LB0004".into(), 1)]);
        assert_eq!(codes("a: 1\n---\nb: 2\n"), [("LB0004".into(), 2)]);
        assert_eq!(codes("a: 1\nb: 2\na: 3\n"), [("LB0003".into(), 3)]);
        assert_eq!(codes("a: [1\nb: 2\n")[0].0, "LB0001");
        assert_eq!(codes(&format!("{}{}", "[".repeat(40), "]".repeat(40)))[0].0, "LB0002");
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "(?s).{0,200}") {
            let _ = read("f", 0, &text);
        }

        #[test]
        fn yaml_like_text_never_panics(text in "([a-c]: |- |\\[|\\]|\\{|\\}|\n|  |'|\"|&a |\\*a|#|,|1|é){0,60}") {
            let _ = read("f", 0, &text);
        }
    }
}
