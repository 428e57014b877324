//! What each matcher takes, the order of routes, and the index against the plain scan.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use lb_model::rule::Rule;
use proptest::prelude::*;

use super::*;

/// A request that owns its parts: `GET http://a.example/` from 192.0.2.1 unless told otherwise.
#[derive(Debug, Clone)]
struct Request {
    method: Method,
    host: String,
    path: String,
    query: Option<String>,
    headers: HeaderMap,
    client: IpAddr,
}

impl Request {
    fn new(host: &str, path: &str) -> Self {
        let (path, query) = match path.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (path, None),
        };
        Self {
            method: Method::GET,
            host: host.to_owned(),
            path: path.to_owned(),
            query,
            headers: HeaderMap::new(),
            client: IpAddr::from([192, 0, 2, 1]),
        }
    }

    fn header(mut self, name: &str, value: &[u8]) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        self.headers.append(name, HeaderValue::from_bytes(value).unwrap());
        self
    }

    fn head(&self) -> RequestHead<'_> {
        RequestHead {
            method: &self.method,
            host: &self.host,
            path: &self.path,
            query: self.query.as_deref(),
            headers: &self.headers,
            client: self.client,
        }
    }
}

fn entry(name: &str, rule: &str, priority: i64) -> RouteEntry<String> {
    let rule = Rule::parse(rule).unwrap_or_else(|faults| panic!("{rule}: {faults:?}"));
    RouteEntry { name: name.into(), rule: Arc::new(rule), priority, target: name.to_owned() }
}

fn takes(rule: &str, request: &Request) -> bool {
    RouteTable::build([entry("r", rule, 0)]).find(&request.head()).is_some()
}

/// Checks `rule` against paths of `a.example`.
fn assert_paths(rule: &str, taken: &[&str], left: &[&str]) {
    for path in taken {
        assert!(takes(rule, &Request::new("a.example", path)), "{rule} takes {path}");
    }
    for path in left {
        assert!(!takes(rule, &Request::new("a.example", path)), "{rule} leaves {path}");
    }
}

fn assert_hosts(rule: &str, taken: &[&str], left: &[&str]) {
    for host in taken {
        assert!(takes(rule, &Request::new(host, "/")), "{rule} takes {host}");
    }
    for host in left {
        assert!(!takes(rule, &Request::new(host, "/")), "{rule} leaves {host}");
    }
}

#[test]
fn a_host_is_taken_in_any_letter_case_and_with_a_trailing_dot() {
    let left = ["b.example", "a.example.b", "x.a.example", ""];
    assert_hosts("Host(`A.example.`)", &["a.example", "A.EXAMPLE", "a.example."], &left);
    assert_hosts("Host(`[2001:db8::1]`)", &["[2001:DB8::1]", "2001:db8::1"], &["[2001:db8::2]"]);
}

#[test]
fn a_wildcard_host_takes_exactly_one_label() {
    let taken = ["a.example", "B.Example", "xn--x.example."];
    assert_hosts("Host(`*.example`)", &taken, &["example", "a.b.example", ".example", "aexample"]);
}

#[test]
fn a_host_expression_sees_the_host_in_lower_case() {
    assert_hosts("HostRegexp(`^[a-z]+\\.example$`)", &["Shop.Example."], &["1.example"]);
}

#[test]
fn an_overlong_host_is_no_host() {
    let long = format!("{}.example", "A".repeat(300));
    assert_hosts("Host(`*.example`) || HostRegexp(`.`)", &[], &[&long]);
    assert_hosts("PathPrefix(`/`)", &[&long], &[]);
}

#[test]
fn a_path_is_taken_exactly_and_by_letter_case() {
    assert_paths("Path(`/cart`)", &["/cart", "/cart?x"], &["/cart/", "/Cart", "/cart/x", "/"]);
}

#[test]
fn a_path_prefix_takes_whole_segments() {
    let left = ["/cartoon", "/cart-2", "/car", "/", "/x/cart", "*"];
    assert_paths("PathPrefix(`/cart`)", &["/cart", "/cart/", "/cart/x/y"], &left);
    assert_paths("PathPrefix(`/`)", &["/", "/x", "//"], &["*", ""]);
}

#[test]
fn a_path_prefix_with_a_trailing_slash_asks_for_that_slash() {
    assert_paths("PathPrefix(`/cart/`)", &["/cart/", "/cart/x"], &["/cart", "/cartoon/"]);
    assert_paths("PathPrefix(`/a//`)", &["/a//", "/a//x"], &["/a/", "/a/x"]);
}

