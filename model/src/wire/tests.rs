use proptest::prelude::*;

use super::*;
use crate::bundle::Bundle;

const KEY: HashKey = HashKey([1; 32]);

const WHOLE: &str = r#"
entry_points:
  web: { address: "127.0.0.1:0", trusted_ips: [10.0.0.0/8, "::1"], limits: { body: 1MiB } }
  websecure: { address: ":8443", tls: {}, keep_alive: { max_requests: 10 } }
backends:
  a: { url: "http://127.0.0.1:9001", weight: 3 }
  b: { url: "http://[::1]:9002" }
services:
  shop:
    backends: [a, b]
    strategy: p2c
    health_check: { path: /healthz, interval: 2s }
    pass_host_header: false
    timeouts: { total: 10s }
  bytes: { backends: [a], health_check: { type: tcp, port: 9000, tls: true, host: a.example } }
  calls: { backends: [a], health_check: { type: grpc, service: shop.Cart, unhealthy_interval: 1s } }
  probed:
    backends: [a]
    health_check: { method: OPTIONS, headers: { X-Probe: "1" }, status: [200, 5xx], body: "^ok" }
routes:
  shop: { rule: "Host(`shop.example.com`) && PathPrefix(`/cart`)", service: shop, timeouts: { idle: 5s } }
  rest: { rule: "!Method(`POST`)", entry_points: [web], priority: 1, service: shop }
  bytes: { rule: "Path(`/bytes`)", service: bytes }
  calls: { rule: "Path(`/calls`)", service: calls }
  probed: { rule: "Path(`/probed`)", service: probed }
"#;

fn config(text: &str) -> Config {
    Config::parse(&Bundle::of_text("lb.yaml", text), 0).unwrap().config
}

#[test]
fn what_is_encoded_is_decoded_unchanged() {
    let mut config = config(WHOLE);
    let made = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
    let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let certificate =
        crate::config::Certificate::from_pem(chain.as_bytes(), key.as_bytes(), true).unwrap();
    let name = crate::value::CertificateName::parse("default").unwrap();
    config.certificates.insert(name, Arc::new(certificate));
    let set = encode(&config, KEY);
    assert_eq!(set.len(), 14);
    assert_eq!(decode(&set, None).unwrap(), config);
}

#[test]
fn what_did_not_change_is_shared_with_the_previous_configuration() {
    let first = config(WHOLE);
    let first_set = encode(&first, KEY);
    let first = decode(&first_set, None).unwrap();
    let second_set = encode(&config(&WHOLE.replace("weight: 3", "weight: 4")), KEY);
    let second = decode(&second_set, Some((&first_set, &first))).unwrap();
    let shared = |name: &str| Arc::ptr_eq(&first.backends[name], &second.backends[name]);
    assert!(shared("b"));
    assert!(!shared("a"));
    assert!(Arc::ptr_eq(&first.routes["shop"], &second.routes["shop"]));
}

#[test]
fn a_part_is_encoded_like_a_whole_and_shares_what_is_the_same() {
    let whole = config(&WHOLE.replace("trusted_ips", "proxies: [edge], trusted_ips"));
    let set = encode(&whole, KEY);
    let part = whole.for_proxies(&crate::value::Labels::default());
    let shared = encode_from(&part, (&whole, &set));
    assert_eq!(shared, encode(&part, KEY));
    let body = |set: &ResourceSet, kind, name: &str| {
        let key = ResourceKey { kind, name: name.into() };
        set.get(&key).map(|resource| resource.body().clone())
    };
    let backend = |set| body(set, ResourceKind::Backend, "a").unwrap().as_ptr();
    assert_eq!(backend(&shared), backend(&set), "one body in memory");
    let route = |set| body(set, ResourceKind::Route, "shop").unwrap();
    assert_ne!(route(&shared), route(&set), "on fewer entry points");
    assert_eq!(body(&shared, ResourceKind::EntryPoint, "web"), None);
}

