//! Commands that only look.

use serde_json::{Value, json};

use crate::{
    pretend::{Pretend, problem, proxies},
    run,
};

fn server() -> Pretend {
    Pretend::new(|asked| {
        let answer = match asked.line.split(['?', ' ']).nth(1).unwrap_or_default() {
            "/admin/health" => json!({ "status": "degraded", "software_version": "0.1.0",
                "snapshot": 42, "uptime_seconds": 90, "components": { "store": "ok" },
                "proxies": { "connected": 2, "in_sync": 1, "stale": 0, "rejected": 1 },
                "backends": { "healthy": 1, "unhealthy": 0, "disabled": 0, "draining": 0 } }),
            "/api/v1/proxies" => proxies(42, &[("a", "synced", 42), ("b", "rejected", 41)]),
            "/admin/backends" => json!({ "backends": [{ "id": "web1", "url": "http://a",
                "service": "shop", "weight": 1, "admin_state": "enabled", "health": "up",
                "up_on": 2, "reported_by": 2, "in_flight": 0, "requests": 5, "failures": 0,
                "requests_per_second": 0.5, "source": "config" }] }),
            "/api/v1/versions" => json!({ "current": 42, "versions": [{ "version": 42,
                "author": "ann", "reason": "why", "time": "2026-03-01T12:00:00Z",
                "hash": "ab" }] }),
            "/api/v1/overrides" => json!({ "version": 42, "overrides": [{ "backend": "web1",
                "state": "disabled", "owner": "ann", "reason": "disk",
                "since": "2026-03-01T12:00:00Z" }] }),
            "/admin/circuit-breakers" => json!({ "breakers": [{ "id": "web1", "service": "shop",
                "state": "half_open", "requests": 20, "failures": 9, "opened": 1,
                "proxies": [] }] }),
            "/api/v1/blue-green" => json!({ "version": 42, "services": [{ "service": "shop",
                "active": "green", "configured": "blue", "fallback": false,
                "blue": { "backends": ["web1"], "healthy": 1, "requests_per_second": 0.0 },
                "green": { "backends": ["web2"], "healthy": 1, "requests_per_second": 9.5 },
                "override": { "service": "shop", "kind": "slot", "value": "green",
                "owner": "ann", "reason": "release 7", "since": "2026-03-01T12:00:00Z" } }] }),
            "/api/v1/canary" => {
                let canary = |route: Value, split: f64| {
                    json!({ "service": "api", "route": route,
                    "split": split, "configured": 12.5, "backends": ["api9"], "healthy": 1,
                    "stable": { "requests_per_second": 7.0, "error_percent": 0.0 },
                    "canary": { "requests_per_second": 1.0, "error_percent": 0.0 } })
                };
                let all = [canary(Value::Null, 12.5), canary("v2".into(), 37.5)];
                json!({ "version": 42, "services": all })
            }
            "/api/v1/tokens" => json!({ "tokens": [{ "id": "AbCd1234", "state": "open",
                "labels": [], "author": "ann" }] }),
            "/api/v1/audit" => json!({ "entries": [{ "number": 7, "hash": "ab",
                "time": "2026-03-01T12:00:00Z", "who": "ann", "from": "127.0.0.1",
                "method": "PUT", "path": "/api/v1/config", "status": 200 }] }),
            "/api/v1/config/sources" => json!({ "version": 42, "values": [{
                "path": "backends.a.url", "value": "http://a", "origin": "lb.yaml:1:1" }] }),
            "/api/v1/objects/routes" => json!({ "kind": "routes", "version": 42, "objects": [{
                "name": "all", "rule": "PathPrefix(`/`)", "priority": 15, "service": "shop",
                "entry_points": ["web"] }] }),
            "/api/v1/objects/services" => json!({ "kind": "services", "version": 42,
                "objects": [{ "name": "shop", "strategy": "p2c", "backends": ["web1"],
                "routes": ["all"] }] }),
            "/api/v1/objects/entry_points" => json!({ "kind": "entry_points", "version": 42,
                "objects": [{ "name": "web", "address": "0.0.0.0:8000", "tls": false,
                "labels": [], "routes": 1 }] }),
            "/api/v1/objects/certificates" => json!({ "kind": "certificates", "version": 42,
                "objects": [{ "name": "default", "names": ["a"], "default": true,
                "not_before": "2026-01-01T00:00:00Z", "not_after": "2036-01-01T00:00:00Z",
                "entry_points": [] }] }),
            "/api/v1/config" => json!({ "version": 42, "files": [],
                "documents": [{ "name": "lb.yaml", "text": "backends: {}\n" }] }),
            _ => return problem(404, "not_found", &json!({})),
        };
        (200, answer)
    })
}

