//! The program as it is typed, against a control plane and servers that only pretend.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "cli/apply.rs"]
mod apply;
#[path = "cli/contexts.rs"]
mod contexts;
#[path = "cli/help.rs"]
mod help;
#[path = "cli/lists.rs"]
mod lists;
#[path = "cli/pretend.rs"]
mod pretend;
#[path = "cli/up.rs"]
mod up;
#[path = "cli/watch.rs"]
mod watch;

use std::process::{Command, Output};

/// The program, with an environment that says nothing.
fn lbctl(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lbctl"));
    for name in ["LBCTL_SERVER", "LBCTL_CONTEXT", "NO_COLOR", "CLICOLOR_FORCE"] {
        command.env_remove(name);
    }
    command.env("LBCTL_CONFIG", "/nonexistent/lbctl.yaml");
    command.args(arguments);
    command
}

/// What the program wrote and how it exited.
fn end(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    end(&lbctl(arguments).output().unwrap())
}

#[test]
fn wrong_use_exits_with_64_and_help_with_0() {
    assert_eq!(run(&["bogus"]).0, 64);
    assert_eq!(run(&["apply"]).0, 64);
    assert_eq!(run(&["rollback", "1", "--timeout", "soon"]).0, 64);
    let (code, stdout, _) = run(&["--help"]);
    assert!(code == 0 && stdout.contains("lbctl apply -f lb.yaml"), "{stdout}");
    assert_eq!(run(&["--version"]).0, 0);
}

#[test]
fn check_draws_faults_and_exits_with_3() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lb.yaml");
    std::fs::write(&path, "backends: { a: { url: \"http://a\", wieght: 1 } }\n").unwrap();
    let path = path.display().to_string();
    let (code, stdout, stderr) = run(&["check", &path]);
    assert_eq!((code, stdout.as_str()), (3, ""));
    assert!(stderr.contains("error[LB0101]") && stderr.contains("^^^^^^"), "{stderr}");
    let (code, stdout, _) = run(&["check", &path, "-o", "json"]);
    let found: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, found[0]["code"].as_str()), (3, Some("LB0101")));
}

#[test]
fn check_reads_lb_yaml_here_and_strict_makes_warnings_fail() {
    let folder = tempfile::tempdir().unwrap();
    let unused = "backends: { a: { url: \"http://a\" }, b: { url: \"http://b\" } }\n\
                  services: { s: { backends: [a] } }\n";
    std::fs::write(folder.path().join("lb.yaml"), unused).unwrap();
    let check =
        |arguments: &[&str]| end(&lbctl(arguments).current_dir(folder.path()).output().unwrap());
    let (code, stdout, stderr) = check(&["check"]);
    let summary = "lb.yaml: 1 entry point, 2 backends, 1 service, 1 route; 1 warning\n";
    assert_eq!((code, stdout.as_str()), (0, summary), "{stderr}");
    assert_eq!(check(&["check", "--strict"]).0, 3);
}

#[test]
fn nobody_there_exits_with_4() {
    let (code, _, stderr) = run(&["status", "--server", "127.0.0.1:1"]);
    assert_eq!(code, 4, "{stderr}");
    assert!(stderr.contains("could not reach http://127.0.0.1:1: connection refused; start one"));
}

#[test]
fn completion_is_written_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let (code, stdout, _) = run(&["completion", shell]);
        assert!(code == 0 && stdout.contains("LBCTL_COMPLETE"), "{shell}");
    }
}
