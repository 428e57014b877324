//! Contexts, and asking before something is changed.

use std::path::Path;

use serde_json::{Value, json};

use crate::{
    end, lbctl,
    pretend::{Pretend, committed, config, problem, proxies},
};

/// The program with contexts in a folder of the test.
fn run(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = lbctl(arguments);
    command.env("LBCTL_CONFIG", folder.join("lbctl/config.yaml")).current_dir(folder);
    end(&command.output().unwrap())
}

fn fleet() -> Pretend {
    Pretend::new(|asked| match asked.line.split(['?', ' ']).nth(1) {
        Some("/api/v1/proxies") => (200, proxies(42, &[("a", "synced", 42)])),
        Some("/api/v1/config") if asked.line.starts_with("GET") => (200, config(41)),
        Some("/api/v1/config") => (200, committed(42)),
        Some("/api/v1/tokens/x") => (200, json!({})),
        _ => problem(404, "not_found", &json!({})),
    })
}

#[test]
fn a_context_is_made_used_shown_and_forgotten() {
    let (folder, server) = (tempfile::tempdir().unwrap(), fleet());
    let folder = folder.path();
    let (code, _, said) = run(folder, &["context", "set", "lab", "--server", &server.address]);
    assert!(code == 0 && said.contains("lab is kept, and the current context"), "{said}");
    let set = ["context", "set", "prod", "--server", "https://prod:9700", "--token-file", "t"];
    assert_eq!(run(folder, &set).0, 0);
    assert_eq!(run(folder, &["contexts", "-o", "name"]).1, "lab\nprod\n");
    assert_eq!(run(folder, &["proxies", "-o", "name"]).1, "a\n", "the current one is asked");

    assert_eq!(run(folder, &["context", "use", "prod"]).0, 0);
    assert_eq!(run(folder, &["proxies", "-o", "name", "--context", "lab"]).1, "a\n");
    let (_, shown, _) = run(folder, &["context", "show", "-o", "json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let of = |name: &str| {
        let all = shown["settings"].as_array().unwrap();
        let one = all.iter().find(|one| one["setting"] == name).unwrap();
        (one["value"].as_str().map(str::to_owned), one["from"].as_str().unwrap().to_owned())
    };
    assert_eq!(of("server"), (Some("https://prod:9700".into()), "context prod".into()));
    let token = folder.join("t").display().to_string();
    assert_eq!(of("token"), (Some(token), "context prod".into()), "from where it was typed");
    assert_eq!(of("output"), (Some("json".into()), "flag --output".into()));

    let (code, _, said) = run(folder, &["context", "delete", "prod"]);
    assert_eq!(code, 0, "{said}");
    let (code, _, said) = run(folder, &["status", "--context", "prod"]);
    assert!(code == 6 && said.contains("there are lab"), "{said}");
    let (code, _, said) = run(folder, &["context", "set", "other"]);
    assert!(code == 64 && said.contains("--server https://"), "{said}");
}

#[test]
fn a_broken_file_is_an_error_with_its_line_and_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lbctl/config.yaml");
    std::fs::create_dir(file.parent().unwrap()).unwrap();
    let text = "contexts:\n  a:\n    server: http://a\n    token: lbo1.secret\n";
    std::fs::write(&file, text).unwrap();
    for line in [&["status"][..], &["context", "set", "b", "--server", "b"]] {
        let (code, _, said) = run(folder.path(), line);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("config.yaml:4:") && said.contains("token_file"), "{said}");
        assert!(!said.contains("lbo1"), "{said}");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    assert_eq!(run(folder.path(), &["schema"]).0, 0, "what needs no server needs no context");
}

#[test]
fn a_protected_context_is_not_changed_by_a_script_that_does_not_say_yes() {
    let (folder, server) = (tempfile::tempdir().unwrap(), fleet());
    let folder = folder.path();
    std::fs::write(folder.join("lb.yaml"), "backends: { a: { url: \"http://a\" } }\n").unwrap();
    let set = ["context", "set", "prod", "--protected", "--server", &server.address];
    assert_eq!(run(folder, &set).0, 0);
    for line in [&["apply", "-f", "lb.yaml"][..], &["tokens", "revoke", "x"]] {
        let (code, _, said) = run(folder, line);
        assert!(code == 1 && said.contains("context prod is protected"), "{said}");
        // It does not help to go around the context.
        let around = [line, &["--server", &server.address]].concat();
        assert_eq!(run(folder, &around).0, 1);
        assert_eq!(run(folder, &[line, &["--yes"]].concat()).0, 0);
    }
    assert_eq!(server.asked("PUT").len(), 1);
    assert_eq!(run(folder, &["apply", "-f", "lb.yaml", "--dry-run"]).0, 0, "nothing is changed");
    assert_eq!(run(folder, &["proxies"]).0, 0);
    assert_eq!(run(folder, &["context", "set", "prod", "--protected=false"]).0, 0);
    assert_eq!(run(folder, &["tokens", "revoke", "x"]).0, 0);
}

#[test]
fn a_person_is_asked_on_a_terminal() {
    let (folder, server) = (tempfile::tempdir().unwrap(), fleet());
    let typed = |typed: &str, flags: &str| {
        let line = format!(
            "{} tokens revoke x --server {} {flags}",
            env!("CARGO_BIN_EXE_lbctl"),
            server.address
        );
        let mut script = std::process::Command::new("script");
        script.args(["-qec", &line, "/dev/null"]).env("LBCTL_CONFIG", folder.path().join("none"));
        script.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut child = script.spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), typed.as_bytes()).unwrap();
        let (code, said, _) = end(&child.wait_with_output().unwrap());
        (code, said)
    };
    let (code, said) = typed("n\n", "");
    assert!(code == 1 && said.contains("good for nothing") && said.contains("go on?"), "{said}");
    assert!(server.asked("DELETE").is_empty());
    let (code, said) = typed("y\n", "");
    assert!(code == 0 && server.asked("DELETE").len() == 1, "{said}");
    for flag in ["--yes", "--no-input"] {
        let (code, said) = typed("", flag);
        assert!(code == 0 && !said.contains("go on?"), "{flag}: {said}");
    }
}

#[test]
fn the_name_of_a_protected_context_is_typed() {
    let folder = tempfile::tempdir().unwrap();
    let server = fleet();
    let set = ["context", "set", "prod", "--protected", "--server", &server.address];
    assert_eq!(run(folder.path(), &set).0, 0);
    let typed = |typed: &str| {
        let line = format!("{} tokens revoke x", env!("CARGO_BIN_EXE_lbctl"));
        let mut script = std::process::Command::new("script");
        script.args(["-qec", &line, "/dev/null"]);
        script.env("LBCTL_CONFIG", folder.path().join("lbctl/config.yaml"));
        script.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut child = script.spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), typed.as_bytes()).unwrap();
        end(&child.wait_with_output().unwrap())
    };
    let (code, said, _) = typed("y\n");
    assert!(code == 1 && said.contains("type its name"), "{said}");
    assert!(server.asked("DELETE").is_empty());
    assert_eq!(typed("prod\n").0, 0);
    assert_eq!(server.asked("DELETE").len(), 1);
}

#[test]
fn causes_are_told_to_whoever_wants_them() {
    let folder = tempfile::tempdir().unwrap();
    let line = ["status", "--server", "127.0.0.1:1"];
    assert!(!run(folder.path(), &line).2.contains("because"));
    let (_, _, said) = run(folder.path(), &[&line[..], &["--debug"]].concat());
    assert!(said.contains("  because: ") && said.contains("onnection refused"), "{said}");
}
