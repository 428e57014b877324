use http::{Method, Version};
use lb_http::{Fields, Forwarded, forwarded::Proto};
use lb_model::{
    rule::HeaderName,
    value::{ByteSize, Fraction, Url},
};

use super::*;

fn spec(targets: &[(&str, &str, bool)]) -> TrafficMirroring {
    TrafficMirroring {
        targets: targets
            .iter()
            .map(|(name, url, ignore_body)| MirrorTarget {
                name: (*name).to_owned(),
                url: Url::parse(url).unwrap(),
                timeout: Duration::from_secs(5),
                ignore_body: *ignore_body,
            })
            .collect(),
        is_async: true,
        sample_rate: Fraction::ONE,
        max_body_bytes: ByteSize(100),
        on_large_body: LargeBody::Skip,
        strip_headers: vec![
            HeaderName::parse("Authorization").unwrap(),
            HeaderName::parse("Cookie").unwrap(),
        ],
    }
}

fn build(spec: &TrafficMirroring, previous: Option<&Arc<Mirror>>) -> Arc<Mirror> {
    let budget = Arc::default();
    Mirror::build(Owner::Service("s".into()), spec, previous, (2, &budget)).unwrap()
}

fn with<T>(lines: &[(&str, &str)], upgrade: bool, look: impl FnOnce(&Outline<'_>) -> T) -> T {
    let mut fields = Fields::new();
    for (name, value) in lines {
        fields.push(name.as_bytes(), value.as_bytes());
    }
    let forwarded = Forwarded::new("192.0.2.7".parse().unwrap(), 80, Proto::Http, &[]);
    let target = RequestTarget { authority: None, path: "/a", query: Some("q=1") };
    let asked = Asked {
        method: &Method::POST,
        version: Version::HTTP_2,
        target,
        fields: &fields,
        length: BodyLength::Chunked,
    };
    look(&Outline {
        asked: &asked,
        path: "/a",
        host: Some(b"shop"),
        authority: Some(b"backend:1"),
        forwarded: &forwarded,
        nominates: false,
        has_length: false,
        upgrade: upgrade.then_some(&b"websocket"[..]),
        expects_continue: true,
    })
}

#[test]
fn a_copy_says_that_it_is_one_and_keeps_secrets_to_itself() {
    let mirror = build(&spec(&[("m", "http://m:81/in/?from=lb", false)]), None);
    let lines = [
        ("authorization", "Bearer x"),
        ("cookie", "a=1"),
        ("x-shadow", "no"),
        ("x-request-id", "one"),
        ("traceparent", "00-1-2-01"),
    ];
    let written = with(&lines, false, |outline| {
        head(&mirror.targets[0], &mirror.spec.strip_headers, outline, Some(BodyLength::Chunked))
    });
    let written = String::from_utf8(written).unwrap();
    assert!(written.starts_with("POST /in/a?from=lb&q=1 HTTP/1.1\r\nhost: shop\r\n"), "{written}");
    for (line, is_there) in [
        ("x-shadow: true", true),
        ("x-shadow: no", false),
        ("x-request-id: one", true),
        ("traceparent: 00-1-2-01", true),
        ("transfer-encoding: chunked", true),
        ("authorization", false),
        ("cookie", false),
        ("expect", false),
    ] {
        assert_eq!(written.contains(&format!("\r\n{line}")), is_there, "{line}: {written}");
    }
}

#[test]
fn a_copy_without_a_body_says_so_and_one_without_a_number_gets_one() {
    let mirror = build(&spec(&[("m", "http://m", true)]), None);
    let written = with(&[("content-length", "9")], false, |outline| {
        head(&mirror.targets[0], &[], outline, None)
    });
    let written = String::from_utf8(written).unwrap();
    assert!(written.starts_with("POST /a?q=1 HTTP/1.1\r\n"), "{written}");
    assert!(written.contains("\r\ncontent-length: 0\r\n"), "{written}");
    assert!(!written.contains("transfer-encoding"), "{written}");
    assert!(written.contains("\r\nx-request-id: "), "{written}");
}

#[test]
fn what_is_no_plain_request_is_not_copied() {
    for (lines, upgrade, copied) in [
        (&[][..], false, true),
        (&[], true, false),
        (&[("X-Shadow", "TRUE")], false, false),
        (&[("x-shadow", "false")], false, true),
        (&[("content-type", "application/grpc+proto")], false, false),
        (&[("content-type", "application/json")], false, true),
    ] {
        assert_eq!(with(lines, upgrade, may_be_copied), copied, "{lines:?}");
    }
}

#[test]
fn what_did_not_change_is_kept() {
    let first = build(&spec(&[("a", "http://a", false), ("b", "http://b", false)]), None);
    let same = build(&first.spec, Some(&first));
    assert!(Arc::ptr_eq(&first, &same));
    let next =
        build(&spec(&[("a", "http://a", false), ("b", "http://other", false)]), Some(&first));
    assert!(Arc::ptr_eq(&first.targets[0], &next.targets[0]));
    assert!(!Arc::ptr_eq(&first.targets[1].endpoint, &next.targets[1].endpoint));
    assert!(Arc::ptr_eq(&first.targets[1].counters, &next.targets[1].counters), "by its name");
    assert!(Arc::ptr_eq(&first.sampler, &next.sampler));
    let (local, worker) = (LocalMirror::new(Arc::clone(&first), 0, None), 0);
    let after = LocalMirror::new(next, worker, Some(&local));
    assert!(Rc::ptr_eq(&local.endpoints[0], &after.endpoints[0]));
}
