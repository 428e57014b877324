use super::*;
use crate::config::Probe;
use crate::config::Strategy;

fn parse(text: &str) -> Result<Parsed, Diagnostics> {
    Config::parse(&Bundle::of_text("lb.yaml", text), 1_700_000_000)
}

fn faults(text: &str) -> Vec<String> {
    match parse(text) {
        Ok(parsed) => parsed.warnings.iter().map(ToString::to_string).collect(),
        Err(found) => found.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn one_backend_alone_is_a_working_file() {
    let parsed = parse("backends: { web1: { url: \"http://127.0.0.1:9001\" } }").unwrap();
    let Config { entry_points, services, routes, .. } = parsed.config;
    assert_eq!(entry_points["web"].address.to_string(), "0.0.0.0:8000");
    assert_eq!(services["default"].backends[0].as_str(), "web1");
    assert_eq!(services["default"].strategy, Strategy::RoundRobin);
    assert_eq!(routes["default"].rule.as_str(), "PathPrefix(`/`)");
    assert!(parsed.warnings.is_empty());
}

#[test]
fn a_document_without_backends_says_what_to_write() {
    let found = faults("");
    assert!(found[0].contains("LB0502") && found[0].contains("write backends:"), "{found:?}");
}

#[test]
fn names_that_lead_nowhere_come_with_the_nearest_one() {
    let found = faults(
        "backends: { web1: { url: \"http://a\" } }\n\
         services: { shop: { backends: [wbe1] } }\n\
         routes: { r: { rule: \"Path(`/`)\", service: shp, entry_points: [wbe] } }\n",
    );
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(found[0].starts_with("lb.yaml:2:32: error[LB0201]: services.shop.backends"));
    assert!(found[0].contains("did you mean `web1`?"));
    assert!(found[1].contains("did you mean `shop`?"));
    assert!(found[2].contains("did you mean `web`?"));
}

#[test]
fn a_faulty_value_is_not_missing_as_well() {
    let found = faults("backends: { a: { url: nonsense } }\n");
    assert_eq!(found.len(), 1, "{found:#?}");
    let found = faults("backends: { a: { weight: 1 } }\n");
    assert!(found[0].contains("`url` is missing"), "{found:?}");
}

#[test]
fn contradictions_are_found() {
    const BACKEND: &str = "backends: { a: { url: \"http://a\" } }\n";
    for (text, code) in [
        ("entry_points: { a: { address: \":1\" }, b: { address: \":1\" } }", "LB0203"),
        ("services: { s: { backends: [a, a] } }", "LB0202"),
        ("services: { s: { backends: [] } }", "LB0502"),
        ("services: { s: { backends: [a] }, t: { backends: [a] } }", "LB0104"),
        ("health_check: { interval: 1s, timeout: 2s }", "LB0106"),
        ("health_check: { interval: 0s }", "LB0103"),
        ("health_check: { path: healthz }", "LB0103"),
        ("certificates: { c: { cert_file: a.pem } }", "LB0104"),
        ("certificates: { c: { cert_file: a.pem, key_file: b.pem } }", "LB0401"),
        ("certificates: { c: { cert: a, cert_file: b, key: c } }", "LB0106"),
        ("certificates: { c: { cert: a, key: c } }", "LB0402"),
        ("routes: { r: { rule: \"Path(`/`)\" }, s: { rule: \"Path(`/`)\" } }", "LB0302"),
        ("entry_points: { w: { address: \":1\", tls: {} } }", "LB0404"),
        ("entry_points: { w: { address: \":1\", limits: { header_bytes: 10 } } }", "LB0103"),
    ] {
        let found = faults(&format!("{BACKEND}{text}\n"));
        assert!(found.iter().any(|fault| fault.contains(code)), "{text}: {found:#?}");
    }
}

#[test]
fn the_default_priority_is_the_length_of_the_rule() {
    let parsed = parse(
        "backends: { a: { url: \"http://a\" } }\nroutes: { r: { rule: \"Path(`/abc`)\" } }\n",
    )
    .unwrap();
    assert_eq!(parsed.config.routes["r"].priority, 12);
}

#[test]
fn a_health_check_at_the_top_serves_every_service_without_one() {
    let parsed = parse(
        "backends: { a: { url: \"http://a\" } }\nhealth_check: { path: /up }\n\
         services: { s: { backends: [a] }, t: { backends: [a], health_check: { path: /own } } }\n\
         routes: { r: { rule: \"Path(`/`)\", service: s }, q: { rule: \"Path(`/q`)\", service: t } }\n",
    )
    .unwrap();
    let path = |name: &str| match &parsed.config.services[name].health_check.as_ref()?.probe {
        Probe::Http(probe) => Some(probe.path.clone()),
        _ => None,
    };
    assert_eq!((path("s"), path("t")), (Some("/up".into()), Some("/own".into())));
}

#[test]
fn an_inline_certificate_works_and_its_key_stays_out_of_findings() {
    let made = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
    let indent = |pem: String| pem.trim().replace('\n', "\n      ");
    let text = format!(
        "backends: {{ a: {{ url: \"http://a\" }} }}\ncertificates:\n  default:\n    cert: |\n      {}\n    key: |\n      {}\n",
        indent(made.cert.pem()),
        indent(made.signing_key.serialize_pem())
    );
    let parsed = parse(&text).unwrap();
    assert!(parsed.config.certificates["default"].is_default());
    let wrong = text.replace("key: |", "key: |\n      x").replace("BEGIN PRIVATE", "BEGAN PRIVATE");
    assert!(!faults(&wrong).join("").contains("MI"), "{:?}", faults(&wrong));
}

proptest::proptest! {
    #[test]
    fn a_damaged_document_never_panics(at in 0usize..600, with in "[\\[\\]{}:,\"'\n -~]{0,3}") {
        let text = include_str!("../../../tests/golden/shop.in.yaml");
        let at = (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let _ = parse(&format!("{}{with}{}", &text[..at], &text[at..]));
        let _ = parse(&text[..at]);
    }
}

#[test]
fn a_block_that_does_not_say_whether_it_is_on_leaves_the_one_above_as_it_is() {
    let text = format!(
        "backends: {{ a: {{ url: \"http://a\" }} }}\nservices: {{ s: {{ backends: [a], \
         traffic_management: {{ circuit_breaker: {{}} }} }} }}\n\
         jwt: {{ enabled: true, algorithm: HS256, secret: {} }}\nwaf: {{ enabled: true }}\n\
         traffic_management: {{ circuit_breaker: {{ enabled: true }} }}\nroutes:\n  \
         silent: {{ rule: \"Path(`/a`)\", jwt: {{}}, waf: {{ mode: block }} }}\n  \
         off: {{ rule: \"Path(`/b`)\", jwt: {{ enabled: false }} }}\n",
        "x".repeat(32)
    );
    let config = Config::check(&Bundle::of_text("lb.yaml", &text), 0).unwrap().config;
    let routes = &config.policies.routes;
    assert!(routes["silent"].jwt.is_some() && routes["silent"].waf.is_some());
    assert!(routes["off"].jwt.is_none() && routes["off"].waf.is_some());
    assert!(config.services["s"].traffic_management.circuit_breaker.is_some());
}

#[test]
fn a_deployment_is_a_routes_own_only_where_the_route_turns_it_on() {
    let canary =
        "canary: { enabled: true, traffic_split: 10, canary_backends: [{ backend_id: b }] }";
    let slots = "blue_green: { enabled: true, blue_backends: [a], green_backends: [b] }";
    let text = format!(
        "backends: {{ a: {{ url: \"http://a\" }}, b: {{ url: \"http://b\" }} }}\n\
         services: {{ s: {{ backends: [a, b], traffic_management: {{ {canary} }} }} }}\nroutes:\n  \
         none: {{ rule: \"Path(`/a`)\" }}\n  \
         other: {{ rule: \"Path(`/b`)\", traffic_management: {{ circuit_breaker: {{ enabled: true }} }} }}\n  \
         same: {{ rule: \"Path(`/c`)\", traffic_management: {{ {canary} }} }}\n  \
         slots: {{ rule: \"Path(`/d`)\", traffic_management: {{ {slots} }} }}\n  \
         off: {{ rule: \"Path(`/e`)\", traffic_management: {{ canary: {{ enabled: false }} }} }}\n"
    );
    let config = Config::parse(&Bundle::of_text("lb.yaml", &text), 0).unwrap().config;
    let own: Vec<_> = config
        .own_deployments
        .iter()
        .map(|(name, own)| (name.as_str(), own.blue_green, own.canary))
        .collect();
    assert_eq!(own, [("same", false, true), ("slots", true, false)]);
    let canary =
        |name: &str| config.routes[name].traffic_management.as_ref().unwrap().canary.clone();
    assert!(canary("other").is_some() && canary("slots").is_some(), "that of the service");
    assert!(canary("off").is_none());
    assert!(config.for_proxies(&crate::value::Labels::default()).own_deployments.is_empty());
}

/// What a block means with the keys that it needs, and with every default written out beside.
fn with_defaults(record: &str, before: &str, needed: &str, after: &str) -> [Config; 2] {
    let schema = crate::schema::schema();
    let properties = schema["$defs"][record]["properties"].as_object().unwrap();
    let defaults: Vec<_> = properties
        .iter()
        .filter(|(key, _)| *key != "enabled" && !needed.contains(&format!("{key}:")))
        .filter_map(|(key, property)| Some(format!("{key}: {}", property.get("default")?)))
        .collect();
    assert!(!defaults.is_empty(), "{record}");
    let needed = if needed.is_empty() { String::new() } else { format!("{needed}, ") };
    [String::new(), defaults.join(", ")].map(|defaults| {
        let backend = "backends: { a: { url: \"http://a\" }, b: { url: \"http://b\" } }";
        let text = format!("{backend}\n{before}{{ {needed}{defaults} }}{after}\n");
        match Config::check(&Bundle::of_text("lb.yaml", &text), 0) {
            Ok(parsed) => parsed.config,
            Err(found) => panic!("{text}\n{found}"),
        }
    })
}

#[test]
fn a_key_that_is_left_out_means_what_its_documentation_says() {
    const ON: &str = "enabled: true";
    let traffic = |block: &str| format!("traffic_management: {{ {block}: ");
    let middleware = |kind: &str| format!("middlewares: {{ m: {{ {kind}: ");
    let mut seen = 0;
    for (record, before, needed, after) in [
        ("EntryPoint", "entry_points: { e: ".into(), "address: \":1\"".into(), " }"),
        (
            "EntryPointTimeouts",
            "entry_points: { e: { address: \":1\", timeouts: ".into(),
            String::new(),
            " } }",
        ),
        ("Limits", "entry_points: { e: { address: \":1\", limits: ".into(), String::new(), " } }"),
        (
            "KeepAlive",
            "entry_points: { e: { address: \":1\", keep_alive: ".into(),
            String::new(),
            " } }",
        ),
        ("Service", "services: { s: ".into(), "backends: [a, b]".into(), " }"),
        (
            "ServiceTimeouts",
            "services: { s: { backends: [a, b], timeouts: ".into(),
            String::new(),
            " } }",
        ),
        ("Pool", "services: { s: { backends: [a, b], pool: ".into(), String::new(), " } }"),
        (
            "Retry",
            "services: { s: { backends: [a, b], retry: ".into(),
            "attempts: 2".into(),
            " } }",
        ),
        ("HealthCheck", "health_check: ".into(), String::new(), ""),
        ("SessionStickiness", traffic("session_stickiness"), ON.into(), " }"),
        (
            "BlueGreen",
            traffic("blue_green"),
            format!("{ON}, blue_backends: [a], green_backends: [b]"),
            " }",
        ),
        (
            "CanaryBackend",
            "traffic_management: { canary: { enabled: true, traffic_split: 1, canary_backends: ["
                .into(),
            "backend_id: b".into(),
            "] } }",
        ),
        (
            "TrafficMirroring",
            traffic("traffic_mirroring"),
            format!("{ON}, targets: [{{ url: \"http://m\" }}]"),
            " }",
        ),
        (
            "MirrorTarget",
            "traffic_management: { traffic_mirroring: { enabled: true, targets: [".into(),
            "url: \"http://m\"".into(),
            "] } }",
        ),
        ("CircuitBreaker", traffic("circuit_breaker"), ON.into(), " }"),
        ("Jwt", "jwt: ".into(), format!("{ON}, algorithm: HS256, secret: {}", "x".repeat(32)), ""),
        (
            "PathRule",
            format!("jwt: {{ {ON}, algorithm: HS256, secret: {}, path_rules: [", "x".repeat(32)),
            "path: /x".into(),
            "] }",
        ),
        ("Waf", "waf: ".into(), ON.into(), ""),
        ("Detectors", format!("waf: {{ {ON}, detectors: "), String::new(), " }"),
        ("WafRule", format!("waf: {{ {ON}, rules: ["), "name: n, pattern: x".into(), "] }"),
        ("BotDetection", format!("waf: {{ {ON}, bot_detection: "), ON.into(), " }"),
        ("SecurityHeaders", format!("waf: {{ {ON}, security_headers: "), ON.into(), " }"),
        ("RateLimit", "rate_limit: ".into(), format!("{ON}, requests: 5"), ""),
        ("Grpc", "grpc: ".into(), ON.into(), ""),
        (
            "HttpPlugin",
            format!("plugins: {{ {ON}, http_plugins: ["),
            "name: n, url: \"http://p\"".into(),
            "] }",
        ),
        ("Compress", middleware("compress"), String::new(), " } }"),
        ("Buffering", middleware("buffering"), String::new(), " } }"),
        ("Headers", middleware("headers"), String::new(), " } }"),
        ("BasicAuth", middleware("basic_auth"), "users: [\"a:$2y$05$x\"]".into(), " } }"),
        ("ForwardAuth", middleware("forward_auth"), "address: \"http://f\"".into(), " } }"),
        ("IpAllowList", middleware("ip_allow_list"), "source_range: [\"::1\"]".into(), " } }"),
        ("RateLimitMiddleware", middleware("rate_limit"), "requests: 5".into(), " } }"),
        ("RedirectToScheme", middleware("redirect_scheme"), "scheme: https".into(), " } }"),
    ] {
        let [short, long] = with_defaults(record, &before, &needed, after);
        assert_eq!(short, long, "{record}");
        seen += 1;
    }
    assert!(seen > 30);
}