fn ask(arguments: &[&str]) -> (String, String) {
    let server = server();
    let line = [arguments, &["--server", &server.address]].concat();
    let (code, stdout, stderr) = run(&line);
    assert_eq!(code, 0, "{arguments:?}: {stderr}");
    (stdout, stderr)
}

#[test]
fn status_is_a_sentence_and_its_tables() {
    let (text, _) = ask(&["status"]);
    let mut lines = text.lines();
    let first = "degraded: 1 of 2 proxies run version 42, 1 refused it; the only backend is up \
                 (up 1m30s)";
    assert_eq!(lines.next().unwrap(), first);
    assert!(text.contains("\nPROXY ") && text.contains("\nBACKEND "), "{text}");
    assert!(text.contains("\nOVERRIDE ") && text.contains("disk"), "{text}");
    assert!(text.contains("shop: green serves by decision of ann (release 7)"), "{text}");
    assert!(text.contains("12.5%") && text.contains("ROUTE") && text.contains("37.5%"), "{text}");
}

#[test]
fn every_list_is_there_for_people_and_programs() {
    assert_eq!(ask(&["proxies", "-o", "name"]).0, "a\nb\n");
    assert_eq!(ask(&["backends", "-o", "name"]).0, "shop/web1\n");
    assert_eq!(ask(&["history", "-o", "name"]).0, "42\n");
    assert_eq!(ask(&["get", "-o", "name"]).0, "lb.yaml\n");
    for command in ["status", "proxies", "backends", "overrides", "history", "get", "version"] {
        let (json, _) = ask(&[command, "-o", "json"]);
        assert!(serde_json::from_str::<Value>(&json).is_ok(), "{command}: {json}");
        assert!(!ask(&[command, "-o", "yaml"]).0.is_empty(), "{command}");
    }
    for (list, name) in [
        (&["proxies", "list"][..], "a\nb\n"),
        (&["overrides"], "web1\n"),
        (&["circuit-breakers"], "shop/web1\n"),
        (&["bg", "status"], "shop\n"),
        (&["canary"], "api\napi/v2\n"),
        (&["tokens"], "AbCd1234\n"),
        (&["audit"], "7\n"),
        (&["config", "sources"], "backends.a.url\n"),
        (&["routes"], "all\n"),
        (&["services", "list"], "shop\n"),
        (&["entry-points"], "web\n"),
        (&["certs"], "default\n"),
    ] {
        let with = |flags: &[&str]| ask(&[list, flags].concat()).0;
        assert_eq!(with(&["-o", "name"]), name, "{list:?}");
        let yaml = with(&["-o", "yaml"]);
        assert!(!yaml.is_empty() && !yaml.starts_with('{'), "{list:?}: {yaml}");
        assert!(serde_json::from_str::<Value>(&with(&["-o", "json"])).is_ok(), "{list:?}");
        let (whole, bare) = (with(&[]), with(&["--no-headers"]));
        assert_eq!(whole.lines().count(), bare.lines().count() + 1, "{list:?}: {whole}");
    }
    assert!(ask(&["history"]).0.contains("ann"));
    assert!(ask(&["version"]).0.contains("2 proxies      0.1.0"));
}

#[test]
fn an_expression_picks_out_of_the_json() {
    let found = |command: &str, path: &str| ask(&[command, "-o", &format!("jsonpath={path}")]).0;
    assert_eq!(found("proxies", "{.proxies[*].id}"), "a\nb\n");
    assert_eq!(found("proxies", "$.proxies[?@.state=='rejected'].id"), "b\n");
    assert_eq!(found("backends", ".backends[0].weight"), "1\n");
    assert_eq!(found("status", "health.status"), "degraded\n");
    assert_eq!(found("get", ".documents[0].text"), "backends: {}\n\n");
    assert_eq!(found("history", ".nothing"), "");
    let (code, stdout, stderr) = run(&["proxies", "-o", "jsonpath={.proxies[}"]);
    assert_eq!((code, stdout.as_str()), (64, ""));
    assert!(
        stderr.contains("is not a JSONPath") && stderr.contains("{.proxies[*].id}"),
        "{stderr}"
    );
}

#[test]
fn the_text_of_a_configuration_is_data_and_its_version_is_not() {
    let (stdout, stderr) = ask(&["get"]);
    assert_eq!((stdout.as_str(), stderr.as_str()), ("backends: {}\n", "# version 42\n"));
    assert_eq!(ask(&["get", "-q"]).1, "");
}
