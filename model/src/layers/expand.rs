//! `${NAME}` and `${NAME:-default}` in values. `$${` stands for a plain `${`.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    bundle::Bundle,
    diagnostic::{Diagnostic, Diagnostics, Severity, code},
    yaml::{Node, Value},
};

/// What begins a variable.
const OPEN: &str = "${";

/// A scalar's text in pieces.
enum Piece<'t> {
    /// As it is.
    Text(&'t str),
    /// A variable, with what stands for it when it has no value.
    Variable { name: &'t str, default: Option<&'t str> },
    /// `${` that begins no variable.
    Broken(&'t str),
}

/// Replaces the variables in all values of a tree, and notes in `written` what stood there.
pub(super) fn variables(
    tree: &mut Node,
    bundle: &Bundle,
    written: &mut BTreeMap<(u32, u32), String>,
    found: &mut Diagnostics,
) {
    visit(tree, &mut Vec::new(), &mut |node, path| {
        let Value::Scalar { text, .. } = &mut node.value else { return };
        if !text.contains(OPEN) {
            return;
        }
        let (mut whole, mut is_faulty) = (String::with_capacity(text.len()), false);
        for piece in pieces(text) {
            let (code, message, help) = match piece {
                Piece::Text(text) => {
                    whole.push_str(text);
                    continue;
                }
                Piece::Variable { name, default } => {
                    let value = bundle.variables.get(name);
                    match value.map(|value| std::str::from_utf8(&value.0)) {
                        // As in a shell, `:-` stands for a variable that is empty, too.
                        Some(Ok(value)) if !value.is_empty() || default.is_none() => {
                            whole.push_str(value);
                            continue;
                        }
                        Some(Err(_)) => (
                            code::INVALID_VALUE,
                            format!("the value of `{name}` is not UTF-8"),
                            "set it to a text".to_owned(),
                        ),
                        _ => {
                            if let Some(default) = default {
                                whole.push_str(default);
                                continue;
                            }
                            (
                                code::UNSET_VARIABLE,
                                format!("`{name}` is not set where this document is read"),
                                format!(
                                    "set the environment variable {name}, or write \
                                     ${{{name}:-default}}"
                                ),
                            )
                        }
                    }
                }
                Piece::Broken(text) => (
                    code::INVALID_VALUE,
                    format!("`{text}` begins no variable"),
                    "write ${NAME} or ${NAME:-default}; a plain ${ is written $${".to_owned(),
                ),
            };
            is_faulty = true;
            found.push(Diagnostic {
                code: code.to_owned(),
                severity: Severity::Error,
                place: Some(node.span.in_file(bundle.source_name(node.span.source))),
                path: path.join("."),
                message,
                help: Some(help),
            });
        }
        if is_faulty {
            node.value = Value::Faulty;
        } else {
            let place = (node.span.source, node.span.offset);
            written.insert(place, std::mem::replace(text, whole));
        }
    });
}

/// Adds the names of all variables in a tree.
pub(super) fn names(tree: &Node, names: &mut BTreeSet<String>) {
    match &tree.value {
        Value::Null | Value::Faulty => {}
        Value::Scalar { text, .. } => {
            for piece in pieces(text) {
                if let Piece::Variable { name, .. } = piece {
                    names.insert(name.to_owned());
                }
            }
        }
        Value::List(items) => items.iter().for_each(|item| self::names(item, names)),
        Value::Map(entries) => entries.iter().for_each(|entry| self::names(&entry.node, names)),
    }
}

fn visit(node: &mut Node, path: &mut Vec<String>, change: &mut impl FnMut(&mut Node, &[String])) {
    change(node, path);
    match &mut node.value {
        Value::Null | Value::Scalar { .. } | Value::Faulty => {}
        Value::List(items) => items.iter_mut().for_each(|item| visit(item, path, change)),
        Value::Map(entries) => {
            for entry in entries {
                path.push(entry.key.clone());
                visit(&mut entry.node, path, change);
                path.pop();
            }
        }
    }
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(OPEN) {
        let (before, after) = (&rest[..start], &rest[start + OPEN.len()..]);
        if let Some(plain) = before.strip_suffix('$') {
            pieces.push(Piece::Text(plain));
            pieces.push(Piece::Text(OPEN));
            rest = after;
            continue;
        }
        pieces.push(Piece::Text(before));
        let Some(end) = after.find('}') else {
            pieces.push(Piece::Broken(&rest[start..]));
            return pieces;
        };
        let inside = &after[..end];
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        pieces.push(if is_name(name) {
            Piece::Variable { name, default }
        } else {
            Piece::Broken(&rest[start..=start + OPEN.len() + end])
        });
        rest = &after[end + 1..];
    }
    pieces.push(Piece::Text(rest));
    pieces
}

/// Whether a text is the name of a variable (POSIX.1-2017, section 8.1), in either case.
fn is_name(text: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    text.starts_with(first) && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
