use super::*;

fn findings(text: &str) -> Vec<String> {
    let (_, found) = Document::read(&Bundle::of_text("lb.yaml", text));
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn every_fault_of_a_document_is_found_in_one_reading() {
    let found = findings(
        "backnds:\n  a: { url: \"http://a\" }\nbackends:\n  web: { url: a, wieght: 1 }\n  \
         b c: { url: \"http://b\" }\nservices: [x]\n",
    );
    let places: Vec<_> =
        found.iter().map(|text| text.split(": ").take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        places,
        [
            "lb.yaml:1:1 error[LB0101]",
            "lb.yaml:4:15 error[LB0103]",
            "lb.yaml:4:18 error[LB0101]",
            "lb.yaml:5:3 error[LB0103]",
            "lb.yaml:6:11 error[LB0102]",
        ],
        "{found:#?}"
    );
    assert!(found[0].contains("did you mean `backends`?"));
    assert!(found[2].contains("did you mean `weight`?"));
}

#[test]
fn what_does_not_run_yet_is_refused_by_name() {
    for key in [
        "traffic_management",
        "jwt",
        "waf",
        "http3",
        "grpc",
        "observability",
        "service_discovery",
        "lets_encrypt",
        "plugins",
        "middlewares",
    ] {
        let found = findings(&format!("{key}:\n  enabled: true\n"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("LB0105") && found[0].contains(&format!("`{key}`")), "{found:?}");
    }
}

#[test]
fn a_fault_in_a_rule_is_shown_at_its_place_in_the_rule() {
    let found = findings("routes:\n  a: { rule: \"Hots(`a`)\" }\n");
    assert!(found[0].starts_with("lb.yaml:2:15: error[LB0301]: routes.a.rule"), "{found:?}");
    let found = findings("routes:\n  a:\n    rule: Path(`/a`) && Hots(`a`)\n");
    assert!(found[0].starts_with("lb.yaml:3:25: error[LB0301]"), "{found:?}");
}

#[test]
fn maps_of_several_documents_are_joined_and_a_name_stands_once() {
    let bundle = Bundle {
        documents: vec![
            crate::bundle::Source::new("a.yaml", "backends:\n  x: { url: \"http://x\" }\n"),
            crate::bundle::Source::new(
                "b.yaml",
                "backends:\n  y: { url: \"http://y\" }\n  x: { url: \"http://z\" }\n",
            ),
        ],
        ..Bundle::default()
    };
    let (document, found) = Document::read(&bundle);
    let names: Vec<_> =
        document.backends.iter().flatten().map(|(name, _)| name.value.to_string()).collect();
    assert_eq!(names, ["x", "y"]);
    assert_eq!(found.len(), 1);
    assert!(
        found
            .to_string()
            .starts_with("b.yaml:3:3: error[LB0204]: backends.x: it already stands in a.yaml:2:3"),
        "{found}"
    );
}

#[test]
fn an_empty_document_is_an_empty_configuration() {
    for text in ["", "# nothing\n", "---\n"] {
        assert_eq!(findings(text), Vec::<String>::new());
    }
}