#[test]
fn a_reference_that_leads_nowhere_is_named() {
    let set = encode(&config(WHOLE), KEY);
    let resources = set
        .iter()
        .filter(|(key, _)| &*key.name != "b")
        .map(|(key, resource)| (key.clone(), resource.clone()))
        .collect();
    let found = decode(&ResourceSet::new(KEY, resources), None).unwrap_err();
    assert_eq!(found[0].to_string(), "service `shop`: there is no backend `b`");
}

#[test]
fn a_body_of_another_kind_is_refused_with_its_name() {
    let key = ResourceKey { kind: ResourceKind::Route, name: "x".into() };
    let resource = Resource::new(&key, Bytes::from_static(b"\xff\xff"), &KEY);
    let set = ResourceSet::new(KEY, [(key, resource)].into());
    let found = decode(&set, None).unwrap_err();
    assert_eq!(found[0].to_string(), "route `x`: its body is not a message of its kind");
}

#[test]
fn a_health_check_that_no_document_could_say_is_refused() {
    let check = v1::HealthCheck {
        interval_ms: 5_000,
        timeout_ms: 1_000,
        healthy_threshold: 2,
        unhealthy_threshold: 3,
        unhealthy_interval_ms: 5_000,
        probe: Some(v1::health_check::Probe::Http(v1::HttpProbe {
            path: "/".to_owned(),
            method: "GET".to_owned(),
            status: vec!["200".to_owned()],
            ..v1::HttpProbe::default()
        })),
        ..v1::HealthCheck::default()
    };
    assert!(health_check::decode(check.clone()).is_ok());
    let http = |change: &dyn Fn(&mut v1::HttpProbe)| {
        let mut check = check.clone();
        if let Some(v1::health_check::Probe::Http(probe)) = &mut check.probe {
            change(probe);
        }
        check
    };
    let field =
        |name: &str, value: &str| v1::HeaderField { name: name.into(), value: value.into() };
    for (check, said) in [
        (v1::HealthCheck { probe: None, ..check.clone() }, "does not say what is asked"),
        (v1::HealthCheck { port: Some(0), ..check.clone() }, "port: 0 is out of range"),
        (v1::HealthCheck { port: Some(65_536), ..check.clone() }, "port: 65536"),
        (v1::HealthCheck { host: Some("a/b".into()), ..check.clone() }, "neither a name"),
        (
            v1::HealthCheck { authorities: vec![Bytes::from_static(b"x")], ..check.clone() },
            "not X.509",
        ),
        (v1::HealthCheck { unhealthy_interval_ms: 0, ..check.clone() }, "unhealthy interval"),
        (http(&|probe| probe.path = "x y".into()), "not the path"),
        (http(&|probe| probe.method = "CONNECT".into()), "CONNECT"),
        (http(&|probe| probe.status.clear()), "no status passes"),
        (http(&|probe| probe.status.push("99".into())), "`99`"),
        (http(&|probe| probe.body = Some("(".into())), "does not compile"),
        (http(&|probe| (probe.method, probe.body) = ("HEAD".into(), Some("x".into()))), "no body"),
        (http(&|probe| probe.headers.push(field("Host", "x"))), "`host` itself"),
        (http(&|probe| probe.headers.push(field("x", "a\r\nb"))), "line breaks"),
        (http(&|probe| probe.headers.push(field("x y", "a"))), "x y"),
    ] {
        let error = health_check::decode(check).unwrap_err();
        assert!(error.contains(said), "{error}, not {said}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bodies_never_panic(kind in 0usize..5, body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let key = ResourceKey { kind: ResourceKind::ALL[kind], name: "x".into() };
        let resource = Resource::new(&key, Bytes::from(body), &KEY);
        let _ = decode(&ResourceSet::new(KEY, [(key, resource)].into()), None);
    }

    #[test]
    fn a_flipped_byte_in_a_real_body_never_panics(at in 0usize..400, flip in 1u8..255) {
        for (key, resource) in encode(&config(WHOLE), KEY).iter() {
            let mut body = resource.body().to_vec();
            let at = at % body.len();
            body[at] ^= flip;
            let resource = Resource::new(key, Bytes::from(body), &KEY);
            let _ = decode(&ResourceSet::new(KEY, [(key.clone(), resource)].into()), None);
        }
    }
}
