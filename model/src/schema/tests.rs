use std::{collections::BTreeSet, fs, path::Path};

use jsonschema::Validator;
use serde_json::{Map, Value, json};

use super::*;
use crate::{
    Bundle, Config, Severity,
    yaml::{self, Node},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// A document as an editor sees it: plain scalars are numbers and truth values where they can be.
fn json(node: &Node) -> Value {
    match &node.value {
        yaml::Value::Null | yaml::Value::Faulty => Value::Null,
        yaml::Value::Scalar { text, quoted: false } => match serde_json::from_str(text) {
            Ok(value @ (Value::Bool(_) | Value::Number(_))) => value,
            _ => json!(text),
        },
        yaml::Value::Scalar { text, quoted: true } => json!(text),
        yaml::Value::List(items) => items.iter().map(json).collect(),
        yaml::Value::Map(entries) => {
            let entries = entries.iter().map(|entry| (entry.key.clone(), json(&entry.node)));
            Value::Object(entries.collect::<Map<_, _>>())
        }
    }
}

fn read(text: &str) -> Option<Value> {
    yaml::read("lb.yaml", 0, text).0.map(|node| match json(&node) {
        Value::Null => json!({}),
        value => value,
    })
}

fn validator() -> Validator {
    jsonschema::draft202012::new(&schema()).unwrap()
}

fn faults(validator: &Validator, document: &Value) -> Vec<String> {
    let faults = validator.iter_errors(document);
    faults.map(|fault| format!("{}: {fault}", fault.instance_path())).collect()
}

/// Every YAML document below a directory, with its name.
fn documents(below: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![root().join(below)];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|ending| ending == "yaml") {
                let bytes = fs::read(&path).unwrap();
                let text = String::from_utf8_lossy(&bytes).into_owned();
                found.push((path.display().to_string(), text));
            }
        }
    }
    found.sort();
    assert!(found.len() > 5, "{found:?}");
    found
}

#[test]
fn every_definition_is_used_and_described() {
    let schema = schema();
    let text = schema.to_string();
    let definitions = schema["$defs"].as_object().unwrap();
    assert!(definitions.len() > 50, "{}", definitions.len());
    for (name, definition) in definitions {
        assert!(text.contains(&format!("#/$defs/{name}\"")), "{name}");
        assert!(definition["description"].as_str().is_some_and(|d| !d.is_empty()), "{name}");
        for (key, property) in definition["properties"].as_object().unwrap() {
            assert!(property["description"].as_str().is_some_and(|d| !d.is_empty()), "{key}");
        }
    }
}

#[test]
fn what_a_key_means_when_left_out_is_a_value_that_it_takes() {
    let validator = validator();
    let schema = schema();
    let mut seen = 0;
    for definition in schema["$defs"].as_object().unwrap().values() {
        for (key, property) in definition["properties"].as_object().unwrap() {
            let Some(default) = property.get("default") else { continue };
            let mut alone = property.clone();
            alone["$defs"] = schema["$defs"].clone();
            let alone = jsonschema::draft202012::new(&alone).unwrap();
            assert!(alone.is_valid(default), "{key}: {default}");
            seen += 1;
        }
    }
    assert!(seen > 80, "{seen}");
    assert!(validator.is_valid(&json!({})));
}

#[test]
fn every_example_follows_the_schema() {
    let validator = validator();
    for (name, text) in documents("examples") {
        assert_eq!(faults(&validator, &read(&text).unwrap()), Vec::<String>::new(), "{name}");
    }
}

/// Codes of what a schema cannot know: what things mean together, and places.
const BEYOND: [&str; 25] = [
    "LB0105", "LB0106", "LB0109", "LB0201", "LB0202", "LB0203", "LB0204", "LB0205", "LB0302",
    "LB0303", "LB0305", "LB0401", "LB0402", "LB0403", "LB0404", "LB0405", "LB0406", "LB0407",
    "LB0408", "LB0409", "LB0501", "LB0502", "LB0503", "LB0504", "LB0505",
];

#[test]
fn the_schema_takes_what_is_valid_and_refuses_keys_and_shapes_that_are_not() {
    let validator = validator();
    let (mut taken, mut refused) = (0, BTreeSet::new());
    for (name, text) in documents("tests/golden") {
        // A second document need not be whole, and variables have their values from outside.
        if name.contains(".also.") || text.contains("${") {
            continue;
        }
        let Some(document) = read(&text) else { continue };
        let found = match Config::check(&Bundle::of_text("lb.yaml", &text), 0) {
            Ok(parsed) => parsed.warnings,
            Err(found) => found,
        };
        let errors = found.iter().filter(|finding| finding.severity == Severity::Error);
        let codes: BTreeSet<_> = errors.map(|finding| finding.code.as_str()).collect();
        let told = faults(&validator, &document);
        if codes.iter().all(|code| BEYOND.contains(code)) {
            assert_eq!(told, Vec::<String>::new(), "{name}");
            taken += 1;
        }
        for code in ["LB0101", "LB0102"].into_iter().filter(|code| codes.contains(code)) {
            assert!(!told.is_empty(), "{name} has {code}");
            refused.insert(code);
        }
    }
    assert!(taken > 30, "{taken}");
    assert_eq!(refused.len(), 2);
}

#[test]
fn a_schema_refuses_what_is_wrong_by_itself() {
    let validator = validator();
    for wrong in [
        json!({ "backnds": {} }),
        json!({ "backends": { "a": { "url": "a" } } }),
        json!({ "backends": { "a": { "weight": 1 } } }),
        json!({ "backends": { "a b": { "url": "http://a" } } }),
        json!({ "backends": [] }),
        json!({ "jwt": { "enabled": "yes" } }),
        json!({ "jwt": { "algorithm": "none" } }),
        json!({ "health_check": { "interval": "soon" } }),
        json!({ "health_check": { "healthy_threshold": 70000 } }),
        json!({ "traffic_management": { "canary": { "traffic_split": 101 } } }),
        json!({ "traffic_management": { "traffic_mirroring": { "enabled": true } } }),
        json!({ "middlewares": { "m": {} } }),
        json!({ "middlewares": { "m": { "compress": {}, "jwt": {} } } }),
    ] {
        assert!(!validator.is_valid(&wrong), "{wrong}");
    }
    for right in [
        json!({ "rate_limit": { "enabled": false } }),
        json!({ "entry_points": { "web": { "address": ":80", "tls": null } } }),
        json!({ "jwt": { "audience": "a" } }),
        json!({ "jwt": { "audience": ["a", "b"] } }),
    ] {
        assert_eq!(faults(&validator, &right), Vec::<String>::new(), "{right}");
    }
}