#[test]
fn a_path_expression_is_not_anchored() {
    assert_paths("PathRegexp(`\\.css`)", &["/a.css", "/a.css/b"], &["/acss"]);
}

#[test]
fn a_method_is_taken_by_name() {
    let mut request = Request::new("a", "/");
    request.method = Method::from_bytes(b"PURGE").unwrap();
    assert!(takes("Method(`purge`)", &request));
    assert!(!takes("Method(`GET`)", &request));
}

#[test]
fn a_header_is_taken_when_any_of_its_lines_has_the_value() {
    let request = Request::new("a", "/").header("x-team", b"red").header("X-Team", b"blue");
    assert!(takes("Header(`X-TEAM`, `blue`)", &request));
    assert!(!takes("Header(`x-team`, `Blue`)", &request));
    assert!(!takes("Header(`x-team`, `red, blue`)", &request));
    assert!(takes("HeaderRegexp(`x-team`, `^b`)", &request));
    assert!(!takes("HeaderRegexp(`x-other`, ``)", &request));
}

#[test]
fn a_header_outside_utf_8_is_still_searched() {
    let request = Request::new("a", "/").header("x", b"\xff-blue");
    assert!(takes("HeaderRegexp(`x`, `blue$`)", &request));
}

#[test]
fn a_query_is_decoded_before_it_is_compared() {
    let query = |query: &str| Request::new("a", &format!("/?{query}"));
    assert!(takes("Query(`q`, `a b/é&`)", &query("x=1&q=a+b%2f%C3%a9%26")));
    assert!(takes("Query(`a b`, `1`)", &query("a%20b=1")));
    assert!(takes("Query(`q`, `2`)", &query("q=1&q=2")));
    assert!(takes("Query(`q`, `100%`)", &query("q=100%")));
    assert!(takes("Query(`q`, `%zz`)", &query("q=%zz")));
    assert!(takes("Query(`q`, `a=b`)", &query("q=a=b")));
    assert!(!takes("Query(`q`, `1`)", &query("qq=1&q=11")));
    assert!(takes("QueryRegexp(`q`, `^a b$`)", &query("q=a%20b")));
    assert!(takes("QueryRegexp(`q`, `^[0-9]+$`)", &query("q=x&q=12")));
}

#[test]
fn a_query_without_value_is_there_with_any_value() {
    for query in ["/?q", "/?q=", "/?q=1", "/?x&q"] {
        assert!(takes("Query(`q`)", &Request::new("a", query)), "{query}");
    }
    for query in ["/", "/?", "/?x=q", "/?Q"] {
        assert!(!takes("Query(`q`)", &Request::new("a", query)), "{query}");
    }
    assert!(takes("Query(`q`, ``)", &Request::new("a", "/?q")));
    assert!(!takes("Query(``)", &Request::new("a", "/?&x")));
}

#[test]
fn a_client_is_taken_by_address_and_by_network() {
    let mut request = Request::new("a", "/");
    assert!(takes("ClientIP(`192.0.2.1`)", &request));
    assert!(takes("ClientIP(`192.0.2.0/24`)", &request));
    assert!(!takes("ClientIP(`192.0.2.2`) || ClientIP(`::/0`)", &request));
    request.client = "::ffff:192.0.2.1".parse().unwrap();
    assert!(takes("ClientIP(`192.0.2.1`) && ClientIP(`::ffff:192.0.2.0/120`)", &request));
}

#[test]
fn a_table_is_built_anew_when_a_place_has_no_room_left() {
    let mut table = RouteTable::build([entry("a", "Path(`/`)", 0), entry("b", "Path(`/`)", 0)]);
    for priority in (1..100).rev() {
        let name = format!("r{priority}");
        // Each goes behind the one before and ahead of `a`.
        table = table.with(&[], vec![entry(&name, "Path(`/`)", priority)]);
    }
    let order: Vec<_> = table.routes().map(|route| route.priority).collect();
    assert!(order.is_sorted_by(|one, two| one >= two) && order.len() == 101);
    let request = Request::new("a", "/");
    assert_eq!(table.find(&request.head()), Some(&"r99".to_owned()));
    let gone: Vec<_> = table.routes().map(|r| (r.priority, Arc::clone(&r.name))).collect();
    let empty = table.with(&gone, Vec::new());
    assert_eq!((empty.routes().len(), empty.evaluations(&request.head())), (0, 0));
}

