//! The layers of a bundle, joined: documents, the variables they name, and what was set from
//! outside.
//!
//! Whoever reads the documents from a disk gathers variables and settings as well and ships them,
//! so that every reader of the bundle sees the same tree. Each node keeps the source it came from,
//! and findings name it.

mod expand;

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    bundle::{Bundle, Setting},
    diagnostic::{Diagnostic, Diagnostics, Severity, code},
    yaml::{self, Entry, Node, Position, Value},
};

/// A bundle with its layers joined.
#[derive(Debug, Default)]
pub(crate) struct Layered {
    /// One tree for each document that could be read, with variables expanded and settings in
    /// place.
    pub(crate) trees: Vec<Node>,
    /// The texts in which variables stood, by source and offset.
    pub(crate) written: BTreeMap<(u32, u32), String>,
}

/// Joins the layers of a bundle.
pub(crate) fn layered(bundle: &Bundle) -> (Layered, Diagnostics) {
    let (mut trees, mut found) = documents(bundle);
    let mut written = BTreeMap::new();
    for tree in &mut trees {
        expand::variables(tree, bundle, &mut written, &mut found);
    }
    for (index, setting) in bundle.settings.iter().enumerate() {
        let source = (bundle.documents.len() + index) as u32;
        if let Err(fault) = place(&mut trees, setting, source) {
            found.push(Diagnostic {
                code: fault.code.to_owned(),
                severity: Severity::Error,
                place: Some(outside(source).in_file(&setting.origin)),
                path: setting.path.join("."),
                message: fault.message,
                help: Some(fault.help),
            });
        }
    }
    (Layered { trees, written }, found)
}

/// The names of all variables that the documents name, well written or not.
pub(crate) fn variables(bundle: &Bundle) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for tree in &documents(bundle).0 {
        expand::names(tree, &mut names);
    }
    names
}

fn documents(bundle: &Bundle) -> (Vec<Node>, Diagnostics) {
    let mut found = Diagnostics::default();
    let mut trees = Vec::with_capacity(bundle.documents.len());
    for (index, source) in bundle.documents.iter().enumerate() {
        if let Some(at) = source.not_utf8_at {
            found.push(yaml::not_utf8(&source.name, &source.text, at));
            continue;
        }
        let (node, faults) = yaml::read(&source.name, index as u32, &source.text);
        found.extend(faults);
        trees.extend(node);
    }
    (trees, found)
}

/// Why a setting has no place.
struct Fault {
    code: &'static str,
    message: String,
    help: String,
}

/// The place of everything in a setting: the setting as a whole.
const fn outside(source: u32) -> Position {
    Position { source, line: 0, column: 0, offset: 0, len: 0 }
}

/// Puts a setting where its path leads: into the document that has the most of that path.
fn place(trees: &mut Vec<Node>, setting: &Setting, source: u32) -> Result<(), Fault> {
    let node = value_of(setting, source)?;
    let depth = |tree: &Node| depth(tree, &setting.path);
    // The first document wins where several have as much of the path.
    let best = (0..trees.len()).rev().max_by_key(|index| depth(&trees[*index]));
    if let Some(best) = best {
        return put(&mut trees[best], &setting.path, node);
    }
    let mut tree = Node { value: Value::Null, span: outside(source) };
    put(&mut tree, &setting.path, node)?;
    trees.push(tree);
    Ok(())
}

