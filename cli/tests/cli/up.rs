//! `lbctl up`, with servers that are shell scripts.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

use serde_json::json;

use crate::{
    end, lbctl,
    pretend::{Pretend, committed, config, proxies},
};

/// A server that says where it listens and ends when it is asked to.
fn well(admin: &str) -> String {
    format!(
        "#!/bin/sh
trap 'echo stopped >> \"$2/stopped\"; exit 0' TERM
echo \"$@\" > \"$2/arguments\"
echo '{{\"pid\":'$$',\"admin\":\"{admin}\",\"sync\":\"127.0.0.1:7\"}}' > \"$2/addresses.tmp\"
mv \"$2/addresses.tmp\" \"$2/addresses.json\"
while :; do sleep 0.05; done
"
    )
}

/// A folder with lbctl and both servers, where nothing else is found.
fn folder(control_plane: &str, data_plane: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    // Other processes write these files: one that this process has open for writing while another
    // test forks could not be run for a moment ("text file busy").
    let lbctl = env!("CARGO_BIN_EXE_lbctl");
    assert!(Command::new("cp").args([lbctl.as_ref(), folder.path()]).status().unwrap().success());
    for (name, script) in [("lb-control-plane", control_plane), ("lb-data-plane", data_plane)] {
        let mut install = Command::new("install");
        install.args(["-m", "755", "/dev/stdin"]).arg(folder.path().join(name));
        let mut install = install.stdin(Stdio::piped()).spawn().unwrap();
        install.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        assert!(install.wait().unwrap().success());
    }
    folder
}

fn up(folder: &Path, flags: &[&str]) -> Command {
    let mut command = lbctl(&[&["up"], flags].concat());
    let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    command = Command::new(folder.join("lbctl"));
    command.args(arguments).current_dir(folder);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn token() -> serde_json::Value {
    json!({ "id": "AbCd1234", "token": "lbt1.a.b.c", "expires": "2026-03-01T13:00:00Z" })
}

fn api() -> Pretend {
    Pretend::new(|asked| match asked.line.split(['?', ' ']).nth(1).unwrap_or_default() {
        "/api/v1/proxies" => (200, proxies(1, &[("a", "synced", 1), ("b", "synced", 1)])),
        "/api/v1/tokens" => (201, token()),
        _ if asked.line.starts_with("GET") => (200, config(0)),
        _ => (200, committed(1)),
    })
}

fn signal(process: &std::process::Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_child(process);
    rustix::process::kill_process(pid, signal).unwrap();
}

#[test]
fn a_fleet_starts_with_the_demo_and_stops_with_a_signal() {
    let api = api();
    let folder = folder(&well(&api.address), &well("127.0.0.1:8"));
    let mut process = up(folder.path(), &["--port", "0", "--admin-port", "0"]).spawn().unwrap();
    let mut text = String::new();
    let mut stdout = BufReader::new(process.stdout.take().unwrap());
    while !text.contains("Ctrl-C stops everything") {
        assert_ne!(stdout.read_line(&mut text).unwrap(), 0, "{text}");
    }
    assert!(text.contains("version 1: live on 2 of 2 proxies"), "{text}");
    assert!(text.contains("curl -i http://127.0.0.1:8000/"), "{text}");
    assert!(text.contains(&format!("lbctl --server http://{} status", api.address)), "{text}");
    let put = &api.asked("PUT")[0];
    assert!(put.header.contains("if-match: \"0\""), "{}", put.header);
    assert!(put.body.contains("demo.yaml") && put.body.contains("0.0.0.0:0"), "{}", put.body);
    let data = folder.path().join(".lb");
    let arguments = fs::read_to_string(data.join("proxy-2/arguments")).unwrap();
    assert!(arguments.contains("--control-plane https://127.0.0.1:7 "), "{arguments}");
    assert!(arguments.contains("--join-token-file"), "{arguments}");
    assert_eq!(fs::read_to_string(data.join("proxy-2.token")).unwrap(), "lbt1.a.b.c");

    signal(&process, rustix::process::Signal::TERM);
    let (code, _, stderr) = end(&process.wait_with_output().unwrap());
    assert_eq!(code, 0, "{stderr}");
    for name in ["control-plane", "proxy-1", "proxy-2"] {
        assert!(data.join(name).join("stopped").exists(), "{name} was not asked to end");
    }
}

#[test]
fn proxies_join_with_the_labels_they_are_to_hold() {
    let api = api();
    let folder = folder(&well(&api.address), &well("127.0.0.1:8"));
    let flags = ["--label", "proxy-2=inner", "--label", "proxy-2=eu", "--label", "proxy-3=edge"];
    let (code, _, stderr) = end(&up(folder.path(), &flags).output().unwrap());
    assert_eq!(code, 64, "{stderr}");
    assert!(stderr.contains("`proxy-3=edge` names none of 2 proxies"), "{stderr}");
    assert!(!folder.path().join(".lb").exists());

    let mut process = up(folder.path(), &flags[..4]).spawn().unwrap();
    let mut stdout = BufReader::new(process.stdout.take().unwrap()).lines();
    assert!(stdout.any(|line| line.unwrap().contains("Ctrl-C stops everything")));
    signal(&process, rustix::process::Signal::TERM);
    assert_eq!(end(&process.wait_with_output().unwrap()).0, 0);
    let asked: Vec<serde_json::Value> = api
        .asked("POST /api/v1/tokens")
        .iter()
        .map(|asked| serde_json::from_str(&asked.body).unwrap())
        .collect();
    let labels: Vec<_> = asked.iter().map(|each| each.get("labels").cloned()).collect();
    assert_eq!(labels, [None, Some(json!(["inner", "eu"]))]);

    // Labels come with the token, and who has joined needs none.
    fs::write(folder.path().join(".lb/proxy-2/identity.json"), "{}").unwrap();
    let mut process = up(folder.path(), &flags[..4]).spawn().unwrap();
    let mut stdout = BufReader::new(process.stdout.take().unwrap()).lines();
    assert!(stdout.any(|line| line.unwrap().contains("Ctrl-C stops everything")));
    signal(&process, rustix::process::Signal::TERM);
    let (_, _, stderr) = end(&process.wait_with_output().unwrap());
    assert!(stderr.contains("proxy-2 joined before and keeps the labels it has"), "{stderr}");
}

#[test]
fn a_server_that_cannot_start_is_named_with_its_last_words_and_the_rest_is_stopped() {
    let api = api();
    let dies = "#!/bin/sh\necho 'could not listen on 127.0.0.1:9702: address in use' >&2\nexit 3\n";
    let folder = folder(&well(&api.address), dies);
    let output = up(folder.path(), &["--proxies", "1"]).output().unwrap();
    let (code, _, stderr) = end(&output);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("  | could not listen on 127.0.0.1:9702"), "{stderr}");
    assert!(stderr.contains("proxy-1 ended by itself: exit status: 3; "), "{stderr}");
    assert!(stderr.contains("--proxy-admin-port"), "{stderr}");
    assert!(folder.path().join(".lb/control-plane/stopped").exists());
}

