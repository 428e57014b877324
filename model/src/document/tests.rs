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
fn what_does_not_run_yet_is_refused_by_name_where_it_is_on() {
    for key in ["jwt", "waf", "http3", "grpc", "plugins"] {
        let found = findings(&format!("{key}:\n  enabled: true\n"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("error[LB0105]") && found[0].contains(&format!("`{key}`")));
        assert_eq!(findings(&format!("{key}:\n  enabled: false\n")), Vec::<String>::new());
        let found = findings(&format!("{key}:\n"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("warning[LB0109]"), "{found:?}");
    }
}

#[test]
fn words_that_do_not_run_yet_are_refused_too() {
    for text in [
        "entry_points: { e: { address: \":1\", protocol: tcp } }",
        "entry_points: { e: { address: \":1\", protocol: udp } }",
        "backends: { b: { url: \"https://b\" } }",
    ] {
        let found = findings(text);
        assert!(found.len() == 1 && found[0].contains("error[LB0105]"), "{found:?}");
    }
}

#[test]
fn what_must_be_there_is_missing_only_where_it_is_on() {
    let found = findings("rate_limit: { enabled: true }\n");
    assert!(found.iter().any(|text| text.contains("rate_limit: `requests` is missing")));
    assert_eq!(findings("rate_limit: { enabled: false }\n"), Vec::<String>::new());
}

#[test]
fn an_alias_has_one_finding_and_what_refers_to_it_has_none() {
    let text =
        "backends: { a: &a { url: \"http://a\" }, b: *a }\nservices: { s: { backends: [a, b] } }";
    let parsed = crate::Config::parse(&Bundle::of_text("lb.yaml", text), 0);
    let found: Vec<_> = parsed.unwrap_err().iter().map(|finding| finding.code.clone()).collect();
    assert_eq!(found, ["LB0004", "LB0004"]);
}

#[test]
fn secrets_and_files_are_found_wherever_they_stand() {
    let text = r#"
jwt: { enabled: true, algorithm: HS256, secret: SECRET-1, public_key_path: ./a.pem }
middlewares:
  m: { basic_auth: { users: ["SECRET-2"], users_file: b.txt } }
  p: { plugin: { name: x, config: { api_token: [SECRET-3], port: 1 } } }
service_discovery: { provider: consul, token: SECRET-4, tls: { ca_file: c.pem } }
routes: { r: { rule: "Path(`/`)", jwt: { secret: SECRET-5 } } }
observability: { tracing: { exporters: [{ type: otlp, headers: { x: SECRET-6 } }] } }
lets_encrypt: { dns_provider: { name: gandi, credentials: { key: SECRET-7 } } }
plugins: { wasm_plugins: [{ name: n, path: d.wasm, env: { A: SECRET-8 } }] }
"#;
    let bundle = Bundle::of_text("lb.yaml", text);
    let (document, _) = Document::read(&bundle);
    let mut shown = text.to_owned();
    for at in document.secrets().into_iter().rev() {
        let (start, len) = (at.position.offset as usize, at.position.len as usize);
        shown.replace_range(start..start + len, "*");
    }
    assert!(!shown.contains("SECRET"), "{shown}");
    assert_eq!(document.secrets().len(), 8);
    let files: Vec<_> =
        document.file_references(&bundle).into_iter().map(|file| file.path).collect();
    assert_eq!(files, ["./a.pem", "b.txt", "c.pem", "d.wasm"]);
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
