//! The rule language by example and by property: what is read, what is refused and how it is
//! explained, and that nothing at all makes the parser panic.

use proptest::prelude::*;

use super::*;

fn expr(text: &str) -> Expr {
    Rule::parse(text).unwrap_or_else(|faults| panic!("{text}: {faults:?}")).expr().clone()
}

fn faults(text: &str) -> Vec<InvalidRule> {
    Rule::parse(text).expect_err(text)
}

/// The one fault of `text`: the faulty part, the message, the help.
fn fault(text: &str) -> (&str, String, String) {
    let mut faults = faults(text);
    assert_eq!(faults.len(), 1, "{text}: {faults:?}");
    let InvalidRule { span, message, help } = faults.remove(0);
    (&text[span], message, help.unwrap_or_default())
}

fn host(name: &str) -> Expr {
    Expr::Match(Matcher::Host(HostPattern::parse(name).unwrap()))
}

fn prefix(path: &str) -> Expr {
    Expr::Match(Matcher::PathPrefix(UrlPath::parse(path).unwrap()))
}

#[test]
fn every_matcher_is_read() {
    for text in [
        "Host(`shop.example.com`)",
        "Host(`*.example.com`)",
        "HostRegexp(`^[a-z]+\\.example\\.com$`)",
        "Path(`/cart`)",
        "PathPrefix(`/cart/`)",
        "PathRegexp(`\\.(css|js)$`)",
        "Method(`GET`)",
        "Header(`x-team`, `blue`)",
        "HeaderRegexp(`x-team`, `^(blue|green)$`)",
        "Query(`debug`)",
        "Query(`debug`, `1`)",
        "QueryRegexp(`id`, `^[0-9]+$`)",
        "ClientIP(`192.0.2.7`)",
        "ClientIP(`2001:db8::/32`)",
    ] {
        assert_eq!(expr(text).to_string(), text);
    }
}

#[test]
fn names_of_matchers_are_read_in_any_letter_case() {
    assert_eq!(expr("HOST(`a`) && pathprefix(`/b`)"), expr("Host(`a`) && PathPrefix(`/b`)"));
}

#[test]
fn not_binds_tighter_than_and_and_and_tighter_than_or() {
    let read = expr("!Host(`a`) && PathPrefix(`/b`) || Host(`c`)");
    let not_a = Expr::Not(Box::new(host("a")));
    assert_eq!(read, Expr::Or(vec![Expr::And(vec![not_a, prefix("/b")]), host("c")]));
}

#[test]
fn parentheses_group_and_are_kept() {
    let read = expr("Host(`a`) && (Host(`b`) || Host(`c`)) && (Host(`d`) && Host(`e`))");
    let or = Expr::Or(vec![host("b"), host("c")]);
    let and = Expr::And(vec![host("d"), host("e")]);
    assert_eq!(read, Expr::And(vec![host("a"), or, and]));
}

#[test]
fn space_and_lines_do_not_count_and_a_comma_may_end_the_values() {
    assert_eq!(
        expr(" Host( `a` , )\n  &&\tPathPrefix(`/b`)\n"),
        expr("Host(`a`)&&PathPrefix(`/b`)")
    );
}

