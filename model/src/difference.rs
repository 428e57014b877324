//! What one configuration says and another does not, object by object.
//!
//! Compared is what was written, after layers and variables, not what it means: an operator finds
//! the words of the document again, and keys that this version does not run are compared as well.
//! No secret is shown. What stands for a variable is shown as it was written, because nobody can
//! know whether its value is a secret.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use crate::{
    api::{Change, ChangeAction, FieldChange, Origin},
    bundle::Bundle,
    document::Document,
    layers::{self, Layered},
    yaml::{Entry, Node, Position, Value},
};

/// The maps at the top whose entries are objects, and what one of them is called.
const OBJECTS: [(&str, &str); 9] = [
    ("entry_points", "entry_point"),
    ("backends", "backend"),
    ("services", "service"),
    ("routes", "route"),
    ("middlewares", "middleware"),
    ("certificates", "certificate"),
    ("tls_options", "tls_option"),
    // These stand in no document: operators decide them.
    ("overrides", "override"),
    ("deployments", "deployment"),
];
/// What the values outside these maps are called.
const SETTING: &str = "setting";
/// What is shown of a secret.
const REDACTED: &str = "[redacted]";

/// The values that a bundle holds, by their paths.
#[derive(Debug, Clone, Default)]
pub struct Written {
    values: BTreeMap<Vec<String>, Leaf>,
}

/// One value.
#[derive(Debug, Clone)]
struct Leaf {
    /// What may be seen of it.
    shown: String,
    /// What tells it from another, whatever is shown.
    hash: [u8; 32],
    /// Where it was written.
    origin: String,
}

impl Written {
    /// Reads a bundle as far as it can be read. `key` keys the hashes of files, which are shown:
    /// without it nobody can try out what they hold.
    pub fn read(bundle: &Bundle, key: &[u8; 32]) -> Self {
        let (layered, _) = layers::layered(bundle);
        let (document, _) = Document::of_trees(&layered.trees, bundle);
        Self::of(bundle, &layered, &document, key)
    }

    /// What a bundle holds that was read already.
    pub(crate) fn of(
        bundle: &Bundle,
        layered: &Layered,
        document: &Document,
        key: &[u8; 32],
    ) -> Self {
        let place = |position: Position| (position.source, position.line, position.column);
        let files = bundle.index();
        let contents = document.file_references(bundle).into_iter().map(|reference| {
            let content = files.get(&(reference.document.as_str(), reference.path.as_str()));
            let hash = content.map(|content| blake3::keyed_hash(key, content));
            ((reference.place.file, reference.place.line, reference.place.column), hash)
        });
        let mut reading = Reading {
            bundle,
            secrets: document.secrets().into_iter().map(|at| place(at.position)).collect(),
            written: &layered.written,
            contents: contents.collect(),
            written_values: Self::default(),
            path: Vec::new(),
        };
        for tree in &layered.trees {
            reading.visit(tree, false);
        }
        reading.written_values
    }

    /// Adds a value that stands in no document, such as an override.
    pub fn insert(&mut self, path: &[&str], value: &str, origin: &str) {
        let path = path.iter().map(|&key| key.to_owned()).collect();
        let hash = blake3::hash(value.as_bytes()).into();
        self.values.insert(path, Leaf { shown: value.to_owned(), hash, origin: origin.to_owned() });
    }

    /// Every value and where it was written.
    pub fn origins(&self) -> Vec<Origin> {
        let origin = |(path, leaf): (&Vec<String>, &Leaf)| Origin {
            path: path.join("."),
            value: leaf.shown.clone(),
            origin: leaf.origin.clone(),
        };
        self.values.iter().map(origin).collect()
    }

    /// What leads from `self` to `other`, by kind and name of the objects.
    pub fn changes_to(&self, other: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        for object in self.touched(other) {
            let (before, after) = (self.fields_of(&object), other.fields_of(&object));
            let action = match (before.is_empty(), after.is_empty()) {
                (true, _) => ChangeAction::Added,
                (false, true) => ChangeAction::Removed,
                (false, false) => ChangeAction::Changed,
            };
            let fields = fields(&before, &after);
            let kind = OBJECTS.get(object.rank).map_or(SETTING, |(_, kind)| kind);
            let name = object.name.to_owned();
            changes.push(Change { kind: kind.to_owned(), name, action, fields });
        }
        changes
    }

    /// The objects of which a value differs. Both maps are in order, so they are read side by
    /// side.
    fn touched<'w>(&'w self, other: &'w Self) -> BTreeSet<Object<'w>> {
        let mut touched = BTreeSet::new();
        let (mut before, mut after) =
            (self.values.iter().peekable(), other.values.iter().peekable());
        loop {
            let order = match (before.peek(), after.peek()) {
                (None, None) => return touched,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((old, _)), Some((new, _))) => old.cmp(new),
            };
            let old = if order.is_le() { before.next() } else { None };
            let new = if order.is_ge() { after.next() } else { None };
            if old.map(|(_, leaf)| leaf.hash) != new.map(|(_, leaf)| leaf.hash) {
                touched.extend(new.or(old).and_then(|(path, _)| Object::of(path)));
            }
        }
    }

    /// The values of an object, by the path below it.
    fn fields_of(&self, object: &Object<'_>) -> BTreeMap<String, &Leaf> {
        let top: Vec<String> = object.path.to_vec();
        let below = self.values.range(top..).take_while(|(path, _)| path.starts_with(object.path));
        let own = below.filter(|(path, _)| Object::of(path).as_ref() == Some(object));
        own.map(|(path, leaf)| (path[object.path.len()..].join("."), leaf)).collect()
    }
}

