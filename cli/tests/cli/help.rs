//! What helps whoever begins, or is stuck.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    end, lbctl,
    pretend::{Pretend, problem, proxies},
    run,
};

#[test]
fn a_first_configuration_is_written_once_and_has_no_fault() {
    let folder = tempfile::tempdir().unwrap();
    let run = |line: &[&str]| end(&lbctl(line).current_dir(folder.path()).output().unwrap());
    let (code, _, said) = run(&["init"]);
    assert!(code == 0 && said.contains("lbctl check lb.yaml"), "{said}");
    let (code, stdout, said) = run(&["check", "--strict"]);
    assert!(code == 0 && stdout.ends_with("no warnings\n"), "{said}");
    let (code, _, said) = run(&["init"]);
    assert!(code == 7 && said.contains("nothing was written"), "{said}");
    let written = std::fs::read_to_string(folder.path().join("lb.yaml")).unwrap();
    assert_eq!(run(&["init", "-"]).1, written);
}

#[test]
fn a_code_is_explained_and_check_says_how() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("lb.yaml"), "backends: {}\n").unwrap();
    let checked = end(&lbctl(&["check"]).current_dir(folder.path()).output().unwrap());
    assert_eq!(checked.2.matches("lbctl explain-error LB0502").count(), 1, "{}", checked.2);
    let (code, text, _) = run(&["explain-error", "lb0502"]);
    assert!(code == 0 && text.starts_with("LB0502: ") && text.contains("\nwrong\n"), "{text}");
    let (_, text, _) = run(&["explain-error", "LB0502", "-o", "json"]);
    let known: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(known["wrong"], "backends: {}\n");
    assert!(run(&["explain-error", "-o", "name"]).1.lines().count() > 30);
    let (code, _, said) = run(&["explain-error", "LB9999"]);
    assert!(code == 6 && said.contains("see all with"), "{said}");
}

#[test]
fn what_is_mistyped_is_guessed() {
    for (line, guess) in [
        (&["stauts"][..], "'status'"),
        (&["status", "--servr", "x"], "'--server'"),
        (&["backends", "disabel", "x"], "'disable'"),
        (&["status", "-o", "jsn"], "'json'"),
    ] {
        let (code, _, said) = run(line);
        assert!(code == 64 && said.contains(guess), "{line:?}: {said}");
    }
}

#[test]
fn nouns_have_short_names() {
    for noun in [
        "be",
        "backend",
        "rt",
        "route",
        "svc",
        "service",
        "ep",
        "entry-point",
        "cert",
        "proxy",
        "token",
        "override",
        "contexts",
    ] {
        assert_eq!(run(&[noun, "--help"]).0, 0, "{noun}");
    }
}

/// What fish is offered for a line.
fn offered(words: &[&str]) -> Vec<String> {
    let line = [&["--", "lbctl"], words].concat();
    let (code, stdout, said) = end(&lbctl(&line).env("LBCTL_COMPLETE", "fish").output().unwrap());
    assert_eq!(code, 0, "{said}");
    let name = |line: &str| line.split('\t').next().unwrap_or_default().to_owned();
    stdout.lines().map(name).collect()
}

#[test]
fn names_that_the_control_plane_knows_are_offered() {
    let server = Pretend::new(|asked| match asked.line.split(['?', ' ']).nth(1) {
        Some("/api/v1/proxies") => (200, proxies(42, &[("edge-1", "synced", 42)])),
        Some("/admin/backends") => (
            200,
            json!({ "backends": [{ "id": "web1", "url": "http://a",
            "service": "shop", "weight": 1, "admin_state": "enabled", "health": "up", "up_on": 1,
            "reported_by": 1, "in_flight": 0, "requests": 0, "failures": 0,
            "requests_per_second": 0.0, "source": "config" }] }),
        ),
        Some("/api/v1/versions") => (
            200,
            json!({ "current": 42, "versions": [{ "version": 42,
            "author": "ann", "reason": "why", "time": "2026-03-01T12:00:00Z", "hash": "" }] }),
        ),
        Some("/api/v1/objects/entry_points") => (
            200,
            json!({ "kind": "entry_points", "version": 42, "objects": [{ "name": "web",
            "address": "0.0.0.0:8000", "tls": false, "labels": [], "routes": 1 }] }),
        ),
        _ => problem(404, "not_found", &json!({})),
    });
    let of = |words: &[&str]| offered(&[&["--server", &server.address], words].concat());
    assert!(of(&["backends", "disable", ""]).contains(&"web1".to_owned()));
    assert_eq!(of(&["proxies", "revoke", "ed"]), ["edge-1"]);
    assert!(of(&["rollback", "4"]).contains(&"42".to_owned()));
    assert!(of(&["show", ""]).contains(&"42".to_owned()));
    assert!(of(&["diff", ""]).contains(&"42".to_owned()));
    assert!(of(&["backends", "--pool", ""]).contains(&"shop".to_owned()));
    assert!(of(&["explain", "/", "--entry-point", ""]).contains(&"web".to_owned()));
    assert_eq!(of(&["explain-error", "LB050"]).len(), 5);
    // A refusal offers nothing, and is no error.
    assert_eq!(of(&["tokens", "revoke", "A"]), Vec::<String>::new());
}

#[test]
fn a_control_plane_that_does_not_answer_is_not_waited_for() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let start = Instant::now();
    let offered = offered(&["--server", &address, "proxies", "revoke", "e"]);
    assert_eq!(offered, Vec::<String>::new());
    // The limit is below one second; the rest is for a machine that is busy.
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn bash_completes_with_the_script_that_is_written() {
    let directory = std::path::Path::new(env!("CARGO_BIN_EXE_lbctl")).parent().unwrap();
    let script = "PATH=\"$0:$PATH\"\n\
                  source <(lbctl completion bash)\n\
                  COMP_WORDS=(lbctl explain-error LB050) COMP_CWORD=2 COMP_TYPE=9\n\
                  f=$(complete -p lbctl | sed 's/.*-F \\([^ ]*\\).*/\\1/')\n\
                  $f lbctl LB050 explain-error 2>/dev/null\n\
                  printf '%s\\n' \"${COMPREPLY[@]}\"";
    let mut bash = std::process::Command::new("bash");
    bash.args(["-c", script]).arg(directory).env("LBCTL_CONFIG", "/nonexistent/lbctl.yaml");
    let (_, stdout, said) = end(&bash.output().unwrap());
    assert!(stdout.contains("LB0501") && stdout.contains("LB0505"), "{stdout}{said}");
}

#[test]
fn doctor_finds_what_is_wrong_and_says_the_fix() {
    let (code, text, said) = run(&["doctor", "--server", "127.0.0.1:1"]);
    assert_eq!(code, 1, "{text}{said}");
    assert!(
        text.contains("  ✗ server ") && text.contains("fix: start one with `lbctl up`"),
        "{text}"
    );
    assert!(text.contains("\nthis machine\n") && text.contains(" ports "), "{text}");
    let (code, text, _) = run(&["doctor", "--server", "127.0.0.1:1", "-o", "json"]);
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, report["verdict"].as_str()), (1, Some("failed")));

    // A file of contexts that cannot be read is what it is there for.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.yaml");
    std::fs::write(&file, "contexts: 3\n").unwrap();
    let (code, text, _) = end(&lbctl(&["doctor"]).env("LBCTL_CONFIG", &file).output().unwrap());
    assert!(code == 1 && text.contains("✗ contexts") && text.contains("c.yaml:1:"), "{text}");
}