#[test]
fn double_quotes_take_escapes_and_backticks_do_not() {
    let value = |text: &str| match expr(text) {
        Expr::Match(Matcher::Query { value: Some(value), .. }) => value.into_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        value(r#"Query("q", "a\"b\\c\x41\u00e9\U0001F600\t`é")"#),
        "a\"b\\cA\u{e9}\u{1f600}\t`é"
    );
    assert_eq!(value(r"Query(`q`, `a\n`)"), r"a\n");
}

#[test]
fn hosts_are_brought_to_one_form() {
    assert_eq!(expr("Host(`Shop.Example.COM.`)"), expr("Host(`shop.example.com`)"));
    assert_eq!(expr("Host(`[2001:DB8::0:1]`)"), expr("Host(`2001:db8::1`)"));
    assert_eq!(expr("Method(`get`)"), expr("Method(`GET`)"));
    assert_eq!(expr("Header(`X-Team`, `B`)"), expr("Header(`x-team`, `B`)"));
    assert_eq!(expr("ClientIP(`10.1.2.3/8`)"), expr("ClientIP(`10.0.0.0/8`)"));
    assert_eq!(expr("ClientIP(`::ffff:10.0.0.0/104`)"), expr("ClientIP(`10.0.0.0/8`)"));
}

#[test]
fn a_query_regexp_without_expression_is_a_query() {
    assert_eq!(expr("QueryRegexp(`debug`)"), expr("Query(`debug`)"));
}

#[test]
fn the_default_priority_is_the_length_of_the_text() {
    let rule = Rule::parse("Host(`a`)  ").unwrap();
    assert_eq!((rule.default_priority(), rule.as_str()), (11, "Host(`a`)  "));
}

#[test]
fn rules_are_equal_by_text() {
    let rule = |text| Rule::parse(text).unwrap();
    assert_eq!(rule("PathRegexp(`a+`)"), rule("PathRegexp(`a+`)"));
    assert_ne!(rule("PathRegexp(`a+`)"), rule("PathRegexp(`a*`)"));
}

#[test]
fn several_values_are_refused_with_the_way_to_write_them() {
    let (part, message, help) = fault("Method(`GET`) && Host(`a`, `b`)");
    assert_eq!(part, "Host(`a`, `b`)");
    assert_eq!(message, "`Host` takes one value, this has 2");
    assert_eq!(help, "write Host(`a`) || Host(`b`)");
    assert_eq!(fault("Header(`a`)").2, "write Header(`name`, `value`)");
    assert_eq!(fault("Path()").1, "`Path` takes one value, this has 0");
}

#[test]
fn an_unknown_matcher_is_named_with_the_likely_one() {
    assert_eq!(fault("PathPrefx(`/a`)").2, "did you mean `PathPrefix`?");
    assert_eq!(fault("Headers(`a`, `b`)").2, "did you mean `Header`?");
    assert_eq!(fault("Methods(`GET`)").0, "Methods");
    assert!(fault("Cookie(`a`)").2.starts_with("the matchers are Host, "));
    assert!(fault("HostSNI(`*`)").2.contains("TCP"));
}

#[test]
fn values_that_could_never_match_are_refused_with_what_to_write() {
    for (text, message, help) in [
        ("Host(`bücher.example`)", "not ASCII", "xn--"),
        ("Host(`a.example:8080`)", "has a port", "Host(`a.example`)"),
        ("Host(``)", "empty", "leave `Host` out"),
        ("Host(`*`)", "not a wildcard", "every host"),
        ("Host(`**.a.b`)", "not a wildcard", "HostRegexp(`\\.a\\.b$`)"),
        ("Host(`a.*.b`)", "not a wildcard", "HostRegexp"),
        ("Host(`{name:[a-z]+}.b`)", "holds `{`", "HostRegexp"),
        ("Host(`a..b`)", "label", ""),
        ("Host(`a.b/c`)", "holds `/`", "PathPrefix"),
        ("Path(`cart`)", "begin with `/`", "write `/cart`"),
        ("PathPrefix(`/a?b=c`)", "holds `?`", "Query("),
        ("Method(`G T`)", "not an HTTP method", ""),
        ("Header(`x y`, `z`)", "not a header name", ""),
        ("HeaderRegexp(`x`, `(`)", "does not compile", ""),
        ("HostRegexp(`{name:[a-z]+}.b`)", "does not compile", "without `{name:…}`"),
        ("PathRegexp(`(\\w{200}){200}`)", "more than 1 MiB", ""),
        ("ClientIP(`10.0.0/8`)", "neither an IP address", "192.0.2.0/24"),
    ] {
        let (_, said, offered) = fault(text);
        assert!(said.contains(message), "{text}: {said}");
        assert!(offered.contains(help), "{text}: {offered}");
        assert!(!help.is_empty() || offered.is_empty(), "{text}: {offered}");
    }
}

#[test]
fn mistakes_in_the_grammar_are_shown_where_they_are() {
    for (text, part, help) in [
        ("", "", "write PathPrefix(`/`) to take all"),
        ("Host(`a`) & Host(`b`)", "&", "write `&&`"),
        ("Host(`a`) | Host(`b`)", "|", "write `||`"),
        ("Host(`a`) and Host(`b`)", "and", "write `&&`"),
        ("Host(`a`) OR (Host(`b`))", "OR", "write `||`"),
        ("not Host(`a`)", "not", "write `!`"),
        ("Host('a')", "'a'", "write it in backticks or double quotes"),
        ("Host(a.example)", "a", "put it in backticks, as `a`"),
        ("Host(`a` `b`)", "`b`", "put a comma between two values"),
        ("Host(`a", "`a", "close it with `"),
        ("Host(`a`) Host(`b`)", "Host", "join them by `&&` or `||`"),
        ("Host(`a`) &&", "", "write one, such as Host(`example.com`)"),
        ("(Host(`a`)", "(", "add `)`"),
        ("Host(`a`", "Host", "add `)`"),
        ("Host(`a`))", ")", "take it out"),
        ("Host `a`", "Host", "write Host(`example.com`)"),
        ("`a`", "`a`", "write such as Host(`a`)"),
        ("(Host(`a`), Host(`b`))", ",", "write `||` or `&&`"),
        (
            r#"Query("q", "\d")"#,
            r"\d",
            "double the backslash, or put the value in backticks, where a backslash is itself",
        ),
    ] {
        let found = faults(text);
        let first = &found[0];
        assert_eq!(
            (&text[first.span.clone()], first.help.as_deref()),
            (part, Some(help)),
            "{text}"
        );
    }
}

#[test]
fn all_faults_are_given_at_once_in_the_order_of_the_text() {
    let text = "Host(`a:1`) & Pth(`/x`) && (Method(`G T`) || Header(`a b`, `\x01`)";
    let found = faults(text);
    let parts: Vec<&str> = found.iter().map(|fault| &text[fault.span.clone()]).collect();
    assert_eq!(parts, ["`a:1`", "&", "Pth", "(", "`G T`", "`a b`", "`\x01`"]);
}

#[test]
fn a_rule_is_bounded_in_length_depth_and_terms() {
    let nested = |n: usize| format!("{}Host(`a`){}", "(".repeat(n), ")".repeat(n));
    assert!(Rule::parse(&nested(MAX_DEPTH)).is_ok());
    assert!(fault(&nested(MAX_DEPTH + 1)).1.contains("deeper"));
    assert!(fault(&format!("{}Host(`a`)", "!".repeat(5_000))).1.contains("deeper"));
    let terms = |n: usize| vec!["Host(`a`)"; n].join("||");
    assert!(Rule::parse(&terms(MAX_TERMS)).is_ok());
    assert!(fault(&terms(MAX_TERMS + 1)).1.contains("256 matchers"));
    assert!(fault(&format!("Path(`/{}`)", "a".repeat(MAX_LENGTH))).1.contains("bytes long"));
}

#[test]
fn a_text_of_nothing_but_faults_reports_a_few() {
    for text in [")".repeat(8_000), "(".repeat(8_000), "Foo() ".repeat(1_000), "& ".repeat(4_000)] {
        assert!((1..=16).contains(&faults(&text).len()));
    }
}

fn matcher() -> impl Strategy<Value = Matcher> {
    let text = || any::<String>().prop_map(String::into_boxed_str);
    let path = || "/[^?#]{0,12}".prop_map(|text| UrlPath::parse(&text).unwrap());
    let name = || "[a-z][a-z-]{0,8}".prop_map(|text| HeaderName::parse(&text).unwrap());
    let pattern = || {
        prop::sample::select(vec!["", "^a+$", "[`\"]", r"\d{2}\.", "a|b", "\n"])
            .prop_map(|text| RegexPattern::parse(text).unwrap())
    };
    prop_oneof![
        r"(\*\.)?[a-z]{1,5}(\.[a-z0-9]{1,5}){0,2}"
            .prop_map(|text| Matcher::Host(HostPattern::parse(&text).unwrap())),
        pattern().prop_map(Matcher::HostRegexp),
        path().prop_map(Matcher::Path),
        path().prop_map(Matcher::PathPrefix),
        pattern().prop_map(Matcher::PathRegexp),
        "[a-zA-Z]{1,7}".prop_map(|text| Matcher::Method(MethodName::parse(&text).unwrap())),
        (name(), "[ -~`\"\\\\é]{0,9}")
            .prop_map(|(name, value)| Matcher::Header { name, value: value.into() }),
        (name(), pattern()).prop_map(|(name, pattern)| Matcher::HeaderRegexp { name, pattern }),
        (text(), prop::option::of(text())).prop_map(|(name, value)| Matcher::Query { name, value }),
        (text(), pattern()).prop_map(|(name, pattern)| Matcher::QueryRegexp { name, pattern }),
        (any::<std::net::Ipv4Addr>(), 0_u8..=32).prop_map(|(address, length)| {
            Matcher::ClientIp(value::client_ip(&format!("{address}/{length}")).unwrap())
        }),
    ]
}

fn any_expr() -> impl Strategy<Value = Expr> {
    matcher().prop_map(Expr::Match).prop_recursive(5, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(Expr::And),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Expr::Or),
            inner.prop_map(|inner| Expr::Not(Box::new(inner))),
        ]
    })
}