#[test]
fn the_higher_priority_goes_first_and_then_the_name() {
    let table = RouteTable::build([
        entry("c", "PathPrefix(`/`)", 1),
        entry("b", "Host(`a`)", 1),
        entry("d", "Host(`a`) && Path(`/x`)", 0),
        entry("e", "Method(`GET`) && Path(`/y`)", 2),
    ]);
    let find = |host, path| table.find(&Request::new(host, path).head()).cloned();
    assert_eq!(find("a", "/x").as_deref(), Some("b"));
    assert_eq!(find("a", "/y").as_deref(), Some("e"));
    assert_eq!(find("z", "/x").as_deref(), Some("c"));
    assert_eq!(find("z", "*"), None);
}

#[test]
fn an_empty_table_finds_nothing() {
    assert_eq!(RouteTable::<()>::build([]).find(&Request::new("a", "/").head()), None);
}

#[test]
fn a_trace_names_the_first_part_that_fails_of_every_route() {
    let table = RouteTable::build([
        entry("all", "PathPrefix(`/`)", 1),
        entry("post", "Host(`a`) && (Method(`POST`) && Path(`/x`))", 3),
        entry("either", "Host(`b`) || Host(`c`)", 2),
        entry("no", "PathPrefix(`/`) && !Host(`a`)", 2),
    ]);
    let request = Request::new("a", "/");
    let trace = table.trace(&request.head());
    let said: Vec<(&str, Option<String>)> =
        trace.iter().map(|v| (v.name, v.failure.map(ToString::to_string))).collect();
    let failure = |text: &str| Some(text.to_owned());
    assert_eq!(
        said,
        [
            ("post", failure("Method(`POST`)")),
            ("either", failure("Host(`b`) || Host(`c`)")),
            ("no", failure("!Host(`a`)")),
            ("all", None),
        ]
    );
}

#[test]
fn ten_thousand_routes_evaluate_as_few_rules_as_ten() {
    let build = |hosts: usize| {
        let routes = (0..hosts).flat_map(|host| {
            (0..10).map(move |path| {
                let rule = format!("Host(`h{host}.example`) && PathPrefix(`/p{path}`)");
                let mut route = entry(&format!("{host}-{path}"), &rule, 0);
                route.priority = route.rule.default_priority();
                route
            })
        });
        let wide = [
            entry("wild", "Host(`*.example`) && PathPrefix(`/wild`)", 5),
            entry("rest", "PathPrefix(`/`)", 1),
        ];
        RouteTable::build(routes.chain(wide))
    };
    for table in [build(1), build(1_000)] {
        for (path, target, evaluations) in
            [("/p7/deep/er", "0-7", 1), ("/wild/x", "wild", 1), ("/p77", "rest", 1), ("*", "", 1)]
        {
            let request = Request::new("h0.example", path);
            let found = table.find(&request.head()).map_or("", String::as_str);
            assert_eq!(
                (found, table.evaluations(&request.head())),
                (target, evaluations),
                "{path}"
            );
        }
    }
}

#[test]
fn ten_thousand_paths_of_one_host_are_told_apart() {
    let table = RouteTable::build((0..10_000).map(|i| {
        let rule = format!("Host(`a.example`) && (Path(`/x{i}`) || PathPrefix(`/api/v1/r{i}/`))");
        entry(&i.to_string(), &rule, 0)
    }));
    for (path, target) in [("/x9999", "9999"), ("/api/v1/r42/7", "42")] {
        let request = Request::new("a.example", path);
        assert_eq!(table.find(&request.head()).map(String::as_str), Some(target));
        assert_eq!(table.evaluations(&request.head()), 1);
    }
}

#[test]
fn a_path_of_thousands_of_segments_finds_deep_prefixes() {
    let deep = "/a".repeat(100);
    let table = RouteTable::build([entry("deep", &format!("PathPrefix(`{deep}`)"), 0)]);
    let find = |n: usize| table.find(&Request::new("x", &"/a".repeat(n)).head()).is_some();
    assert_eq!([99, 100, 5_000].map(find), [false, true, true]);
}

fn term() -> impl Strategy<Value = String> {
    let host = prop::sample::select(vec!["a.x", "b.x", "*.x", "x", "*.a.x", "B.X."]);
    let path = || prop::sample::select(vec!["/", "/a", "/a/", "/a/b", "/ab", "/a//", "/a/b/c/"]);
    prop_oneof![
        4 => host.prop_map(|host| format!("Host(`{host}`)")),
        2 => path().prop_map(|path| format!("Path(`{path}`)")),
        4 => path().prop_map(|path| format!("PathPrefix(`{path}`)")),
        1 => Just("Method(`GET`)".to_owned()),
        1 => Just("HostRegexp(`^a`)".to_owned()),
        1 => Just("PathRegexp(`b`)".to_owned()),
        1 => Just("Query(`q`)".to_owned()),
    ]
}