#[test]
fn a_server_that_dies_later_ends_the_run() {
    let api = api();
    let dies = well("127.0.0.1:8").replace("while :; do sleep 0.05; done", "sleep 1; exit 7");
    let folder = folder(&well(&api.address), &dies);
    let (code, stdout, stderr) = end(&up(folder.path(), &[]).output().unwrap());
    assert_eq!(code, 1, "{stdout}{stderr}");
    assert!(stdout.contains("Ctrl-C stops everything"), "{stdout}{stderr}");
    assert!(stderr.contains(" ended by itself: exit status: 7"), "{stderr}");
}

#[test]
fn a_second_signal_stops_at_once() {
    let api = api();
    let deaf = well("127.0.0.1:8").replace("exit 0' TERM", "' TERM");
    let folder = folder(&well(&api.address), &deaf);
    let mut process = up(folder.path(), &[]).spawn().unwrap();
    let mut stdout = BufReader::new(process.stdout.take().unwrap()).lines();
    assert!(stdout.any(|line| line.unwrap().contains("Ctrl-C stops everything")));
    signal(&process, rustix::process::Signal::INT);
    let mut stderr = BufReader::new(process.stderr.take().unwrap()).lines();
    assert!(stderr.any(|line| line.unwrap().contains("once more to stop at once")));
    signal(&process, rustix::process::Signal::INT);
    assert_eq!(process.wait().unwrap().code(), Some(130));
}

#[test]
fn a_file_with_a_fault_starts_nothing() {
    let api = api();
    let folder = folder(&well(&api.address), &well("127.0.0.1:8"));
    fs::write(folder.path().join("lb.yaml"), "backends: {}\n").unwrap();
    let (code, _, stderr) = end(&up(folder.path(), &["-f", "lb.yaml"]).output().unwrap());
    assert_eq!(code, 3, "{stderr}");
    assert!(!folder.path().join(".lb").exists());
}

#[test]
fn a_missing_program_is_said_with_the_way_to_get_it() {
    let folder = folder("", "");
    fs::remove_file(folder.path().join("lb-data-plane")).unwrap();
    let (code, _, stderr) = end(&up(folder.path(), &[]).env("PATH", "/nowhere").output().unwrap());
    assert_eq!(code, 1);
    assert!(stderr.contains("found no `lb-data-plane`"), "{stderr}");
    assert!(stderr.contains("cargo xtask up"), "{stderr}");
}

#[test]
fn a_stored_configuration_is_kept_and_the_demo_comes_back_where_it_names_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let text = format!("backends: {{ demo-1: {{ url: \"http://127.0.0.1:{port}\" }} }}\n");
    let stored = json!({ "version": 1, "files": [],
        "documents": [{ "name": "lb.yaml", "text": text }] });
    let api = Pretend::new(move |asked| match asked.line.as_str() {
        "GET /api/v1/proxies" => (200, proxies(1, &[("a", "synced", 1), ("b", "synced", 1)])),
        line if line.starts_with("POST /api/v1/tokens") => (201, token()),
        _ => (200, stored.clone()),
    });
    let folder = folder(&well(&api.address), &well("127.0.0.1:8"));
    let mut process = up(folder.path(), &[]).spawn().unwrap();
    let mut stdout = BufReader::new(process.stdout.take().unwrap()).lines();
    assert!(stdout.any(|line| line.unwrap().contains("Ctrl-C stops everything")));
    signal(&process, rustix::process::Signal::TERM);
    let (code, _, stderr) = end(&process.wait_with_output().unwrap());
    assert_eq!(code, 0, "{stderr}");
    assert!(api.asked("PUT").is_empty(), "nothing is applied");
    assert!(stderr.contains("keeping version 1 of the store"), "{stderr}");
    assert!(stderr.contains(&format!("demo-1 of the demo again on port {port}")), "{stderr}");
}
