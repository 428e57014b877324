use super::*;

#[test]
fn every_definition_is_used_and_described() {
    let schema = schema();
    let text = schema.to_string();
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        assert!(text.contains(&format!("#/$defs/{name}\"")), "{name}");
        assert!(definition["description"].as_str().is_some_and(|d| !d.is_empty()), "{name}");
        for (key, property) in definition["properties"].as_object().unwrap() {
            assert!(property["description"].as_str().is_some_and(|d| !d.is_empty()), "{key}");
        }
    }
}
