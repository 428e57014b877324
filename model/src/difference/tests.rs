use proptest::prelude::*;

use super::*;
use crate::bundle::{Content, NamedFile, Setting};

const KEY: [u8; 32] = [7; 32];

fn written(text: &str) -> Written {
    Written::read(&Bundle::of_text("lb.yaml", text), &KEY)
}

fn lines(changes: &[Change]) -> Vec<String> {
    let mut lines = Vec::new();
    for Change { kind, name, action, fields } in changes {
        for FieldChange { path, before, after } in fields {
            lines.push(format!("{action:?} {kind}/{name} {path}: {before:?} -> {after:?}"));
        }
    }
    lines
}

fn difference(before: &str, after: &str) -> Vec<String> {
    lines(&written(before).changes_to(&written(after)))
}

#[test]
fn objects_are_told_apart_by_kind_and_name() {
    let before = "backends: { a: { url: \"http://a\" }, b: { url: \"http://b\" } }\n\
                  services: { s: { backends: [a], strategy: p2c } }\n";
    let after = "services: { s: { backends: [a, c] } }\n\
                 backends: { a: { url: \"http://a\" }, c: { url: \"http://c\" } }\n";
    assert_eq!(
        difference(before, after),
        [
            "Removed backend/b url: Some(\"http://b\") -> None",
            "Added backend/c url: None -> Some(\"http://c\")",
            "Changed service/s backends: Some(\"[a]\") -> Some(\"[a, c]\")",
            "Changed service/s strategy: Some(\"p2c\") -> None",
        ]
    );
}

#[test]
fn order_comments_and_style_are_no_change() {
    let before = "# one\nbackends:\n  a: { url: \"http://a\" }\n  b:\n    url: http://b\n";
    let after = "backends: { b: { url: 'http://b' }, a: { url: http://a } }\n";
    assert_eq!(difference(before, after), [""; 0]);
}

#[test]
fn no_secret_is_shown_and_its_change_is() {
    let text = |key: &str| format!("certificates: {{ a: {{ cert: x, key: {key} }} }}\n");
    let found = difference(&text("hunter2"), &text("hunter3"));
    assert_eq!(
        found,
        ["Changed certificate/a key: Some(\"[redacted]\") -> Some(\"[redacted] (changed)\")"]
    );
    assert_eq!(difference(&text("same"), &text("same")), [""; 0]);
}

#[test]
fn a_variable_is_shown_as_it_was_written() {
    let with = |value: &str| {
        let mut bundle =
            Bundle::of_text("lb.yaml", "backends: { a: { url: \"http://${HOST}:1\" } }\n");
        bundle.gather_variables(|_| Some(value.to_owned()));
        Written::read(&bundle, &KEY)
    };
    assert_eq!(
        lines(&with("one").changes_to(&with("two"))),
        [
            "Changed backend/a url: Some(\"http://${HOST}:1\") -> Some(\"http://${HOST}:1 (changed)\")"
        ]
    );
}

#[test]
fn a_file_is_shown_by_a_hash_of_its_content() {
    let with = |content: &[u8]| {
        let text = "certificates: { a: { cert_file: a.pem, key_file: k.pem } }\n";
        let mut bundle = Bundle::of_text("lb.yaml", text);
        bundle.files.push(NamedFile {
            document: "lb.yaml".into(),
            path: "a.pem".into(),
            content: Content(content.to_vec()),
        });
        Written::read(&bundle, &KEY)
    };
    let found = lines(&with(b"one").changes_to(&with(b"two")));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("cert_file: Some(\"a.pem (content "), "{found:?}");
    let origins = with(b"one").origins();
    assert!(origins.iter().any(|origin| origin.value == "k.pem (not read)"), "{origins:?}");
}

#[test]
fn every_value_says_where_it_comes_from() {
    let mut bundle = Bundle::of_text("lb.yaml", "backends:\n  a: { url: \"http://a\" }\n");
    bundle.settings.push(Setting {
        path: ["backends", "a", "weight"].map(str::to_owned).to_vec(),
        value: Content(b"3".to_vec()),
        origin: "environment variable LB_BACKENDS__A__WEIGHT".into(),
    });
    let origins = Written::read(&bundle, &KEY).origins();
    let origins: Vec<_> =
        origins.iter().map(|o| format!("{} = {} ({})", o.path, o.value, o.origin)).collect();
    assert_eq!(
        origins,
        [
            "backends.a.url = http://a (lb.yaml:2:13)",
            "backends.a.weight = 3 (environment variable LB_BACKENDS__A__WEIGHT)",
        ]
    );
}

proptest! {
    #[test]
    fn a_configuration_does_not_differ_from_itself(
        text in "(backends|routes|a|b|: |\\{|\\}|, |\n|  |- |1){0,40}",
    ) {
        let written = written(&text);
        prop_assert_eq!(written.changes_to(&written), []);
    }
}
