//! `lbctl apply` and `lbctl rollback`.

use serde_json::{Value, json};

use crate::{
    pretend::{Pretend, committed, config, problem, proxies},
    run,
};

const WORKING: &str = "backends: { a: { url: \"http://a\" } }\n";

/// Applies a document to a control plane at version 41.
fn apply(
    text: &str,
    flags: &[&str],
    put: impl Fn() -> (u16, Value) + Send + 'static,
    list: Value,
) -> (Pretend, (i32, String, String)) {
    let server = Pretend::new(move |asked| match asked.line.split(['?', ' ']).nth(1) {
        Some("/api/v1/proxies") => (200, list.clone()),
        Some("/api/v1/config") if asked.line.starts_with("GET") => (200, config(41)),
        _ => put(),
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lb.yaml");
    std::fs::write(&path, text).unwrap();
    let path = path.display().to_string();
    let line = [&["apply", "-f", &path, "--server", &server.address], flags].concat();
    let end = run(&line);
    (server, end)
}

#[test]
fn a_change_is_sent_against_the_current_version_and_waited_for() {
    let list = proxies(42, &[("a", "synced", 42), ("b", "synced", 42)]);
    let flags = ["--wait", "-m", "why & how", "--author", "ann"];
    let (server, (code, stdout, stderr)) = apply(WORKING, &flags, || (200, committed(42)), list);
    assert_eq!((code, stdout.as_str()), (0, "version 42: live on 2 of 2 proxies\n"), "{stderr}");
    let put = &server.asked("PUT")[0];
    assert_eq!(put.line, "PUT /api/v1/config?author=ann&reason=why+%26+how");
    assert!(put.header.contains("if-match: \"41\"\r\n"), "{}", put.header);
    assert!(put.header.contains("content-type: application/vnd.lb.bundle+json\r\n"));
    let bundle: Value = serde_json::from_str(&put.body).unwrap();
    assert_eq!(bundle["documents"][0]["text"], WORKING);
}

#[test]
fn a_script_does_not_wait_unless_it_says_so() {
    let (server, (code, stdout, _)) = apply(WORKING, &[], || (200, committed(42)), json!({}));
    assert_eq!((code, stdout.as_str()), (0, "version 42: committed; 2 proxies connected\n"));
    assert!(server.asked("GET /api/v1/proxies").is_empty());
}

#[test]
fn nothing_is_sent_when_there_is_a_fault() {
    let (server, (code, _, stderr)) =
        apply("backends: {}\n", &[], || (200, committed(42)), json!({}));
    assert_eq!(code, 3);
    assert!(stderr.contains("error[LB0502]") && stderr.contains("nothing was sent"), "{stderr}");
    assert!(server.asked("").is_empty());
}

#[test]
fn somebody_faster_is_a_conflict_that_names_both_versions() {
    let put = || problem(412, "version_conflict", &json!({ "current": 43 }));
    let (server, (code, _, stderr)) = apply(WORKING, &["--if-version", "40"], put, json!({}));
    assert_eq!(code, 7);
    assert!(stderr.contains("version 40 was expected, version 43 is current"), "{stderr}");
    assert!(server.asked("PUT")[0].header.contains("if-match: \"40\"\r\n"));
}

#[test]
fn a_configuration_held_by_a_file_is_a_conflict_too() {
    let put = || problem(409, "held_by_file", &json!({}));
    let (_, (code, _, stderr)) = apply(WORKING, &[], put, json!({}));
    assert_eq!(code, 7);
    assert!(stderr.contains("error: It does not work\n"), "{stderr}");
}

#[test]
fn faults_that_only_the_control_plane_finds_are_drawn_in_the_document() {
    let put = || {
        problem(
            422,
            "invalid_config",
            &json!({ "diagnostics": [{ "code": "LB9999",
            "severity": "error", "message": "no",
            "place": { "file": "elsewhere", "line": 1, "column": 1, "offset": 0, "len": 1 } }] }),
        )
    };
    let (_, (code, _, stderr)) = apply(WORKING, &[], put, json!({}));
    assert_eq!(code, 3);
    assert!(stderr.contains("elsewhere:1:1: error[LB9999]: no"), "{stderr}");
}

#[test]
fn a_proxy_that_refused_is_named_with_its_reasons() {
    let list = proxies(42, &[("a", "synced", 42), ("b", "rejected", 41)]);
    let (_, (code, stdout, stderr)) = apply(WORKING, &["--wait"], || (200, committed(42)), list);
    assert_eq!((code, stdout.as_str()), (1, "version 42: live on 1 of 2 proxies\n"));
    assert!(stderr.contains("b refused it and goes on with version 41:\n"), "{stderr}");
    assert!(stderr.contains("  entry_point web: permission denied [bind_failed]\n"), "{stderr}");
    assert!(stderr.contains("lbctl rollback 41"), "{stderr}");
}

#[test]
fn a_proxy_that_does_not_answer_in_time_is_named() {
    let list = proxies(42, &[("a", "synced", 42), ("b", "applying", 41)]);
    let flags = ["--wait", "--timeout", "400ms"];
    let (_, (code, stdout, stderr)) = apply(WORKING, &flags, || (200, committed(42)), list);
    assert_eq!((code, stdout.as_str()), (4, "version 42: live on 1 of 2 proxies\n"));
    assert!(stderr.contains("b did not answer within 0.4s; it last ran version 41"), "{stderr}");
}

#[test]
fn a_fleet_without_a_proxy_is_no_success() {
    let flags = ["--wait", "--timeout", "300ms"];
    let (_, (code, _, stderr)) = apply(WORKING, &flags, || (200, committed(42)), proxies(42, &[]));
    assert_eq!(code, 4);
    assert!(stderr.contains("no proxy is connected"), "{stderr}");
}

#[test]
fn an_old_refusal_does_not_count_when_the_same_is_applied_again() {
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let server = Pretend::new(move |request| match request.line.as_str() {
        "GET /api/v1/proxies" => {
            let before = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 2;
            let state = if before { ("a", "rejected", 41) } else { ("a", "synced", 42) };
            (200, proxies(42, &[state]))
        }
        line if line.starts_with("GET") => (200, config(42)),
        _ => (200, json!({ "version": 42, "changed": false, "connected_proxies": 1 })),
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lb.yaml");
    std::fs::write(&path, WORKING).unwrap();
    let path = path.display().to_string();
    let (code, stdout, stderr) =
        run(&["apply", "-f", &path, "--server", &server.address, "--wait"]);
    assert_eq!((code, stdout.as_str()), (0, "version 42: live on 1 of 1 proxy\n"), "{stderr}");
    assert!(stderr.contains("says the same already"), "{stderr}");
}

#[test]
fn programs_get_the_commit_and_its_outcome_as_one_document() {
    let list = proxies(42, &[("a", "synced", 42), ("b", "rejected", 41)]);
    let flags = ["--wait", "-o", "json"];
    let (_, (code, stdout, _)) = apply(WORKING, &flags, || (200, committed(42)), list);
    let report: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(code, 1);
    assert_eq!(report["version"], 42);
    assert_eq!(report["outcome"]["live"], json!(["a"]));
    assert_eq!(report["outcome"]["refused"][0]["errors"][0]["code"], "bind_failed");
}

#[test]
fn a_dry_run_changes_nothing_and_says_so() {
    let (server, (code, stdout, _)) =
        apply(WORKING, &["--dry-run", "--wait"], || (200, committed(42)), json!({}));
    assert_eq!((code, stdout.as_str()), (0, "dry run: valid; it would change version 41\n"));
    assert!(server.asked("PUT")[0].line.ends_with("&dry_run=true"));
}

#[test]
fn rollback_restores_a_version_as_whoever_asks() {
    let server = Pretend::new(|_| (200, committed(43)));
    let (code, stdout, _) =
        run(&["rollback", "41", "--server", &server.address, "--author", "ann"]);
    assert_eq!((code, stdout.as_str()), (0, "version 43: committed; 2 proxies connected\n"));
    let asked = &server.asked("POST")[0];
    assert_eq!(asked.line, "POST /api/v1/versions/41/restore?author=ann&reason=");
    assert!(!asked.header.contains("if-match"));
}

#[test]
fn a_version_that_does_not_exist_exits_with_6() {
    let server = Pretend::new(|_| problem(404, "unknown_version", &json!({})));
    let (code, _, stderr) = run(&["rollback", "9", "--server", &server.address]);
    assert!(code == 6 && stderr.contains("lbctl history"), "{stderr}");
}
