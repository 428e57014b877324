//! The REST API against its own description.
//!
//! Schemathesis reads the OpenAPI document, makes requests of all kinds from it, good and bad, and
//! holds every answer against it. `cargo xtask test` installs it.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use lb_tests::{control_plane::ControlPlane, scratch::Scratch};
use tokio::process::Command;

/// How long requests are made, in seconds.
const TIME: &str = "40";
/// What is not asked of the API. A document may be well-formed and still be no configuration; a
/// missing `If-Match` is 428 and not 400 (RFC 6585); whoever guesses tokens gets 429 in between.
const LEFT_OUT: &str = "positive_data_acceptance,missing_required_header,ignored_auth";

/// The program, in the target folder that this test was built in.
fn schemathesis() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let target = test.ancestors().find(|folder| folder.join("python").is_dir());
    let line = "python3 -m venv target/python && target/python/bin/pip install schemathesis";
    let program = target.map(|target| target.join("python/bin/schemathesis"));
    program.filter(|program| program.is_file()).unwrap_or_else(|| {
        panic!("schemathesis is missing; `cargo xtask test` installs it, or: {line}")
    })
}

async fn run(program: &Path, arguments: &[&str], folder: &Path) -> (bool, String) {
    let mut command = Command::new(program);
    // What it finds it would keep for later runs in the working directory.
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_mins(3), command.output());
    let output = output.await.expect("an end").expect("a program that starts");
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test]
async fn no_request_finds_an_answer_that_the_document_does_not_know() {
    let program = schemathesis();
    let scratch = Scratch::new();
    let mut control_plane = ControlPlane::start(scratch.path(), &[]).await;
    let document = "
backends: { a: { url: \"http://127.0.0.1:1\" }, b: { url: \"http://127.0.0.1:2\" } }
traffic_management:
  blue_green: { enabled: true, blue_backends: [a], green_backends: [b] }
  circuit_breaker: { enabled: true }
";
    control_plane.put(document).await.unwrap();
    let admin = control_plane.appoint("ann", "admin").await;
    control_plane.sign_in(&admin.token);
    let url = format!("{}/api/v1/openapi.json", control_plane.url());
    let field = format!("Authorization: Bearer {}", admin.token);
    let arguments = [
        "run",
        &url,
        "-H",
        &field,
        "--max-time",
        TIME,
        "--max-examples",
        "20",
        "--no-shrink",
        "--continue-on-failure",
        "--generation-deterministic",
        "--no-color",
        "--exclude-checks",
        LEFT_OUT,
    ];
    let (is_well, said) = run(&program, &arguments, scratch.path()).await;
    assert!(is_well, "{said}");
    assert!(said.contains("Tested:"), "{said}");
    // It is as alive as before.
    assert_eq!(control_plane.get("/health").await["status"], "ok");
}
