//! Reads nodes into typed, spanned values and gathers every fault on the way.

use std::{collections::HashMap, fmt::Write};

use super::{Document, Named, not_yet};
use crate::{
    bundle::Bundle,
    diagnostic::{Diagnostic, Diagnostics, Severity, code},
    rule::Rule,
    schema::Definitions,
    value::InvalidValue,
    yaml::{Entry, Node, Position, Value},
};

/// Which document, and where in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct At {
    /// The index of the document in its bundle.
    pub source: u32,
    /// The place in it.
    pub position: Position,
}

/// A value and where it was written.
#[derive(Debug, Clone, Copy, PartialEq)]
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
    /// Where the key stands whose value is being read.
    key: Position,
    found: Diagnostics,
    errors: usize,
}

/// Unknown keys after this many errors are not looked at: a document of nothing else must not
/// take long.
const MOST_ERRORS: usize = 1_000;

/// Whether a block is turned on by its `enabled`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Switch {
    /// Its kind of block has no `enabled`.
    #[default]
    None,
    /// It could say so and does not.
    Unsaid,
    /// `enabled: true`.
    On,
    /// `enabled: false`, or not a truth value.
    Off,
}

/// What a document is made of: maps, lists and single values.
pub(crate) trait Item: Sized {
    /// Reads a node. A fault is reported to the reader and gives nothing.
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self>;

    /// What may stand here, as a JSON Schema.
    fn schema(definitions: &mut Definitions) -> serde_json::Value;

    /// Shows every file and secret in it.
    fn visit(&self, _: &mut Visitor) {}

    /// Whether it asks for anything, or is there without effect.
    fn is_on(&self) -> bool {
        true
    }

    /// Whether it is a block that `enabled` turns on.
    fn is_block(&self) -> bool {
        false
    }

    /// Whether it is a block that says neither `enabled: true` nor `false`.
    fn is_silent(&self) -> bool {
        false
    }
}

/// What can be read from the text of a scalar.
pub(crate) trait Leaf: Sized {
    /// The name under which `not_yet` lists words of this kind.
    const KIND: &'static str = "";

    fn leaf(text: &str) -> Result<Self, InvalidValue>;

    fn schema() -> serde_json::Value;

    /// The word for it, where it is one of a set of words.
    fn word(&self) -> Option<&'static str> {
        None
    }

    fn visit(&self, _: At, _: &mut Visitor) {}

    fn is_on(&self) -> bool {
        true
    }
}

