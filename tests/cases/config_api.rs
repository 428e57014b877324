//! The REST API, refusals first: what operators and their programs rely on.

use std::path::Path;

use lb_model::{
    Version,
    api::{BUNDLE_TYPE, Problem, YAML_TYPE},
    diagnostic::code,
};
use lb_tests::{
    certificate::Pair,
    control_plane::{self, ControlPlane, outcome},
    process::{Process, binary},
    scratch::Scratch,
};
use reqwest::Method;
use serde_json::{Value, json};

const CONFIG: &str = "/api/v1/config";

/// A document that differs in the address of its backend.
fn document(port: u16) -> String {
    format!("backends:\n  one: {{ url: \"http://127.0.0.1:{port}\" }}\n")
}

async fn control_plane() -> (ControlPlane, Scratch) {
    let scratch = Scratch::new();
    let control_plane = ControlPlane::start(scratch.path(), &[]).await;
    (control_plane, scratch)
}

async fn put(control_plane: &ControlPlane, fields: &[(&str, &str)], body: String) -> Problem {
    let mut request = control_plane.request(Method::PUT, CONFIG).body(body);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    outcome(request.send().await.unwrap()).await.unwrap_err()
}

#[tokio::test]
async fn a_change_names_the_version_it_is_made_on_top_of() {
    let (control_plane, _scratch) = control_plane().await;
    let yaml = ("content-type", YAML_TYPE);
    let problem = put(&control_plane, &[yaml], document(1)).await;
    assert_eq!((problem.status, problem.code.as_str()), (428, "precondition_required"));

    assert_eq!(control_plane.put(&document(1)).await.unwrap().version, Version(1));
    assert_eq!(control_plane.put(&document(2)).await.unwrap().version, Version(2));
    let problem = put(&control_plane, &[yaml, ("if-match", "\"1\"")], document(3)).await;
    assert_eq!((problem.status, problem.code.as_str()), (412, "version_conflict"));
    assert_eq!(problem.current, Some(Version(2)));

    let problem = put(&control_plane, &[yaml, ("if-match", "\"x\"")], document(3)).await;
    assert_eq!((problem.status, problem.code.as_str()), (400, "invalid_if_match"));

    // The ETag of an answer is what the next change takes.
    let response = control_plane.request(Method::GET, CONFIG).send().await.unwrap();
    let tag = response.headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(tag, "\"2\"");
    let request = control_plane.request(Method::PUT, CONFIG).body(document(3));
    let request = request.header("content-type", YAML_TYPE).header("if-match", &tag);
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["etag"], "\"3\"");
    assert_eq!(outcome(response).await.unwrap().version, Version(3));
}

#[tokio::test]
async fn an_invalid_document_is_refused_with_every_fault_and_its_place() {
    let (control_plane, _scratch) = control_plane().await;
    let text = "backends:\n  one: { url: \"ftp://a\" }\n  two: { url: \"http://a:1\", weigth: 3 }\n\
                services:\n  shop: { backends: [oen] }\n";
    let problem = control_plane.put(text).await.unwrap_err();
    assert_eq!((problem.status, problem.code.as_str()), (422, "invalid_config"));
    let found: Vec<_> = problem
        .diagnostics
        .iter()
        .map(|found| {
            let place = found.place.clone().unwrap();
            (found.code.as_str(), place.line, place.column)
        })
        .collect();
    let expected = [
        (code::INVALID_VALUE, 2, 15),
        (code::UNKNOWN_KEY, 3, 29),
        (code::UNKNOWN_REFERENCE, 5, 22),
    ];
    assert_eq!(found, expected);
    let helps: Vec<_> = problem.diagnostics.iter().filter_map(|f| f.help.clone()).collect();
    assert!(helps[1].contains("weight") && helps[2].contains("one"), "{helps:?}");
    assert_eq!(control_plane.get(CONFIG).await["version"], 0, "nothing was changed");
}