/// What a value belongs to.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Object<'w> {
    /// The rank of its kind; settings come last.
    rank: usize,
    name: &'w str,
    /// Where it stands.
    path: &'w [String],
}

impl<'w> Object<'w> {
    fn of(path: &'w [String]) -> Option<Self> {
        let top = path.first()?;
        let rank = OBJECTS.iter().position(|(map, _)| map == top);
        Some(match (rank, path.get(1)) {
            (Some(rank), Some(name)) => Self { rank, name, path: &path[..2] },
            _ => Self { rank: OBJECTS.len(), name: top, path: &path[..1] },
        })
    }
}

fn fields(before: &BTreeMap<String, &Leaf>, after: &BTreeMap<String, &Leaf>) -> Vec<FieldChange> {
    let paths: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let mut fields = Vec::new();
    for path in paths {
        let (old, new) = (before.get(path), after.get(path));
        if old.map(|leaf| leaf.hash) == new.map(|leaf| leaf.hash) {
            continue;
        }
        let shown = |leaf: &&Leaf| leaf.shown.clone();
        let (old, mut new) = (old.map(shown), new.map(shown));
        // Two values that may not be seen, or a variable that changed, look alike.
        if old == new
            && let Some(new) = &mut new
        {
            new.push_str(" (changed)");
        }
        fields.push(FieldChange { path: path.clone(), before: old, after: new });
    }
    fields
}

struct Reading<'a> {
    bundle: &'a Bundle,
    secrets: BTreeSet<(u32, u32, u32)>,
    /// What was written where a variable stood.
    written: &'a BTreeMap<(u32, u32), String>,
    contents: BTreeMap<(String, u32, u32), Option<blake3::Hash>>,
    written_values: Written,
    path: Vec<String>,
}

impl Reading<'_> {
    fn visit(&mut self, node: &Node, in_secret: bool) {
        let Position { source, line, column, .. } = node.span;
        let is_secret = in_secret || self.secrets.contains(&(source, line, column));
        match &node.value {
            Value::Map(entries) if !entries.is_empty() => {
                for Entry { key, node, .. } in entries {
                    self.path.push(key.clone());
                    self.visit(node, is_secret);
                    self.path.pop();
                }
            }
            Value::List(items) if items.iter().any(|item| !is_scalar(item)) => {
                for (index, item) in items.iter().enumerate() {
                    self.path.push(index.to_string());
                    self.visit(item, is_secret);
                    self.path.pop();
                }
            }
            _ if self.path.is_empty() => {}
            _ => self.leaf(node, is_secret),
        }
    }

    fn leaf(&mut self, node: &Node, is_secret: bool) {
        let source = self.bundle.source_name(node.span.source);
        let mut hasher = blake3::Hasher::new();
        hasher.update(plain(node, &mut |_| None).as_bytes());
        let mut shown = if is_secret || self.has_secret(node) {
            REDACTED.to_owned()
        } else {
            plain(node, &mut |item| {
                self.written.get(&(item.span.source, item.span.offset)).map(String::as_str)
            })
        };
        let place = (source.to_owned(), node.span.line, node.span.column);
        if let Some(content) = self.contents.get(&place) {
            if let Some(hash) = content {
                hasher.update(hash.as_bytes());
                for part in [" (content ", &hash.to_hex()[..12], ")"] {
                    shown.push_str(part);
                }
            } else {
                shown += " (not read)";
            }
        }
        let origin = node.span.in_file(source).to_string();
        let leaf = Leaf { shown, hash: hasher.finalize().into(), origin };
        self.written_values.values.insert(self.path.clone(), leaf);
    }

    fn has_secret(&self, node: &Node) -> bool {
        let is_secret = |item: &Node| {
            let Position { source, line, column, .. } = item.span;
            self.secrets.contains(&(source, line, column))
        };
        matches!(&node.value, Value::List(items) if items.iter().any(is_secret))
    }
}

const fn is_scalar(node: &Node) -> bool {
    matches!(node.value, Value::Scalar { .. } | Value::Null | Value::Faulty)
}

/// A value in one line. `written` may give another text for a scalar.
fn plain<'w>(node: &Node, written: &mut impl FnMut(&Node) -> Option<&'w str>) -> String {
    match &node.value {
        Value::Null | Value::Faulty => String::new(),
        Value::Scalar { text, .. } => written(node).unwrap_or(text).to_owned(),
        Value::Map(_) => "{}".to_owned(),
        Value::List(items) => {
            let items: Vec<_> = items.iter().map(|item| plain(item, written)).collect();
            format!("[{}]", items.join(", "))
        }
    }
}

#[cfg(test)]
mod tests;
