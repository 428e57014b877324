use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{Config, bundle::Content};

fn bundle(text: &str, variables: &[(&str, &str)], settings: &[(&str, &str)]) -> Bundle {
    let mut bundle = Bundle::of_text("lb.yaml", text);
    let variables: BTreeMap<_, _> = variables.iter().copied().collect();
    bundle.gather_variables(|name| variables.get(name).map(|value| (*value).to_owned()));
    bundle.settings = settings.iter().map(|(path, value)| setting(path, value)).collect();
    bundle
}

fn setting(path: &str, value: &str) -> Setting {
    Setting {
        path: path.split('.').map(str::to_owned).collect(),
        value: Content(value.as_bytes().to_vec()),
        origin: format!("--set {path}"),
    }
}

fn config(bundle: &Bundle) -> Config {
    Config::parse(bundle, 0).unwrap_or_else(|found| panic!("{found}")).config
}

fn faults(bundle: &Bundle) -> Vec<String> {
    match Config::parse(bundle, 0) {
        Ok(parsed) => panic!("{parsed:?}"),
        Err(found) => found.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn variables_stand_for_their_values_and_defaults_for_those_unset() {
    let text = "backends:\n  a: { url: \"http://${HOST}:${PORT:-81}\", weight: \"${W:-3}\" }\n";
    let config = config(&bundle(text, &[("HOST", "shop"), ("PORT", "")], &[]));
    let backend = config.backends.values().next().unwrap();
    assert_eq!(backend.url.to_string(), "http://shop:81");
    assert_eq!(backend.weight.get(), 3);
}

#[test]
fn a_variable_without_a_value_is_a_fault_where_it_stands() {
    let found = faults(&bundle("backends:\n  a: { url: \"http://${HOST}\" }\n", &[], &[]));
    assert!(
        found[0].starts_with("lb.yaml:2:13: error[LB0107]: backends.a.url: `HOST` is not set"),
        "{found:?}"
    );
    assert!(found[0].contains("${HOST:-default}"), "{found:?}");
}

#[test]
fn what_begins_no_variable_is_a_fault_and_can_be_written_all_the_same() {
    for bad in ["${", "${}", "${1A}", "${A B}"] {
        let text = format!("backends: {{ a: {{ url: \"http://a/{bad}\" }} }}\n");
        assert!(faults(&bundle(&text, &[], &[]))[0].contains("begins no variable"), "{bad}");
    }
    let text = "backends: { a: { url: \"http://a\" } }\n\
                routes: { r: { rule: 'PathRegexp(`^/$${x}$`)' } }\n";
    let found = faults(&bundle(text, &[], &[]));
    assert!(found.iter().all(|fault| !fault.contains("variable")), "{found:?}");
}

#[test]
fn settings_replace_add_and_extend() {
    let text = "backends:\n  a: { url: \"http://a\" }\n  b: { url: \"http://b\" }\n\
                services:\n  my-shop: { backends: [a], strategy: p2c }\n";
    let config = config(&bundle(
        text,
        &[],
        &[
            ("services.my_shop.strategy", "round_robin"),
            ("services.my_shop.backends.1", "b"),
            ("backends.b.weight", "7"),
            ("routes", "{ all: { rule: 'PathPrefix(`/`)', service: my-shop } }"),
        ],
    ));
    let service = config.services.values().next().unwrap();
    assert_eq!(service.strategy.as_str(), "round_robin");
    assert_eq!(service.backends.len(), 2);
    assert_eq!(config.backends.values().nth(1).unwrap().weight.get(), 7);
    assert_eq!(config.routes.keys().next().unwrap().as_str(), "all");
}

#[test]
fn faults_name_the_setting_they_come_from() {
    let text = "backends: { a: { url: \"http://a\" } }\nservices: { s: { backends: [a] } }\n";
    for (path, value, expected) in [
        ("backends.a.weight", "heavy", "--set backends.a.weight: error[LB0103]: backends.a.weight"),
        ("backends.a.url.x", "1", "error[LB0108]: backends.a.url.x: `x` would stand under"),
        ("bakends.b.url", "http://b", "error[LB0101]: bakends: `bakends` is not a key"),
        ("services.s.backends.3", "a", "error[LB0108]"),
        ("backends", "[", "error[LB0103]"),
    ] {
        let found = faults(&bundle(text, &[], &[(path, value)]));
        assert!(found.iter().any(|fault| fault.contains(expected)), "{path}: {found:?}");
    }
}

#[test]
fn settings_alone_make_a_configuration() {
    let mut bundle = Bundle::default();
    bundle.settings.push(setting("backends.a.url", "http://a"));
    assert_eq!(config(&bundle).backends.len(), 1);
}

#[test]
fn a_later_setting_wins() {
    let text = "backends: { a: { url: \"http://a\" } }\n";
    let settings = [("backends.a.weight", "2"), ("backends.a.weight", "5")];
    let config = config(&bundle(text, &[], &settings));
    assert_eq!(config.backends.values().next().unwrap().weight.get(), 5);
}

proptest! {
    #[test]
    fn any_settings_and_variables_end_in_a_configuration_or_findings(
        text in "(a: |b: |\\$\\{A\\}|\\$\\{|\\}|:-|\n|  |\\[|\\]|x){0,30}",
        paths in proptest::collection::vec(("[ab01](\\.[ab01]){0,3}", "(\\[|\\]|\\{|\\}|a|: |,){0,6}"), 0..4),
    ) {
        let settings: Vec<_> = paths.iter().map(|(p, v)| (p.as_str(), v.as_str())).collect();
        let bundle = bundle(&text, &[("A", "1")], &settings);
        let _ = Config::parse(&bundle, 0);
    }
}