#[tokio::test]
async fn bodies_that_are_not_documents_are_refused() {
    let (control_plane, _scratch) = control_plane().await;
    let any = ("if-match", "*");
    let problem = put(&control_plane, &[any, ("content-type", "text/html")], document(1)).await;
    assert_eq!(problem.status, 415, "{problem:?}");
    let problem = put(&control_plane, &[any], document(1)).await;
    assert_eq!(problem.status, 415, "{problem:?}");
    let broken = "{\"documents\": [{\"name\": 1}]}".to_owned();
    let problem = put(&control_plane, &[any, ("content-type", BUNDLE_TYPE)], broken).await;
    assert_eq!((problem.status, problem.code.as_str()), (400, "invalid_bundle"));
    let path = "/api/v1/nothing";
    let response = control_plane.request(Method::GET, path).send().await.unwrap();
    assert_eq!(response.status(), 404);
    let response = control_plane.request(Method::DELETE, CONFIG).send().await.unwrap();
    assert_eq!(response.status(), 405);
    assert_eq!(response.json::<Problem>().await.unwrap().code, "method_not_allowed");
}

#[tokio::test]
async fn the_same_content_again_makes_no_version() {
    let (control_plane, _scratch) = control_plane().await;
    let first = control_plane.put(&document(1)).await.unwrap();
    let second = control_plane.put(&document(1)).await.unwrap();
    assert!(first.changed && !second.changed);
    assert_eq!((first.version, second.version), (Version(1), Version(1)));
    assert_eq!(control_plane.metric("lb_config_commits_total", "committed").await, 1);
    assert_eq!(control_plane.metric("lb_config_commits_total", "unchanged").await, 1);
}

#[tokio::test]
async fn a_dry_run_finds_faults_and_changes_nothing() {
    let (control_plane, _scratch) = control_plane().await;
    let request = |text: String| {
        let request = control_plane.request(Method::PUT, "/api/v1/config?dry_run=true").body(text);
        request.header("if-match", "*").header("content-type", YAML_TYPE)
    };
    let good = outcome(request(document(1)).send().await.unwrap()).await.unwrap();
    assert!(good.changed, "it would");
    let bad = outcome(request("backends: 1\n".to_owned()).send().await.unwrap()).await;
    assert_eq!(bad.unwrap_err().status, 422);
    assert_eq!(control_plane.get(CONFIG).await["version"], 0);
}

#[tokio::test]
async fn the_history_is_listed_and_a_version_comes_back_as_a_new_one() {
    let (mut control_plane, _scratch) = control_plane().await;
    for port in [1, 2] {
        control_plane.put(&document(port)).await.unwrap();
    }
    let restore = control_plane.request(Method::POST, "/api/v1/versions/1/restore?author=ann");
    let restored = outcome(restore.send().await.unwrap()).await.unwrap();
    assert_eq!((restored.version, restored.changed), (Version(3), true));
    let config = control_plane.get(CONFIG).await;
    assert_eq!(config["documents"][0]["text"], document(1));

    // The history outlives the process.
    control_plane.stop().await;
    control_plane.restart().await;
    let list = control_plane.get("/api/v1/versions").await;
    let versions = list["versions"].as_array().unwrap();
    let listed: Vec<_> =
        versions.iter().map(|v| (v["version"].as_u64().unwrap(), v["author"].as_str())).collect();
    assert_eq!(listed, [(3, Some("ann")), (2, Some("e2e")), (1, Some("e2e"))]);
    assert_eq!(versions[0]["reason"], "rollback to version 1");
    assert_eq!(list["current"], 3);
    let page = control_plane.get("/api/v1/versions?limit=1&before=3").await;
    assert_eq!(page["versions"].as_array().unwrap().len(), 1);
    assert_eq!(page["versions"][0]["version"], 2);
}