/// Gathers what a document refers to and what it must not show.
#[derive(Debug, Default)]
pub struct Visitor {
    /// The files, as written.
    pub files: Vec<Spanned<String>>,
    /// Where secrets stand.
    pub secrets: Vec<At>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bundle: &'a Bundle) -> Self {
        let (path, found) = (Vec::new(), Diagnostics::default());
        Self { bundle, path, key: Position::default(), found, errors: 0 }
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
        self.key = Position { len: 0, ..node.span };
        match node.value {
            Value::Null => Some(Document::default()),
            _ => <Document as Item>::read(node, self),
        }
    }

    /// The entries of a map. Nothing is an empty map: `tls:` turns TLS on.
    pub(super) fn map<'n>(&mut self, node: &'n Node) -> Option<&'n [Entry]> {
        match &node.value {
            Value::Map(entries) => Some(entries),
            Value::Null => Some(&[]),
            _ => {
                self.shape(node, "a map", "write `key: value` lines under it");
                None
            }
        }
    }

    /// Reads the value of a key of the record called `record`.
    pub(super) fn field<T: Item>(&mut self, entry: &Entry, record: &str) -> Option<T> {
        self.path.push(entry.key.clone());
        let outer = std::mem::replace(&mut self.key, entry.key_span);
        let value = T::read(&entry.node, self);
        self.key = outer;
        match &value {
            // A middleware is there to be used: naming it in a route turns it on.
            Some(value) if value.is_silent() && record != "Middleware" => {
                self.report(
                    Severity::Warning,
                    code::NOT_ENABLED,
                    entry.key_span,
                    "the block is here but not enabled, so it does nothing".to_owned(),
                    Some("write `enabled: true`, or `enabled: false` to say so".to_owned()),
                );
            }
            Some(value) if value.is_on() && not_yet::is_listed(record, &entry.key) => {
                let message = format!("this version does not run `{}` yet", entry.key);
                let instead =
                    if value.is_block() { "write `enabled: false`" } else { "leave it out" };
                let help = Some(format!("{instead} for now; nothing is ever ignored silently"));
                self.error(code::NOT_YET, entry.key_span, message, help);
            }
            _ => {}
        }
        self.path.pop();
        value
    }

    /// Whether the entries of a record turn it on.
    pub(super) fn switch(entries: &[Entry], keys: &[&str]) -> Switch {
        if !keys.contains(&"enabled") {
            return Switch::None;
        }
        match entries.iter().find(|entry| entry.key == "enabled").map(|entry| &entry.node.value) {
            None => Switch::Unsaid,
            Some(Value::Scalar { text, .. }) if text == "true" => Switch::On,
            Some(_) => Switch::Off,
        }
    }

    /// Reports that a key which must be there is not.
    pub(super) fn missing(&mut self, key: &str, example: &str) {
        let (message, help) = (format!("`{key}` is missing"), Some(format!("write {example}")));
        self.error(code::MISSING, self.key, message, help);
    }

    pub(super) fn unknown_key(&mut self, entry: &Entry, keys: &[&str]) {
        if self.errors > MOST_ERRORS {
            return;
        }
        self.path.push(entry.key.clone());
        let help = match nearest(&entry.key, keys.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known keys here: {}", keys.join(", ")),
        };
        let message = format!("`{}` is not a key of the language here", entry.key);
        self.error(code::UNKNOWN_KEY, entry.key_span, message, Some(help));
        self.path.pop();
    }

    /// Reports that a node has the wrong shape, unless a finding speaks of it already.
    pub(super) fn shape(&mut self, node: &Node, wanted: &str, help: &str) {
        if node.value == Value::Faulty {
            return;
        }
        let message = format!("{wanted} is wanted here, this is {}", node.value.shape());
        self.error(code::WRONG_SHAPE, node.span, message, Some(help.to_owned()));
    }

    /// Reports a text that is not a value of its type, at the part of it that is wrong.
    pub(super) fn invalid(&mut self, span: Position, text: &str, fault: InvalidValue) {
        let InvalidValue { message, help, code, span: part } = fault;
        let span = part.map_or(span, |part| within(span, text, part));
        self.error(code, span, message, help);
    }

    fn error(&mut self, code: &str, span: Position, message: String, help: Option<String>) {
        self.errors += 1;
        self.report(Severity::Error, code, span, message, help);
    }

    fn report(
        &mut self,
        severity: Severity,
        code: &str,
        span: Position,
        message: String,
        help: Option<String>,
    ) {
        self.found.push(Diagnostic {
            code: code.to_owned(),
            severity,
            place: Some(span.in_file(self.bundle.source_name(span.source))),
            path: self.path.join("."),
            message,
            help,
        });
    }

    /// Joins two maps by name; a name in both is a fault.
    pub(super) fn join<N: AsRef<str>, T>(
        &mut self,
        key: &str,
        whole: &mut Option<Named<N, T>>,
        part: Option<Named<N, T>>,
    ) {
        let Some(part) = part else { return };
        let whole = whole.get_or_insert_with(Vec::new);
        let known: HashMap<String, At> =
            whole.iter().map(|(name, _)| (name.value.as_ref().to_owned(), name.at)).collect();
        for (name, value) in part {
            match known.get(name.value.as_ref()) {
                Some(first) => {
                    self.twice(&format!("{key}.{}", name.value.as_ref()), *first, name.at);
                }
                None => whole.push((name, value)),
            }
        }
    }

    /// Reports that `path` stands in two documents.
    pub(super) fn twice(&mut self, path: &str, first: At, second: At) {
        let file = self.bundle.source_name(first.source);
        self.path = vec![path.to_owned()];
        let message = format!("it already stands in {}", first.position.in_file(file));
        let help = Some("keep one of the two, or rename it".to_owned());
        self.error(code::DUPLICATE_NAME, second.position, message, help);
        self.path.clear();
    }
}

/// The known word that a mistyped one was probably meant to be.
pub(crate) fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    /// Beyond this, words are names that nobody typed, and comparing them takes too long.
    const LONGEST: usize = 256;
    let most = |key: &str| 1 + key.len() / 4;
    known
        .filter(|key| key.len().abs_diff(word.len()) <= most(key) && key.len() < LONGEST)
        .map(|key| (strsim::damerau_levenshtein(word, key), key))
        .filter(|(distance, key)| *distance <= most(key) && *distance < key.len())
        .min()
        .map(|(_, key)| key)
}