fn rule() -> impl Strategy<Value = String> {
    term().prop_recursive(4, 20, 3, |inner| {
        let parts = |inner| prop::collection::vec(inner, 2..4);
        prop_oneof![
            3 => parts(inner.clone()).prop_map(|parts| format!("({})", parts.join(" && "))),
            2 => parts(inner.clone()).prop_map(|parts| format!("({})", parts.join(" || "))),
            1 => inner.prop_map(|inner| format!("!{inner}")),
        ]
    })
}

fn table() -> impl Strategy<Value = Vec<RouteEntry<String>>> {
    prop::collection::vec((rule(), 0_i64..3), 0..12).prop_map(|routes| {
        let routes = routes.iter().enumerate();
        routes.map(|(i, (rule, priority))| entry(&format!("r{i}"), rule, *priority)).collect()
    })
}

fn request() -> impl Strategy<Value = Request> {
    let host = prop::sample::select(vec!["a.x", "A.X", "b.x", "x", "c.a.x", "c.x.", "", "y"]);
    let path = prop::sample::select(vec![
        "/", "/a", "/a/", "/a/b", "/ab", "/a/b/", "/a//", "/a//c", "/a/b/c/d", "/abc", "*", "/a?q",
    ]);
    (host, path, any::<bool>()).prop_map(|(host, path, is_get)| {
        let mut request = Request::new(host, path);
        request.method = if is_get { Method::GET } else { Method::POST };
        request
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn the_index_finds_what_a_plain_scan_finds(
        mut routes in table(),
        requests in prop::collection::vec(request(), 1..12),
    ) {
        let table = RouteTable::build(routes.clone());
        routes.sort_by(|a, b| (-a.priority, &a.name).cmp(&(-b.priority, &b.name)));
        for request in &requests {
            let head = request.head();
            // The trace evaluates every rule in turn, without the index.
            let traced = table.trace(&head);
            let scanned = traced.iter().find(|verdict| verdict.failure.is_none());
            prop_assert_eq!(table.find(&head), scanned.map(|verdict| verdict.target));
            let order: Vec<&str> = traced.iter().map(|verdict| verdict.name).collect();
            let sorted: Vec<&str> = routes.iter().map(|route| &*route.name).collect();
            prop_assert_eq!(order, sorted);
        }
    }

    #[test]
    fn a_table_that_was_changed_is_the_one_that_is_built(
        tables in prop::collection::vec(table(), 2..6),
        requests in prop::collection::vec(request(), 1..12),
    ) {
        let mut known: BTreeMap<Arc<str>, RouteEntry<String>> = BTreeMap::new();
        let mut changed = RouteTable::build([]);
        for routes in tables {
            let next: BTreeMap<_, _> =
                routes.into_iter().map(|route| (Arc::clone(&route.name), route)).collect();
            let same = |one: &RouteEntry<String>, two: Option<&RouteEntry<String>>| {
                two.is_some_and(|two| one.rule == two.rule && one.priority == two.priority)
            };
            let gone: Vec<_> = known
                .values()
                .filter(|route| !same(route, next.get(&route.name)))
                .map(|route| (route.priority, Arc::clone(&route.name)))
                .collect();
            let new = next.values().filter(|route| !same(route, known.get(&route.name)));
            changed = changed.with(&gone, new.cloned().collect());
            known = next;
            let built = RouteTable::build(known.values().cloned());
            for request in &requests {
                let head = request.head();
                prop_assert_eq!(changed.find(&head), built.find(&head));
                prop_assert_eq!(changed.trace(&head), built.trace(&head));
                prop_assert_eq!(changed.evaluations(&head), built.evaluations(&head));
            }
        }
    }

    #[test]
    fn no_request_makes_the_table_panic(
        host in any::<String>(),
        path in any::<String>(),
        query in any::<String>(),
        routes in table(),
    ) {
        let mut request = Request::new(&host, "/");
        (request.path, request.query) = (path, Some(query));
        let table = RouteTable::build(routes);
        let traced = table.trace(&request.head());
        let scanned = traced.iter().find(|verdict| verdict.failure.is_none());
        prop_assert_eq!(table.find(&request.head()), scanned.map(|verdict| verdict.target));
    }
}