#[tokio::test]
async fn a_version_that_is_not_there_cannot_come_back() {
    let (control_plane, _scratch) = control_plane().await;
    control_plane.put(&document(1)).await.unwrap();
    for version in ["0", "7"] {
        let path = format!("/api/v1/versions/{version}/restore");
        let response = control_plane.request(Method::POST, &path).send().await.unwrap();
        let problem = outcome(response).await.unwrap_err();
        assert_eq!((problem.status, problem.code.as_str()), (404, "unknown_version"));
        assert_eq!(problem.current, Some(Version(1)));
    }
    let response = control_plane.request(Method::POST, "/api/v1/versions/x/restore").send().await;
    assert_eq!(response.unwrap().status(), 400);
}

#[tokio::test]
async fn every_version_shows_its_documents_without_keys() {
    let (control_plane, _scratch) = control_plane().await;
    let pair = Pair::new("shop.example.com");
    let secret = format!("{}certificates:\n{}", document(1), pair.entry("shop"));
    control_plane.put(&secret).await.unwrap();
    control_plane.put(&document(2)).await.unwrap();
    let response = control_plane.request(Method::GET, "/api/v1/versions/1").send().await.unwrap();
    assert_eq!(response.headers()["etag"], "\"1\"");
    let first = response.json::<Value>().await.unwrap();
    assert_eq!(first["version"], 1);
    let shown = first["documents"][0]["text"].as_str().unwrap();
    assert!(shown.starts_with(&document(1)) && shown.contains("[redacted]"), "{shown}");
    assert!(!shown.contains("PRIVATE"), "{shown}");
    let second = control_plane.get("/api/v1/versions/2").await;
    assert_eq!(second, control_plane.get(CONFIG).await, "the newest is what is current");
    for (version, status, code) in [
        ("0", 404, "unknown_version"),
        ("3", 404, "unknown_version"),
        ("x", 400, "invalid_version"),
    ] {
        let path = format!("/api/v1/versions/{version}");
        let response = control_plane.request(Method::GET, &path).send().await.unwrap();
        let problem = outcome(response).await.unwrap_err();
        assert_eq!((problem.status, problem.code.as_str()), (status, code));
    }
}

