use lb_model::Bundle;
use proptest::prelude::*;

use super::*;
use crate::hash;

const SHOP: &str = "\
entry_points:
  web: { address: \":8000\" }
  websecure: { address: \":8443\", tls: {} }
backends:
  a: { url: \"http://a:1\" }
  b: { url: \"http://b:1\", weight: 0 }
services:
  shop: { backends: [a, b], strategy: p2c, timeouts: { total: 9s } }
  api: { backends: [a], health_check: { path: /up } }
routes:
  cart: { rule: \"Host(`shop`) && PathPrefix(`/cart`) && Method(`GET`)\", service: shop }
  api: { rule: \"Host(`shop`) && PathPrefix(`/api`)\", service: api, priority: 1000 }
  rest: { rule: \"Host(`shop`)\", service: shop, entry_points: [web], timeouts: { total: 3s } }
";

fn config(text: &str) -> Config {
    Config::parse(&Bundle::of_text("lb.yaml", text), 0).unwrap().config
}

fn asked(url: &str) -> ExplainRequest {
    ExplainRequest { url: url.into(), ..ExplainRequest::default() }
}

fn explained(asked: &ExplainRequest) -> Explanation {
    explain(&config(SHOP), asked, None).unwrap()
}

#[test]
fn the_route_is_named_and_why_the_others_are_not() {
    let asked = ExplainRequest { method: Some("POST".into()), ..asked("http://shop/cart/1") };
    let explanation = explained(&asked);
    let web = &explanation.entry_points[0];
    assert_eq!((explanation.entry_points.len(), web.name.as_str()), (1, "web"));
    let routes: Vec<_> =
        web.routes.iter().map(|r| (r.name.as_str(), r.takes, r.failed.as_deref())).collect();
    assert_eq!(
        routes,
        [
            ("api", false, Some("PathPrefix(`/api`)")),
            ("cart", false, Some("Method(`GET`)")),
            ("rest", true, None),
        ]
    );
    let decision = web.decision.as_ref().unwrap();
    assert_eq!((decision.service.as_str(), decision.strategy.as_str()), ("shop", "p2c"));
    assert_eq!(decision.timeouts[3], ("total".to_owned(), "3s".to_owned()));
    let backends: Vec<_> =
        decision.backends.iter().map(|b| (b.id.as_str(), b.eligible, b.why.as_deref())).collect();
    assert_eq!(backends, [("a", true, None), ("b", false, Some("its weight is 0"))]);
}

#[test]
fn scheme_and_port_choose_the_entry_point() {
    let names = |asked: &ExplainRequest| -> Vec<_> {
        explained(asked).entry_points.into_iter().map(|e| e.name).collect()
    };
    assert_eq!(names(&asked("https://shop/")), ["websecure"]);
    assert_eq!(names(&asked("http://shop:8443/")), ["websecure"]);
    assert_eq!(names(&asked("shop/cart")), ["web", "websecure"]);
    let named = ExplainRequest { entry_point: Some("web".into()), ..asked("https://shop/") };
    assert_eq!(names(&named), ["web"]);
}

#[test]
fn what_the_proxy_answers_itself_has_its_reason() {
    for (url, reason) in [
        ("http://nobody/", Some("route_not_found")),
        ("http://shop/%00", Some("bad_request")),
        ("http://shop/../x", Some("bad_request")),
        ("http://shop/x/../cart", None),
    ] {
        let explanation = explained(&asked(url));
        assert_eq!(explanation.entry_points[0].refused.as_deref(), reason, "{url}");
    }
    let none = config("backends: { a: { url: \"http://a\", weight: 0 } }\n");
    let explanation = explain(&none, &asked("http://x/"), None).unwrap();
    assert_eq!(explanation.entry_points[0].refused.as_deref(), Some("no_healthy_backend"));
}

#[test]
fn a_host_field_goes_before_the_url() {
    let asked = ExplainRequest {
        headers: vec![("Host".into(), "SHOP:8000".into())],
        ..asked("http://127.0.0.1:8000/cart")
    };
    let explanation = explained(&asked);
    assert_eq!(explanation.request.host, "SHOP");
    assert_eq!(explanation.entry_points[0].decision.as_ref().unwrap().route, "cart");
}

struct Fleet(usize, usize, KeptAway);

impl Live for Fleet {
    fn health(&self, _: &str, _: &str) -> Option<(usize, usize, Option<String>)> {
        Some((self.0, self.1, Some("refused".into())))
    }

    fn kept_away(&self, _: &str, _: &str) -> KeptAway {
        self.2
    }

    fn views(&self, _: &str, _: &[&str]) -> Vec<View> {
        Vec::new()
    }
}

#[test]
fn what_the_fleet_reports_decides_who_is_eligible() {
    let of = |live: Option<&dyn Live>| {
        let explanation = explain(&config(SHOP), &asked("http://shop/api"), live).unwrap();
        let backend = explanation.entry_points[0].decision.as_ref().unwrap().backends[0].clone();
        (backend.eligible, backend.why.unwrap_or_default())
    };
    assert_eq!(
        of(Some(&Fleet(0, 3, KeptAway::default()))),
        (false, "down on all of 3 proxies: refused".into())
    );
    assert_eq!(
        of(Some(&Fleet(1, 3, KeptAway::default()))),
        (true, "up on 1 of 3 proxies: refused".into())
    );
    assert_eq!(of(Some(&Fleet(3, 3, KeptAway::default()))), (true, String::new()));
    let away = |is_open, ejected_on| KeptAway { is_open, ejected_on, reported_by: 3 };
    let ejected = of(Some(&Fleet(3, 3, away(false, 2))));
    assert_eq!(ejected, (true, "ejected on 2 of 3 proxies".into()));
    let open = of(Some(&Fleet(3, 3, away(true, 0))));
    assert_eq!(open, (true, "its circuit breaker is open on some proxies".into()));
    assert!(!of(Some(&Fleet(3, 3, away(false, 3)))).0);
    assert!(of(None).1.contains("if its health check passes"));
}

#[test]
fn backends_of_services_that_stand_in_are_shown_with_theirs() {
    let text = "backends: { a: { url: \"http://a\" }, b: { url: \"http://b\" }, \
                c: { url: \"http://c\" } }\n\
                services: { all: { weighted: [{ service: one }, { service: two, weight: 9 }], \
                failover: last }, one: { backends: [a] }, two: { backends: [b] }, \
                last: { backends: [c] } }\n\
                routes: { all: { rule: \"PathPrefix(`/`)\", service: all } }\n";
    let explanation = explain(&config(text), &asked("http://h/"), None).unwrap();
    let decision = explanation.entry_points[0].decision.as_ref().unwrap();
    let names: Vec<_> = decision.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names, ["services", "failover"]);
    let backends: Vec<_> = decision
        .backends
        .iter()
        .map(|backend| (backend.id.as_str(), backend.service.as_deref().unwrap_or_default()))
        .collect();
    assert_eq!(backends, [("b", "two"), ("a", "one"), ("c", "last")]);
    assert!(decision.backends.iter().all(|backend| backend.eligible));
}

#[test]
fn what_cannot_be_read_says_what_to_write() {
    for (asked, says) in [
        (asked("ftp://shop/"), "is not a URL; write http://"),
        (asked("http://[/"), "is not a URL"),
        (ExplainRequest { method: Some("G T".into()), ..asked("/") }, "is not a method"),
        (
            ExplainRequest { headers: vec![("a b".into(), "c".into())], ..asked("/") },
            "is not a header field",
        ),
        (
            ExplainRequest { entry_point: Some("wep".into()), ..asked("/") },
            "there are: web, websecure",
        ),
    ] {
        let Unexplainable(why) = explain(&config(SHOP), &asked, None).unwrap_err();
        assert!(why.contains(says), "{why}");
    }
}

const GUARDED: &str = "\
entry_points: { web: { address: \":8000\" } }
backends:
  web1: { url: \"http://web1:1\" }
  web2: { url: \"http://web2:1\" }
  web3: { url: \"http://web3:1\" }
services: { shop: { backends: [web1, web2, web3] } }
middlewares:
  inner: { ip_allow_list: { source_range: [127.0.0.0/8] } }
  strip: { strip_prefix: { prefixes: [/api] } }
routes: { shop: { rule: \"PathPrefix(`/`)\", service: shop, middlewares: [inner, strip] } }
jwt:
  enabled: true
  algorithm: HS256
  secret: \"0123456789abcdef0123456789abcdef\"
  path_rules:
    - { path: /api/admin/*, required_roles: [admin] }
    - { path: /open/*, public: true }
traffic_management:
  blue_green:
    enabled: true
    blue_backends: [web1, web2]
    green_backends: [web3]
    active_slot: blue
    switch_header: X-Slot
";

#[test]
fn steps_say_what_follows_from_the_head_and_what_does_not() {
    let config = Config::check(&Bundle::of_text("lb.yaml", GUARDED), 0).unwrap().config;
    let run = |asked: &ExplainRequest| {
        let explanation = explain(&config, asked, None).unwrap();
        let entry_point = explanation.entry_points[0].clone();
        let decision = entry_point.decision.unwrap();
        let steps: Vec<_> = decision
            .steps
            .iter()
            .map(|step| (step.name.clone(), step.decision.clone().unwrap_or_default()))
            .collect();
        let eligible = decision.backends.iter().filter(|b| b.eligible).map(|b| b.id.clone());
        (entry_point.refused, steps, eligible.collect::<Vec<_>>(), decision.steps)
    };
    let step = |name: &str, decision: &str| (name.to_owned(), decision.to_owned());

    let (refused, steps, eligible, _) = run(&asked("http://h/api/admin/x"));
    assert_eq!(refused.as_deref(), Some("jwt_missing"));
    assert_eq!(
        steps,
        [
            step("jwt", "refused: jwt_missing"),
            step("middleware inner (ip_allow_list)", "passes"),
            step("middleware strip (strip_prefix)", "passes"),
            step("blue-green", "slot blue"),
        ]
    );
    assert_eq!(eligible, ["web1", "web2"]);

    let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let with_token = ExplainRequest {
        headers: vec![field("Authorization", "Bearer x"), field("X-Slot", "green")],
        ..asked("http://h/api/admin/x")
    };
    let (refused, steps, eligible, whole) = run(&with_token);
    assert_eq!((refused, &steps[0]), (None, &step("jwt", "")), "the token is not looked at");
    assert_eq!(whole[0].detail, "/api/admin/* needs a valid token with the role admin");
    assert_eq!(whole[2].detail, "the path becomes /admin/x");
    assert_eq!((&steps[3], eligible), (&step("blue-green", "slot green"), vec!["web3".to_owned()]));

    let (refused, steps, ..) = run(&asked("http://h/open/door"));
    assert_eq!((refused, &steps[0]), (None, &step("jwt", "passes")));
    let outside = ExplainRequest { client: "192.0.2.1".parse().ok(), ..asked("http://h/open/x") };
    assert_eq!(run(&outside).0.as_deref(), Some("ip_denied"));
}

const CHOSEN: &str = "\
entry_points: { web: { address: \":8000\" } }
backends:
  web1: { url: \"http://web1:1\" }
  web2: { url: \"http://web2:1\", weight: 3 }
  web3: { url: \"http://web3:1\" }
  far1: { url: \"http://far1:1\", zone: far }
  far2: { url: \"http://far2:1\" }
services:
  hash: { backends: [web1, web2, web3], strategy: hash, hash_on: \"header:X-User\", failover: turns }
  turns: { backends: [web1, web2] }
  zones: { backends: [far1, far2] }
  sticky:
    backends: [web1, web2, web3]
    traffic_management:
      session_stickiness: { enabled: true, cookie_name: sid, header_name: X-Session }
      canary:
        enabled: true
        traffic_split: 50
        split_header: X-Canary
        sticky: ip
        canary_backends: [{ backend_id: new1, url: \"http://new1:1\" }]
routes:
  hash: { rule: \"PathPrefix(`/hash`)\", service: hash }
  turns: { rule: \"PathPrefix(`/turns`)\", service: turns }
  zones: { rule: \"PathPrefix(`/zones`)\", service: zones }
  sticky: { rule: \"PathPrefix(`/sticky`)\", service: sticky }
";

/// A zone, a proxy that stands there, and the backends about which it knows something.
type Seen = (Option<&'static str>, &'static str, &'static [(&'static str, Sight)]);

/// A fleet in which each proxy has its own view of all backends.
struct Views(Vec<Seen>);

impl Live for Views {
    fn health(&self, _: &str, _: &str) -> Option<(usize, usize, Option<String>)> {
        None
    }

    fn kept_away(&self, _: &str, _: &str) -> KeptAway {
        KeptAway::default()
    }

    fn views(&self, _: &str, backends: &[&str]) -> Vec<View> {
        let of = |(zone, proxy, known): &Seen| View {
            zone: zone.map(str::to_owned),
            sights: backends
                .iter()
                .map(|id| known.iter().find(|(of, _)| of == id).map_or(Sight::Well, |(_, s)| *s))
                .collect(),
            proxies: vec![(*proxy).to_owned()],
        };
        self.0.iter().map(of).collect()
    }
}

/// Who is chosen, as `backend by`, with the service that stands in and the proxies.
fn chosen(url: &str, fields: &[(&str, &str)], live: Option<&dyn Live>) -> Vec<String> {
    let config = Config::check(&Bundle::of_text("lb.yaml", CHOSEN), 0).unwrap().config;
    let headers = fields.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    let asked = ExplainRequest { headers: headers.collect(), ..asked(url) };
    let explanation = explain(&config, &asked, live).unwrap();
    let choices = explanation.entry_points[0].decision.clone().unwrap().choices;
    let said = choices.into_iter().map(|choice| {
        let backend = choice.backend.unwrap_or_else(|| "-".to_owned());
        let of = choice.service.map(|service| format!(" of {service}")).unwrap_or_default();
        let on = choice.proxies.join(",");
        format!("{backend}{of} {}{}{on}", choice.by, if on.is_empty() { "" } else { " on " })
    });
    said.collect()
}

#[test]
fn the_hash_of_a_request_names_its_backend_and_a_missing_part_the_clients_address() {
    let owner = |key: &[u8]| {
        let names = [("web1", 1), ("web2", 3), ("web3", 1)];
        let all = names.iter().enumerate();
        let all = all.map(|(i, (name, weight))| (i, hash::key(name.as_bytes()), *weight));
        names[hash::pick(hash::key(key), all).unwrap()].0
    };
    for user in ["ann", "bob", "cyd", "dan", "eve"] {
        let expected = format!("{} hash", owner(user.as_bytes()));
        assert_eq!(chosen("http://h/hash", &[("X-User", &format!(" {user} "))], None), [expected]);
    }
    let expected = format!("{} hash", owner(&[127, 0, 0, 1]));
    assert_eq!(chosen("http://h/hash", &[], None), [expected]);
    assert_eq!(chosen("http://h/turns", &[], None), ["- round_robin"]);
}

#[test]
fn what_only_a_proxy_knows_is_said_and_not_guessed() {
    let to = |fields: &[(&str, &str)]| chosen("http://h/sticky", fields, None);
    assert_eq!(to(&[("X-Canary", "new1")]), ["new1 split_header"]);
    assert_eq!(to(&[("X-Canary", "true")]), ["new1 only"]);
    let stable = ("X-Canary", "false");
    assert_eq!(to(&[stable]), ["- round_robin"]);
    assert_eq!(to(&[stable, ("Cookie", "a=b; sid=x"), ("X-Session", "s")]), ["- session_cookie"]);
    let [by_header] = to(&[stable, ("X-Session", "s")]).try_into().unwrap();
    assert!(by_header.ends_with(" session_header") && by_header.starts_with("web"), "{by_header}");
}

#[test]
fn proxies_that_see_backends_differently_have_choices_of_their_own() {
    let ann = [("X-User", "ann")];
    let [first] = chosen("http://h/hash", &ann, None).try_into().unwrap();
    let home = first.strip_suffix(" hash").unwrap();
    let home: &'static str = ["web1", "web2", "web3"].into_iter().find(|id| *id == home).unwrap();
    for sight in [Sight::Down, Sight::Ejected, Sight::Open] {
        let ill: &'static [_] = Box::leak(Box::new([(home, sight)]));
        let fleet = Views(vec![(None, "p", &[]), (None, "q", ill), (None, "r", &[])]);
        let said = chosen("http://h/hash", &ann, Some(&fleet));
        assert!(said.contains(&format!("{home} hash on p,r")), "{said:?}");
        assert!(said.len() == 2 && said.iter().any(|one| one.ends_with("hash on q")), "{said:?}");
    }
    const NONE: [(&str, Sight); 3] =
        [("web1", Sight::Down), ("web2", Sight::Down), ("web3", Sight::Down)];
    const ONE: [(&str, Sight); 2] = [("web2", Sight::Down), ("web3", Sight::Down)];
    let fleet = Views(vec![(None, "p", &NONE), (None, "q", &NONE)]);
    assert_eq!(chosen("http://h/hash", &ann, Some(&fleet)), ["- of turns nobody"]);
    let fleet = Views(vec![(None, "p", &NONE), (None, "q", &ONE)]);
    let said = chosen("http://h/hash", &ann, Some(&fleet));
    assert_eq!(said, ["- of turns nobody on p", "web1 only on q"]);
    let fleet = Views(vec![(Some("far"), "p", &[]), (None, "q", &[])]);
    let said = chosen("http://h/zones", &[], Some(&fleet));
    assert_eq!(said, ["- round_robin on q", "far1 only on p"]);
}

#[test]
fn a_version_with_nobody_falls_back_as_a_proxy_does() {
    const DOWN: [(&str, Sight); 1] = [("new1", Sight::Down)];
    let fleet = Views(vec![(None, "p", &DOWN)]);
    let fields = [("X-Canary", "new1"), ("X-Session", "s")];
    let [said] = chosen("http://h/sticky", &fields, Some(&fleet)).try_into().unwrap();
    assert!(said.starts_with("web") && said.ends_with(" session_header"), "{said}");
}

proptest! {
    /// What is explained is what would be served: the look-up is the same, and the verdicts agree.
    #[test]
    fn the_one_that_takes_it_is_the_first_whose_rule_holds(
        path in "/(cart|api|x)?(/\\.\\.|/cart)?",
        host in "(shop|SHOP|other)",
        method in "(GET|POST)",
    ) {
        let asked = ExplainRequest { method: Some(method), ..asked(&format!("http://{host}{path}")) };
        for entry_point in explained(&asked).entry_points {
            let first = entry_point.routes.iter().find(|route| route.holds);
            let taken = entry_point.routes.iter().find(|route| route.takes);
            prop_assert_eq!(first, taken);
            prop_assert_eq!(taken.is_some(), entry_point.decision.is_some());
        }
    }

    #[test]
    fn any_text_is_explained_or_refused(url in "\\PC{0,40}") {
        let _ = explain(&config(SHOP), &asked(&url), None);
    }
}
