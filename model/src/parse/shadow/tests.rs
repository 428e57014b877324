use crate::{Bundle, Config};

/// The routes that are reported, with those that take their requests.
fn unreachable(routes: &str) -> Vec<String> {
    let text = format!(
        "entry_points: {{ web: {{ address: \":1\" }}, inner: {{ address: \":2\" }} }}\n\
         backends: {{ a: {{ url: \"http://a\" }} }}\nroutes:\n{routes}"
    );
    let parsed = Config::parse(&Bundle::of_text("lb.yaml", &text), 0).unwrap();
    let found = parsed.warnings.iter().map(|finding| {
        let route = finding.path.split('.').nth(1).unwrap();
        let by = finding.message.split('`').nth(1).unwrap();
        format!("{} {route} by {by}", finding.code)
    });
    found.collect()
}

#[test]
fn a_wider_route_before_a_narrower_one_hides_it() {
    for (wide, narrow) in [
        ("PathPrefix(`/`)", "Host(`a.example`)"),
        ("Host(`a.example`)", "Host(`a.example`) && PathPrefix(`/x`)"),
        ("Host(`*.example`)", "Host(`a.example`)"),
        ("PathPrefix(`/a`)", "PathPrefix(`/a/b`)"),
        ("PathPrefix(`/a`)", "Path(`/a`)"),
        ("PathPrefix(`/a/`)", "Path(`/a/b`)"),
        ("Host(`a.example`) && PathPrefix(`/`)", "Host(`a.example`)"),
        ("Host(`a.example`) || Host(`b.example`)", "Host(`b.example`) && Path(`/x`)"),
        ("PathPrefix(`/x`)", "Path(`/x/a`) || PathPrefix(`/x/b`)"),
        ("Method(`GET`)", "Method(`GET`) && Header(`x`, `1`)"),
        ("ClientIP(`10.0.0.0/8`)", "ClientIP(`10.1.0.0/16`)"),
        ("Query(`q`)", "Query(`q`, `1`)"),
        ("!Path(`/x`)", "!Path(`/x`) && Host(`a.example`)"),
    ] {
        let routes = format!(
            "  first: {{ rule: \"{wide}\", priority: 9 }}\n  second: {{ rule: \"{narrow}\", priority: 1 }}\n"
        );
        assert_eq!(unreachable(&routes), ["LB0303 second by first"], "{wide} {narrow}");
    }
}

#[test]
fn what_may_answer_is_left_alone() {
    for (first, second) in [
        ("PathPrefix(`/a`)", "PathPrefix(`/ab`)"),
        ("PathPrefix(`/a/`)", "Path(`/a`)"),
        ("PathPrefix(`/a/b`)", "PathPrefix(`/a`)"),
        ("Path(`/a`)", "PathPrefix(`/a`)"),
        ("Host(`*.example`)", "Host(`a.b.example`)"),
        ("Host(`*.example`)", "Host(`example`)"),
        ("Host(`a.example`)", "Host(`b.example`)"),
        ("Host(`a.example`) && Method(`GET`)", "Host(`a.example`)"),
        ("Host(`a.example`)", "Host(`a.example`) || Host(`b.example`)"),
        ("PathRegexp(`/a`)", "Path(`/a`)"),
        ("!Host(`a.example`)", "Host(`b.example`)"),
        ("ClientIP(`10.1.0.0/16`)", "ClientIP(`10.0.0.0/8`)"),
        ("Query(`q`, `1`)", "Query(`q`)"),
    ] {
        let routes = format!(
            "  first: {{ rule: \"{first}\", priority: 9 }}\n  second: {{ rule: \"{second}\", priority: 1 }}\n"
        );
        assert_eq!(unreachable(&routes), Vec::<String>::new(), "{first} {second}");
    }
}

#[test]
fn only_what_listens_everywhere_hides_what_listens_somewhere() {
    let routes = "  all: { rule: \"PathPrefix(`/`)\", priority: 99, entry_points: [web] }\n  \
                  one: { rule: \"Path(`/a`)\", entry_points: [web] }\n  \
                  two: { rule: \"Path(`/b`)\", entry_points: [web, inner] }\n";
    assert_eq!(unreachable(routes), ["LB0303 one by all"]);
}

#[test]
fn the_same_rule_and_priority_is_said_as_such() {
    let routes = "  a: { rule: \"Path(`/`)\" }\n  b: { rule: \"Path(`/`)\" }\n";
    assert_eq!(unreachable(routes), ["LB0302 b by a"]);
}