/// What a setting says. A value in brackets is a list or a map; anything else is a scalar as it
/// is, so that a secret may hold any character.
fn value_of(setting: &Setting, source: u32) -> Result<Node, Fault> {
    let fault = |message: String, help: &str| Fault {
        code: code::INVALID_VALUE,
        message,
        help: help.to_owned(),
    };
    let text = std::str::from_utf8(&setting.value.0)
        .map_err(|_| fault("the value is not UTF-8".to_owned(), "save it as UTF-8"))?;
    let trimmed = text.trim_start();
    if !trimmed.starts_with(['[', '{']) {
        let text = text.strip_suffix('\n').unwrap_or(text).to_owned();
        let value = match text.as_str() {
            "" => Value::Null,
            _ => Value::Scalar { text, quoted: true },
        };
        return Ok(Node { value, span: outside(source) });
    }
    let (node, found) = yaml::read(&setting.origin, source, text);
    match (found.iter().next(), node) {
        (None, Some(mut node)) => {
            move_outside(&mut node, source);
            Ok(node)
        }
        (Some(first), _) => Err(fault(
            first.message.clone(),
            "write a list or a map as in YAML or JSON, such as [a, b]",
        )),
        (None, None) => Err(fault("there is nothing in it".to_owned(), "write a value")),
    }
}

fn move_outside(node: &mut Node, source: u32) {
    node.span = outside(source);
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| move_outside(item, source)),
        Value::Map(entries) => {
            for entry in entries {
                entry.key_span = outside(source);
                move_outside(&mut entry.node, source);
            }
        }
        Value::Null | Value::Scalar { .. } | Value::Faulty => {}
    }
}

/// How many keys of a path a tree has.
fn depth(tree: &Node, path: &[String]) -> usize {
    let Some((key, rest)) = path.split_first() else { return 0 };
    let below = match &tree.value {
        Value::Map(entries) => find(entries, key).map(|index| &entries[index].node),
        Value::List(items) => key.parse().ok().and_then(|index: usize| items.get(index)),
        Value::Null | Value::Scalar { .. } | Value::Faulty => None,
    };
    below.map_or(0, |below| 1 + depth(below, rest))
}

/// The entry of a key: as written, else the only one that differs in `-`, `.`, `_` and case alone,
/// because a variable's name cannot hold them.
fn find(entries: &[Entry], key: &str) -> Option<usize> {
    let plain = |text: &str| text.to_ascii_lowercase().replace(['-', '.'], "_");
    entries.iter().position(|entry| entry.key == key).or_else(|| {
        let wanted = plain(key);
        let mut alike = entries.iter().enumerate().filter(|(_, entry)| plain(&entry.key) == wanted);
        let (first, others) = (alike.next(), alike.next());
        first.filter(|_| others.is_none()).map(|(index, _)| index)
    })
}

fn put(tree: &mut Node, path: &[String], node: Node) -> Result<(), Fault> {
    let Some((key, rest)) = path.split_first() else {
        *tree = node;
        return Ok(());
    };
    let span = node.span;
    match &mut tree.value {
        Value::List(items) => {
            let index = key.parse::<usize>().ok().filter(|index| *index <= items.len());
            let Some(index) = index else {
                let last = items.len();
                return Err(no_place(
                    format!("`{key}` is no place in a list of {last}"),
                    format!("write a number from 0 to {last}, or the whole list in brackets"),
                ));
            };
            if index == items.len() {
                items.push(Node { value: Value::Null, span });
            }
            put(&mut items[index], rest, node)
        }
        Value::Map(entries) => {
            let index = find(entries, key).unwrap_or_else(|| {
                let node = Node { value: Value::Null, span };
                entries.push(Entry { key: key.clone(), key_span: span, node });
                entries.len() - 1
            });
            put(&mut entries[index].node, rest, node)
        }
        Value::Null => {
            // A list begins where the first place is named, a map anywhere else.
            tree.value = if key == "0" { Value::List(Vec::new()) } else { Value::Map(Vec::new()) };
            put(tree, path, node)
        }
        Value::Scalar { .. } | Value::Faulty => Err(no_place(
            format!("`{key}` would stand under a single value"),
            "set the value itself, or a key beside it".to_owned(),
        )),
    }
}

fn no_place(message: String, help: String) -> Fault {
    Fault { code: code::NO_SUCH_PLACE, message, help }
}

#[cfg(test)]
mod tests;
