//! The page of all keys, made of the schema, and the test that it is the one in `docs/`.

use std::{collections::BTreeMap, fmt::Write, fs, path::Path};

use serde_json::Value;

use super::*;
use crate::document::is_not_yet;

/// Records with a section of their own, wherever else they stand.
const SECTIONS: [(&str, &str); 13] = [
    ("HealthCheck", "health_check"),
    ("TrafficManagement", "traffic_management"),
    ("Jwt", "jwt"),
    ("Waf", "waf"),
    ("RateLimit", "rate_limit"),
    ("Http3", "http3"),
    ("Grpc", "grpc"),
    ("Observability", "observability"),
    ("ServiceDiscovery", "service_discovery"),
    ("LetsEncrypt", "lets_encrypt"),
    ("Plugins", "plugins"),
    ("CircuitBreaker", "traffic_management"),
    ("Retry", "services"),
];

struct Page<'s> {
    schema: &'s Value,
    text: String,
    /// The section that is being written.
    current: String,
}

/// The record that a schema refers to, through lists and maps, and what was gone through.
fn record(schema: &Value) -> Option<(&str, &'static str)> {
    if let Some(reference) = schema["$ref"].as_str() {
        return Some((reference.trim_start_matches("#/$defs/"), "."));
    }
    match (schema.get("items"), schema.get("additionalProperties")) {
        (Some(items), _) => record(items).map(|(name, _)| (name, "[].")),
        (_, Some(values)) if values.is_object() => record(values).map(|(name, _)| (name, ".NAME.")),
        _ => None,
    }
}

/// The keys of a map by name, in whatever order the map has them.
fn sorted(map: &Value) -> BTreeMap<&String, &Value> {
    map.as_object().unwrap().iter().collect()
}

/// What may stand there, in words.
fn takes(key: &str, schema: &Value) -> String {
    let types: Vec<_> = match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        kind => kind.as_str().into_iter().collect(),
    };
    let example = schema["examples"][0].as_str().unwrap_or_default();
    if let Some(words) = schema["enum"].as_array() {
        let kind = format!("{}{}", key[..1].to_uppercase(), &key[1..]);
        let words = words.iter().filter_map(Value::as_str).map(|word| {
            let later = ["Strategy", "Protocol"].contains(&&*kind) && is_not_yet(&kind, word);
            format!("`{word}`{}", if later { " (not yet)" } else { "" })
        });
        return words.collect::<Vec<_>>().join(", ");
    }
    if schema.get("anyOf").is_some() {
        return "one or a list".to_owned();
    }
    match (types.first().copied(), example) {
        (_, "30s") => "duration".to_owned(),
        (_, "10MiB") => "size".to_owned(),
        (Some("array"), _) => match takes(key, &schema["items"]).as_str() {
            "text" | "" => "list".to_owned(),
            each => format!("list of {each}"),
        },
        (Some("object"), _) => "map".to_owned(),
        (Some("boolean"), _) => "true or false".to_owned(),
        (Some("integer" | "number"), _) => "number".to_owned(),
        _ => "text".to_owned(),
    }
}

impl Page<'_> {
    fn section(&mut self, key: &str, property: &Value) {
        key.clone_into(&mut self.current);
        let _ = write!(self.text, "\n## `{key}`\n\n{}", property["description"].as_str().unwrap());
        let mark = if is_not_yet("Document", key) { " *Not yet.*" } else { "" };
        let _ = writeln!(self.text, "{mark}\n\n| key | takes | default | |\n|---|---|---|---|");
        let (name, _) = record(property).unwrap();
        self.rows(name, "", is_not_yet("Document", key), 0);
    }

    fn rows(&mut self, name: &str, prefix: &str, is_marked: bool, depth: usize) {
        let definition = &self.schema["$defs"][name];
        let required: Vec<_> = definition["required"]
            .as_array()
            .or_else(|| definition["anyOf"][1]["required"].as_array())
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        for (key, property) in sorted(&definition["properties"]) {
            let later = !is_marked && is_not_yet(name, key);
            let default = match property.get("default") {
                Some(Value::String(text)) => format!("`{text}`"),
                Some(value) => format!("`{value}`"),
                None if required.contains(&key.as_str()) => "required".to_owned(),
                None => String::new(),
            };
            let mut says = property["description"].as_str().unwrap().replace('|', "\\|");
            let inner = record(property);
            let mut sections = SECTIONS.iter();
            let elsewhere = inner
                .and_then(|(inner, _)| sections.find(|(record, _)| *record == inner))
                .filter(|(_, section)| *section != self.current);
            if let Some((_, section)) = elsewhere {
                let _ = write!(says, " As in [`{section}`](#{section}).");
            }
            if later {
                says += " *Not yet.*";
            }
            let takes = if inner.is_some_and(|(_, through)| through == "[].") {
                "list of maps".to_owned()
            } else if inner.is_some() {
                "map".to_owned()
            } else {
                takes(key, property)
            };
            let _ = writeln!(self.text, "| `{prefix}{key}` | {takes} | {default} | {says} |");
            if let Some((inner, through)) = inner.filter(|_| elsewhere.is_none() && depth < 4) {
                let prefix = format!("{prefix}{key}{through}");
                self.rows(inner, &prefix, is_marked || later, depth + 1);
            }
        }
    }
}

/// The page of all keys.
fn page() -> String {
    let schema = schema();
    let text = "# Keys\n\nEvery key of a configuration. It is made of the declarations that read \
                documents, and a test holds it to them. What is marked *not yet* is checked in \
                full and runs in no proxy of this version: `lbctl check` warns of it, and it is \
                refused where it is applied.\n"
        .to_owned();
    let mut page = Page { schema: &schema, text, current: String::new() };
    for (key, property) in sorted(&schema["properties"]) {
        page.section(key, property);
    }
    page.text
}

#[test]
fn the_page_of_all_keys_is_what_the_language_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/keys.md");
    let now = page();
    if std::env::vars_os().any(|(name, _)| name == "LB_BLESS") {
        fs::write(&path, &now).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == now, "docs/keys.md is old: run this again with LB_BLESS=1");
}
