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
    assert!(ask(&["history"]).0.contains("ann"));
    assert!(ask(&["version"]).0.contains("2 proxies      0.1.0"));
}

#[test]
fn the_text_of_a_configuration_is_data_and_its_version_is_not() {
    let (stdout, stderr) = ask(&["get"]);
    assert_eq!((stdout.as_str(), stderr.as_str()), ("backends: {}\n", "# version 42\n"));
    assert_eq!(ask(&["get", "-q"]).1, "");
}