impl<T: Leaf> Item for Spanned<T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Value::Scalar { text, .. } = &node.value else {
            reader.shape(node, "a single value", "write the value after the colon");
            return None;
        };
        match T::leaf(text) {
            Ok(value) => {
                let word = value.word().filter(|word| not_yet::is_listed(T::KIND, word));
                if let Some(word) = word {
                    let message = format!("this version does not run `{word}` here yet");
                    let help = "use another for now; nothing is ever ignored silently".to_owned();
                    reader.error(code::NOT_YET, node.span, message, Some(help));
                }
                Some(Self { value, at: reader.at(node) })
            }
            Err(fault) => {
                reader.invalid(node.span, text, fault);
                None
            }
        }
    }

    fn schema(_: &mut Definitions) -> serde_json::Value {
        T::schema()
    }

    fn visit(&self, visitor: &mut Visitor) {
        self.value.visit(self.at, visitor);
    }

    fn is_on(&self) -> bool {
        self.value.is_on()
    }
}

impl Item for Spanned<Rule> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let at = reader.at(node);
        let text = Spanned::<String>::read(node, reader)?.value;
        match Rule::parse(&text) {
            Ok(value) => Some(Self { value, at }),
            Err(faults) => {
                for fault in faults {
                    let span = within(node.span, &text, fault.span.clone());
                    reader.error(code::INVALID_RULE, span, fault.message, fault.help);
                }
                None
            }
        }
    }

    fn schema(_: &mut Definitions) -> serde_json::Value {
        serde_json::json!({
            "type": "string",
            "minLength": 1,
            "maxLength": crate::rule::MAX_LENGTH,
            "examples": ["Host(`shop.example.com`) && PathPrefix(`/cart`)"],
        })
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

/// A block that most objects leave out and that should take no room in them.
impl<T: Item> Item for Box<T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        T::read(node, reader).map(Self::new)
    }

    fn schema(definitions: &mut Definitions) -> serde_json::Value {
        T::schema(definitions)
    }

    fn visit(&self, visitor: &mut Visitor) {
        T::visit(self, visitor);
    }

    fn is_on(&self) -> bool {
        T::is_on(self)
    }

    fn is_block(&self) -> bool {
        T::is_block(self)
    }

    fn is_silent(&self) -> bool {
        T::is_silent(self)
    }
}

impl<T: Item> Item for Vec<T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Value::List(items) = &node.value else {
            reader.shape(node, "a list", "write [first, second]");
            return None;
        };
        let mut list = Self::with_capacity(items.len());
        let outer = reader.key;
        for (index, item) in items.iter().enumerate() {
            let last = reader.path.last_mut().map(|last| {
                let plain = last.len();
                let _ = write!(last, "[{index}]");
                plain
            });
            reader.key = item.span;
            list.extend(T::read(item, reader));
            if let (Some(plain), Some(last)) = (last, reader.path.last_mut()) {
                last.truncate(plain);
            }
        }
        reader.key = outer;
        // Items that are all faulty are not an empty list, which might mean something.
        (items.is_empty() || !list.is_empty()).then_some(list)
    }

    fn schema(definitions: &mut Definitions) -> serde_json::Value {
        serde_json::json!({ "type": "array", "items": T::schema(definitions) })
    }

    fn visit(&self, visitor: &mut Visitor) {
        for item in self {
            item.visit(visitor);
        }
    }

    fn is_on(&self) -> bool {
        !self.is_empty()
    }
}

impl<N: Leaf, T: Item> Item for Named<N, T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let entries = reader.map(node)?;
        let mut named = Self::with_capacity(entries.len());
        let outer = reader.key;
        for entry in entries {
            reader.path.push(entry.key.clone());
            let name = match N::leaf(&entry.key) {
                Ok(value) => {
                    let at = At { source: entry.key_span.source, position: entry.key_span };
                    Some(Spanned { value, at })
                }
                Err(fault) => {
                    reader.invalid(entry.key_span, &entry.key, fault);
                    None
                }
            };
            reader.key = entry.key_span;
            let value = T::read(&entry.node, reader);
            reader.path.pop();
            named.extend(name.zip(value));
        }
        reader.key = outer;
        Some(named)
    }

    fn schema(definitions: &mut Definitions) -> serde_json::Value {
        let mut names = N::schema();
        // A key is text in any case; what remains is its form.
        if let Some(names) = names.as_object_mut() {
            names.remove("type");
        }
        serde_json::json!({
            "type": ["object", "null"],
            "propertyNames": names,
            "additionalProperties": T::schema(definitions),
        })
    }

    fn visit(&self, visitor: &mut Visitor) {
        for (_, item) in self {
            item.visit(visitor);
        }
    }

    fn is_on(&self) -> bool {
        !self.is_empty()
    }
}