proptest! {
    #[test]
    fn a_printed_rule_parses_to_the_same_tree(tree in any_expr()) {
        let text = tree.to_string();
        prop_assume!(text.len() <= MAX_LENGTH);
        prop_assert_eq!(Rule::parse(&text).map(|rule| rule.expr().clone()), Ok(tree));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>()) {
        check(&text)?;
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        check(&String::from_utf8_lossy(&bytes))?;
    }

    #[test]
    fn no_jumble_of_tokens_makes_the_parser_panic(
        tokens in prop::collection::vec(
            prop::sample::select(vec![
                "Host", "Path", "Query", "HeaderRegexp", "Nope", "and", "not", "(", ")", "(", ")",
                ",", "&&", "||", "!", "&", "`a`", "`/é`", "\"b\\\"\"", "\"\\q\"", "'", "=", " ", "é",
            ]),
            0..60,
        ),
    ) {
        check(&tokens.concat())?;
    }
}

/// Whatever the text, the answer is a tree or faults with spans that can be shown.
fn check(text: &str) -> Result<(), TestCaseError> {
    match Rule::parse(text) {
        Ok(rule) => {
            let again = Rule::parse(&rule.expr().to_string()).map(|rule| rule.expr().clone());
            prop_assert_eq!(again.as_ref(), Ok(rule.expr()));
        }
        Err(faults) => {
            prop_assert!(!faults.is_empty());
            for fault in faults {
                prop_assert!(text.get(fault.span.clone()).is_some(), "{:?}", fault);
            }
        }
    }
    Ok(())
}
