//! The language as a JSON Schema (draft 2020-12), for editors.
//!
//! It is made of the declarations that also read documents, so the two cannot differ in keys,
//! words or documentation. It says what may be written, not what works together: that is what
//! `lbctl check` is for.

use serde_json::{Map, Value, json};

use crate::document::{Document, Item};

/// The schemas of all records, by name.
#[derive(Debug, Default)]
pub struct Definitions(Map<String, Value>);

/// What a schema says of a record.
pub(crate) struct Record {
    pub(crate) keys: Vec<Key>,
    pub(crate) required: Vec<&'static str>,
}

/// What a schema says of a key.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) doc: &'static str,
    pub(crate) schema: Value,
    pub(crate) default: Option<&'static str>,
}

/// The schema of a document.
pub fn schema() -> Value {
    let mut definitions = Definitions::default();
    Document::schema(&mut definitions);
    let mut root = definitions.0.remove("Document").unwrap_or_default();
    root["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    root["title"] = json!("lb configuration");
    root["$defs"] = Value::Object(definitions.0);
    root
}

impl Definitions {
    /// Adds the schema of a record, unless it is there, and refers to it.
    pub(crate) fn record(
        &mut self,
        name: &str,
        doc: &str,
        make: impl FnOnce(&mut Self) -> Record,
    ) -> Value {
        if !self.0.contains_key(name) {
            // There before its keys are looked at, so that a record may hold its own kind.
            self.0.insert(name.to_owned(), Value::Null);
            let Record { keys, required } = make(self);
            let properties: Map<_, _> =
                keys.into_iter().map(|key| (key.name.to_owned(), property(key))).collect();
            let mut schema = json!({
                "description": sentence(doc),
                // A key with nothing behind it is an empty map.
                "type": if required.is_empty() { json!(["object", "null"]) } else { json!("object") },
                "additionalProperties": false,
                "properties": properties,
            });
            if schema["properties"].get("enabled").is_some() && !required.is_empty() {
                // What is turned off need not be whole.
                let off = json!({
                    "properties": { "enabled": { "const": false } }, "required": ["enabled"],
                });
                schema["anyOf"] = json!([off, { "required": required }]);
            } else if !required.is_empty() {
                schema["required"] = json!(required);
            }
            if name == "Middleware" {
                schema["type"] = json!("object");
                schema["minProperties"] = json!(1);
                schema["maxProperties"] = json!(1);
            }
            self.0.insert(name.to_owned(), schema);
        }
        json!({ "$ref": format!("#/$defs/{name}") })
    }
}

/// The schema of one key: that of its type, with its documentation and default.
fn property(key: Key) -> Value {
    let mut schema = key.schema;
    schema["description"] = json!(sentence(key.doc));
    if let Some(default) = key.default {
        schema["default"] = scalar(default);
    }
    schema
}

/// A default as JSON has it: a truth value, a number or a text.
fn scalar(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(value @ (Value::Bool(_) | Value::Number(_) | Value::Array(_))) => value,
        _ => json!(text),
    }
}

/// The schema of a set of words. One that reads like a number may be written as one.
pub(crate) fn words(words: &[&str]) -> Value {
    let numbers = words.iter().map(|word| scalar(word)).filter(Value::is_number);
    let all: Vec<_> = words.iter().map(|word| json!(word)).chain(numbers).collect();
    json!({ "enum": all })
}

/// The text of a doc comment in one line.
fn sentence(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod page;
#[cfg(test)]
mod tests;