#[tokio::test]
async fn private_keys_are_taken_and_never_given_out() {
    let (control_plane, scratch) = control_plane().await;
    let pair = Pair::new("shop.example.com");
    let inline = format!("{}certificates:\n{}", document(1), pair.entry("shop"));
    control_plane.put(&inline).await.unwrap();
    let secret = pair.key.lines().nth(1).unwrap();
    let shown = control_plane.get(CONFIG).await.to_string();
    assert!(
        shown.contains("[redacted]") && shown.contains(pair.certificate.lines().nth(1).unwrap())
    );
    assert!(!shown.contains(secret) && !shown.contains("PRIVATE"), "{shown}");

    let files =
        "certificates: { shop: { cert_file: shop.pem, key_file: shop-key.pem } }\n".to_owned();
    let encode = |text: &str| {
        // Base64 of the PEM, as `lbctl` sends it.
        let path = scratch.write("plain", text);
        let output = std::process::Command::new("base64").args(["-w", "0"]).arg(path).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    let file = |path: &str, content: &str| json!({ "document": "lb.yaml", "path": path, "content": encode(content) });
    let bundle = json!({
        "documents": [{ "name": "lb.yaml", "text": document(2) + &files }],
        "files": [file("shop.pem", &pair.certificate), file("shop-key.pem", &pair.key)],
    });
    let request = control_plane.request(Method::PUT, CONFIG).header("if-match", "*");
    let request = request.header("content-type", BUNDLE_TYPE).body(bundle.to_string());
    outcome(request.send().await.unwrap()).await.unwrap();
    let view: Value = control_plane.get(CONFIG).await;
    assert_eq!(view["files"][1]["path"], "shop-key.pem");
    assert_eq!(view["files"][1]["size"], pair.key.len());
    let shown = view.to_string();
    assert!(!shown.contains(&encode(&pair.key)) && !shown.contains(secret), "{shown}");
}

#[tokio::test]
async fn a_file_holds_the_configuration_and_the_api_says_so() {
    let scratch = Scratch::new();
    let file = scratch.write("held.yaml", document(1));
    let flag = file.display().to_string();
    let mut control_plane = ControlPlane::start(scratch.path(), &["--config", &flag]).await;
    let config = control_plane.get(CONFIG).await;
    assert_eq!((config["version"].as_u64(), config["held_by"].as_str()), (Some(1), Some(&*flag)));
    let problem = control_plane.put(&document(2)).await.unwrap_err();
    assert_eq!((problem.status, problem.code.as_str()), (409, "held_by_file"));
    assert!(problem.detail.contains(&flag), "{}", problem.detail);
    let restore = control_plane.request(Method::POST, "/api/v1/versions/1/restore").send().await;
    assert_eq!(outcome(restore.unwrap()).await.unwrap_err().code, "held_by_file");

    // The same file again is the same version; a changed one is the next.
    for (port, version) in [(1, 1), (2, 2)] {
        control_plane.stop().await;
        scratch.write("held.yaml", document(port));
        drop(control_plane);
        let _ = std::fs::remove_file(scratch.path().join("control-plane/addresses.json"));
        control_plane = ControlPlane::start(scratch.path(), &["--config", &flag]).await;
        assert_eq!(control_plane.get(CONFIG).await["version"], version);
    }
}

#[tokio::test]
async fn a_start_with_an_invalid_file_fails_and_names_line_and_column() {
    let scratch = Scratch::new();
    let file = scratch.write("bad.yaml", "backends:\n  one: { url: \"http://a:1\", wait: 1 }\n");
    let flag = file.display().to_string();
    let said = refusal(&scratch, "lb-control-plane", scratch.path(), &["--config", &flag]).await;
    assert!(said.contains(&format!("{flag}:2:29: error[{}]", code::UNKNOWN_KEY)), "{said}");
    let gone = scratch.path().join("gone.yaml").display().to_string();
    let said = refusal(&scratch, "lb-control-plane", scratch.path(), &["--config", &gone]).await;
    assert!(said.contains(&format!("could not read {gone}")), "{said}");
}

#[tokio::test]
async fn addresses_that_others_can_reach_are_refused() {
    let scratch = Scratch::new();
    let data = scratch.path();
    // A proxy asks nobody who they are, and a control plane only once somebody has a token.
    for (program, remedy) in
        [("lb-control-plane", "recover-token"), ("lb-data-plane", "use 127.0.0.1:9799")]
    {
        let said = refusal(&scratch, program, data, &["--admin-addr", "0.0.0.0:9799"]).await;
        assert!(said.contains(remedy), "{program}: {said}");
    }
}

#[tokio::test]
async fn two_control_planes_do_not_share_a_data_directory() {
    let (control_plane, scratch) = control_plane().await;
    let data = control_plane.data().to_owned();
    let said = refusal(&scratch, "lb-control-plane", &data, &[]).await;
    assert!(said.contains(&data.display().to_string()), "{said}");
    assert_eq!(control_plane.get("/readyz").await["status"], "ok", "the first one goes on");
}

/// What a server says that does not start.
async fn refusal(scratch: &Scratch, program: &str, data: &Path, more: &[&str]) -> String {
    let mut arguments = match program {
        "lb-control-plane" => control_plane::arguments(data),
        _ => vec!["--data-dir".to_owned(), data.display().to_string()],
    };
    for pair in more.chunks(2) {
        // A flag may stand once.
        if let Some(at) = arguments.iter().position(|argument| argument == pair[0]) {
            pair[1].clone_into(&mut arguments[at + 1]);
        } else {
            arguments.extend(pair.iter().map(|&argument| argument.to_owned()));
        }
    }
    let log = scratch.path().join("refused.log");
    let _ = std::fs::remove_file(&log);
    let mut process = Process::start(program, binary(program), arguments, log);
    let status = process.ended().await;
    assert!(!status.success(), "{program} ended with {status}: {}", process.said());
    process.said()
}
